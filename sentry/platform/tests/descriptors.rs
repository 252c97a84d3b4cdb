//! A sentry that is out of descriptors gets errors, which pass when it has some again. The only test of its file, since
//! it lowers a limit of its process.

mod guest;

use std::fs::File;

use platform::{Platform, PlatformError};

use self::guest::{DATA, Machine};

guest!(count, "2: lock inc dword ptr [rdi]", "mov eax, 24", "syscall", "jmp 2b");

#[test]
fn lost_descriptors_are_errors_and_leave_nobody_behind() {
    let machine = Machine::new();
    let limit = libc::rlimit { rlim_cur: 200, rlim_max: 200 };
    // SAFETY: a plain system call that reads a structure.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
    for free in 0..12 {
        // Each number of free descriptors ends the making of a process or a thread at another step.
        let mut process = machine.process(count());
        let mut fill: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        fill.truncate(fill.len() - free);
        let (mut spaces, mut contexts) = (Vec::new(), Vec::new());
        let refused = loop {
            match machine.platform.new_address_space() {
                Ok(space) => spaces.push(space),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, PlatformError::Resources(_)), "{refused}");
        while let Ok(context) = process.space.new_context(None) {
            contexts.push(context);
        }
        drop((fill, spaces, contexts));
        // The process may have been ended for want of a descriptor; a new one is like any other.
        process = machine.process(count());
        let mut thread = process.thread();
        thread.regs.rdi = DATA;
        thread.syscall();
    }
}
