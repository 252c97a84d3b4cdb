//! Who may look into whom: Linux's `ptrace_may_access` with file-system credentials (`man 2 ptrace`).

use abi::{Errno, Result};
use kernel::Task;
use kernel::task::Capability;

/// Whether `viewer` may read what only the owner of `target` may.
///
/// # Errors
/// `EACCES`.
pub(super) fn check(viewer: &Task, target: &Task) -> Result<()> {
    if viewer.thread_group().id() == target.thread_group().id() {
        return Ok(());
    }
    let (own, other) = (viewer.creds(), target.creds());
    let same_user = [other.uid, other.euid, other.suid].iter().all(|&uid| uid == own.fsuid)
        && [other.gid, other.egid, other.sgid].iter().all(|&gid| gid == own.fsgid);
    let has_power = own.has_in(&other.user_ns, Capability::SysPtrace);
    let is_open = target.thread_group().is_dumpable();
    if has_power || (same_user && is_open) { Ok(()) } else { Err(Errno::EACCES) }
}
