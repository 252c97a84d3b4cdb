//! inotify_init(2), inotify_init1(2), inotify_add_watch(2), inotify_rm_watch(2).

use std::any::Any;
use std::sync::Arc;

use abi::fs::AT_FDCWD;
use abi::inotify::{IN_ALL_EVENTS, InotifyMask};
use abi::{Errno, OpenFlags, Result};

use super::args::{Identity, file, find, vfs};
use crate::syscalls::table::Args;
use crate::vfs::permission::{MAY_READ, check_access};
use crate::vfs::{AnonKind, File, Inotify, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn inotify_init(task: &mut CurrentTask, _args: Args) -> SysResult {
    make(task, OpenFlags::empty())
}

pub(super) fn inotify_init1(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = OpenFlags::from_bits_retain(args.uint(0));
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK).contains(flags) {
        return Err(Errno::EINVAL.into());
    }
    make(task, flags)
}

fn make(task: &Task, flags: OpenFlags) -> SysResult {
    let instance = Inotify::new(vfs(task), &task.kernel().knobs, task.account())?;
    let status = flags & OpenFlags::NONBLOCK;
    let file = vfs(task).anon_file(AnonKind::Named("inotify"), instance, status, &task.creds());
    Ok(task.install_fd(file, flags.contains(OpenFlags::CLOEXEC))? as u64)
}

fn instance(file: &File) -> Result<Arc<Inotify>> {
    let any: Arc<dyn Any + Send + Sync> = file.ops().clone();
    any.downcast().map_err(|_| Errno::EINVAL)
}

pub(super) fn inotify_add_watch(task: &mut CurrentTask, args: Args) -> SysResult {
    let mask = InotifyMask::from_bits_retain(args.uint(2));
    let is_known = InotifyMask::all().contains(mask);
    let contradicts = mask.contains(InotifyMask::MASK_ADD | InotifyMask::MASK_CREATE);
    if !is_known || !mask.intersects(IN_ALL_EVENTS) || contradicts {
        return Err(Errno::EINVAL.into());
    }
    let file = file(task, args[0])?;
    let instance = instance(&file)?;
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, !mask.contains(InotifyMask::DONT_FOLLOW));
    walk.set(WalkFlags::DIRECTORY, mask.contains(InotifyMask::ONLYDIR));
    let place = find(task, AT_FDCWD, args[1], walk)?;
    check_access(&Identity::of(task).caller(), place.inode(), MAY_READ)?;
    Ok(instance.add_watch(&place, mask)? as u64)
}

pub(super) fn inotify_rm_watch(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    instance(&file)?.remove_watch(args.int(1))?;
    Ok(0)
}
