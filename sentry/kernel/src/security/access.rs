//! Who may look into whom: the check behind ptrace(2), `/proc/[pid]/mem`, kcmp(2) and their kin (`man 2 ptrace`,
//! "Ptrace access mode checking").

use crate::Task;
use crate::task::Capability;

impl Task {
    /// Whether this task may read and change `target`'s memory and registers.
    #[must_use]
    pub fn may_inspect(&self, target: &Task) -> bool {
        if self.thread_group().id() == target.thread_group().id() {
            return true;
        }
        let (own, other) = (self.creds(), target.creds());
        let same_user = [other.uid, other.euid, other.suid].iter().all(|uid| *uid == own.uid);
        let same_group = [other.gid, other.egid, other.sgid].iter().all(|gid| *gid == own.gid);
        let is_privileged = own.has_in(&other.user_ns, Capability::SysPtrace);
        if !(same_user && same_group) && !is_privileged {
            return false;
        }
        if !target.thread_group().is_dumpable() && !is_privileged {
            return false;
        }
        let is_within = std::sync::Arc::ptr_eq(&own.user_ns, &other.user_ns)
            && own.permitted.is_superset(other.permitted);
        is_within || is_privileged
    }
}
