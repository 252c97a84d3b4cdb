//! Telling a parent what became of its child: `SIGCHLD` and the wake-up of wait4(2).

use abi::signal::{SIG_IGN, SaFlags};
use abi::{SigInfo, Signal};
use waiter::Events;

use super::{CpuTimes, ThreadGroup};
use crate::signal::{JobReport, Sender};

/// Nanoseconds in a tick: times(2) and `si_utime` count processor time in hundredths of a second (`USER_HZ`).
pub(crate) const NS_PER_TICK: u64 = 10_000_000;

fn ticks(ns: u64) -> i64 {
    i64::try_from(ns / NS_PER_TICK).unwrap_or(i64::MAX)
}

impl ThreadGroup {
    /// The information of a `SIGCHLD` about this process, with numbers as `parent` sees them.
    pub(super) fn child_signal(&self, parent: &ThreadGroup, code: i32, status: i32) -> SigInfo {
        let (mut pid, mut uid) = (0, 0);
        if let (Some(leader), Some(parent_leader)) = (self.leader(), parent.leader()) {
            pid = leader.tid_in(&parent_leader.pid_ns());
            uid = parent_leader.creds().user_ns.from_kernel_uid(leader.creds().uid);
        }
        let CpuTimes { user_ns, system_ns } = self.cpu_times();
        SigInfo::from_child(code, pid, uid, status, ticks(user_ns), ticks(system_ns))
    }

    /// Tells the parent of a stop or of going on. No lock of this process may be held.
    pub(crate) fn notify_parent_of(&self, report: JobReport) {
        let Some(parent) = self.parent() else { return };
        let (code, status) = report.child_info();
        let action = parent.actions().get(Signal::CHLD);
        if action.handler != SIG_IGN && !action.flags.contains(SaFlags::NOCLDSTOP) {
            let info = self.child_signal(&parent, code, status);
            // A standard signal of the kernel's never fails.
            let _ = parent.queue_signal(None, Signal::CHLD, info, Sender::Kernel);
        }
        parent.child_events().notify(Events::IN);
    }

    /// Tells `parent` that this process has ended. Says whether the parent does not care to wait for it.
    pub(super) fn notify_parent_of_exit(&self, parent: &ThreadGroup, exit_signal: Option<Signal>) -> bool {
        let action = parent.actions().get(Signal::CHLD);
        let is_child = exit_signal == Some(Signal::CHLD);
        let is_ignored = is_child && action.handler == SIG_IGN;
        let is_unwanted = is_child && (is_ignored || action.flags.contains(SaFlags::NOCLDWAIT));
        if let (Some(signal), Some(status), false) = (exit_signal, self.exit_status(), is_ignored) {
            let (code, value) = status.child_info();
            let mut info = self.child_signal(parent, code, value);
            info.signo = signal.number();
            // The kernel's signals never fail for want of space.
            let _ = parent.queue_signal(None, signal, info, Sender::Kernel);
        }
        parent.child_events().notify(Events::IN);
        is_unwanted
    }
}
