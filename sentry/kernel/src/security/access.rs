//! Who may look into whom: the check behind ptrace(2), `/proc/[pid]/mem`, kcmp(2) and their kin (`man 2 ptrace`,
//! "Ptrace access mode checking").

use std::sync::Arc;

use crate::Task;
use crate::task::{Capability, Dumpability};

/// Whose rights count of who looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessIds {
    /// The real ids, and the capabilities that it could make effective: calls that name a process
    /// (`PTRACE_MODE_REALCREDS`).
    Real,
    /// The ids and capabilities in force for files: `/proc` (`PTRACE_MODE_FSCREDS`).
    FileSystem,
}

impl Task {
    /// Whether this task may read and change `target`'s memory and registers.
    #[must_use]
    pub fn may_inspect(&self, target: &Task, ids: AccessIds) -> bool {
        if self.thread_group().id() == target.thread_group().id() {
            return true;
        }
        let (own, other) = (self.creds(), target.creds());
        let has_power = own.has_in(&other.user_ns, Capability::SysPtrace);
        let (uid, gid, capabilities) = match ids {
            AccessIds::Real => (own.uid, own.gid, own.permitted),
            AccessIds::FileSystem => (own.fsuid, own.fsgid, own.effective),
        };
        let is_equal = other.has_only_ids(uid, gid)
            && Arc::ptr_eq(&own.user_ns, &other.user_ns)
            && capabilities.is_superset(other.permitted);
        let Dumpability { is_dumpable, guardian } = target.thread_group().dumpability();
        // A process that has entered a user name space is not at the mercy of that one's owner with what it had before.
        (has_power || is_equal) && (is_dumpable || own.has_in(&guardian, Capability::SysPtrace))
    }
}
