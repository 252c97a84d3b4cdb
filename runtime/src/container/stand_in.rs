//! The process that `exec --detach` leaves behind: it stands for the guest's on the host, ends as that ends and with its
//! exit status, and its pid is the one in the pid file.
//!
//! It waits and passes signals on, and is in the sandbox's pid name space for as long as the guest's process runs: so it
//! gives up whatever it does not need for that.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use control::Client;
use host::capability::{self, Capabilities};
use host::process;
use host::seccomp::{Action, ArgCheck, InstallFlags, Rule, compile, nr};
use host::signal::SignalFd;

use super::SIGKILL;
use super::attach::{Attached, hold_signals};
use crate::error::{Context, FAILED, Result};

/// `TIOCGWINSZ` (`man 2 ioctl_tty`).
const WINDOW_SIZE: u32 = 0x5413;

/// CAP_SETGID.
const SETGID: u32 = 6;
/// CAP_SETPCAP.
const SETPCAP: u32 = 8;

/// The host system calls that it needs.
pub(crate) const RULES: &[Rule] = &[
    // Signals, answers, calls.
    Rule::any(nr::SYS_ppoll, "ppoll"),
    Rule::any(nr::SYS_read, "read"),
    Rule::any(nr::SYS_recvmsg, "recvmsg"),
    Rule::any(nr::SYS_recvfrom, "recvfrom"),
    Rule::when(nr::SYS_sendmsg, "sendmsg", &[ArgCheck::Eq32(2, 0x4000)]),
    Rule::any(nr::SYS_sendto, "sendto"),
    Rule::any(nr::SYS_write, "write"),
    Rule::when(nr::SYS_ioctl, "ioctl", &[ArgCheck::Eq32(1, WINDOW_SIZE)]),
    Rule::any(nr::SYS_restart_syscall, "restart_syscall"),
    Rule::any(nr::SYS_close, "close"),
    // `F_GETFD`: Rust's library looks before it closes, in builds with debug assertions.
    Rule::when(nr::SYS_fcntl, "fcntl", &[ArgCheck::Eq32(1, 1)]),
    // The allocator, a line in a log, and the end.
    Rule::any(nr::SYS_brk, "brk"),
    // Private and anonymous memory that cannot be executed.
    Rule::when(nr::SYS_mmap, "mmap", &[ArgCheck::OneOf32(2, &[0, 1, 3]), ArgCheck::Eq32(3, 0x22)]),
    Rule::any(nr::SYS_mremap, "mremap"),
    Rule::any(nr::SYS_munmap, "munmap"),
    Rule::any(nr::SYS_madvise, "madvise"),
    Rule::any(nr::SYS_futex, "futex"),
    Rule::any(nr::SYS_clock_gettime, "clock_gettime"),
    Rule::any(nr::SYS_sigaltstack, "sigaltstack"),
    Rule::any(nr::SYS_exit_group, "exit_group"),
];

/// What it needs of whoever made it.
#[derive(Debug)]
pub(super) struct StandIn<'a> {
    /// The container.
    pub(super) container: &'a str,
    /// The guest's process.
    pub(super) pid: i32,
    /// The process's terminal on the host.
    pub(super) terminal: Option<BorrowedFd<'a>>,
    /// A connection to the sandbox, for the end of the process.
    pub(super) waiter: &'a Client,
    /// Another, for signals.
    pub(super) teller: &'a Client,
}

impl StandIn<'_> {
    /// Its life, in the child; the exit status: [`FAILED`] where it cannot even wait.
    pub(super) fn live(&self) -> i32 {
        let attached = Attached { container: self.container, pid: Some(self.pid), terminal: self.terminal };
        let ended = self.confine().and_then(|signals| attached.wait(self.waiter, self.teller, &signals));
        match ended {
            Ok(Some(status)) => i32::from(status.exit_status()),
            Ok(None) => 128 + SIGKILL,
            Err(_) => i32::from(FAILED),
        }
    }

    /// Gives up what it does not need. Returns the signals that it passes on.
    fn confine(&self) -> Result<SignalFd> {
        let what = "cannot confine the process left behind";
        // With the terminal as the controlling one, the host tells us of a new size of the window.
        let _ = process::new_session(self.terminal);
        let signals = hold_signals()?;
        std::env::set_current_dir("/").context(what)?;
        // Whoever reads our streams must see their end when the guest's process closes them.
        let null = File::options().read(true).write(true).open("/dev/null").context(what)?;
        process::replace_streams(null.as_fd()).context(what)?;
        let mut kept = vec![self.waiter.as_fd(), self.teller.as_fd(), signals.as_fd()];
        kept.extend(self.terminal);
        process::close_all_but(&kept).context(what)?;
        // The file is closed already.
        std::mem::forget(null);
        let held = capability::effective().context(what)?;
        if held.has(SETGID) {
            process::clear_groups().context(what)?;
        }
        if held.has(SETPCAP) {
            capability::limit_bounding(Capabilities::EMPTY).context(what)?;
        }
        process::no_new_privileges().context(what)?;
        capability::set(Capabilities::EMPTY).context(what)?;
        let filter = compile(RULES, Action::KillProcess).context(what)?;
        filter.install(InstallFlags::ALL_THREADS).context(what)?;
        Ok(signals)
    }
}
