//! statfs(2), fstatfs(2), ustat(2).

use abi::fs::{AT_FDCWD, Statfs};
use abi::mount::MountFlags;
use abi::{DeviceId, Errno, UserAddr};
use zerocopy::{Immutable, IntoBytes};

use super::args::{any_file, find, vfs};
use crate::syscalls::table::Args;
use crate::vfs::{Mount, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn statfs(task: &mut CurrentTask, args: Args) -> SysResult {
    let place = find(task, AT_FDCWD, args[0], WalkFlags::FOLLOW)?;
    put_statfs(task, &place.mount, args[1])
}

pub(super) fn fstatfs(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = any_file(task, args[0])?;
    put_statfs(task, &file.path().mount, args[1])
}

fn put_statfs(task: &Task, mount: &Mount, to: u64) -> SysResult {
    let mut statfs: Statfs = mount.fs().statfs()?;
    statfs.f_flags = statfs_flags(mount);
    if statfs.f_fsid == [0; 2] {
        let device = mount.fs().device().encode();
        statfs.f_fsid = [device as i32, (device >> 32) as i32];
    }
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
    let device = DeviceId::decode(args[0] & 0xffff_ffff);
    let all = vfs(task).superblocks();
    let of_device = all.iter().find(|sb| sb.fs().device() == device).ok_or(Errno::EINVAL)?;
    let statfs = of_device.fs().statfs()?;
    let reply = Ustat { f_tfree: statfs.f_bfree as i32, f_tinode: statfs.f_ffree, ..Ustat::default() };
    task.mm().write_object(args.addr(1), &reply)?;
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
