//! `man 2 pipe`.

use abi::{Errno, OpenFlags, UserAddr};

use super::fd_flags;
use crate::syscalls::table::Args;
use crate::vfs::pipe::{Pipe, PipeOwner};
use crate::vfs::{AnonKind, File};
use crate::{CurrentTask, SysResult};

pub(super) fn pipe(task: &mut CurrentTask, args: Args) -> SysResult {
    make_pipe(task, args.addr(0), 0)
}

pub(super) fn pipe2(task: &mut CurrentTask, args: Args) -> SysResult {
    make_pipe(task, args.addr(0), args[1])
}

fn make_pipe(task: &CurrentTask, addr: UserAddr, flags: u64) -> SysResult {
    let (flags, close_on_exec) =
        fd_flags(flags, OpenFlags::NONBLOCK | OpenFlags::DIRECT).ok_or(Errno::EINVAL)?;
    let creds = task.creds();
    let path = task.kernel().vfs.anon_path(AnonKind::Pipe, &creds);
    // Known to the inode, so that /proc/self/fd/N can be opened again.
    let (reader, writer) = path.inode().common().fifo(|| Pipe::new(&PipeOwner::of(task))).ends();
    let reader = File::new(path.clone(), reader, flags, creds.clone());
    let writer = File::new(path, writer, flags | OpenFlags::WRONLY, creds);
    task.install_fd_pair([reader, writer], close_on_exec, addr)?;
    Ok(0)
}
