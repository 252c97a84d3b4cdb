//! Resource limits: `man 2 getrlimit`, `prlimit`.

use abi::resource::{Resource, Rlimit};
use abi::{Errno, UserAddr};

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

pub(super) fn getrlimit(task: &mut CurrentTask, args: Args) -> SysResult {
    let resource = Resource::new(args[0] & 0xffff_ffff).ok_or(Errno::EINVAL)?;
    let limit = task.thread_group().limits().get(resource);
    task.mm().write_object(args.addr(1), &limit)?;
    Ok(0)
}

pub(super) fn setrlimit(task: &mut CurrentTask, args: Args) -> SysResult {
    let new: Rlimit = task.mm().read_object(args.addr(1))?;
    let resource = Resource::new(args[0] & 0xffff_ffff).ok_or(Errno::EINVAL)?;
    task.replace_limit(task.thread_group(), resource, new)?;
    Ok(0)
}

pub(super) fn prlimit64(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pid, resource, new_at, old_at, ..] = args.0;
    let resource = Resource::new(resource & 0xffff_ffff).ok_or(Errno::EINVAL)?;
    let new = if new_at == 0 { None } else { Some(task.mm().read_object::<Rlimit>(UserAddr(new_at))?) };
    let target = super::args::task_or_self(task, pid as i32)?;
    let group = target.thread_group();
    if !task.may_limit(&target) {
        return Err(Errno::EPERM.into());
    }
    let old = match new {
        Some(new) => task.replace_limit(group, resource, new)?,
        None => group.limits().get(resource),
    };
    if old_at != 0 {
        task.mm().write_object(UserAddr(old_at), &old)?;
    }
    Ok(0)
}
