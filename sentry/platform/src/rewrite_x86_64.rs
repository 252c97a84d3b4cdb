//! Rewriting call sites: a `syscall` instruction of the guest becomes a jump into the stub, without a trap.
//!
//! The jump goes to a *thunk*, a few instructions made for this one site, which lies within 2 GiB of it in the guest's
//! own memory. The thunk leaves `rcx` as the instruction would and everything else but `r11`, which a call destroys,
//! alone. There are two ways to get there ([`plan`] takes the first that fits):
//!
//! - *Padding.* The two bytes of `syscall` become a short jump into a long `nop` (or `int3` padding) nearby, and five
//!   bytes of that, which the processor ignores when it executes the `nop`, a jump to the thunk. Instructions before
//!   and behind the site stay as they are, and so may whatever jumps to them.
//! - *Number.* `mov $number, %eax` right before the site becomes a jump to the thunk, which begins with that
//!   instruction. The `syscall` itself stays and traps for who jumps to it.
//!
//! `docs/platform.md` tells why this is safe. Nothing here touches memory: a plan is bytes and addresses.

use stub::layout::{AREA_SELF, IMAGE};
use stub::{Entry, address_of};

/// Bytes of a thunk; each lies at a multiple of them.
pub const THUNK_SIZE: usize = 64;
/// How far before and behind a site the code should be known.
pub const WINDOW: u64 = 128;
/// The farthest from its site that a thunk may lie, with room for the padding's distance.
pub const REACH: u64 = (1 << 31) - (1 << 16);

/// `nopl 0(%rax,%rax,1)`: its last five bytes mean nothing.
const LONG_NOP: [u8; 8] = [0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
const INT3: u8 = 0xcc;
const SYSCALL: [u8; 2] = [0x0f, 0x05];
const JUMP: u8 = 0xe9;
const JUMP_LEN: usize = 5;
const SHORT_JUMP: u8 = 0xeb;
/// `mov $imm32, %eax`.
const MOV_EAX: u8 = 0xb8;
/// In a thunk: the address behind its site.
const RETURN_SLOT: usize = THUNK_SIZE - 8;

/// New bytes for a place in guest code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodePatch {
    /// Where.
    pub addr: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// What must be written to rewrite a site, in this order: thunk, padding, site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The thunk's bytes.
    pub thunk: [u8; THUNK_SIZE],
    /// The padding's new bytes. May be written while other threads run there.
    pub padding: Option<CodePatch>,
    /// The site's new bytes. To be written at once where other threads may run there.
    pub site: CodePatch,
}

/// Plans to rewrite the site before `ret` for calls of `number`, with a thunk at `thunk`. `code` is what lies at
/// `base`, around the site and in the same mapping. `is_anonymous` code may be some compiler's, that patches its own
/// padding.
#[must_use]
pub fn plan(code: &[u8], base: u64, ret: u64, number: u64, thunk: u64, is_anonymous: bool) -> Option<Plan> {
    let site = usize::try_from(ret.checked_sub(base)?).ok()?.checked_sub(SYSCALL.len())?;
    if code.get(site..site + 2)? != SYSCALL {
        return None;
    }
    if !is_anonymous && let Some(pad) = nearest_padding(code, site) {
        let pad_addr = base + pad as u64;
        let short = i8::try_from(pad as i64 - (site + 2) as i64).ok()?;
        return Some(Plan {
            thunk: thunk_code(None, ret),
            padding: Some(CodePatch { addr: pad_addr, bytes: jump(pad_addr, thunk)? }),
            site: CodePatch { addr: ret - 2, bytes: vec![SHORT_JUMP, short as u8] },
        });
    }
    let start = number_before(code, site, number)?;
    let addr = base + start as u64;
    Some(Plan {
        thunk: thunk_code(Some(number as u32), ret),
        padding: None,
        site: CodePatch { addr, bytes: jump(addr, thunk)? },
    })
}

/// Where to jump to in padding that a short jump from `site` reaches.
fn nearest_padding(code: &[u8], site: usize) -> Option<usize> {
    let behind = site + 2;
    let lowest = behind.saturating_sub(1 << 7);
    let highest = (behind + (1 << 7) - 1).min(code.len());
    (lowest..highest).filter(|at| is_padding(code, *at)).min_by_key(|at| at.abs_diff(behind))
}

/// Whether five bytes at `at` are executed by nobody, or as a part of an instruction that ignores them.
fn is_padding(code: &[u8], at: usize) -> bool {
    let is_nop = at >= 3 && code.get(at - 3..at + JUMP_LEN) == Some(&LONG_NOP);
    // One more before them: the first could be the operand of an instruction.
    let is_int3 = at >= 1
        && code.get(at - 1..at + JUMP_LEN).is_some_and(|bytes| bytes.iter().all(|byte| *byte == INT3));
    is_nop || is_int3
}

/// Where `mov $number, %eax` begins, if it is what precedes the site.
fn number_before(code: &[u8], site: usize, number: u64) -> Option<usize> {
    let start = site.checked_sub(JUMP_LEN)?;
    let operand = u32::try_from(number).ok()?.to_le_bytes();
    // A prefix would make it another register's, or a longer instruction.
    let is_prefixed = start > 0 && (0x40..0x50).contains(&code[start - 1]);
    (code[start] == MOV_EAX && code[start + 1..site] == operand && !is_prefixed).then_some(start)
}

/// `jmp to`, to stand at `at`.
fn jump(at: u64, to: u64) -> Option<Vec<u8>> {
    let distance = i32::try_from((to as i64).checked_sub((at + JUMP_LEN as u64) as i64)?).ok()?;
    let mut bytes = vec![JUMP];
    bytes.extend_from_slice(&distance.to_le_bytes());
    Some(bytes)
}

fn thunk_code(number: Option<u32>, ret: u64) -> [u8; THUNK_SIZE] {
    let mut code = Vec::with_capacity(THUNK_SIZE);
    if let Some(number) = number {
        code.push(MOV_EAX);
        code.extend_from_slice(&number.to_le_bytes());
    }
    code.extend_from_slice(&[0xf3, 0x49, 0x0f, 0xae, 0xcb]); // rdgsbase r11
    code.extend_from_slice(&[0x65, 0x48, 0x8b, 0x0c, 0x25, AREA_SELF as u8, 0, 0, 0]); // mov rcx, gs:[AREA_SELF]
    code.extend_from_slice(&[0x4a, 0x8d, 0x0c, 0x19]); // lea rcx, [rcx + r11]: 0 where gs is the area
    code.extend_from_slice(&[0xe3, 2]); // jrcxz over the next
    code.extend_from_slice(&SYSCALL); // the guest has a gs of its own: trap
    code.extend_from_slice(&[0x48, 0xb9]); // mov rcx, ret
    code.extend_from_slice(&ret.to_le_bytes());
    code.extend_from_slice(&[0xff, 0x25, 0, 0, 0, 0]); // jmp to the address that follows
    code.extend_from_slice(&address_of(Entry::Call, IMAGE).to_le_bytes());
    code.resize(RETURN_SLOT, INT3);
    code.extend_from_slice(&ret.to_le_bytes());
    let mut thunk = [0; THUNK_SIZE];
    thunk.copy_from_slice(&code);
    thunk
}

/// Where a thread that stands at byte `offset` of `thunk` is as far as the guest knows: at its site, before the call.
#[must_use]
pub fn place_of(thunk: &[u8; THUNK_SIZE], offset: usize) -> u64 {
    let ret = return_of(thunk);
    let is_before_number = offset == 0 && thunk[0] == MOV_EAX;
    ret.wrapping_sub(if is_before_number { 2 + JUMP_LEN as u64 } else { 2 })
}

/// Where the call of `thunk` returns to.
#[must_use]
pub fn return_of(thunk: &[u8; THUNK_SIZE]) -> u64 {
    let mut ret = [0; 8];
    ret.copy_from_slice(&thunk[RETURN_SLOT..]);
    u64::from_le_bytes(ret)
}

const _: () = assert!(AREA_SELF < 0x80);

#[cfg(test)]
mod tests {
    use super::{JUMP_LEN, LONG_NOP, place_of, plan, return_of};

    const BASE: u64 = 0x40_0000;
    const THUNK: u64 = 0x3f_0000;

    /// What a jump of five bytes at `at` goes to.
    fn target(at: u64, bytes: &[u8]) -> u64 {
        assert_eq!((bytes.len(), bytes[0]), (JUMP_LEN, 0xe9));
        let distance = i32::from_le_bytes(bytes[1..].try_into().unwrap());
        at.wrapping_add(5).wrapping_add_signed(distance.into())
    }

    #[test]
    fn a_site_near_padding_becomes_a_short_jump_into_it() {
        // xor %eax,%eax; syscall; ret; cs nopw 0(%rax,%rax,1)
        let mut code = vec![0x31, 0xc0, 0x0f, 0x05, 0xc3, 0x66, 0x2e];
        code.extend_from_slice(&LONG_NOP);
        let plan = plan(&code, BASE, BASE + 4, 0, THUNK, false).unwrap();
        let padding = plan.padding.unwrap();
        assert_eq!(padding.addr, BASE + 10);
        assert_eq!(target(padding.addr, &padding.bytes), THUNK);
        assert_eq!(plan.site.addr, BASE + 2);
        assert_eq!(plan.site.bytes, [0xeb, 6]);
        assert_eq!(return_of(&plan.thunk), BASE + 4);
        assert_eq!(place_of(&plan.thunk, 0), BASE + 2);
    }

    #[test]
    fn a_nop_in_use_and_one_out_of_reach_are_no_padding() {
        let mut used = vec![0x0f, 0x05, 0x0f, 0x1f, 0x84, 0xe9, 1, 2, 3, 4];
        assert_eq!(plan(&used, BASE, BASE + 2, 0, THUNK, false), None);
        used.resize(140, 0x90);
        used.extend_from_slice(&LONG_NOP);
        assert_eq!(plan(&used, BASE, BASE + 2, 0, THUNK, false), None);
    }

    #[test]
    fn without_padding_the_number_makes_room() {
        let code = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3];
        let found = plan(&code, BASE, BASE + 7, 39, THUNK, true).unwrap();
        assert_eq!(found.padding, None);
        assert_eq!(target(found.site.addr, &found.site.bytes), THUNK);
        assert_eq!(found.thunk[..5], code[..5]);
        assert_eq!([place_of(&found.thunk, 0), place_of(&found.thunk, 5)], [BASE, BASE + 5]);
        assert_eq!(plan(&code, BASE, BASE + 7, 40, THUNK, true), None, "another number was in rax");
        let other_register = [0x41, 0xb8, 39, 0, 0, 0, 0x0f, 0x05];
        assert_eq!(plan(&other_register, BASE, BASE + 8, 39, THUNK, true), None);
    }

    #[test]
    fn a_thunk_too_far_away_is_refused() {
        let code = [0xb8, 39, 0, 0, 0, 0x0f, 0x05];
        assert_eq!(plan(&code, BASE, BASE + 7, 39, 0x7000_0000_0000, true), None);
        assert_eq!(plan(&code, BASE, BASE + 1, 39, THUNK, true), None);
    }
}
