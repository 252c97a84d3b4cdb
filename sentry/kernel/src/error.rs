//! How a system call ends other than with a value.

use abi::Errno;

/// A call that was interrupted by a signal, and what becomes of it (`include/linux/errno.h` in Linux's tree).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// `ERESTARTSYS`: restarted unless a handler without `SA_RESTART` runs.
    Sys,
    /// `ERESTARTNOINTR`: always restarted.
    NoIntr,
    /// `ERESTARTNOHAND`: restarted only if no handler runs.
    NoHand,
    /// `ERESTART_RESTARTBLOCK`: restarted by restart_syscall(2) from what the task has saved (remaining time).
    Block,
}

/// Why a system call has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SysError {
    /// The guest sees this error.
    Errno(Errno),
    /// A signal came first.
    Restart(Restart),
}

impl From<Errno> for SysError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// What a system-call handler returns: the value for `rax`, or why there is none.
pub type SysResult<T = u64> = Result<T, SysError>;
