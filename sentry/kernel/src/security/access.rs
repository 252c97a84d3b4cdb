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
        if own.has_in(&other.user_ns, Capability::SysPtrace) {
            return true;
        }
        own.owns_all_ids_of(&other)
            && target.thread_group().is_dumpable()
            && std::sync::Arc::ptr_eq(&own.user_ns, &other.user_ns)
            && own.permitted.is_superset(other.permitted)
    }
}
