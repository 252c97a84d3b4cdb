//! Arguments that the calls on files share: paths, the directories they start from.

use std::sync::Arc;

use abi::fcntl::AtFlags;
use abi::fs::{AT_FDCWD, PATH_MAX};
use abi::{Errno, Result, UserAddr};

use crate::task::Credentials;
use crate::vfs::{Caller, Fd, File, Origin, VfsPath, WalkFlags};
use crate::{Task, vfs::Vfs};

/// A register as a signed 32-bit number: descriptors and most ints.
pub(crate) fn int(arg: u64) -> i32 {
    arg as i32
}

/// A register as an unsigned 32-bit number: flags and modes.
pub(crate) fn uint(arg: u64) -> u32 {
    arg as u32
}

/// The flags of an `*at` call that knows `known` ones.
///
/// # Errors
/// `EINVAL`.
pub(crate) fn at_flags(flags: u32, known: AtFlags) -> Result<AtFlags> {
    AtFlags::from_bits(flags).filter(|flags| known.contains(*flags)).ok_or(Errno::EINVAL)
}

/// Reads a path.
///
/// # Errors
/// `EFAULT`, `ENAMETOOLONG`.
pub(crate) fn path(task: &Task, addr: u64) -> Result<Vec<u8>> {
    task.mm().read_cstring(UserAddr(addr), PATH_MAX)
}

/// Who a task is, held for the length of a call.
pub(crate) struct Identity<'a> {
    task: &'a Task,
    creds: Arc<Credentials>,
}

impl<'a> Identity<'a> {
    /// The task with its credentials as of now.
    pub(crate) fn of(task: &'a Task) -> Self {
        Self { task, creds: task.creds() }
    }

    /// The task with other credentials: access(2) asks for the real user.
    pub(crate) fn with(task: &'a Task, creds: Arc<Credentials>) -> Self {
        Self { task, creds }
    }

    /// As file systems want it.
    pub(crate) fn caller(&self) -> Caller<'_> {
        Caller { creds: &self.creds, task: Some(self.task) }
    }
}

/// The task's virtual file system.
pub(crate) fn vfs(task: &Task) -> &Arc<Vfs> {
    &task.kernel().vfs
}

/// Where `path` starts for a call with `dirfd`. An absolute path does not look at `dirfd`.
///
/// # Errors
/// `EBADF`.
pub(crate) fn origin(task: &Task, dirfd: Fd, path: &[u8]) -> Result<Origin> {
    let (root, cwd) = task.fs().root_and_cwd();
    if path.first() == Some(&b'/') {
        return Ok(Origin { start: root.clone(), root });
    }
    let start = if dirfd == AT_FDCWD { cwd } else { task.fd_table().get(dirfd)?.path().clone() };
    Ok(Origin { root, start })
}

/// Finds what a path argument names.
///
/// # Errors
/// As path_resolution(7).
pub(crate) fn find(task: &Task, dirfd: Fd, path_addr: u64, flags: WalkFlags) -> Result<VfsPath> {
    let path = path(task, path_addr)?;
    find_bytes(task, dirfd, &path, flags)
}

/// As [`find`], for a path that has been read.
pub(crate) fn find_bytes(task: &Task, dirfd: Fd, path: &[u8], flags: WalkFlags) -> Result<VfsPath> {
    let identity = Identity::of(task);
    vfs(task).lookup(&identity.caller(), &origin(task, dirfd, path)?, path, flags)
}

/// Does something with what a path argument names, which may have become another file meanwhile: then with that.
///
/// # Errors
/// As path_resolution(7), and what `act` says.
pub(crate) fn with_place<T>(
    task: &Task,
    dirfd: Fd,
    path_addr: u64,
    flags: WalkFlags,
    mut act: impl FnMut(&Caller<'_>, &VfsPath) -> Result<T>,
) -> Result<T> {
    let path = path(task, path_addr)?;
    let identity = Identity::of(task);
    let caller = identity.caller();
    vfs(task).with_place(&caller, &origin(task, dirfd, &path)?, &path, flags, |place| act(&caller, place))
}

/// The open file behind `fd`, which `O_PATH` ones are not.
///
/// # Errors
/// `EBADF`.
pub(crate) fn file(task: &Task, fd: u64) -> Result<Arc<File>> {
    let file = task.fd_table().get(int(fd))?;
    if file.is_path_only() { Err(Errno::EBADF) } else { Ok(file) }
}

/// The open file behind `fd`, `O_PATH` or not.
///
/// # Errors
/// `EBADF`.
pub(crate) fn any_file(task: &Task, fd: u64) -> Result<Arc<File>> {
    task.fd_table().get(int(fd))
}

/// Whether a buffer lies in what a guest can address (`access_ok`).
///
/// # Errors
/// `EFAULT`.
pub(crate) fn check_user_range(addr: u64, len: u64) -> Result<()> {
    match addr.checked_add(len) {
        Some(end) if end <= UserAddr::END.0 => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}
