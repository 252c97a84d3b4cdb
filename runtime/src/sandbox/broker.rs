//! How a broker gets its place: the process that makes and binds sockets of the host for a sandbox with
//! `--network=host`.
//!
//! It shares the network name space with the sandbox and keeps our user name space, without which it could not bind
//! low ports. Everything else it gives up: here files and other processes, in [`crate::cli`]'s `broker` capabilities
//! and system calls.

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};

use control::Failure;
use host::process;

use super::role::Role;
use super::spawn::execute;

/// The broker's descriptors: the start channel, its socket.
pub(crate) const START_FD: i32 = 3;
/// Number of descriptors from [`START_FD`] on.
pub(crate) const FD_COUNT: u32 = 2;

/// What the child needs.
#[derive(Debug)]
pub(crate) struct BrokerPlan<'a> {
    /// The sandbox's id.
    pub(crate) id: &'a str,
    /// Its state directory, by which `delete --force` knows whose broker it is.
    pub(crate) state_root: &'a str,
    /// This binary.
    pub(crate) binary: &'a OwnedFd,
    /// Its end of the socket.
    pub(crate) socket: BorrowedFd<'a>,
    /// Whether it may make raw sockets.
    pub(crate) allows_raw: bool,
    /// `/dev/null`.
    pub(crate) null: BorrowedFd<'a>,
    /// Standard output and error.
    pub(crate) log: BorrowedFd<'a>,
}

/// Runs in the child; does not return on success.
pub(crate) fn enter(plan: &BrokerPlan<'_>, start: BorrowedFd<'_>) -> Result<Infallible, Failure> {
    let role = Role::begin("broker", None)?;
    role.step("give up supplementary groups", process::clear_groups())?;
    role.empty_root()?;
    role.limit_core()?;
    let fds = [plan.null, plan.log, plan.log, start, plan.socket];
    let mut argv = vec!["runsc-broker", "broker", plan.id, plan.state_root];
    if plan.allows_raw {
        argv.push("--raw");
    }
    Err(execute(plan.binary, &argv, &fds))
}
