//! The compiled filters against a BPF interpreter, and one armed for real.

use abi::Errno;
use abi::seccomp::{AUDIT_ARCH_X86_64 as ARCH, SeccompData};
use bpf::Dialect;
use libc::{SECCOMP_RET_ALLOW as ALLOW, SECCOMP_RET_ERRNO as ERRNO, SECCOMP_RET_KILL_PROCESS as KILL};

use super::{Action, ArgCheck, Error, InstallFlags, Program, Rule, compile};

/// What the program says of a call.
fn run(program: &Program, arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let checked = bpf::Program::new(program.instructions().to_vec(), Dialect::Seccomp).unwrap();
    checked.run(&SeccompData { nr: nr.cast_signed(), arch, instruction_pointer: 0, args }).unwrap()
}

#[test]
fn a_table_of_many_calls_allows_exactly_these() {
    let rules: Vec<Rule> = (0..300).filter(|nr| nr % 3 == 0).map(|nr| Rule::any(nr, "call")).collect();
    let program = compile(&rules, Action::KillProcess).unwrap();
    for nr in 0..310_u32 {
        let expected = if nr < 300 && nr % 3 == 0 { ALLOW } else { KILL };
        assert_eq!(run(&program, ARCH, nr, [0; 6]), expected, "call {nr}");
        assert_eq!(run(&program, ARCH, nr | 0x4000_0000, [0; 6]), KILL, "x32 call {nr}");
        assert_eq!(run(&program, 0x4000_0003, nr, [0; 6]), KILL, "i386 call {nr}");
    }
}

#[test]
fn argument_checks_look_at_all_64_bits() {
    const BIG: u64 = 0x1_0000_0007;
    let rules = [
        Rule::when(1, "eq", &[ArgCheck::Eq(0, BIG)]),
        Rule::when(2, "eq32", &[ArgCheck::Eq32(5, 7)]),
        Rule::when(3, "one_of", &[ArgCheck::OneOf(1, &[1, BIG])]),
        Rule::when(4, "masked", &[ArgCheck::Masked { arg: 2, mask: 0xf000_0000_0000_000f, value: 3 }]),
        Rule::when(5, "at_most", &[ArgCheck::AtMost(3, BIG)]),
        Rule::when(6, "two", &[ArgCheck::Eq(0, 1), ArgCheck::OneOf32(1, &[2, 3])]),
        Rule::when(6, "two", &[ArgCheck::Eq(0, 9)]),
    ];
    let program = compile(&rules, Action::Errno(Errno::EPERM)).unwrap();
    let allowed = |nr, arg: usize, value| {
        let mut args = [0; 6];
        args[arg] = value;
        run(&program, ARCH, nr, args) == ALLOW
    };
    assert!(allowed(1, 0, BIG) && !allowed(1, 0, 7) && !allowed(1, 0, 1 << 32));
    assert!(allowed(2, 5, 7) && allowed(2, 5, BIG) && !allowed(2, 5, 8));
    assert!(allowed(3, 1, 1) && allowed(3, 1, BIG) && !allowed(3, 1, 7));
    assert!(allowed(4, 2, 0x53) && !allowed(4, 2, 0x1000_0000_0000_0003) && !allowed(4, 2, 4));
    assert!(allowed(5, 3, BIG) && allowed(5, 3, 0xffff_ffff) && !allowed(5, 3, BIG + 1));
    assert!(!allowed(5, 3, 2 << 32));
    assert_eq!(run(&program, ARCH, 6, [1, 3, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&program, ARCH, 6, [9, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(run(&program, ARCH, 6, [1, 4, 0, 0, 0, 0]), ERRNO | 1);
}

#[test]
fn a_rule_with_a_seventh_argument_is_refused() {
    let rules = [Rule::when(1, "bad", &[ArgCheck::Eq(6, 0)])];
    assert_eq!(compile(&rules, Action::Trap).map(|_| ()), Err(Error::BadArgument("bad")));
}

#[test]
fn an_armed_filter_binds_its_thread() {
    let rules: Vec<Rule> =
        (0..500).filter(|nr| *nr != libc::SYS_getppid).map(|nr| Rule::any(nr, "")).collect();
    let program = compile(&rules, Action::Errno(Errno::EXDEV)).unwrap();
    let errno = std::thread::spawn(move || {
        program.install(InstallFlags::empty()).unwrap();
        // SAFETY: a plain system call.
        crate::check(unsafe { libc::syscall(libc::SYS_getppid) })
    });
    assert_eq!(errno.join().unwrap(), Err(Errno::EXDEV));
}
