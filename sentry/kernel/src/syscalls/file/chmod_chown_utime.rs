//! chmod(2), chown(2), utimensat(2) and their relatives, umask(2).

use abi::fcntl::{AtFlags, UTIME_NOW, UTIME_OMIT};
use abi::fs::AT_FDCWD;
use abi::time::Timeval;
use abi::{Errno, Result, Timespec, UserAddr};

use super::args::{Identity, any_file, at_flags, file, uint, vfs, with_place};
use crate::syscalls::table::Args;
use crate::vfs::{Caller, Fd, File, NewTimes, SetTime, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

/// What the calls with flags know of them.
const PLACE_FLAGS: AtFlags = AtFlags::SYMLINK_NOFOLLOW.union(AtFlags::EMPTY_PATH);

pub(super) fn chmod(task: &mut CurrentTask, args: Args) -> SysResult {
    change_mode(task, AT_FDCWD, args[0], WalkFlags::FOLLOW, args.uint(1))
}

pub(super) fn fchmod(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    vfs(task).chmod(&Identity::of(task).caller(), file.path(), args.uint(1))?;
    Ok(0)
}

pub(super) fn fchmodat(task: &mut CurrentTask, args: Args) -> SysResult {
    change_mode(task, args.int(0), args[1], WalkFlags::FOLLOW, args.uint(2))
}

pub(super) fn fchmodat2(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = at_flags(args.uint(3), PLACE_FLAGS)?;
    change_mode(task, args.int(0), args[1], flags.into(), args.uint(2))
}

fn change_mode(task: &Task, dirfd: Fd, path: u64, flags: WalkFlags, mode: u32) -> SysResult {
    with_place(task, dirfd, path, flags, |caller, place| vfs(task).chmod(caller, place, mode))?;
    Ok(0)
}

pub(super) fn chown(task: &mut CurrentTask, args: Args) -> SysResult {
    change_owner(task, AT_FDCWD, args[0], WalkFlags::FOLLOW, (args[1], args[2]))
}

pub(super) fn lchown(task: &mut CurrentTask, args: Args) -> SysResult {
    change_owner(task, AT_FDCWD, args[0], WalkFlags::empty(), (args[1], args[2]))
}

pub(super) fn fchown(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    let identity = Identity::of(task);
    let caller = identity.caller();
    let (uid, gid) = new_owner(&caller, (args[1], args[2]))?;
    vfs(task).chown(&caller, file.path(), uid, gid)?;
    Ok(0)
}

pub(super) fn fchownat(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = at_flags(args.uint(4), PLACE_FLAGS)?;
    change_owner(task, args.int(0), args[1], flags.into(), (args[2], args[3]))
}

fn change_owner(task: &Task, dirfd: Fd, path: u64, flags: WalkFlags, owner: (u64, u64)) -> SysResult {
    with_place(task, dirfd, path, flags, |caller, place| {
        let (uid, gid) = new_owner(caller, owner)?;
        vfs(task).chown(caller, place, uid, gid)
    })?;
    Ok(0)
}

/// Ids are those of the caller's user name space; `-1` leaves one alone.
fn new_owner(caller: &Caller<'_>, (uid, gid): (u64, u64)) -> Result<(Option<u32>, Option<u32>)> {
    let ns = &caller.creds.user_ns;
    Ok((ns.uid_or_keep(uint(uid))?, ns.gid_or_keep(uint(gid))?))
}

pub(super) fn utimensat(task: &mut CurrentTask, args: Args) -> SysResult {
    let times = read_timespecs(task, args[2])?;
    if args[1] == 0 {
        if args[3] != 0 {
            return Err(Errno::EINVAL.into());
        }
        if args.int(0) == AT_FDCWD {
            return Err(Errno::EFAULT.into());
        }
        let file = file(task, args[0])?;
        return change_times_of(task, &file, times);
    }
    if times.atime.is_none() && times.mtime.is_none() {
        return Ok(0);
    }
    let flags = at_flags(args.uint(3), PLACE_FLAGS)?;
    change_times(task, args.int(0), args[1], flags.into(), times)
}

pub(super) fn utimes(task: &mut CurrentTask, args: Args) -> SysResult {
    let times = read_timevals(task, args[1])?;
    change_times(task, AT_FDCWD, args[0], WalkFlags::FOLLOW, times)
}

pub(super) fn futimesat(task: &mut CurrentTask, args: Args) -> SysResult {
    let times = read_timevals(task, args[2])?;
    if args[1] == 0 {
        let file = any_file(task, args[0])?;
        return change_times_of(task, &file, times);
    }
    change_times(task, args.int(0), args[1], WalkFlags::FOLLOW, times)
}

pub(super) fn utime(task: &mut CurrentTask, args: Args) -> SysResult {
    let times = if args[1] == 0 {
        NewTimes { atime: Some(SetTime::Now), mtime: Some(SetTime::Now) }
    } else {
        let [atime, mtime] = task.mm().read_object::<[i64; 2]>(args.addr(1))?;
        let at = |tv_sec| Some(SetTime::At(Timespec { tv_sec, tv_nsec: 0 }));
        NewTimes { atime: at(atime), mtime: at(mtime) }
    };
    change_times(task, AT_FDCWD, args[0], WalkFlags::FOLLOW, times)
}

fn change_times(task: &Task, dirfd: Fd, path: u64, flags: WalkFlags, times: NewTimes) -> SysResult {
    with_place(task, dirfd, path, flags, |caller, place| vfs(task).set_times(caller, place, times))?;
    Ok(0)
}

fn change_times_of(task: &Task, file: &File, times: NewTimes) -> SysResult {
    vfs(task).set_times(&Identity::of(task).caller(), file.path(), times)?;
    Ok(0)
}

fn read_timespecs(task: &Task, addr: u64) -> Result<NewTimes> {
    if addr == 0 {
        return Ok(NewTimes { atime: Some(SetTime::Now), mtime: Some(SetTime::Now) });
    }
    let [atime, mtime] = task.mm().read_object::<[Timespec; 2]>(UserAddr(addr))?;
    let decode = |time: Timespec| match time.tv_nsec {
        UTIME_NOW => Ok(Some(SetTime::Now)),
        UTIME_OMIT => Ok(None),
        0..=999_999_999 => Ok(Some(SetTime::At(time))),
        _ => Err(Errno::EINVAL),
    };
    Ok(NewTimes { atime: decode(atime)?, mtime: decode(mtime)? })
}

fn read_timevals(task: &Task, addr: u64) -> Result<NewTimes> {
    if addr == 0 {
        return Ok(NewTimes { atime: Some(SetTime::Now), mtime: Some(SetTime::Now) });
    }
    let [atime, mtime] = task.mm().read_object::<[Timeval; 2]>(UserAddr(addr))?;
    let decode = |time: Timeval| match time.tv_usec {
        0..=999_999 => Ok(Some(SetTime::At(Timespec { tv_sec: time.tv_sec, tv_nsec: time.tv_usec * 1000 }))),
        _ => Err(Errno::EINVAL),
    };
    Ok(NewTimes { atime: decode(atime)?, mtime: decode(mtime)? })
}

pub(super) fn umask(task: &mut CurrentTask, args: Args) -> SysResult {
    Ok(u64::from(task.fs().set_umask(args.uint(0))))
}
