//! stat(2), lstat(2), fstat(2), newfstatat(2), statx(2).

use std::sync::Arc;

use abi::fcntl::{
    AtFlags, STATX_ATTR_MOUNT_ROOT, STATX_BASIC_STATS, STATX_BTIME, STATX_MNT_ID, STATX_MNT_ID_UNIQUE,
    STATX_RESERVED, Statx, StatxTimestamp,
};
use abi::fs::{AT_FDCWD, Stat};
use abi::{Errno, Result, Timespec, UserAddr};

use super::args::{any_file, at_flags, find, find_bytes, path};
use crate::syscalls::table::Args;
use crate::task::UserNamespace;
use crate::vfs::{Attr, Fd, VfsPath, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn stat(task: &mut CurrentTask, args: Args) -> SysResult {
    let place = find(task, AT_FDCWD, args[0], WalkFlags::FOLLOW)?;
    put_stat(task, &place, args[1])
}

pub(super) fn lstat(task: &mut CurrentTask, args: Args) -> SysResult {
    let place = find(task, AT_FDCWD, args[0], WalkFlags::empty())?;
    put_stat(task, &place, args[1])
}

pub(super) fn fstat(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = any_file(task, args[0])?;
    put_stat(task, file.path(), args[1])
}

pub(super) fn newfstatat(task: &mut CurrentTask, args: Args) -> SysResult {
    let known = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    let flags = at_flags(args.uint(3), known)?;
    let place = place(task, args.int(0), args[1], flags)?;
    put_stat(task, &place, args[2])
}

pub(super) fn statx(task: &mut CurrentTask, args: Args) -> SysResult {
    let (flags, mask) = (AtFlags::from_bits_retain(args.uint(2)), args.uint(3));
    let sync = AtFlags::STATX_FORCE_SYNC | AtFlags::STATX_DONT_SYNC;
    let known = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT | sync;
    if mask & STATX_RESERVED != 0 || flags.contains(sync) || !known.contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    let place = place(task, args.int(0), args[1], flags)?;
    let attr = place.inode().attr()?;
    let statx = encode_statx(&task.creds().user_ns, &place, &attr, mask);
    task.mm().write_object(args.addr(4), &statx)?;
    Ok(0)
}

/// The place that a path argument with `*at` flags names.
fn place(task: &Task, dirfd: Fd, path_addr: u64, flags: AtFlags) -> Result<VfsPath> {
    let allows_empty = flags.contains(AtFlags::EMPTY_PATH);
    let path = if path_addr == 0 && allows_empty { Vec::new() } else { path(task, path_addr)? };
    if path.is_empty() && allows_empty && dirfd != AT_FDCWD {
        return Ok(task.fd_table().get(dirfd)?.path().clone());
    }
    find_bytes(task, dirfd, &path, flags.into())
}

fn put_stat(task: &Task, place: &VfsPath, to: u64) -> SysResult {
    let attr = place.inode().attr()?;
    let stat = encode_stat(&task.creds().user_ns, place, &attr);
    task.mm().write_object(UserAddr(to), &stat)?;
    Ok(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn encode_stat(user_ns: &Arc<UserNamespace>, place: &VfsPath, attr: &Attr) -> Stat {
    Stat {
        st_dev: place.mount.fs().device().encode(),
        st_ino: attr.ino,
        st_nlink: u64::from(attr.nlink),
        st_mode: attr.mode,
        st_uid: user_ns.from_kernel_uid(attr.uid),
        st_gid: user_ns.from_kernel_gid(attr.gid),
        st_rdev: attr.rdev.encode(),
        st_size: signed(attr.size),
        st_blksize: i64::from(attr.blksize),
        st_blocks: signed(attr.blocks),
        st_atim: attr.atime,
        st_mtim: attr.mtime,
        st_ctim: attr.ctime,
        ..Stat::default()
    }
}

fn encode_statx(user_ns: &Arc<UserNamespace>, place: &VfsPath, attr: &Attr, wanted: u32) -> Statx {
    let time = |at: Timespec| StatxTimestamp { tv_sec: at.tv_sec, tv_nsec: at.tv_nsec as u32, pad: 0 };
    let device = place.mount.fs().device();
    let is_mount_root = Arc::ptr_eq(&place.dentry, place.mount.root());
    let unique = if wanted & STATX_MNT_ID_UNIQUE != 0 { STATX_MNT_ID_UNIQUE } else { STATX_MNT_ID };
    let btime = if attr.btime.is_some() { STATX_BTIME } else { 0 };
    Statx {
        stx_mask: STATX_BASIC_STATS | btime | unique,
        stx_blksize: attr.blksize,
        stx_attributes: if is_mount_root { STATX_ATTR_MOUNT_ROOT } else { 0 },
        stx_nlink: attr.nlink,
        stx_uid: user_ns.from_kernel_uid(attr.uid),
        stx_gid: user_ns.from_kernel_gid(attr.gid),
        stx_mode: attr.mode as u16,
        stx_ino: attr.ino,
        stx_size: attr.size,
        stx_blocks: attr.blocks,
        stx_attributes_mask: STATX_ATTR_MOUNT_ROOT,
        stx_atime: time(attr.atime),
        stx_btime: attr.btime.map(time).unwrap_or_default(),
        stx_ctime: time(attr.ctime),
        stx_mtime: time(attr.mtime),
        stx_rdev_major: attr.rdev.major,
        stx_rdev_minor: attr.rdev.minor,
        stx_dev_major: device.major,
        stx_dev_minor: device.minor,
        stx_mnt_id: place.mount.id(),
        ..Statx::default()
    }
}
