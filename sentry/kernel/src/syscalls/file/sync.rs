//! statfs(2), ustat(2), sync(2), fsync(2) and their relatives, fadvise64(2), readahead(2).

use abi::fs::{AT_FDCWD, Statfs};
use abi::mount::MountFlags;
use abi::{DeviceId, Errno, FileType, UserAddr};
use zerocopy::{Immutable, IntoBytes};

use super::args::{any_file, file, find, uint, vfs};
use crate::syscalls::table::Args;
use crate::vfs::{Mount, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn statfs(task: &mut CurrentTask, args: Args) -> SysResult {
    let place = find(task, AT_FDCWD, args.0[0], WalkFlags::FOLLOW)?;
    put_statfs(task, &place.mount, args.0[1])
}

pub(super) fn fstatfs(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = any_file(task, args.0[0])?;
    put_statfs(task, &file.path().mount, args.0[1])
}

fn put_statfs(task: &Task, mount: &Mount, to: u64) -> SysResult {
    let mut statfs: Statfs = mount.fs().statfs()?;
    statfs.f_flags = statfs_flags(mount);
    task.mm().write_object(UserAddr(to), &statfs)?;
    Ok(0)
}

/// `struct ustat`.
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct Ustat {
    f_tfree: i32,
    pad: i32,
    f_tinode: u64,
    f_fname: [u8; 6],
    f_fpack: [u8; 6],
    pad_end: [u8; 4],
}

pub(super) fn ustat(task: &mut CurrentTask, args: Args) -> SysResult {
    let device = DeviceId::decode(args.0[0] & 0xffff_ffff);
    let all = vfs(task).superblocks();
    let of_device = all.iter().find(|sb| sb.fs().device() == device).ok_or(Errno::EINVAL)?;
    let statfs = of_device.fs().statfs()?;
    let reply = Ustat { f_tfree: statfs.f_bfree as i32, f_tinode: statfs.f_ffree, ..Ustat::default() };
    task.mm().write_object(UserAddr(args.0[1]), &reply)?;
    Ok(0)
}

/// `ST_*`: the low mount flags under other names, and `ST_VALID`.
fn statfs_flags(mount: &Mount) -> i64 {
    const ST_VALID: i64 = 0x20;
    const NAMES: [(MountFlags, i64); 8] = [
        (MountFlags::RDONLY, 1),
        (MountFlags::NOSUID, 2),
        (MountFlags::NODEV, 4),
        (MountFlags::NOEXEC, 8),
        (MountFlags::NOATIME, 0x400),
        (MountFlags::NODIRATIME, 0x800),
        (MountFlags::RELATIME, 0x1000),
        (MountFlags::NOSYMFOLLOW, 0x2000),
    ];
    let mut flags = mount.flags();
    flags.set(MountFlags::RDONLY, mount.is_read_only() || mount.superblock().is_read_only());
    NAMES.iter().filter(|(flag, _)| flags.contains(*flag)).fold(ST_VALID, |bits, (_, st)| bits | st)
}

pub(super) fn sync(task: &mut CurrentTask, _args: Args) -> SysResult {
    for sb in vfs(task).superblocks() {
        // sync(2) has no way to tell of an error.
        let _ = sb.fs().sync();
    }
    Ok(0)
}

pub(super) fn syncfs(task: &mut CurrentTask, args: Args) -> SysResult {
    file(task, args.0[0])?.path().mount.fs().sync()?;
    Ok(0)
}

pub(super) fn fsync(task: &mut CurrentTask, args: Args) -> SysResult {
    file(task, args.0[0])?.ops().sync(false)?;
    Ok(0)
}

pub(super) fn fdatasync(task: &mut CurrentTask, args: Args) -> SysResult {
    file(task, args.0[0])?.ops().sync(true)?;
    Ok(0)
}

pub(super) fn sync_file_range(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args.0[0])?;
    let (offset, len, flags) = (args.0[1] as i64, args.0[2] as i64, uint(args.0[3]));
    if offset < 0 || len < 0 || offset.checked_add(len).is_none() || flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    match FileType::from_mode(file.inode().mode()?) {
        Some(FileType::Regular | FileType::Directory | FileType::Block | FileType::Symlink) => {}
        _ => return Err(Errno::ESPIPE.into()),
    }
    file.ops().sync(true)?;
    Ok(0)
}

pub(super) fn fadvise64(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args.0[0])?;
    if FileType::from_mode(file.inode().mode()?) == Some(FileType::Fifo) {
        return Err(Errno::ESPIPE.into());
    }
    // Advice is taken note of; the host's page cache knows better.
    if (args.0[2] as i64) < 0 || args.0[3] > 5 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

pub(super) fn readahead(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args.0[0])?;
    file.check_readable()?;
    match FileType::from_mode(file.inode().mode()?) {
        Some(FileType::Regular | FileType::Block) => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}
