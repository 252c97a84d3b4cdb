//! Sockets with a name in the file system: binding to a path, and finding who is bound there.

use std::any::Any;
use std::sync::Arc;

use abi::{DeviceId, Errno, FileType, OpenFlags, Result};

use crate::Task;
use crate::vfs::{Caller, MAY_WRITE, NodeSpec, OpenHow, Origin, VfsPath, check_access};

/// Makes a socket node at `path` and binds `socket` to it.
///
/// # Errors
/// `EADDRINUSE` where the name exists; as mknod(2).
pub fn bind_at_path<T: Any + Send + Sync>(task: &Task, path: &[u8], socket: &Arc<T>) -> Result<VfsPath> {
    let creds = task.creds();
    let caller = Caller { creds: &creds, task: Some(task) };
    let spec = NodeSpec {
        file_type: FileType::Socket,
        mode: 0o777,
        umask: task.fs().umask(),
        rdev: DeviceId::default(),
    };
    let made = task.kernel().vfs.mknod(&caller, &origin(task), path, &spec);
    let place = made.map_err(|errno| if errno == Errno::EEXIST { Errno::EADDRINUSE } else { errno })?;
    place.inode().common().bind_socket(socket);
    Ok(place)
}

/// Who is bound to the socket at `path`; `None` where nobody is any more.
///
/// # Errors
/// `ECONNREFUSED` where it is no socket; `EACCES` without write permission; as for path walks.
pub fn find_at_path<T: Any + Send + Sync>(task: &Task, path: &[u8]) -> Result<Option<Arc<T>>> {
    let creds = task.creds();
    let caller = Caller { creds: &creds, task: Some(task) };
    let how = OpenHow { flags: OpenFlags::PATH, ..OpenHow::default() };
    let found = task.kernel().vfs.open(&caller, &origin(task), path, &how)?.file;
    let inode = found.inode();
    check_access(&caller, inode, MAY_WRITE)?;
    if FileType::from_mode(inode.mode()?) != Some(FileType::Socket) {
        return Err(Errno::ECONNREFUSED);
    }
    Ok(inode.common().bound_socket::<T>())
}

fn origin(task: &Task) -> Origin {
    let (root, start) = task.fs().root_and_cwd();
    Origin { root, start }
}
