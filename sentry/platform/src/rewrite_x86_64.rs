//! Rewriting call sites: a `syscall` instruction of the guest becomes a jump into the stub, without a trap.
//!
//! The jump goes to a *thunk*, a few instructions made for this one site, which lies within 2 GiB of it in the guest's
//! own memory. The thunk leaves `rcx` as the instruction would and everything else but `r11`, which a call destroys,
//! alone. There are three ways to get there ([`find`] takes the first that fits):
//!
//! - *Padding.* The two bytes of `syscall` become a short jump into a long `nop` (or `int3` padding) nearby, and five
//!   bytes of that, which the processor ignores when it executes the `nop`, a jump to the thunk. Instructions before
//!   and behind the site stay as they are, and so may whatever jumps to them.
//! - *Moved.* An instruction of five bytes or more right before the site becomes a jump to the thunk, which begins with
//!   that instruction. The `syscall` itself stays and traps for who jumps to it. It must be one that can do the same
//!   elsewhere: `mov $number` to `eax` or `rax`, a move between a register and the stack, or a `lea`.
//! - *Overlapping.* The same with a move of three bytes between registers: of the five bytes of the jump the last two
//!   are those of the `syscall`, which is why it can only lead to a thunk some 81 MiB ahead. So the `syscall` is still
//!   there for who jumps to it.
//!
//! [`preceding`] says which instruction stands before a site.
//!
//! A `cpuid` that asks what is known already ([`known`]) is rewritten like a call that is moved, with a thunk that loads
//! the answer and jumps back.
//!
//! `docs/platform.md` tells why this is safe. Nothing here touches memory: a plan is bytes and addresses.

use std::ops::Range;

use abi::Regs;
use stub::layout::{AREA_SELF, IMAGE};
use stub::{Entry, address_of};

use super::preceding;

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
/// `mov $number, %eax`, and with a register's number added, to another one; with the number.
const MOVE: u8 = 0xb8;
const MOVE_LEN: u8 = 5;
/// In a thunk: the address behind its site.
const RETURN_SLOT: usize = THUNK_SIZE - 8;
/// In a thunk: how many bytes of guest code what it begins with had.
const MOVED_SLOT: usize = RETURN_SLOT - 1;
/// Along with that: the thunk makes no call.
const IS_ANSWER: u8 = 0x80;
/// The distance of a jump whose last two bytes are a `syscall`, and the next that is none.
const OVERLAPPING: Range<u64> = 0x050f_0000..0x0510_0000;

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

/// A call site that can be rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    ret: u64,
    form: Form,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    /// Through padding at this address.
    Padding(u64),
    /// This instruction, right before the site, goes into the thunk.
    Moved(Vec<u8>),
    /// The same; the jump's distance ends with the `syscall`.
    Overlapping(Vec<u8>),
    /// It is no call, but asks for this, with an instruction like one that is moved.
    Answer([u32; 4]),
}

/// The site before `ret`: a `cpuid` behind a `mov $number, %eax`, where `answer` is what `eax`, `ebx`, `ecx` and `edx` hold
/// behind it.
#[must_use]
pub const fn known(ret: u64, answer: [u32; 4]) -> Site {
    Site { ret, form: Form::Answer(answer) }
}

/// Looks at the site before `ret`, from where a call came with `regs`. `code` is what lies at `base`, around the site
/// and in the same mapping. `is_anonymous` code may be some compiler's, that patches its own padding.
#[must_use]
pub fn find(code: &[u8], base: u64, ret: u64, regs: &Regs, is_anonymous: bool) -> Option<Site> {
    let site = usize::try_from(ret.checked_sub(base)?).ok()?.checked_sub(SYSCALL.len())?;
    if code.get(site..site + 2)? != SYSCALL {
        return None;
    }
    let padding = if is_anonymous { None } else { nearest_padding(code, site) };
    let form = match padding {
        Some(pad) => Form::Padding(base + pad as u64),
        None => match preceding::instruction(code.get(..site)?, regs)? {
            short if short.len() + SYSCALL.len() == JUMP_LEN => Form::Overlapping(short.to_vec()),
            long => Form::Moved(long.to_vec()),
        },
    };
    Some(Site { ret, form })
}

impl Site {
    /// Where its call returns to.
    #[must_use]
    pub const fn ret(&self) -> u64 {
        self.ret
    }

    /// Where its thunk may lie.
    #[must_use]
    pub fn reach(&self) -> Range<u64> {
        match &self.form {
            Form::Overlapping(moved) => {
                let behind = self.start(moved) + JUMP_LEN as u64;
                behind.saturating_add(OVERLAPPING.start)..behind.saturating_add(OVERLAPPING.end)
            }
            _ => self.ret.saturating_sub(REACH)..self.ret.saturating_add(REACH),
        }
    }

    /// What to write so that it leads to a thunk at `thunk`.
    #[must_use]
    pub fn plan(&self, thunk: u64) -> Option<Plan> {
        match &self.form {
            Form::Padding(pad) => {
                let short = i8::try_from(pad.checked_signed_diff(self.ret)?).ok()?;
                Some(Plan {
                    thunk: thunk_code(&[], 0, self.ret),
                    padding: Some(CodePatch { addr: *pad, bytes: jump(*pad, thunk)? }),
                    site: CodePatch { addr: self.ret - 2, bytes: vec![SHORT_JUMP, short as u8] },
                })
            }
            Form::Moved(moved) | Form::Overlapping(moved) => {
                let start = self.start(moved);
                let bytes = jump(start, thunk)?;
                let is_overlapping = matches!(self.form, Form::Overlapping(_));
                if is_overlapping && bytes[JUMP_LEN - SYSCALL.len()..] != SYSCALL {
                    return None;
                }
                Some(Plan {
                    thunk: thunk_code(
                        &preceding::moved(moved, start + moved.len() as u64),
                        moved.len(),
                        self.ret,
                    ),
                    padding: None,
                    site: CodePatch { addr: start, bytes },
                })
            }
            Form::Answer(answer) => {
                let start = self.ret - (SYSCALL.len() as u64 + u64::from(MOVE_LEN));
                Some(Plan {
                    thunk: answer_code(thunk, answer, self.ret)?,
                    padding: None,
                    site: CodePatch { addr: start, bytes: jump(start, thunk)? },
                })
            }
        }
    }

    /// Where the instruction before the site begins.
    fn start(&self, moved: &[u8]) -> u64 {
        self.ret - (SYSCALL.len() + moved.len()) as u64
    }
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

/// `jmp to`, to stand at `at`.
fn jump(at: u64, to: u64) -> Option<Vec<u8>> {
    let distance = i32::try_from((to as i64).checked_sub((at + JUMP_LEN as u64) as i64)?).ok()?;
    let mut bytes = vec![JUMP];
    bytes.extend_from_slice(&distance.to_le_bytes());
    Some(bytes)
}

/// A thunk that begins with `moved`, in place of an instruction of `len` bytes.
fn thunk_code(moved: &[u8], len: usize, ret: u64) -> [u8; THUNK_SIZE] {
    let mut code = Vec::with_capacity(THUNK_SIZE);
    code.extend_from_slice(moved);
    code.extend_from_slice(&[0xf3, 0x49, 0x0f, 0xae, 0xcb]); // rdgsbase r11
    code.extend_from_slice(&[0x65, 0x48, 0x8b, 0x0c, 0x25, AREA_SELF as u8, 0, 0, 0]); // mov rcx, gs:[AREA_SELF]
    code.extend_from_slice(&[0x4a, 0x8d, 0x0c, 0x19]); // lea rcx, [rcx + r11]: 0 where gs is the area
    code.extend_from_slice(&[0xe3, 2]); // jrcxz over the next
    code.extend_from_slice(&SYSCALL); // the guest has a gs of its own: trap
    let distance = RETURN_SLOT - (code.len() + 7);
    code.extend_from_slice(&[0x48, 0x8b, 0x0d, distance as u8, 0, 0, 0]); // mov rcx, [rip + distance]
    code.extend_from_slice(&[0xff, 0x25, 0, 0, 0, 0]); // jmp to the address that follows
    code.extend_from_slice(&address_of(Entry::Call, IMAGE).to_le_bytes());
    code.resize(MOVED_SLOT, INT3);
    code.push(len as u8);
    code.extend_from_slice(&ret.to_le_bytes());
    let mut thunk = [0; THUNK_SIZE];
    thunk.copy_from_slice(&code);
    thunk
}

/// A thunk at `at` that has `answer` in the four registers, and everything else as it was.
fn answer_code(at: u64, [eax, ebx, ecx, edx]: &[u32; 4], ret: u64) -> Option<[u8; THUNK_SIZE]> {
    let mut code = Vec::with_capacity(THUNK_SIZE);
    for (register, value) in [eax, ecx, edx, ebx].into_iter().enumerate() {
        code.push(MOVE + register as u8);
        code.extend_from_slice(&value.to_le_bytes());
    }
    code.extend_from_slice(&jump(at + code.len() as u64, ret)?);
    code.resize(MOVED_SLOT, INT3);
    code.push(IS_ANSWER | MOVE_LEN);
    code.extend_from_slice(&ret.to_le_bytes());
    code.try_into().ok()
}

/// Changes `thunk` into that of a site which lies `by` bytes farther on, as it does itself.
pub fn move_thunk(thunk: &mut [u8; THUNK_SIZE], by: u64) {
    let ret = return_of(thunk).wrapping_add(by);
    thunk[RETURN_SLOT..].copy_from_slice(&ret.to_le_bytes());
}

/// Where a thread that stands at byte `offset` of `thunk` is as far as the guest knows: at its site, before the call, or
/// at the instruction before that. An answer is loaded again from the start.
#[must_use]
pub fn place_of(thunk: &[u8; THUNK_SIZE], offset: usize) -> u64 {
    let moved = thunk[MOVED_SLOT];
    let before = if offset == 0 || moved & IS_ANSWER != 0 { u64::from(moved & !IS_ANSWER) } else { 0 };
    return_of(thunk).wrapping_sub(2 + before)
}

/// Whether a thread that stands at byte `offset` of `thunk` has yet to execute an instruction of the guest's.
#[must_use]
pub fn is_before_call(thunk: &[u8; THUNK_SIZE], offset: usize) -> bool {
    let moved = thunk[MOVED_SLOT];
    moved & IS_ANSWER != 0 || (offset == 0 && moved != 0)
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
    use abi::Regs;

    use super::{JUMP_LEN, LONG_NOP, Plan, find, is_before_call, known, move_thunk, place_of, return_of};

    const BASE: u64 = 0x40_0000;
    const THUNK: u64 = 0x3f_0000;
    /// `syscall; ret`, to stand behind other instructions.
    const CALL: [u8; 3] = [0x0f, 0x05, 0xc3];

    /// What a jump of five bytes at `at` goes to.
    fn target(at: u64, bytes: &[u8]) -> u64 {
        assert_eq!((bytes.len(), bytes[0]), (JUMP_LEN, 0xe9));
        let distance = i32::from_le_bytes(bytes[1..].try_into().unwrap());
        at.wrapping_add(5).wrapping_add_signed(distance.into())
    }

    fn calling(number: u64) -> Regs {
        Regs { orig_rax: number, ..Regs::default() }
    }

    fn plan(code: &[u8], ret: u64, regs: &Regs, thunk: u64, is_anonymous: bool) -> Option<Plan> {
        find(code, BASE, ret, regs, is_anonymous)?.plan(thunk)
    }

    #[test]
    fn a_site_near_padding_becomes_a_short_jump_into_it() {
        // xor %eax,%eax; syscall; ret; cs nopw 0(%rax,%rax,1)
        let mut code = vec![0x31, 0xc0, 0x0f, 0x05, 0xc3, 0x66, 0x2e];
        code.extend_from_slice(&LONG_NOP);
        let plan = plan(&code, BASE + 4, &calling(0), THUNK, false).unwrap();
        let padding = plan.padding.unwrap();
        assert_eq!(padding.addr, BASE + 10);
        assert_eq!(target(padding.addr, &padding.bytes), THUNK);
        assert_eq!(plan.site.addr, BASE + 2);
        assert_eq!(plan.site.bytes, [0xeb, 6]);
        assert_eq!(return_of(&plan.thunk), BASE + 4);
        assert_eq!(place_of(&plan.thunk, 0), BASE + 2);
        assert!(!is_before_call(&plan.thunk, 0));
    }

    #[test]
    fn a_nop_in_use_and_one_out_of_reach_are_no_padding() {
        let mut used = vec![0x0f, 0x05, 0x0f, 0x1f, 0x84, 0xe9, 1, 2, 3, 4];
        assert_eq!(plan(&used, BASE + 2, &calling(0), THUNK, false), None);
        used.resize(140, 0x90);
        used.extend_from_slice(&LONG_NOP);
        assert_eq!(plan(&used, BASE + 2, &calling(0), THUNK, false), None);
    }

    /// That `before`, and nothing else, is moved into the thunk.
    #[track_caller]
    fn is_moved(before: &[u8], regs: &Regs) {
        let code = [before, &CALL].concat();
        let ret = BASE + before.len() as u64 + 2;
        let found = plan(&code, ret, regs, THUNK, true).unwrap();
        assert_eq!((found.padding, found.site.addr), (None, BASE));
        assert_eq!(target(BASE, &found.site.bytes), THUNK);
        assert_eq!(&found.thunk[..before.len()], before);
        assert_eq!([place_of(&found.thunk, 0), place_of(&found.thunk, before.len())], [BASE, ret - 2]);
        assert!(is_before_call(&found.thunk, 0) && !is_before_call(&found.thunk, before.len()));
        let prefixed = [&[0x41], before, &CALL].concat();
        assert_eq!(plan(&prefixed, ret + 1, regs, THUNK, true), None, "the end of another instruction");
    }

    #[test]
    fn without_padding_an_instruction_before_it_makes_room() {
        is_moved(&[0xb8, 39, 0, 0, 0], &calling(39));
        is_moved(&[0x48, 0xc7, 0xc0, 39, 0, 0, 0], &calling(39));
        is_moved(&[0x4c, 0x89, 0x5c, 0x24, 8], &calling(0)); // mov %r11,8(%rsp)
        is_moved(&[0x48, 0x8b, 0x44, 0x24, 8], &calling(0)); // mov 8(%rsp),%rax
        is_moved(&[0x48, 0x8d, 0xb3, 0, 1, 0, 0], &Regs { rsi: 0x100, ..calling(0) }); // lea 0x100(%rbx),%rsi
        for other in [
            &[0xb8, 40, 0, 0, 0][..],           // another number
            &[0x4c, 0x89, 0x5b, 0x24, 8],       // another base
            &[0x48, 0x8b, 0x05, 0x24, 8, 0, 0], // a load, relative to itself
            &[0xe8, 39, 0, 0, 0],               // a call
        ] {
            let code = [other, &CALL].concat();
            assert_eq!(
                plan(&code, BASE + other.len() as u64 + 2, &calling(39), THUNK, true),
                None,
                "{other:x?}"
            );
        }
    }

    #[test]
    fn an_address_relative_to_its_instruction_is_stored_as_it_is() {
        let code = [0x48, 0x8d, 0x35, 0, 1, 0, 0, 0x0f, 0x05]; // lea 0x100(%rip),%rsi
        let regs = Regs { rip: BASE + 9, rsi: BASE + 0x107, ..calling(14) };
        let plan = plan(&code, BASE + 9, &regs, THUNK, false).unwrap();
        assert_eq!(target(BASE, &plan.site.bytes), THUNK);
        assert_eq!(plan.thunk[..10], [&[0x48, 0xbe][..], &regs.rsi.to_le_bytes()].concat());
        assert_eq!([0, 7, 10].map(|offset| place_of(&plan.thunk, offset)), [BASE, BASE + 7, BASE + 7]);
        assert_eq!(return_of(&plan.thunk), BASE + 9);
    }

    #[test]
    fn a_jump_in_place_of_a_register_move_ends_with_the_call() {
        let code = [0x4c, 0x89, 0xc8, 0x0f, 0x05]; // mov %r9,%rax; syscall
        let regs = Regs { r9: 4, ..calling(4) };
        let site = find(&code, BASE, BASE + 5, &regs, false).unwrap();
        let reach = site.reach();
        assert_eq!(site.plan(reach.end), None);
        assert_eq!(site.plan(reach.start - 1), None);
        for thunk in [reach.start, reach.start + 0x1240, reach.end - 1] {
            let plan = site.plan(thunk).unwrap();
            assert_eq!(plan.site.addr, BASE);
            assert_eq!(target(BASE, &plan.site.bytes), thunk);
            assert_eq!(plan.site.bytes[3..], [0x0f, 0x05]);
            assert_eq!(plan.thunk[..3], code[..3]);
            assert_eq!([place_of(&plan.thunk, 0), place_of(&plan.thunk, 3)], [BASE, BASE + 3]);
        }
        let other = Regs { r9: 5, ..calling(4) };
        assert_eq!(find(&code, BASE, BASE + 5, &other, false), None, "it was not executed");
        let stack = [0x48, 0x89, 0xe0, 0x0f, 0x05];
        assert_eq!(find(&stack, BASE, BASE + 5, &Regs::default(), false), None);
    }

    #[test]
    fn a_thunk_moves_with_its_site() {
        for before in [&[0xb8, 39, 0, 0, 0][..], &[0x48, 0xc7, 0xc0, 39, 0, 0, 0]] {
            let code = [before, &CALL].concat();
            let made_at = |base| {
                let site = find(&code, base, base + before.len() as u64 + 2, &calling(39), false).unwrap();
                site.plan(base - 0x1000).unwrap()
            };
            let (mut here, there) = (made_at(BASE), made_at(0x7ffe_1234_5000));
            move_thunk(&mut here.thunk, 0x7ffe_1234_5000 - BASE);
            assert_eq!(here.thunk, there.thunk);
            assert_eq!(here.site.bytes, there.site.bytes);
        }
    }

    #[test]
    fn an_answer_is_in_the_registers_behind_the_site_and_is_loaded_again_after_an_interrupt() {
        let ret = BASE + 7;
        let mut plan = known(ret, [1, 2, 3, 4]).plan(THUNK).unwrap();
        assert_eq!((plan.padding, plan.site.addr), (None, BASE));
        assert_eq!(target(BASE, &plan.site.bytes), THUNK);
        // mov to eax, ecx, edx, ebx
        let loads = [[0xb8, 1, 0, 0, 0], [0xb9, 3, 0, 0, 0], [0xba, 4, 0, 0, 0], [0xbb, 2, 0, 0, 0]];
        assert_eq!(plan.thunk[..20], loads.concat());
        assert_eq!(target(THUNK + 20, &plan.thunk[20..25]), ret);
        for offset in [0, 5, 10, 20] {
            assert_eq!(place_of(&plan.thunk, offset), BASE);
            assert!(is_before_call(&plan.thunk, offset), "no fault is that of a call");
        }
        move_thunk(&mut plan.thunk, 0x5000);
        assert_eq!(plan.thunk, known(ret + 0x5000, [1, 2, 3, 4]).plan(THUNK + 0x5000).unwrap().thunk);
    }

    #[test]
    fn a_thunk_too_far_away_is_refused() {
        let code = [0xb8, 39, 0, 0, 0, 0x0f, 0x05];
        assert_eq!(plan(&code, BASE + 7, &calling(39), 0x7000_0000_0000, true), None);
        assert_eq!(plan(&code, BASE + 1, &calling(39), THUNK, true), None);
    }
}
