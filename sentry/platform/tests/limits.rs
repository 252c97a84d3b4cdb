//! A host that refuses processes or threads causes errors, which pass when it gives again. The only test of its file,
//! since it lowers the limits of its process.

mod guest;

use platform::{Platform, PlatformError};

use self::guest::{DATA, Machine};

guest!(count, "2: lock inc dword ptr [rdi]", "mov eax, 24", "syscall", "jmp 2b");

/// Becomes a user that nobody else is, who may have this many processes and threads.
fn limit_processes(count: u64) {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: plain system calls; the first reads a structure.
    unsafe {
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit), 0);
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresuid(54_321, 54_321, 54_321), 0);
        }
    }
}

#[test]
fn refused_threads_and_processes_are_errors() {
    limit_processes(60);
    let machine = Machine::new();
    for _ in 0..2 {
        let process = machine.process(count());
        let mut contexts = Vec::new();
        let error = loop {
            match process.space.new_context(None) {
                Ok(context) => contexts.push(context),
                Err(error) => break error,
            }
            assert!(contexts.len() < 100, "there is no limit");
        };
        assert!(matches!(error, PlatformError::Resources(_)), "{error}");
        assert!(process.space.new_context(None).is_err());
        // The pool may still have something to give, the zygote has not.
        let spaces: Vec<_> = (0..5).map(|_| machine.platform.new_address_space()).collect();
        assert!(spaces.iter().any(Result::is_err));
        drop(spaces);
        contexts.pop();
        let mut thread = process.thread();
        thread.regs.rdi = DATA;
        thread.syscall();
        drop((thread, contexts, process));
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}
