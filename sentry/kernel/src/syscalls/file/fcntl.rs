//! fcntl(2). Locks are in [`super::lock`].

use std::sync::Arc;

use abi::fcntl::cmd::{
    F_ADD_SEALS, F_CREATED_QUERY, F_DUPFD, F_DUPFD_CLOEXEC, F_DUPFD_QUERY, F_GET_RW_HINT, F_GET_SEALS,
    F_GETFD, F_GETFL, F_GETLEASE, F_GETLK, F_GETOWN, F_GETOWN_EX, F_GETOWNER_UIDS, F_GETPIPE_SZ, F_GETSIG,
    F_NOTIFY, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_SET_RW_HINT, F_SETFD, F_SETFL, F_SETLEASE, F_SETLK,
    F_SETLKW, F_SETOWN, F_SETOWN_EX, F_SETPIPE_SZ, F_SETSIG,
};
use abi::fcntl::{F_OWNER_PGRP, F_OWNER_PID, F_OWNER_TID, FOwnerEx, Seals};
use abi::resource::Resource;
use abi::{Errno, FileType, OpenFlags, Result, Signal, UserAddr};

use super::args::{any_file, int, uint};
use super::flock;
use crate::syscalls::table::Args;
use crate::vfs::permission::is_owner_or_capable;
use crate::vfs::pipe::{PipeEnd, PipeOwner};
use crate::vfs::{File, SETTABLE_FLAGS, SignalOwner};
use crate::{CurrentTask, SysResult, Task};

const FD_CLOEXEC: u64 = 1;
const DN_MULTISHOT: u32 = 0x8000_0000;

pub(super) fn fcntl(task: &mut CurrentTask, args: Args) -> SysResult {
    let (fd, command, arg) = (args.int(0), args.uint(1), args[2]);
    let file = any_file(task, args[0])?;
    let fds = task.fd_table();
    let works_on_path =
        matches!(command, F_DUPFD | F_DUPFD_CLOEXEC | F_DUPFD_QUERY | F_GETFD | F_SETFD | F_GETFL);
    if file.is_path_only() && !works_on_path {
        return Err(Errno::EBADF.into());
    }
    match command {
        F_DUPFD | F_DUPFD_CLOEXEC => {
            let limit = task.limit(Resource::Nofile);
            let min = Some(int(arg)).filter(|&min| min >= 0 && (min as u64) < limit).ok_or(Errno::EINVAL)?;
            Ok(fds.install(file, min, limit, command == F_DUPFD_CLOEXEC)? as u64)
        }
        F_DUPFD_QUERY => {
            let other = fds.get(int(arg))?;
            Ok(u64::from(Arc::ptr_eq(&file, &other)))
        }
        F_CREATED_QUERY => Ok(file.has_created().into()),
        F_GETFD => Ok(if fds.is_close_on_exec(fd)? { FD_CLOEXEC } else { 0 }),
        F_SETFD => {
            fds.set_close_on_exec(fd, arg & FD_CLOEXEC != 0)?;
            Ok(0)
        }
        F_GETFL => Ok(u64::from(file.flags().bits())),
        F_SETFL => set_flags(task, fd, &file, OpenFlags::from_bits_retain(uint(arg))),
        F_GETLK | F_OFD_GETLK => flock::get(task, &file, arg, command == F_OFD_GETLK),
        F_SETLK | F_SETLKW | F_OFD_SETLK | F_OFD_SETLKW => flock::set(task, fd, &file, arg, command),
        F_SETOWN | F_GETOWN | F_SETOWN_EX | F_GETOWN_EX | F_GETOWNER_UIDS | F_SETSIG | F_GETSIG => {
            signal_owner(task, &file, command, arg)
        }
        F_SETPIPE_SZ | F_GETPIPE_SZ => pipe_size(task, &file, command, arg),
        F_ADD_SEALS => {
            let seals = Seals::from_bits(uint(arg)).ok_or(Errno::EINVAL)?;
            file.check_writable().map_err(|_| Errno::EPERM)?;
            file.inode().add_seals(seals)?;
            Ok(0)
        }
        F_GET_SEALS => Ok(u64::from(file.inode().seals()?.bits())),
        F_GET_RW_HINT | F_SET_RW_HINT => write_life(task, &file, command, arg),
        F_GETLEASE => Ok(u64::from(abi::fcntl::F_UNLCK.unsigned_abs())),
        // Ending a notification that was never asked for: dnotify is refused, as by a kernel without it.
        F_NOTIFY if uint(arg) & !DN_MULTISHOT == 0 => {
            let is_dir = file.inode().attr()?.file_type() == FileType::Directory;
            if is_dir { Ok(0) } else { Err(Errno::ENOTDIR.into()) }
        }
        // Leases are refused as by a file system that has none.
        F_SETLEASE if int(arg) == i32::from(abi::fcntl::F_UNLCK) => Err(Errno::EAGAIN.into()),
        F_SETLEASE | F_NOTIFY => Err(Errno::EINVAL.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// How long what is written to the file is going to live, a hint that is kept and shown.
fn write_life(task: &Task, file: &File, command: u32, arg: u64) -> SysResult {
    /// `RWH_WRITE_LIFE_EXTREME`.
    const LONGEST: u64 = 5;
    let common = file.inode().common();
    if command == F_GET_RW_HINT {
        task.mm().write_object(UserAddr(arg), &common.write_life())?;
        return Ok(0);
    }
    if !is_owner_or_capable(&task.creds(), &file.inode().attr()?) {
        return Err(Errno::EPERM.into());
    }
    let hint: u64 = task.mm().read_object(UserAddr(arg))?;
    if hint > LONGEST {
        return Err(Errno::EINVAL.into());
    }
    common.set_write_life(hint);
    Ok(0)
}

fn set_flags(task: &Task, fd: i32, file: &Arc<File>, flags: OpenFlags) -> SysResult {
    if flags.contains(OpenFlags::NOATIME) && !file.flags().contains(OpenFlags::NOATIME) {
        let attr = file.inode().attr()?;
        if !is_owner_or_capable(&task.creds(), &attr) {
            return Err(Errno::EPERM.into());
        }
    }
    let is_async = flags.contains(OpenFlags::ASYNC);
    if is_async != file.flags().contains(OpenFlags::ASYNC) {
        file.set_async(task, fd, is_async);
    }
    file.set_flags(SETTABLE_FLAGS, flags);
    Ok(0)
}

/// Who is told of readiness, as `F_GETOWN` tells it: a group by its negative number.
pub(super) fn shown_owner(file: &File) -> i32 {
    let owner = file.signal_owner();
    // F_SETOWN_EX takes any number, even one that has no negative.
    if owner.kind == F_OWNER_PGRP { owner.id.wrapping_neg() } else { owner.id }
}

/// Sets who is told of readiness, as `F_SETOWN` does.
pub(super) fn set_signal_owner(task: &Task, file: &File, who: i32) -> SysResult {
    let id = who.checked_abs().ok_or(Errno::EINVAL)?;
    let kind = if who < 0 { F_OWNER_PGRP } else { F_OWNER_PID };
    file.set_signal_owner(task, SignalOwner { kind, id, ..file.signal_owner() })?;
    Ok(0)
}

fn signal_owner(task: &Task, file: &File, command: u32, arg: u64) -> SysResult {
    let owner = file.signal_owner();
    match command {
        F_GETOWN => Ok(i64::from(shown_owner(file)) as u64),
        F_SETOWN => set_signal_owner(task, file, int(arg)),
        F_GETOWN_EX => {
            let value = FOwnerEx { kind: owner.kind, pid: owner.id };
            task.mm().write_object(UserAddr(arg), &value)?;
            Ok(0)
        }
        F_SETOWN_EX => {
            let value: FOwnerEx = task.mm().read_object(UserAddr(arg))?;
            if !(F_OWNER_TID..=F_OWNER_PGRP).contains(&value.kind) {
                return Err(Errno::EINVAL.into());
            }
            file.set_signal_owner(task, SignalOwner { kind: value.kind, id: value.pid, ..owner })?;
            Ok(0)
        }
        F_GETOWNER_UIDS => {
            let creds = file.creds();
            task.mm().write_object(UserAddr(arg), &[creds.uid, creds.euid])?;
            Ok(0)
        }
        F_GETSIG => Ok(owner.signal as u64),
        _ => {
            let signal = int(arg);
            if signal != 0 && Signal::new(signal).is_none() {
                return Err(Errno::EINVAL.into());
            }
            file.set_ready_signal(signal);
            Ok(0)
        }
    }
}

/// The pipe that a file is an end of.
pub(super) fn pipe_end(file: &File) -> Option<&PipeEnd> {
    file.ops_as()
}

fn pipe_size(task: &Task, file: &File, command: u32, arg: u64) -> SysResult {
    let size = || -> Result<usize> {
        let pipe = pipe_end(file).ok_or(Errno::EBADF)?.pipe();
        if command == F_GETPIPE_SZ {
            return Ok(pipe.capacity());
        }
        pipe.set_capacity(u64::from(uint(arg)), &PipeOwner::of(task))
    };
    Ok(size()? as u64)
}
