//! System calls on signals.

mod action;
mod mask;
mod restart;
mod send;
mod wait;
mod wait_mask;

use abi::{Errno, Result, SigSet, UserAddr};

use super::table::{Arg, Row};
use crate::Task;

pub(crate) use wait_mask::{read_mask, with_mask};

/// The size of `sigset_t` in the calls.
const SIGSET_SIZE: u64 = 8;

/// Reads a signal set whose size the guest names.
fn read_set(task: &Task, addr: u64, size: u64) -> Result<SigSet> {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    task.mm().read_object(UserAddr(addr))
}

const HOW: Arg = Arg::Enum(&[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")]);

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::full(13, "rt_sigaction", &[Arg::Signal, Arg::Hex, Arg::Hex, Arg::Size], action::rt_sigaction),
    Row::full(14, "rt_sigprocmask", &[HOW, Arg::Hex, Arg::Hex, Arg::Size], mask::rt_sigprocmask),
    Row::full(15, "rt_sigreturn", &[], action::rt_sigreturn),
    Row::full(34, "pause", &[], wait::pause),
    Row::full(62, "kill", &[Arg::Int, Arg::Signal], send::kill),
    Row::full(127, "rt_sigpending", &[Arg::Hex, Arg::Size], mask::rt_sigpending),
    Row::full(219, "restart_syscall", &[], restart::restart_syscall),
    Row::full(128, "rt_sigtimedwait", &[Arg::Hex, Arg::Hex, Arg::Timespec, Arg::Size], wait::rt_sigtimedwait),
    Row::full(129, "rt_sigqueueinfo", &[Arg::Int, Arg::Signal, Arg::Hex], send::rt_sigqueueinfo),
    Row::full(130, "rt_sigsuspend", &[Arg::Hex, Arg::Size], wait::rt_sigsuspend),
    Row::full(131, "sigaltstack", &[Arg::Hex, Arg::Hex], action::sigaltstack),
    Row::full(200, "tkill", &[Arg::Int, Arg::Signal], send::tkill),
    Row::full(234, "tgkill", &[Arg::Int, Arg::Int, Arg::Signal], send::tgkill),
    Row::full(
        297,
        "rt_tgsigqueueinfo",
        &[Arg::Int, Arg::Int, Arg::Signal, Arg::Hex],
        send::rt_tgsigqueueinfo,
    ),
];
