//! Call sites that the code alone gives away: what compilers make of a C library's calls, with the number before the
//! instruction and the test for an error, or the return, behind it.

use abi::Regs;

use super::rewrite::{self, Site};

const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// `mov $number, %eax`: the number follows.
const MOVE_NUMBER: u8 = 0xb8;
const MOVE_LEN: usize = 5;
/// Larger numbers are no calls.
const NUMBERS: u64 = 1 << 10;
/// What tests a result for an error: `cmp` of `rax` or `eax` with -4096 or -4095.
const TESTS: [&[u8]; 4] = [
    &[0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff],
    &[0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff],
    &[0x3d, 0x00, 0xf0, 0xff, 0xff],
    &[0x3d, 0x01, 0xf0, 0xff, 0xff],
];
const RETURN: u8 = 0xc3;

/// A call site that can be rewritten without having been seen at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlainCall {
    /// The call's number.
    pub number: u64,
    /// Where it is made.
    pub site: Site,
}

/// The sites in `code`, a file's, which lies at `base`.
pub fn plain_calls(code: &[u8], base: u64) -> impl Iterator<Item = PlainCall> {
    let places = code.windows(SYSCALL.len()).enumerate().filter(|(_, bytes)| *bytes == SYSCALL);
    places.filter_map(move |(at, _)| {
        let number = number_before(&code[..at], &code[at + SYSCALL.len()..])?;
        let regs = Regs { orig_rax: number, ..Regs::default() };
        // Not through padding, which stays changed where the site is put back.
        let site = rewrite::find(code, base, base + (at + SYSCALL.len()) as u64, &regs, true)?;
        Some(PlainCall { number, site })
    })
}

/// The number of a call between `before` and `behind`, where these leave no doubt that it is one.
fn number_before(before: &[u8], behind: &[u8]) -> Option<u64> {
    let is_tested = TESTS.iter().any(|test| behind.starts_with(test));
    let (code, number) = before.get(before.len().checked_sub(MOVE_LEN)?..)?.split_first()?;
    let number = u64::from(u32::from_le_bytes(number.try_into().ok()?));
    let is_call = *code == MOVE_NUMBER && number < NUMBERS;
    (is_call && (is_tested || behind.first() == Some(&RETURN))).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::plain_calls;

    const BASE: u64 = 0x1000;

    fn numbers(code: &[u8]) -> Vec<u64> {
        plain_calls(code, BASE).map(|call| call.number).collect()
    }

    #[test]
    fn calls_of_a_c_library_are_found() {
        let code = [
            &[0xb8, 0x09, 0, 0, 0, 0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff][..], // mmap
            &[0xb8, 0x01, 0x01, 0, 0, 0x0f, 0x05, 0x3d, 0x01, 0xf0, 0xff, 0xff],        // openat
            &[0xb8, 0x27, 0, 0, 0, 0x0f, 0x05, 0xc3],                                   // getpid
        ];
        assert_eq!(numbers(&code.concat()), [9, 257, 39]);
    }

    #[test]
    fn what_may_be_something_else_is_left_alone() {
        for code in [
            &[0xb8, 0x09, 0, 0, 0, 0x0f, 0x05, 0x89, 0xc2][..], // nobody tests the result
            &[0x31, 0xc0, 0x0f, 0x05, 0x3d, 0x00, 0xf0, 0xff, 0xff], // too short to be moved
            &[0xb8, 0x09, 0, 0, 9, 0x0f, 0x05, 0xc3],           // no such number
            &[0x41, 0xb8, 0x09, 0, 0, 0, 0x0f, 0x05, 0xc3],     // mov $9, %r8d
            &[0xc7, 0x45, 0xb8, 0x09, 0, 0, 0, 0x0f, 0x05, 0xc3], // mov $9, -0x48(%rbp)
            &[0x0f, 0x05],
            &[0xb8, 0x09, 0, 0, 0, 0x0f],
        ] {
            assert_eq!(numbers(code), [], "{code:x?}");
        }
    }
}
