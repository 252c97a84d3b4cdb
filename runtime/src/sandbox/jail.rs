//! How the sandbox process shuts the doors behind itself, between its birth and its exec.
//!
//! It is born in new user, mount, pid, ipc, uts and (unless it shares the host's) network name spaces. Here it becomes
//! nobody, puts itself into an empty read-only root, gives up every capability for good, and executes this binary as
//! `runsc-sandbox`. What remains, the seccomp filter, is armed by the sentry when it has started.

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use control::Failure;
use host::capability::{self, Capabilities};
use host::mount::{self, MountFlags, Propagation};
use host::process;

use super::identity::NOBODY;
use super::machine::{RLIMIT_CORE, RLIMIT_NOFILE};
use super::spawn::execute;

const SIGHUP: i32 = 1;
/// The other end is closed (poll(2)).
const POLLHUP: u32 = 0x10;

/// What the child needs.
#[derive(Debug)]
pub(crate) struct JailPlan<'a> {
    /// The sandbox's id, for its command line.
    pub(crate) id: &'a str,
    /// The state directory, for its command line as well: two of them may know the same id.
    pub(crate) state_root: &'a str,
    /// This binary.
    pub(crate) binary: &'a OwnedFd,
    /// Standard output and error of the sandbox itself.
    pub(crate) log: BorrowedFd<'a>,
    /// `/dev/null`.
    pub(crate) null: BorrowedFd<'a>,
    /// The boot configuration.
    pub(crate) config: BorrowedFd<'a>,
    /// The listening control socket.
    pub(crate) control: BorrowedFd<'a>,
    /// What is donated, in order.
    pub(crate) donated: &'a [BorrowedFd<'a>],
    /// Whether the caller stays, and the sandbox is to end when it does, killed or not.
    pub(crate) attached: bool,
    /// The terminal that the sandbox's session gets.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
}

fn step<T>(what: &str, result: abi::Result<T>) -> Result<T, Failure> {
    result.map_err(|errno| Failure::host(format!("cannot {what} for the sandbox: {errno}")))
}

/// Runs in the child; does not return on success.
pub(crate) fn enter(plan: &JailPlan<'_>, start: BorrowedFd<'_>) -> Result<Infallible, Failure> {
    step("lead a session", process::new_session(plan.terminal))?;
    // The end of a terminal is the guest's business: it learns of it by the terminal itself.
    host::signal::ignore(SIGHUP);
    process::set_umask(0);
    step("become nobody", process::set_ids(NOBODY, NOBODY))?;
    step("make an empty root", empty_root())?;
    step("limit core dumps", limit_core())?;
    raise_descriptor_limit();
    step("give up capabilities", capability::limit_bounding(Capabilities::EMPTY))?;
    step("set no_new_privs", process::no_new_privileges())?;
    step("give up capabilities", capability::set(Capabilities::EMPTY))?;
    if plan.attached {
        step("end with the caller", process::die_with_parent())?;
        // It may have ended before that; the start socket, whose other end it alone has, tells.
        let events = step("look at the caller", host::poll::events_now(start))?;
        if events & POLLHUP != 0 {
            return Err(Failure::host("the caller is gone"));
        }
    }
    let mut fds = vec![plan.null, plan.log, plan.log, plan.config, start, plan.control];
    fds.extend_from_slice(plan.donated);
    Err(execute(plan.binary, &["runsc-sandbox", "boot", plan.id, plan.state_root], &fds))
}

/// The root becomes a file system without any file that cannot be written.
pub(super) fn empty_root() -> abi::Result<()> {
    mount::set_propagation(Path::new("/"), Propagation::Private)?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let options = [(c"mode", c"0555"), (c"size", c"4096"), (c"nr_inodes", c"1")];
    let root = mount::new_filesystem(c"tmpfs", &options, flags)?;
    // Any directory that certainly exists and that nobody may search: what is in it is not needed any more.
    mount::attach(root.as_fd(), Path::new("/proc"))?;
    mount::become_root(root.as_fd())
}

/// No core is dumped: it would show what the process holds of guests.
pub(super) fn limit_core() -> abi::Result<()> {
    process::set_resource_limit(RLIMIT_CORE, 0, 0)
}

/// A sandbox holds a descriptor for each open file of its guests.
pub(super) fn raise_descriptor_limit() {
    if let Ok((_, hard)) = process::resource_limit(RLIMIT_NOFILE) {
        let _ = process::set_resource_limit(RLIMIT_NOFILE, hard, hard);
    }
}
