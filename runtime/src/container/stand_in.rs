//! The process that `exec --detach` leaves behind: it stands for the guest's on the host, ends as that ends and with its
//! exit status, and its pid is the one in the pid file.
//!
//! It waits and passes signals on, and is in the sandbox's pid name space for as long as the guest's process runs: so it
//! gives up whatever it does not need for that.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use abi::mman::{MAP_PRIVATE, MapFlags, PROT_NONE, PROT_READ, PROT_WRITE};
use abi::termios::TIOCGWINSZ;
use control::Client;
use host::capability::{self, Capabilities};
use host::process;
use host::seccomp::{
    Action, ArgCheck, InstallFlags, LOOK_BEFORE_CLOSE, Rule, SEND_WITHOUT_SIGNAL, compile, nr,
};
use host::signal::SignalFd;

use super::SIGKILL;
use super::attach::{Attached, hold_signals};
use crate::error::{Context, FAILED, Result};

/// CAP_SETGID.
const SETGID: u32 = 6;
/// CAP_SETPCAP.
const SETPCAP: u32 = 8;

/// Protections of memory.
const NOT_EXECUTABLE: &[u32] = &[PROT_NONE as u32, PROT_READ as u32, (PROT_READ | PROT_WRITE) as u32];
/// Not shared, not of a file.
const PRIVATE_MEMORY: u32 = (MAP_PRIVATE | MapFlags::ANONYMOUS.bits()) as u32;

/// The host system calls that it needs.
pub(crate) const RULES: &[Rule] = &[
    // Signals, answers, calls.
    Rule::any(nr::SYS_ppoll, "ppoll"),
    Rule::any(nr::SYS_read, "read"),
    Rule::any(nr::SYS_recvmsg, "recvmsg"),
    Rule::any(nr::SYS_recvfrom, "recvfrom"),
    SEND_WITHOUT_SIGNAL,
    Rule::any(nr::SYS_sendto, "sendto"),
    Rule::any(nr::SYS_write, "write"),
    Rule::when(nr::SYS_ioctl, "ioctl", &[ArgCheck::Eq32(1, TIOCGWINSZ)]),
    Rule::any(nr::SYS_restart_syscall, "restart_syscall"),
    Rule::any(nr::SYS_close, "close"),
    LOOK_BEFORE_CLOSE,
    // The allocator, a line in a log, and the end.
    Rule::any(nr::SYS_brk, "brk"),
    Rule::when(
        nr::SYS_mmap,
        "mmap",
        &[ArgCheck::OneOf32(2, NOT_EXECUTABLE), ArgCheck::Eq32(3, PRIVATE_MEMORY)],
    ),
    Rule::any(nr::SYS_mremap, "mremap"),
    Rule::any(nr::SYS_munmap, "munmap"),
    Rule::any(nr::SYS_madvise, "madvise"),
    Rule::any(nr::SYS_futex, "futex"),
    Rule::any(nr::SYS_clock_gettime, "clock_gettime"),
    Rule::any(nr::SYS_sigaltstack, "sigaltstack"),
    Rule::any(nr::SYS_exit_group, "exit_group"),
];

/// The guest's process.
#[derive(Clone, Copy, Debug)]
struct Guest {
    container: &'static str,
    pid: i32,
}

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
    /// Its life, in the child. Returns only where it cannot even begin: the exit status.
    pub(super) fn live(&self) -> i32 {
        match self.begin() {
            Ok(never) => match never {},
            Err(_) => i32::from(FAILED),
        }
    }

    /// Lets go of the streams and of all descriptors that it does not need, and goes on with the others.
    fn begin(&self) -> Result<Infallible> {
        let what = "cannot confine the process left behind";
        // With the terminal as the controlling one, the host tells us of a new size of the window.
        let _ = process::new_session(self.terminal);
        std::env::set_current_dir("/").context(what)?;
        // Whoever reads our streams must see their end when the guest's process closes them.
        let null = File::options().read(true).write(true).open("/dev/null").context(what)?;
        process::replace_streams(null.as_fd()).context(what)?;
        let kept =
            [Some(self.waiter.as_fd()), Some(self.teller.as_fd()), self.terminal].into_iter().flatten();
        let kept: Vec<OwnedFd> =
            kept.map(|fd| fd.try_clone_to_owned()).collect::<std::io::Result<_>>().context(what)?;
        let guest = Guest { container: self.container.to_string().leak(), pid: self.pid };
        process::go_on_with(kept, guest, wait).context(what)
    }
}

/// Waits for the guest's end with the two connections and the terminal, if there is one; the exit status.
fn wait(fds: Vec<OwnedFd>, guest: Guest) -> i32 {
    let mut fds = fds.into_iter();
    let (Some(waiter), Some(teller), terminal) = (fds.next(), fds.next(), fds.next()) else {
        return i32::from(FAILED);
    };
    let (waiter, teller) = (Client::new(waiter), Client::new(teller));
    let attached = Attached {
        container: guest.container,
        pid: Some(guest.pid),
        terminal: terminal.as_ref().map(AsFd::as_fd),
    };
    let ended = confine().and_then(|signals| attached.wait(&waiter, &teller, &signals));
    match ended {
        Ok(Some(status)) => i32::from(status.exit_status()),
        Ok(None) => 128 + SIGKILL,
        Err(_) => i32::from(FAILED),
    }
}

/// Gives up what it may do. Returns the signals that it passes on.
fn confine() -> Result<SignalFd> {
    let what = "cannot confine the process left behind";
    let signals = hold_signals()?;
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
