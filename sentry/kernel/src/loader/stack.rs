//! The initial stack: strings, vectors, and the auxiliary vector (System V ABI, x86-64 supplement, 3.4.1). Pure.

use abi::{Errno, Result};

/// Longest single argument or environment string with its NUL (`MAX_ARG_STRLEN`).
pub(crate) const MAX_STRING: usize = 128 << 10;
/// All strings and pointers together take at most this much, whatever the stack limit.
const MAX_TOTAL: u64 = 6 << 20;
/// They may always take this much (`ARG_MAX`).
const MIN_TOTAL: u64 = 128 << 10;

/// What goes on the stack.
#[derive(Debug)]
pub(crate) struct StackContent<'a> {
    pub(crate) argv: &'a [Vec<u8>],
    pub(crate) envp: &'a [Vec<u8>],
    /// `AT_EXECFN`.
    pub(crate) path: &'a [u8],
    /// `AT_RANDOM`.
    pub(crate) random: [u8; 16],
    /// Bytes to leave unused, for randomness.
    pub(crate) slack: u64,
    /// Entries with known values; those that point into the stack are added.
    pub(crate) auxv: Vec<(u64, u64)>,
}

/// The finished stack.
#[derive(Debug)]
pub(crate) struct InitialStack {
    /// The bytes from `pointer` to the top.
    pub(crate) bytes: Vec<u8>,
    pub(crate) pointer: u64,
    pub(crate) arg: std::ops::Range<u64>,
    pub(crate) env: std::ops::Range<u64>,
    pub(crate) auxv: Vec<u8>,
}

/// How much arguments, environment and the pointers to them may take where the stack is at most `stack_limit` bytes.
pub(crate) fn strings_limit(stack_limit: u64) -> u64 {
    (stack_limit / 4).clamp(MIN_TOTAL, MAX_TOTAL)
}

/// Whether arguments and environment are small enough for a stack of at most `stack_limit` bytes.
///
/// # Errors
/// `E2BIG`.
pub(crate) fn check_size(argv: &[Vec<u8>], envp: &[Vec<u8>], path: &[u8], stack_limit: u64) -> Result<()> {
    let limit = strings_limit(stack_limit);
    let strings = || argv.iter().chain(envp);
    if strings().any(|string| string.len() >= MAX_STRING) {
        return Err(Errno::E2BIG);
    }
    let bytes: u64 = strings().map(|string| string.len() as u64 + 1).sum();
    let pointers = (argv.len().max(1) + envp.len()) as u64 * 8;
    if bytes + pointers + path.len() as u64 + 1 > limit { Err(Errno::E2BIG) } else { Ok(()) }
}

impl StackContent<'_> {
    /// Lays everything out below `top`.
    pub(crate) fn build(&self, top: u64) -> InitialStack {
        // Linux: eight zero bytes, then the program's name, environment, arguments; each in ascending order.
        let mut strings = Vec::new();
        let mut place = |list: &[Vec<u8>]| -> Vec<u64> {
            let start = |string: &Vec<u8>| {
                let at = strings.len() as u64;
                strings.extend_from_slice(string);
                strings.push(0);
                at
            };
            list.iter().map(start).collect()
        };
        let argv = place(self.argv);
        let envp = place(self.envp);
        let path = place(&[self.path.to_vec()]);
        strings.extend_from_slice(&[0; 8]);
        let base = top - strings.len() as u64;
        let env_start = base + envp.first().or(path.first()).copied().unwrap_or(0);
        let env_end = base + path.first().copied().unwrap_or(0);

        let platform_text = b"x86_64\0";
        let platform = (base & !15) - self.slack / 16 * 16 - 16;
        let random = platform - 16;
        let mut auxv = self.auxv.clone();
        auxv.extend([
            (abi::auxv::AT_RANDOM, random),
            (abi::auxv::AT_EXECFN, base + path.first().copied().unwrap_or(0)),
            (abi::auxv::AT_PLATFORM, platform),
            (abi::auxv::AT_NULL, 0),
        ]);
        let words = 1 + argv.len() + 1 + envp.len() + 1 + 2 * auxv.len();
        let pointer = (random - words as u64 * 8) & !15;

        let mut bytes = Vec::with_capacity((top - pointer) as usize);
        let mut push = |word: u64| bytes.extend_from_slice(&word.to_le_bytes());
        push(argv.len() as u64);
        argv.iter().for_each(|at| push(base + at));
        push(0);
        envp.iter().for_each(|at| push(base + at));
        push(0);
        auxv.iter().for_each(|&(kind, value)| {
            push(kind);
            push(value);
        });
        let auxv_bytes = bytes[bytes.len() - auxv.len() * 16..].to_vec();
        bytes.resize((random - pointer) as usize, 0);
        bytes.extend_from_slice(&self.random);
        bytes.extend_from_slice(platform_text);
        bytes.resize((base - pointer) as usize, 0);
        bytes.extend_from_slice(&strings);
        InitialStack { bytes, pointer, arg: base..env_start, env: env_start..env_end, auxv: auxv_bytes }
    }
}

#[cfg(test)]
mod tests {
    use abi::Errno;
    use proptest::prelude::*;

    use super::{StackContent, check_size};

    fn words(bytes: &[u8]) -> Vec<u64> {
        bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
    }

    proptest! {
        #[test]
        fn stacks_are_as_the_abi_says(
            argv in prop::collection::vec(prop::collection::vec(1..=255u8, 0..40), 0..6),
            envp in prop::collection::vec(prop::collection::vec(1..=255u8, 0..40), 0..6),
            slack in 0..8192u64,
        ) {
            let top = 0x7fff_0000_0000;
            let content = StackContent {
                argv: &argv, envp: &envp, path: b"/bin/x", random: [7; 16], slack, auxv: vec![(6, 4096)],
            };
            let stack = content.build(top);
            prop_assert_eq!(stack.pointer % 16, 0);
            prop_assert_eq!(stack.pointer + stack.bytes.len() as u64, top);
            let string = |at: u64| {
                let rest = &stack.bytes[(at - stack.pointer) as usize..];
                rest[..rest.iter().position(|&byte| byte == 0).unwrap()].to_vec()
            };
            let all = words(&stack.bytes);
            prop_assert_eq!(all[0], argv.len() as u64);
            for (index, expected) in argv.iter().enumerate() {
                prop_assert_eq!(&string(all[1 + index]), expected);
            }
            prop_assert_eq!(all[1 + argv.len()], 0);
            let env = 2 + argv.len();
            for (index, expected) in envp.iter().enumerate() {
                prop_assert_eq!(&string(all[env + index]), expected);
            }
            let aux = env + envp.len() + 1;
            prop_assert_eq!(all[aux - 1], 0);
            prop_assert_eq!(&all[aux..aux + 2], &[6, 4096]);
            prop_assert_eq!(string(all[aux + 5]), b"/bin/x".to_vec());
            prop_assert_eq!(string(all[aux + 7]), b"x86_64".to_vec());
            let random = (all[aux + 3] - stack.pointer) as usize;
            prop_assert_eq!(&stack.bytes[random..random + 16], &[7; 16]);
            let text = |range: &std::ops::Range<u64>| {
                stack.bytes[(range.start - stack.pointer) as usize..(range.end - stack.pointer) as usize].to_vec()
            };
            let joined = |list: &[Vec<u8>]| list.iter().flat_map(|s| [&s[..], &[0]].concat()).collect::<Vec<u8>>();
            prop_assert_eq!(text(&stack.arg), joined(&argv));
            prop_assert_eq!(text(&stack.env), joined(&envp));
        }
    }

    #[test]
    fn too_much_is_refused() {
        let long = vec![vec![b'a'; (128 << 10) - 1]];
        assert_eq!(check_size(&long, &[], b"x", 8 << 20), Ok(()));
        assert_eq!(check_size(&[vec![b'a'; 128 << 10]], &[], b"x", 8 << 20), Err(Errno::E2BIG));
        let many = vec![vec![b'a'; 64 << 10]; 40];
        assert_eq!(check_size(&[], &many, b"x", 8 << 20), Err(Errno::E2BIG));
        assert_eq!(check_size(&[], &many, b"x", 64 << 20), Ok(()));
        assert_eq!(check_size(&[], &vec![vec![]; 1 << 20], b"x", u64::MAX), Err(Errno::E2BIG));
    }
}
