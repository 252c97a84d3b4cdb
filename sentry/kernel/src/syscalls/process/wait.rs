//! `man 2 wait4`, `man 2 waitid`.

use abi::wait::{P_ALL, P_PGID, P_PID, P_PIDFD, WaitOptions};
use abi::{Errno, Result, SigInfo, UserAddr};

use crate::syscalls::table::Args;
use crate::task::WaitFor;
use crate::{CurrentTask, SysResult};

fn by_pid(task: &CurrentTask, pid: i32) -> WaitFor {
    task.pid_ns().pid(pid).map_or(WaitFor::Nobody, WaitFor::Pid)
}

fn by_group(task: &CurrentTask, pgid: i32) -> WaitFor {
    if pgid == 0 {
        return WaitFor::Group(task.thread_group().process_group());
    }
    task.pid_ns().process_group(pgid).map_or(WaitFor::Nobody, WaitFor::Group)
}

pub(super) fn wait4(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pid, status_at, options, usage_at, ..] = args.0;
    let allowed = WaitOptions::NOHANG
        | WaitOptions::UNTRACED
        | WaitOptions::CONTINUED
        | WaitOptions::NOTHREAD
        | WaitOptions::CLONE
        | WaitOptions::ALL;
    let options = WaitOptions::from_bits(options as u32).filter(|options| allowed.contains(*options));
    let options = options.ok_or(Errno::EINVAL)? | WaitOptions::EXITED;
    let what = match pid as i32 {
        i32::MIN => return Err(Errno::ESRCH.into()),
        -1 => WaitFor::Any,
        pgid @ ..=0 => by_group(task, -pgid),
        pid => by_pid(task, pid),
    };
    let Some(result) = task.wait_for_child(&what, options)? else { return Ok(0) };
    let mm = task.mm();
    if status_at != 0 {
        mm.write_object(UserAddr(status_at), &result.status)?;
    }
    if usage_at != 0 {
        mm.write_object(UserAddr(usage_at), &result.usage)?;
    }
    Ok(result.pid as u64)
}

fn selection(task: &CurrentTask, kind: u32, id: i32) -> Result<WaitFor> {
    match kind {
        P_ALL => Ok(WaitFor::Any),
        P_PID if id > 0 => Ok(by_pid(task, id)),
        P_PGID if id >= 0 => Ok(by_group(task, id)),
        P_PIDFD if id >= 0 => task.with_pidfd(id, |pidfd| Ok(WaitFor::Pid(pidfd.pid().clone()))),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn waitid(task: &mut CurrentTask, args: Args) -> SysResult {
    let [kind, id, info_at, options, usage_at, _] = args.0;
    let mut options = WaitOptions::from_bits(options as u32).ok_or(Errno::EINVAL)?;
    if !options.intersects(WaitOptions::EXITED | WaitOptions::UNTRACED | WaitOptions::CONTINUED) {
        return Err(Errno::EINVAL.into());
    }
    let what = selection(task, kind as u32, id as i32)?;
    if kind as u32 == P_PIDFD {
        let file = task.fd_table().get(id as i32)?;
        if file.is_nonblocking() && !options.contains(WaitOptions::NOHANG) {
            options |= WaitOptions::NOHANG;
            let result = wait_and_tell(task, &what, options, info_at, usage_at)?;
            return if result { Ok(0) } else { Err(Errno::EAGAIN.into()) };
        }
    }
    wait_and_tell(task, &what, options, info_at, usage_at)?;
    Ok(0)
}

/// Waits and fills in the caller's structures; says whether there was news.
fn wait_and_tell(
    task: &CurrentTask,
    what: &WaitFor,
    options: WaitOptions,
    info_at: u64,
    usage_at: u64,
) -> SysResult<bool> {
    let result = task.wait_for_child(what, options)?;
    let mm = task.mm();
    if let (Some(result), true) = (&result, usage_at != 0) {
        mm.write_object(UserAddr(usage_at), &result.usage)?;
    }
    if info_at != 0 {
        let (pid, uid, code, value) = result.map_or((0, 0, 0, 0), |r| (r.pid, r.uid, r.code, r.value));
        let mut info = SigInfo::from_child(code, pid, uid, value, 0, 0);
        if result.is_none() {
            info.signo = 0;
        }
        // Linux writes these fields alone.
        mm.write_object(UserAddr(info_at), &[info.signo, info.errno, info.code])?;
        let fields = UserAddr(info_at).checked_add(16).ok_or(Errno::EFAULT)?;
        mm.write(fields, &info.fields[..12])?;
    }
    Ok(result.is_some())
}
