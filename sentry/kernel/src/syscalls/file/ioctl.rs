//! ioctl(2): what the VFS answers for all files; the rest goes to the file.

use abi::fcntl::ioctl::{
    FIBMAP, FICLONE, FICLONERANGE, FIDEDUPERANGE, FIGETBSZ, FIOASYNC, FIOCLEX, FIOGETOWN, FIONBIO, FIONCLEX,
    FIONREAD, FIOQSIZE, FIOSETOWN, FS_IOC_FIEMAP, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, SIOCGPGRP, SIOCSPGRP,
};
use abi::{Errno, FileType, OpenFlags, UserAddr};

use super::args::file;
use super::fcntl::{set_signal_owner, shown_owner};
use crate::error::{Restart, SysError};
use crate::syscalls::table::Args;
use crate::vfs::File;
use crate::{CurrentTask, SysResult, Task};

pub(super) fn ioctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let (fd, command, arg) = (args.int(0), args.uint(1), args[2]);
    let file = file(task, args[0])?;
    match command {
        FIOCLEX | FIONCLEX => {
            task.fd_table().set_close_on_exec(fd, command == FIOCLEX)?;
            Ok(0)
        }
        FIONBIO => {
            let is_on: i32 = task.mm().read_object(UserAddr(arg))?;
            let flag = OpenFlags::NONBLOCK;
            file.set_flags(flag, if is_on != 0 { flag } else { OpenFlags::empty() });
            Ok(0)
        }
        FIOASYNC => {
            let is_on: i32 = task.mm().read_object(UserAddr(arg))?;
            file.set_async(task, fd, is_on != 0);
            Ok(0)
        }
        FIOSETOWN | SIOCSPGRP if file.ops().socket().is_some() => {
            let owner: i32 = task.mm().read_object(UserAddr(arg))?;
            set_signal_owner(task, &file, owner)
        }
        FIOGETOWN | SIOCGPGRP if file.ops().socket().is_some() => {
            task.mm().write_object(UserAddr(arg), &shown_owner(&file))?;
            Ok(0)
        }
        // No file system tells where its blocks are.
        FS_IOC_FIEMAP => Err(Errno::EOPNOTSUPP.into()),
        FIOQSIZE | FIGETBSZ | FIONREAD | FIBMAP | FICLONE | FICLONERANGE | FIDEDUPERANGE
        | FS_IOC_GETFLAGS | FS_IOC_SETFLAGS => on_disk_file(task, &file, command, arg),
        _ => file.ops().ioctl(task, &file, command, arg).map_err(|errno| restart(task, errno)),
    }
}

/// A terminal that has told a background process to stop says `EAGAIN`: the call starts again after that.
fn restart(task: &Task, errno: Errno) -> SysError {
    if errno == Errno::EAGAIN && task.wake().is_interrupted() {
        SysError::Restart(Restart::Sys)
    } else {
        SysError::Errno(errno)
    }
}

/// Commands that files and directories know, and other files take for themselves.
fn on_disk_file(task: &Task, file: &File, command: u32, arg: u64) -> SysResult {
    let file_type = FileType::from_mode(file.inode().mode()?);
    if !matches!(file_type, Some(FileType::Regular | FileType::Directory)) {
        return Ok(file.ops().ioctl(task, file, command, arg)?);
    }
    let mm = task.mm();
    match (command, file_type) {
        (FIGETBSZ, _) => {
            let attr = file.inode().attr()?;
            mm.write_object(UserAddr(arg), &attr.blksize)?;
            Ok(0)
        }
        (FIONREAD, Some(FileType::Regular)) => {
            let left = file.ops().size()?.saturating_sub(*file.position());
            mm.write_object(UserAddr(arg), &i32::try_from(left).unwrap_or(i32::MAX))?;
            Ok(0)
        }
        (FIOQSIZE, _) => {
            mm.write_object(UserAddr(arg), &file.inode().attr()?.size)?;
            Ok(0)
        }
        (FICLONE | FICLONERANGE | FIDEDUPERANGE, Some(FileType::Regular)) => Err(Errno::EOPNOTSUPP.into()),
        _ => Ok(file.ops().ioctl(task, file, command, arg)?),
    }
}
