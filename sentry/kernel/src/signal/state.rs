//! The signal state of a process and of a thread.

use abi::signal::cld;
use abi::{SigSet, Signal, UserAddr};

use super::PendingSignals;
use super::forking::ForkNotes;
use crate::task::ExitStatus;

/// Job-control state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum GroupStop {
    /// Not stopped.
    #[default]
    Running,
    /// This signal told it to stop; threads are still on their way.
    Stopping(Signal),
    /// All threads have stopped.
    Stopped(Signal),
}

/// What a parent may still learn of with `WUNTRACED` or `WCONTINUED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobReport {
    /// It stopped by this signal.
    Stopped(Signal),
    /// It continued.
    Continued,
}

impl JobReport {
    /// `si_code` and `si_status` of a `SIGCHLD` that tells it, and of waitid(2).
    #[must_use]
    pub fn child_info(self) -> (i32, i32) {
        match self {
            Self::Stopped(signal) => (cld::STOPPED, signal.number()),
            Self::Continued => (cld::CONTINUED, Signal::CONT.number()),
        }
    }

    /// The status that wait4(2) stores.
    #[must_use]
    pub fn wait_status(self) -> i32 {
        match self {
            Self::Stopped(signal) => signal.number() << 8 | 0x7f,
            Self::Continued => 0xffff,
        }
    }
}

/// What the signal lock of a process protects.
#[derive(Debug, Default)]
pub struct SignalState {
    /// Signals sent to the process.
    pub shared: PendingSignals,
    /// Job control.
    pub stop: GroupStop,
    /// News for the parent.
    pub report: Option<JobReport>,
    /// Set when the whole process ends; every thread then does.
    pub group_exit: Option<ExitStatus>,
    /// The first process of a pid name space: signals from inside it do nothing by default.
    pub is_unkillable: bool,
    /// Children in the making.
    pub(super) forks: Vec<ForkNotes>,
    /// A thread is executing a new program and waits for all others to be gone.
    pub exec_in_progress: bool,
}

/// sigaltstack(2)'s stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AltStack {
    /// Lowest address.
    pub base: UserAddr,
    /// Bytes; 0 where there is none.
    pub size: u64,
    /// `SS_AUTODISARM`: forgotten while a handler runs.
    pub autodisarm: bool,
}

impl AltStack {
    /// Whether `sp` is on it, as Linux decides that.
    #[must_use]
    pub fn holds(&self, sp: u64) -> bool {
        !self.autodisarm && sp > self.base.0 && self.spans(sp)
    }

    /// Whether `at` lies between its two ends. Nobody has checked that the stack ends within the address space.
    #[must_use]
    pub fn spans(&self, at: u64) -> bool {
        at.wrapping_sub(self.base.0) <= self.size
    }
}

/// The signal state of one thread.
#[derive(Debug, Default)]
pub struct TaskSignals {
    /// Signals sent to this thread.
    pub pending: PendingSignals,
    /// Blocked signals.
    pub blocked: SigSet,
    /// The mask to restore once a handler has been set up, after sigsuspend(2), ppoll(2) and the like.
    pub saved_mask: Option<SigSet>,
    /// Signals that sigtimedwait(2) is waiting for: they wake the thread though blocked.
    pub waiting_for: SigSet,
    /// The alternate stack.
    pub alt_stack: AltStack,
    /// It has taken a signal, and no `SIGCONT` has come since: the thread lets go of the lock between taking a stop signal
    /// and stopping its process (Linux's `JOBCTL_STOP_DEQUEUED`).
    pub may_stop: bool,
    /// A group stop awaits this thread.
    pub must_stop: bool,
    /// This thread is counted as stopped.
    pub is_stopped: bool,
}

#[cfg(test)]
mod tests {
    use abi::UserAddr;

    use super::AltStack;

    #[test]
    fn a_stack_at_the_end_of_all_addresses() {
        let stack = AltStack { base: UserAddr(0u64.wrapping_sub(8192)), size: 16384, autodisarm: false };
        assert!(stack.spans(u64::MAX) && stack.spans(8192) && !stack.spans(8193));
        assert!(stack.holds(u64::MAX) && !stack.holds(4096));
    }
}
