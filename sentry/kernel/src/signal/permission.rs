//! Who may signal whom (`man 2 kill`).

use std::sync::Arc;

use abi::{Errno, Result, SigInfo, Signal};

use super::Sender;
use crate::Task;
use crate::task::Capability;

impl Task {
    /// Whether this task may send `signal` (`None` only asks) to `target`.
    ///
    /// # Errors
    /// `EPERM`.
    pub fn check_may_signal(&self, target: &Task, signal: Option<Signal>) -> Result<()> {
        if self.thread_group().id() == target.thread_group().id() {
            return Ok(());
        }
        let (own, other) = (self.creds(), target.creds());
        let is_same_user = [own.euid, own.uid].iter().any(|uid| *uid == other.suid || *uid == other.uid);
        if is_same_user || own.has_in(&other.user_ns, Capability::Kill) {
            return Ok(());
        }
        let continues_own_session = signal == Some(Signal::CONT)
            && Arc::ptr_eq(&self.thread_group().session(), &target.thread_group().session());
        if continues_own_session { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// The information of a signal sent by this task, with numbers as `target` sees them.
    #[must_use]
    pub fn user_signal(&self, signal: Signal, code: i32, target: &Task) -> SigInfo {
        let pid = self.thread_group().tgid_in(&target.pid_ns());
        let uid = target.creds().user_ns.from_kernel_uid(self.creds().uid);
        SigInfo::from_user(signal, code, pid, uid)
    }

    /// Whether this task reaches down to `target` from a pid name space above.
    #[must_use]
    pub fn sender_to(&self, target: &Task) -> Sender {
        if self.tid_in(&target.pid_ns()) == 0 { Sender::Above } else { Sender::User }
    }
}
