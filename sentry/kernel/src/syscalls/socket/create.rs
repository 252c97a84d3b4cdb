//! socket(2) and socketpair(2).

use std::sync::Arc;

use abi::{OpenFlags, Result, UserAddr};

use super::parse_type;
use crate::CurrentTask;
use crate::error::SysResult;
use crate::syscalls::table::Args;
use crate::task::Task;
use crate::vfs::{AnonKind, Fd, FileOps};

/// socket(2).
pub(super) fn socket(task: &mut CurrentTask, Args([family, kind, protocol, ..]): Args) -> SysResult {
    let (kind, flags) = parse_type(kind)?;
    let family = task.kernel().sockets.get(family as i32)?;
    let ops = family.create(task, kind, protocol as i32)?;
    Ok(install(task, ops, flags)? as u64)
}

/// socketpair(2).
pub(super) fn socketpair(task: &mut CurrentTask, Args([family, kind, protocol, out, ..]): Args) -> SysResult {
    let (kind, flags) = parse_type(kind)?;
    let family = task.kernel().sockets.get(family as i32)?;
    let [a, b] = family.create_pair(task, kind, protocol as i32)?;
    let first = install(task, a, flags)?;
    let second = install(task, b, flags).inspect_err(|_| close(task, first))?;
    task.mm().write_object(UserAddr(out), &[first, second]).inspect_err(|_| {
        close(task, first);
        close(task, second);
    })?;
    Ok(0)
}

fn close(task: &Task, fd: Fd) {
    // The descriptor is the caller's own and nothing can fail to be written back.
    drop(task.fd_table().take(fd));
}

/// Gives a new socket a descriptor. `flags` holds NONBLOCK and CLOEXEC.
pub(super) fn install(task: &Task, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Result<Fd> {
    let flags_of_file = OpenFlags::RDWR | (flags & OpenFlags::NONBLOCK);
    let file = task.kernel().vfs.anon_file(AnonKind::Socket, ops, flags_of_file, &task.creds());
    if let Some(socket) = file.ops().socket() {
        socket.set_inode(file.inode().attr()?.ino);
    }
    task.install_fd(file, flags.contains(OpenFlags::CLOEXEC))
}
