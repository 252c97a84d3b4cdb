//! Resource limits: `man 2 getrlimit`, `prlimit`.

use abi::resource::{Resource, Rlimit};
use abi::{Errno, Result, UserAddr};

use crate::syscalls::table::Args;
use crate::task::{Capability, ThreadGroup};
use crate::{CurrentTask, SysResult, Task};

/// The hard limit on open files cannot be raised above this (`fs.nr_open`).
const MAX_FILES: u64 = 1 << 20;

/// Replaces a limit; returns the old one.
fn exchange(task: &Task, group: &ThreadGroup, resource: Resource, new: Option<Rlimit>) -> Result<Rlimit> {
    let Some(new) = new else { return Ok(group.limits().get(resource)) };
    if new.cur > new.max {
        return Err(Errno::EINVAL);
    }
    if resource == Resource::Nofile && new.max > MAX_FILES {
        return Err(Errno::EPERM);
    }
    let may_raise = task.creds().has_in(&task.kernel().user_ns, Capability::SysResource);
    let old = group.update_limits(|limits| {
        let old = limits.get(resource);
        if new.max > old.max && !may_raise {
            return Err(Errno::EPERM);
        }
        limits.set(resource, new);
        Ok(old)
    })?;
    group.limits_changed(resource);
    Ok(old)
}

pub(super) fn getrlimit(task: &mut CurrentTask, args: Args) -> SysResult {
    let resource = Resource::new(args[0] & 0xffff_ffff).ok_or(Errno::EINVAL)?;
    let limit = task.thread_group().limits().get(resource);
    task.mm().write_object(args.addr(1), &limit)?;
    Ok(0)
}

pub(super) fn setrlimit(task: &mut CurrentTask, args: Args) -> SysResult {
    let new: Rlimit = task.mm().read_object(args.addr(1))?;
    let resource = Resource::new(args[0] & 0xffff_ffff).ok_or(Errno::EINVAL)?;
    exchange(task, task.thread_group(), resource, Some(new))?;
    Ok(0)
}

pub(super) fn prlimit64(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pid, resource, new_at, old_at, ..] = args.0;
    let resource = Resource::new(resource & 0xffff_ffff).ok_or(Errno::EINVAL)?;
    let new = if new_at == 0 { None } else { Some(task.mm().read_object::<Rlimit>(UserAddr(new_at))?) };
    let target = super::args::task_or_self(task, pid as i32)?;
    let group = target.thread_group();
    if group.id() != task.thread_group().id() {
        let (own, other) = (task.creds(), target.creds());
        if !other.has_only_ids(own.uid, own.gid) && !own.has_in(&other.user_ns, Capability::SysResource) {
            return Err(Errno::EPERM.into());
        }
    }
    let old = exchange(task, group, resource, new)?;
    if old_at != 0 {
        task.mm().write_object(UserAddr(old_at), &old)?;
    }
    Ok(0)
}
