//! `man 2 seccomp`.

use abi::Errno;

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

/// `PR_SET_SECCOMP`.
pub(super) fn set_by_prctl(task: &CurrentTask, mode: u64, filter: u64) -> SysResult {
    let _ = (task, mode, filter);
    Err(Errno::EINVAL.into())
}

pub(super) fn seccomp(task: &mut CurrentTask, args: Args) -> SysResult {
    let _ = (task, args);
    Err(Errno::EINVAL.into())
}
