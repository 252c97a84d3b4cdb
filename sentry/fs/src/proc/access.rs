//! Who may look into whom: Linux's `ptrace_may_access` with file-system credentials (`man 2 ptrace`).

use abi::{Errno, Result};
use kernel::Task;
use kernel::security::AccessIds;

/// Whether `viewer` may read what only the owner of `target` may.
///
/// # Errors
/// `EACCES`.
pub(super) fn check(viewer: &Task, target: &Task) -> Result<()> {
    if viewer.may_inspect(target, AccessIds::FileSystem) { Ok(()) } else { Err(Errno::EACCES) }
}

/// As [`check`], and takes what only the owner of `target` may have, before that can execute another program.
///
/// # Errors
/// `EACCES`.
pub(super) fn inspect<T>(viewer: &Task, target: &Task, take: impl FnOnce() -> T) -> Result<T> {
    viewer.inspect(target, AccessIds::FileSystem, || Ok(take())).map_err(|_| Errno::EACCES)
}
