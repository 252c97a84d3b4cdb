//! How the sandbox process shuts the doors behind itself, between its birth and its exec.
//!
//! It is born in new user, mount, pid, ipc, uts and (unless it shares the host's) network name spaces. Here it becomes
//! nobody, puts itself into an empty read-only root, gives up every capability for good, and executes this binary as
//! `runsc-sandbox`. What remains, the seccomp filter, is armed by the sentry when it has started.

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};

use abi::Signal;
use abi::resource::Resource;
use control::Failure;
use host::capability::{self, Capabilities};
use host::process;

use super::identity::NOBODY;
use super::role::Role;
use super::spawn::execute;

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

/// Runs in the child; does not return on success.
pub(crate) fn enter(plan: &JailPlan<'_>, start: BorrowedFd<'_>) -> Result<Infallible, Failure> {
    let role = Role::begin("sandbox", plan.terminal)?;
    // The end of a terminal is the guest's business: it learns of it by the terminal itself.
    host::signal::ignore(Signal::HUP.number());
    role.step("become nobody", process::set_ids(NOBODY, NOBODY))?;
    role.empty_root()?;
    role.limit_core()?;
    raise_descriptor_limit();
    role.step("give up capabilities", capability::limit_bounding(Capabilities::EMPTY))?;
    role.step("set no_new_privs", process::no_new_privileges())?;
    role.step("give up capabilities", capability::set(Capabilities::EMPTY))?;
    if plan.attached {
        role.step("end with the caller", process::die_with_parent())?;
        // It may have ended before that; the start socket, whose other end it alone has, tells.
        let events = role.step("look at the caller", host::poll::events_now(start))?;
        if events & POLLHUP != 0 {
            return Err(Failure::host("the caller is gone"));
        }
    }
    let mut fds = vec![plan.null, plan.log, plan.log, plan.config, start, plan.control];
    fds.extend_from_slice(plan.donated);
    Err(execute(plan.binary, &["runsc-sandbox", "boot", plan.id, plan.state_root], &fds))
}

/// A sandbox holds a descriptor for each open file of its guests.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = process::resource_limit(Resource::Nofile) {
        let _ = process::set_resource_limit(Resource::Nofile, hard, hard);
    }
}
