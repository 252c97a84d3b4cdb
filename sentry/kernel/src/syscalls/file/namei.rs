//! mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2), rename(2), readlink(2).

use abi::fcntl::AtFlags;
use abi::fs::AT_FDCWD;
use abi::{DeviceId, Errno, FileType, UserAddr};

use super::args::{Identity, at_flags, origin, path, vfs};
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::vfs::{Fd, NodeSpec, RenameFlags, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn mkdir(task: &mut CurrentTask, args: Args) -> SysResult {
    make_directory(task, AT_FDCWD, args[0], args.uint(1))
}

pub(super) fn mkdirat(task: &mut CurrentTask, args: Args) -> SysResult {
    make_directory(task, args.int(0), args[1], args.uint(2))
}

fn make_directory(task: &Task, dirfd: Fd, path_addr: u64, mode: u32) -> SysResult {
    let path = path(task, path_addr)?;
    let origin = origin(task, dirfd, &path)?;
    vfs(task).mkdir(&Identity::of(task).caller(), &origin, &path, mode, task.fs().umask())?;
    Ok(0)
}

pub(super) fn mknod(task: &mut CurrentTask, args: Args) -> SysResult {
    make_node(task, AT_FDCWD, args[0], args.uint(1), args[2])
}

pub(super) fn mknodat(task: &mut CurrentTask, args: Args) -> SysResult {
    make_node(task, args.int(0), args[1], args.uint(2), args[3])
}

fn make_node(task: &Task, dirfd: Fd, path_addr: u64, mode: u32, dev: u64) -> SysResult {
    let file_type = match mode & 0o170_000 {
        0 => FileType::Regular,
        bits => FileType::from_mode(bits).ok_or(Errno::EINVAL)?,
    };
    match file_type {
        FileType::Directory => return Err(Errno::EPERM.into()),
        FileType::Symlink => return Err(Errno::EINVAL.into()),
        _ => {}
    }
    let path = path(task, path_addr)?;
    let origin = origin(task, dirfd, &path)?;
    let is_device = matches!(file_type, FileType::Char | FileType::Block);
    // The call's dev is 32 bits wide.
    let rdev = if is_device { DeviceId::decode(dev & 0xffff_ffff) } else { DeviceId::default() };
    let spec = NodeSpec { file_type, mode: mode & 0o7777, umask: task.fs().umask(), rdev };
    vfs(task).mknod(&Identity::of(task).caller(), &origin, &path, &spec)?;
    Ok(0)
}

pub(super) fn symlink(task: &mut CurrentTask, args: Args) -> SysResult {
    make_symlink(task, args[0], AT_FDCWD, args[1])
}

pub(super) fn symlinkat(task: &mut CurrentTask, args: Args) -> SysResult {
    make_symlink(task, args[0], args.int(1), args[2])
}

fn make_symlink(task: &Task, text_addr: u64, dirfd: Fd, path_addr: u64) -> SysResult {
    let (text, path) = (path(task, text_addr)?, path(task, path_addr)?);
    let origin = origin(task, dirfd, &path)?;
    vfs(task).symlink(&Identity::of(task).caller(), &text, &origin, &path)?;
    Ok(0)
}

pub(super) fn link(task: &mut CurrentTask, args: Args) -> SysResult {
    make_link(task, (AT_FDCWD, args[0]), (AT_FDCWD, args[1]), AtFlags::empty())
}

pub(super) fn linkat(task: &mut CurrentTask, args: Args) -> SysResult {
    let known = AtFlags::SYMLINK_FOLLOW | AtFlags::EMPTY_PATH;
    let flags = at_flags(args.uint(4), known)?;
    make_link(task, (args.int(0), args[1]), (args.int(2), args[3]), flags)
}

fn make_link(task: &Task, old: (Fd, u64), new: (Fd, u64), flags: AtFlags) -> SysResult {
    let identity = Identity::of(task);
    let caller = identity.caller();
    let (old_path, new_path) = (path(task, old.1)?, path(task, new.1)?);
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags.contains(AtFlags::SYMLINK_FOLLOW));
    walk.set(WalkFlags::EMPTY, flags.contains(AtFlags::EMPTY_PATH));
    if old_path.is_empty() && !caller.creds.capable(Capability::DacReadSearch) {
        return Err(Errno::ENOENT.into());
    }
    let place = vfs(task).lookup(&caller, &origin(task, old.0, &old_path)?, &old_path, walk)?;
    vfs(task).link(&caller, &place, &origin(task, new.0, &new_path)?, &new_path)?;
    Ok(0)
}

pub(super) fn unlink(task: &mut CurrentTask, args: Args) -> SysResult {
    remove_file(task, AT_FDCWD, args[0])
}

pub(super) fn rmdir(task: &mut CurrentTask, args: Args) -> SysResult {
    remove_directory(task, AT_FDCWD, args[0])
}

pub(super) fn unlinkat(task: &mut CurrentTask, args: Args) -> SysResult {
    match args.uint(2) {
        0 => remove_file(task, args.int(0), args[1]),
        flags if flags == AtFlags::REMOVEDIR.bits() => remove_directory(task, args.int(0), args[1]),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn remove_file(task: &Task, dirfd: Fd, path_addr: u64) -> SysResult {
    let path = path(task, path_addr)?;
    vfs(task).unlink(&Identity::of(task).caller(), &origin(task, dirfd, &path)?, &path)?;
    Ok(0)
}

fn remove_directory(task: &Task, dirfd: Fd, path_addr: u64) -> SysResult {
    let path = path(task, path_addr)?;
    vfs(task).rmdir(&Identity::of(task).caller(), &origin(task, dirfd, &path)?, &path)?;
    Ok(0)
}

pub(super) fn rename(task: &mut CurrentTask, args: Args) -> SysResult {
    move_name(task, (AT_FDCWD, args[0]), (AT_FDCWD, args[1]), 0)
}

pub(super) fn renameat(task: &mut CurrentTask, args: Args) -> SysResult {
    move_name(task, (args.int(0), args[1]), (args.int(2), args[3]), 0)
}

pub(super) fn renameat2(task: &mut CurrentTask, args: Args) -> SysResult {
    move_name(task, (args.int(0), args[1]), (args.int(2), args[3]), args.uint(4))
}

fn move_name(task: &Task, old: (Fd, u64), new: (Fd, u64), flags: u32) -> SysResult {
    let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    let (old_path, new_path) = (path(task, old.1)?, path(task, new.1)?);
    let (from, to) = (origin(task, old.0, &old_path)?, origin(task, new.0, &new_path)?);
    vfs(task).rename(&Identity::of(task).caller(), (&from, &old_path), (&to, &new_path), flags)?;
    Ok(0)
}

pub(super) fn readlink(task: &mut CurrentTask, args: Args) -> SysResult {
    read_link(task, AT_FDCWD, args[0], args[1], args.int(2))
}

pub(super) fn readlinkat(task: &mut CurrentTask, args: Args) -> SysResult {
    read_link(task, args.int(0), args[1], args[2], args.int(3))
}

fn read_link(task: &Task, dirfd: Fd, path_addr: u64, to: u64, len: i32) -> SysResult {
    let len = usize::try_from(len).ok().filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
    let path = path(task, path_addr)?;
    let identity = Identity::of(task);
    let caller = identity.caller();
    let place = vfs(task).lookup(&caller, &origin(task, dirfd, &path)?, &path, WalkFlags::EMPTY)?;
    if !place.dentry.is_symlink() {
        // An empty path names a descriptor, which is then of the wrong kind.
        return Err(if path.is_empty() { Errno::ENOENT } else { Errno::EINVAL }.into());
    }
    let text = place.inode().readlink(&caller)?;
    let text = &text[..text.len().min(len)];
    task.mm().write(UserAddr(to), text)?;
    Ok(text.len() as u64)
}
