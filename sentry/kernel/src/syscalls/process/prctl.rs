//! `man 2 prctl`.

use abi::prctl::*;
use abi::{Errno, Result, Signal, UserAddr};

use crate::mm::ExecGain;
use crate::syscalls::table::Args;
use crate::task::{Capability, CapabilitySet, securebits};
use crate::{CurrentTask, SysResult};

/// The longest name of an anonymous mapping, with its NUL.
const MAX_MAPPING_NAME: usize = 80;
/// `PR_MCE_KILL_DEFAULT`.
const MCE_KILL_DEFAULT: u64 = 2;

/// `EINVAL` unless all of the arguments from `first` on are zero.
fn rest_is_zero(args: &Args, first: usize) -> Result<()> {
    if args.0[first..5].iter().all(|arg| *arg == 0) { Ok(()) } else { Err(Errno::EINVAL) }
}

fn store<T: zerocopy::IntoBytes + zerocopy::Immutable>(task: &CurrentTask, addr: u64, value: T) -> SysResult {
    task.mm().write_object(UserAddr(addr), &value)?;
    Ok(0)
}

pub(super) fn prctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let arg = args[1];
    match args.int(0) {
        PR_SET_PDEATHSIG => set_death_signal(task, arg),
        PR_GET_PDEATHSIG => death_signal(task, arg),
        PR_GET_DUMPABLE => Ok(task.thread_group().is_dumpable().into()),
        PR_SET_DUMPABLE => set_dumpable(task, arg),
        PR_GET_TIMING => Ok(0),
        // Statistical timing is the only kind there is.
        PR_SET_TIMING if arg == 0 => Ok(0),
        PR_SET_NAME => set_name(task, arg),
        PR_GET_NAME => name(task, arg),
        PR_GET_SECCOMP => Ok(task.seccomp_mode()),
        PR_SET_SECCOMP => super::seccomp::set_by_prctl(task, arg, args[2]),
        PR_CAPBSET_READ => Ok(task.creds().bounding.contains_number(arg)?.into()),
        PR_CAPBSET_DROP => {
            task.set_creds(task.creds().drop_from_bounding(arg)?);
            Ok(0)
        }
        // The processor cannot be told to refuse rdtsc to a stub alone.
        PR_GET_TSC => store(task, arg, PR_TSC_ENABLE),
        PR_SET_TSC if arg == u64::from(PR_TSC_ENABLE) => Ok(0),
        PR_GET_KEEPCAPS => Ok((task.creds().securebits & securebits::KEEP_CAPS != 0).into()),
        PR_SET_KEEPCAPS => keep_caps(task, arg),
        PR_GET_SECUREBITS => Ok(task.creds().securebits.into()),
        PR_SET_SECUREBITS => set_securebits(task, arg),
        PR_SET_TIMERSLACK => set_timer_slack(task, arg),
        PR_GET_TIMERSLACK => Ok(task.details.lock().timer_slack_ns),
        PR_TASK_PERF_EVENTS_DISABLE | PR_TASK_PERF_EVENTS_ENABLE => Ok(0),
        PR_MCE_KILL => Ok(rest_is_zero(&args, 3).map(|()| 0)?),
        PR_MCE_KILL_GET => Ok(rest_is_zero(&args, 1).map(|()| MCE_KILL_DEFAULT)?),
        PR_SET_CHILD_SUBREAPER => set_subreaper(task, arg),
        PR_GET_CHILD_SUBREAPER => store(task, arg, i32::from(task.thread_group().is_subreaper())),
        PR_SET_NO_NEW_PRIVS => set_no_new_privs(task, &args),
        PR_GET_NO_NEW_PRIVS => Ok(rest_is_zero(&args, 1).map(|()| task.details.lock().no_new_privs.into())?),
        PR_GET_TID_ADDRESS => tid_address(task, arg),
        PR_SET_THP_DISABLE => Ok(rest_is_zero(&args, 2).map(|()| 0)?),
        PR_GET_THP_DISABLE => Ok(rest_is_zero(&args, 1).map(|()| 0)?),
        PR_CAP_AMBIENT => ambient(task, &args),
        // Every class of speculation: not affected.
        PR_GET_SPECULATION_CTRL => Ok(rest_is_zero(&args, 2).map(|()| 0)?),
        PR_SET_SPECULATION_CTRL => Err(Errno::ENXIO.into()),
        PR_SET_PTRACER => Ok(0),
        PR_SET_VMA => name_mapping(task, &args),
        PR_SET_MM => super::set_mm::set_mm(task, &args),
        PR_SET_MDWE => set_exec_gain(task, &args),
        PR_GET_MDWE => Ok(rest_is_zero(&args, 1).map(|()| task.mm().exec_gain().bits().into())?),
        PR_SET_IO_FLUSHER | PR_GET_IO_FLUSHER => io_flusher(task, &args),
        PR_GET_AUXV => auxv(task, &args),
        _ => Err(Errno::EINVAL.into()),
    }
}

fn set_death_signal(task: &CurrentTask, number: u64) -> SysResult {
    let signal = match i32::try_from(number) {
        Ok(0) => None,
        Ok(number) => Some(Signal::new(number).ok_or(Errno::EINVAL)?),
        Err(_) => return Err(Errno::EINVAL.into()),
    };
    task.details.lock().parent_death_signal = signal;
    Ok(0)
}

fn death_signal(task: &CurrentTask, addr: u64) -> SysResult {
    let signal = task.details.lock().parent_death_signal.map_or(0, Signal::number);
    store(task, addr, signal)
}

fn set_subreaper(task: &CurrentTask, value: u64) -> SysResult {
    task.thread_group().set_subreaper(value != 0);
    Ok(0)
}

fn set_no_new_privs(task: &CurrentTask, args: &Args) -> SysResult {
    rest_is_zero(args, 2)?;
    if args[1] != 1 {
        return Err(Errno::EINVAL.into());
    }
    task.details.lock().no_new_privs = true;
    Ok(0)
}

fn tid_address(task: &CurrentTask, addr: u64) -> SysResult {
    let tid_at = task.details.lock().clear_child_tid;
    store(task, addr, tid_at.0)
}

fn set_exec_gain(task: &CurrentTask, args: &Args) -> SysResult {
    rest_is_zero(args, 2)?;
    let wanted = u32::try_from(args[1]).ok().and_then(ExecGain::from_bits).ok_or(Errno::EINVAL)?;
    if wanted == ExecGain::NOT_INHERITED {
        return Err(Errno::EINVAL.into());
    }
    task.mm().set_exec_gain(wanted)?;
    Ok(0)
}

fn set_dumpable(task: &CurrentTask, value: u64) -> SysResult {
    if value > 1 {
        return Err(Errno::EINVAL.into());
    }
    task.thread_group().set_dumpable(value == 1);
    Ok(0)
}

fn name(task: &CurrentTask, addr: u64) -> SysResult {
    let mut name = [0; 16];
    let comm = task.comm();
    name[..comm.len()].copy_from_slice(&comm);
    store(task, addr, name)
}

fn set_name(task: &CurrentTask, addr: u64) -> SysResult {
    // The name ends at its NUL: what lies behind need not be readable.
    let mut name = Vec::with_capacity(16);
    let mm = task.mm();
    while name.len() < 15 {
        let at = addr.checked_add(name.len() as u64).ok_or(Errno::EFAULT)?;
        match mm.read_object::<u8>(UserAddr(at))? {
            0 => break,
            byte => name.push(byte),
        }
    }
    task.set_comm(&name);
    Ok(0)
}

fn set_timer_slack(task: &CurrentTask, ns: u64) -> SysResult {
    let mut details = task.details.lock();
    details.timer_slack_ns = if ns as i64 <= 0 { details.default_timer_slack_ns } else { ns };
    Ok(0)
}

fn keep_caps(task: &CurrentTask, value: u64) -> SysResult {
    if value > 1 {
        return Err(Errno::EINVAL.into());
    }
    task.set_creds(task.creds().set_keep_caps(value == 1)?);
    Ok(0)
}

fn set_securebits(task: &CurrentTask, value: u64) -> SysResult {
    let wanted = u32::try_from(value).map_err(|_| Errno::EPERM)?;
    task.set_creds(task.creds().set_securebits(wanted)?);
    Ok(0)
}

fn ambient(task: &CurrentTask, args: &Args) -> SysResult {
    let [_, operation, number, ..] = args.0;
    rest_is_zero(args, 3)?;
    let old = task.creds();
    let new = if operation == PR_CAP_AMBIENT_CLEAR_ALL {
        rest_is_zero(args, 2)?;
        old.lower_ambient(CapabilitySet::FULL)
    } else {
        let one = CapabilitySet::of_number(number)?;
        match operation {
            PR_CAP_AMBIENT_IS_SET => return Ok(old.ambient.is_superset(one).into()),
            PR_CAP_AMBIENT_RAISE => old.raise_ambient(one)?,
            PR_CAP_AMBIENT_LOWER => old.lower_ambient(one),
            _ => return Err(Errno::EINVAL.into()),
        }
    };
    task.set_creds(new);
    Ok(0)
}

/// A process that writes back for others (a FUSE server): kept and shown, there is no write-back to be in the way of.
fn io_flusher(task: &CurrentTask, args: &Args) -> SysResult {
    if !task.creds().capable(Capability::SysResource) {
        return Err(Errno::EPERM.into());
    }
    if args.int(0) == PR_GET_IO_FLUSHER {
        rest_is_zero(args, 1)?;
        return Ok(task.details.lock().is_io_flusher.into());
    }
    rest_is_zero(args, 2)?;
    if args[1] > 1 {
        return Err(Errno::EINVAL.into());
    }
    task.details.lock().is_io_flusher = args[1] == 1;
    Ok(0)
}

/// Copies as much of the auxiliary vector as fits; returns its length.
fn auxv(task: &CurrentTask, args: &Args) -> SysResult {
    let [_, to, len, ..] = args.0;
    rest_is_zero(args, 3)?;
    let auxv = task.mm().image().auxv;
    let fitting = usize::try_from(len).map_or(auxv.len(), |len| len.min(auxv.len()));
    task.mm().write(UserAddr(to), &auxv[..fitting])?;
    Ok(auxv.len() as u64)
}

fn name_mapping(task: &CurrentTask, args: &Args) -> SysResult {
    let [_, operation, addr, len, name, _] = args.0;
    if operation != PR_SET_VMA_ANON_NAME {
        return Err(Errno::EINVAL.into());
    }
    let mm = task.mm();
    let text = if name == 0 {
        None
    } else {
        let bytes = mm.read_cstring(UserAddr(name), MAX_MAPPING_NAME).map_err(|error| match error {
            Errno::ENAMETOOLONG => Errno::EINVAL,
            other => other,
        })?;
        let is_shown = |byte: &u8| (b' '..=b'~').contains(byte) && !b"\\`$[]".contains(byte);
        if !bytes.iter().all(is_shown) {
            return Err(Errno::EINVAL.into());
        }
        Some(String::from_utf8(bytes).map_err(|_| Errno::EINVAL)?)
    };
    mm.set_anon_name(UserAddr(addr), len, text.as_deref())?;
    Ok(0)
}
