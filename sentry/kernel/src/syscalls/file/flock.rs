//! Advisory locks: the lock commands of fcntl(2), and flock(2).

use abi::fcntl::cmd::{F_OFD_SETLK, F_OFD_SETLKW, F_SETLKW};
use abi::fcntl::{F_RDLCK, F_UNLCK, F_WRLCK, Flock};
use abi::fs::{SEEK_CUR, SEEK_END, SEEK_SET};
use abi::{Errno, Result, UserAddr};
use waiter::Events;

use super::args::file;
use crate::error::{Restart, SysError};
use crate::syscalls::table::Args;
use crate::vfs::locks::{LockKind, LockOwner, RangeLock};
use crate::vfs::{Fd, File};
use crate::{CurrentTask, SysResult, Task};

/// `F_GETLK`: the lock that stands in the way of the one described.
pub(super) fn get(task: &Task, file: &File, addr: u64, is_ofd: bool) -> SysResult {
    let mut flock: Flock = task.mm().read_object(UserAddr(addr))?;
    if is_ofd && flock.l_pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let wanted = decode(task, file, &flock, is_ofd)?;
    if wanted.kind.is_none() {
        return Err(Errno::EINVAL.into());
    }
    match file.inode().common().locks().conflict(&wanted.lock()) {
        None => flock.l_type = F_UNLCK,
        Some(lock) => {
            flock.l_type = if lock.kind == LockKind::Write { F_WRLCK } else { F_RDLCK };
            flock.l_whence = 0;
            flock.l_start = lock.start as i64;
            flock.l_len = if lock.end == RangeLock::TO_END { 0 } else { (lock.end - lock.start + 1) as i64 };
            flock.l_pid = lock.pid;
        }
    }
    task.mm().write_object(UserAddr(addr), &flock)?;
    Ok(0)
}

/// `F_SETLK`, `F_SETLKW` and the same for open file descriptions.
pub(super) fn set(task: &Task, fd: Fd, file: &File, addr: u64, command: u32) -> SysResult {
    let is_ofd = matches!(command, F_OFD_SETLK | F_OFD_SETLKW);
    let flock: Flock = task.mm().read_object(UserAddr(addr))?;
    if is_ofd && flock.l_pid != 0 {
        return Err(Errno::EINVAL.into());
    }
    let wanted = decode(task, file, &flock, is_ofd)?;
    let locks = file.inode().common().locks();
    let Some(kind) = wanted.kind else {
        locks.unlock(wanted.owner, wanted.start, wanted.end);
        return Ok(0);
    };
    if (kind == LockKind::Read && !file.flags().is_readable())
        || (kind == LockKind::Write && !file.flags().is_writable())
    {
        return Err(Errno::EBADF.into());
    }
    let lock = wanted.lock();
    match locks.lock(&lock) {
        Err(Errno::EAGAIN) if matches!(command, F_SETLKW | F_OFD_SETLKW) => {
            let _waiting = task.kernel().vfs.lock_waits.wait_for(file.inode(), &lock)?;
            task.block_on(locks.queue(), Events::IN, None, &mut || locks.lock(&lock))?;
        }
        result => result?,
    }
    // Somebody may have closed the descriptor meanwhile: the lock must not outlive it.
    if !is_ofd && !task.fd_table().get(fd).is_ok_and(|now| std::ptr::eq(&*now, file)) {
        locks.unlock(lock.owner, lock.start, lock.end);
        return Err(Errno::EBADF.into());
    }
    Ok(0)
}

/// A `struct flock` with its range as absolute positions; no kind means unlock.
struct Wanted {
    kind: Option<LockKind>,
    owner: LockOwner,
    pid: i32,
    start: u64,
    end: u64,
}

impl Wanted {
    fn lock(&self) -> RangeLock {
        let kind = self.kind.unwrap_or(LockKind::Read);
        RangeLock { kind, owner: self.owner, pid: self.pid, start: self.start, end: self.end }
    }
}

fn decode(task: &Task, file: &File, flock: &Flock, is_ofd: bool) -> Result<Wanted> {
    let kind = match flock.l_type {
        F_RDLCK => Some(LockKind::Read),
        F_WRLCK => Some(LockKind::Write),
        F_UNLCK => None,
        _ => return Err(Errno::EINVAL),
    };
    let base = match u32::try_from(flock.l_whence).map_err(|_| Errno::EINVAL)? {
        SEEK_SET => 0,
        SEEK_CUR => i64::try_from(*file.position()).map_err(|_| Errno::EOVERFLOW)?,
        SEEK_END => i64::try_from(file.ops().size()?).map_err(|_| Errno::EOVERFLOW)?,
        _ => return Err(Errno::EINVAL),
    };
    let start = base.checked_add(flock.l_start).ok_or(Errno::EOVERFLOW)?;
    let (start, end) = match flock.l_len {
        0 => (start, i64::MAX),
        len if len > 0 => (start, start.checked_add(len - 1).ok_or(Errno::EOVERFLOW)?),
        len => (start.checked_add(len).ok_or(Errno::EINVAL)?, start.checked_sub(1).ok_or(Errno::EINVAL)?),
    };
    let (start, end) =
        (u64::try_from(start).map_err(|_| Errno::EINVAL)?, u64::try_from(end).map_err(|_| Errno::EINVAL)?);
    let (owner, pid) = if is_ofd {
        (LockOwner::File(file.lock_owner()), -1)
    } else {
        (LockOwner::Table(task.fd_table().lock_owner()), task.thread_group().tgid())
    };
    Ok(Wanted { kind, owner, pid, start, end })
}

pub(super) fn flock(task: &mut CurrentTask, args: Args) -> SysResult {
    const LOCK_SH: u32 = 1;
    const LOCK_EX: u32 = 2;
    const LOCK_NB: u32 = 4;
    const LOCK_UN: u32 = 8;
    let file = file(task, args[0])?;
    let operation = args.uint(1);
    let kind = match operation & !LOCK_NB {
        LOCK_SH => LockKind::Read,
        LOCK_EX => LockKind::Write,
        LOCK_UN => {
            file.inode().common().locks().unlock_whole(file.lock_owner());
            return Ok(0);
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    let locks = file.inode().common().locks();
    let mut attempt = || locks.lock_whole(file.lock_owner(), kind);
    if operation & LOCK_NB != 0 {
        attempt()?;
        return Ok(0);
    }
    match task.block_on(locks.queue(), Events::IN, None, &mut attempt) {
        Err(SysError::Restart(_)) => Err(SysError::Restart(Restart::Sys)),
        other => other.map(|()| 0),
    }
}
