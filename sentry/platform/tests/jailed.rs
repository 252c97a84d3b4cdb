//! The platform works under its own table of host calls.

mod guest;

use std::time::Duration;

use host::seccomp::{Action, ArgCheck, InstallFlags, Rule, compile};
use platform::systrap::HOST_CALLS;
use platform::{Event, Platform};

use self::guest::Machine;

guest!(call, "2: mov eax, 39", "syscall", "jmp 2b");
guest!(spin, "2: pause", "jmp 2b");

/// What a Rust program and the test harness need whatever they do.
const OWN: &[Rule] = &[
    Rule::any(libc::SYS_mmap, "mmap"),
    Rule::any(libc::SYS_munmap, "munmap"),
    Rule::any(libc::SYS_mprotect, "mprotect"),
    Rule::any(libc::SYS_mremap, "mremap"),
    Rule::any(libc::SYS_madvise, "madvise"),
    Rule::any(libc::SYS_brk, "brk"),
    Rule::any(libc::SYS_futex, "futex"),
    Rule::any(libc::SYS_clone3, "clone3"),
    Rule::any(libc::SYS_clone, "clone"),
    Rule::any(libc::SYS_rseq, "rseq"),
    Rule::any(libc::SYS_set_robust_list, "set_robust_list"),
    Rule::any(libc::SYS_sigaltstack, "sigaltstack"),
    Rule::any(libc::SYS_rt_sigprocmask, "rt_sigprocmask"),
    Rule::any(libc::SYS_sched_getaffinity, "sched_getaffinity"),
    Rule::any(libc::SYS_sched_yield, "sched_yield"),
    Rule::any(libc::SYS_prctl, "prctl"),
    // Debug builds of the standard library look at each descriptor that they close.
    Rule::when(libc::SYS_fcntl, "fcntl", &[ArgCheck::Eq32(1, libc::F_GETFD as u32)]),
    Rule::any(libc::SYS_write, "write"),
    Rule::any(libc::SYS_exit, "exit"),
    Rule::any(libc::SYS_exit_group, "exit_group"),
];

#[test]
fn the_tables_calls_are_enough() {
    let machine = Machine::new();
    let rules: Vec<Rule> = HOST_CALLS.iter().chain(OWN).copied().collect();
    let program = compile(&rules, Action::KillProcess).unwrap();
    program.install(InstallFlags::ALL_THREADS).unwrap();
    for _ in 0..5 {
        let process = machine.process(call());
        let mut threads = [process.thread(), process.thread(), process.thread()];
        for thread in &mut threads {
            thread.syscall();
            thread.answer(1);
        }
    }
    let process = machine.process(spin());
    let mut thread = process.thread();
    let interrupter = thread.context.interrupter();
    let later = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(10));
        interrupter.interrupt();
    });
    assert!(matches!(thread.run(), Event::Interrupted));
    later.join().unwrap();
    drop((thread, process));
    assert!(machine.platform.new_address_space().is_ok());
    drop(machine);
    // The reaper and the keeper finish their work under the filter, too.
    std::thread::sleep(Duration::from_millis(50));
}
