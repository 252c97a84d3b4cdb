//! `cpuid` instructions that the code alone gives away, with what they ask right before them, where the answer is always
//! the same.
//!
//! Whoever starts asks the processor what it can do: a dynamic linker on an AMD processor 43 times. In a virtual machine
//! each is an exit, of some microseconds.

use abi::Regs;

use super::preceding;
use super::rewrite::{self, Site};

const CPUID: [u8; 2] = [0x0f, 0xa2];
/// `mov $number, %eax`: the number follows.
const MOVE_LEN: usize = 5;

/// The sites in `code`, a file's, which lies at `base`; `ask` is the processor's word.
pub fn known_answers(code: &[u8], base: u64, ask: impl Fn(u32) -> [u32; 4]) -> impl Iterator<Item = Site> {
    let places = code.windows(CPUID.len()).enumerate().filter(|(_, bytes)| *bytes == CPUID);
    places.filter_map(move |(at, _)| {
        let before = &code[..at];
        let number = before.get(at.checked_sub(MOVE_LEN)? + 1..)?;
        let leaf = u32::from_le_bytes(number.try_into().ok()?);
        let regs = Regs { orig_rax: leaf.into(), ..Regs::default() };
        let is_asked = preceding::instruction(before, &regs)?.len() == MOVE_LEN;
        (is_asked && is_constant(leaf)).then(|| rewrite::known(base + (at + CPUID.len()) as u64, ask(leaf)))
    })
}

/// Whether a leaf says the same on each core, each time, whatever `ecx` holds: how many there are, the maker, its features,
/// name, caches and sizes of addresses.
const fn is_constant(leaf: u32) -> bool {
    matches!(leaf, 0 | 0x8000_0000..=0x8000_0008)
}

#[cfg(test)]
mod tests {
    use super::super::rewrite::{Site, known};
    use super::known_answers;

    fn found(code: &[u8]) -> Vec<Site> {
        known_answers(code, 0x1000, |leaf| [leaf, 1, 2, 3]).collect()
    }

    #[test]
    fn questions_that_have_one_answer_are_found() {
        let code = [0x53, 0xb8, 6, 0, 0, 0x80, 0x0f, 0xa2, 0xb8, 0, 0, 0, 0, 0x0f, 0xa2];
        assert_eq!(found(&code), [known(0x1008, [0x8000_0006, 1, 2, 3]), known(0x100f, [0, 1, 2, 3])]);
    }

    #[test]
    fn others_are_left_alone() {
        for code in [
            &[0xb8, 1, 0, 0, 0, 0x0f, 0xa2][..],            // tells the core
            &[0xb8, 7, 0, 0, 0, 0x31, 0xc9, 0x0f, 0xa2],    // has subleaves
            &[0x90, 0x90, 0x90, 0x89, 0xf8, 0x0f, 0xa2],    // mov %edi, %eax
            &[0x41, 0xb8, 0, 0, 0, 0, 0x0f, 0xa2],          // mov $0, %r8d
            &[0xc7, 0x45, 0xb8, 0, 0, 0, 0x80, 0x0f, 0xa2], // movl $0x80000000, -0x48(%rbp)
            &[0x0f, 0xa2],
            &[0xb8, 0, 0, 0, 0, 0x0f],
        ] {
            assert_eq!(found(code), [], "{code:x?}");
        }
    }
}
