//! dup(2), dup2(2), dup3(2).

use abi::resource::Resource;
use abi::{Errno, OpenFlags};

use super::args::any_file;
use crate::syscalls::table::Args;
use crate::vfs::Fd;
use crate::{CurrentTask, SysResult, Task};

pub(super) fn dup(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = any_file(task, args[0])?;
    Ok(task.install_fd(file, false)? as u64)
}

pub(super) fn dup2(task: &mut CurrentTask, args: Args) -> SysResult {
    let (old, new) = (args.int(0), args.int(1));
    if old == new {
        task.fd_table().get(old)?;
        return Ok(new as u64);
    }
    dup_to(task, old, new, false)
}

pub(super) fn dup3(task: &mut CurrentTask, args: Args) -> SysResult {
    let (old, new, flags) = (args.int(0), args.int(1), args.uint(2));
    if flags & !OpenFlags::CLOEXEC.bits() != 0 || old == new {
        return Err(Errno::EINVAL.into());
    }
    dup_to(task, old, new, flags != 0)
}

fn dup_to(task: &Task, old: Fd, new: Fd, close_on_exec: bool) -> SysResult {
    let fds = task.fd_table();
    let file = fds.get(old)?;
    if let Some(closed) = fds.install_at(new, file, task.limit(Resource::Nofile), close_on_exec)? {
        // dup2(2) has no way to tell of an error at the old file's end.
        let _ = closed.ops().flush(task);
    }
    Ok(new as u64)
}
