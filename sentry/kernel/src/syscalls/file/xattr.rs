//! getxattr(2), setxattr(2), listxattr(2), removexattr(2), on paths, links and descriptors.

use abi::fs::{AT_FDCWD, NAME_MAX};
use abi::{Errno, Result, UserAddr};

use super::args::{Identity, any_file, file, find, vfs};
use crate::syscalls::table::Args;
use crate::vfs::{SetXattrFlags, VfsPath, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

const VALUE_MAX: usize = 64 << 10;
const LIST_MAX: usize = 64 << 10;

fn name(task: &Task, addr: u64) -> Result<Vec<u8>> {
    match task.mm().read_cstring(UserAddr(addr), NAME_MAX + 1) {
        Err(Errno::ENAMETOOLONG) => Err(Errno::ERANGE),
        Ok(name) if name.is_empty() => Err(Errno::ERANGE),
        other => other,
    }
}

fn place(task: &Task, path: u64, follow: WalkFlags) -> Result<VfsPath> {
    find(task, AT_FDCWD, path, follow)
}

pub(super) fn getxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    get(task, &place(task, args[0], WalkFlags::FOLLOW)?, args)
}

pub(super) fn lgetxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    get(task, &place(task, args[0], WalkFlags::empty())?, args)
}

pub(super) fn fgetxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    get(task, file.path(), args)
}

fn get(task: &Task, place: &VfsPath, args: Args) -> SysResult {
    let name = name(task, args[1])?;
    let value = vfs(task).get_xattr(&Identity::of(task).caller(), place, &name)?;
    give(task, &value, args[2], args[3], VALUE_MAX)
}

/// Hands bytes over, or only their number where the caller's buffer has size 0.
fn give(task: &Task, bytes: &[u8], to: u64, size: u64, max: usize) -> SysResult {
    if size != 0 {
        if bytes.len() as u64 > size {
            return Err(if size >= max as u64 { Errno::E2BIG } else { Errno::ERANGE }.into());
        }
        task.mm().write(UserAddr(to), bytes)?;
    }
    Ok(bytes.len() as u64)
}

pub(super) fn setxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    set(task, &|| place(task, args[0], WalkFlags::FOLLOW), args)
}

pub(super) fn lsetxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    set(task, &|| place(task, args[0], WalkFlags::empty()), args)
}

pub(super) fn fsetxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    set(task, &|| Ok(file(task, args[0])?.path().clone()), args)
}

fn set(task: &Task, place: &dyn Fn() -> Result<VfsPath>, args: Args) -> SysResult {
    let flags = SetXattrFlags::from_bits(args.uint(4)).ok_or(Errno::EINVAL)?;
    let name = name(task, args[1])?;
    let size = usize::try_from(args[3]).ok().filter(|&size| size <= VALUE_MAX).ok_or(Errno::E2BIG)?;
    let mut value = vec![0; size];
    task.mm().read(args.addr(2), &mut value)?;
    vfs(task).set_xattr(&Identity::of(task).caller(), &place()?, &name, &value, flags)?;
    Ok(0)
}

pub(super) fn listxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    list(task, &place(task, args[0], WalkFlags::FOLLOW)?, args)
}

pub(super) fn llistxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    list(task, &place(task, args[0], WalkFlags::empty())?, args)
}

pub(super) fn flistxattr(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    list(task, file.path(), args)
}

fn list(task: &Task, place: &VfsPath, args: Args) -> SysResult {
    let names = vfs(task).list_xattrs(&Identity::of(task).caller(), place)?;
    give(task, &names, args[1], args[2], LIST_MAX)
}

pub(super) fn removexattr(task: &mut CurrentTask, args: Args) -> SysResult {
    remove(task, &place(task, args[0], WalkFlags::FOLLOW)?, args)
}

pub(super) fn lremovexattr(task: &mut CurrentTask, args: Args) -> SysResult {
    remove(task, &place(task, args[0], WalkFlags::empty())?, args)
}

pub(super) fn fremovexattr(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = any_file(task, args[0])?;
    if file.is_path_only() {
        return Err(Errno::EBADF.into());
    }
    remove(task, file.path(), args)
}

fn remove(task: &Task, place: &VfsPath, args: Args) -> SysResult {
    let name = name(task, args[1])?;
    vfs(task).remove_xattr(&Identity::of(task).caller(), place, &name)?;
    Ok(0)
}
