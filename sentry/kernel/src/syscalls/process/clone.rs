//! `man 2 clone`, `man 2 fork`, `man 2 vfork`, `man 2 clone3`, `man 2 set_tid_address`.

use abi::sched::{CLONE_ARGS_SIZE_VER0, CloneArgs, CloneFlags};
use abi::{Errno, Result, Signal, UserAddr};
use zerocopy::FromBytes;

use crate::syscalls::table::Args;
use crate::task::{CloneRequest, Tid};
use crate::{CurrentTask, SysResult};

/// The low byte of clone(2)'s flags: the exit signal.
const CSIGNAL: u64 = 0xff;
/// The most pid name spaces that a number can be wanted in.
const MAX_SET_TID: u64 = 32;

fn start(task: &mut CurrentTask, request: &CloneRequest) -> SysResult {
    task.clone_task(request).map(|tid| tid as u64)
}

pub(super) fn fork(task: &mut CurrentTask, _args: Args) -> SysResult {
    start(task, &CloneRequest { exit_signal: Some(Signal::CHLD), ..CloneRequest::default() })
}

pub(super) fn vfork(task: &mut CurrentTask, _args: Args) -> SysResult {
    let flags = CloneFlags::VFORK | CloneFlags::VM;
    start(task, &CloneRequest { flags, exit_signal: Some(Signal::CHLD), ..CloneRequest::default() })
}

fn exit_signal(number: u64) -> Result<Option<Signal>> {
    match i32::try_from(number) {
        Ok(0) => Ok(None),
        Ok(number) => Signal::new(number).map(Some).ok_or(Errno::EINVAL),
        Err(_) => Err(Errno::EINVAL),
    }
}

pub(super) fn clone(task: &mut CurrentTask, args: Args) -> SysResult {
    let [raw, stack, parent_tid, child_tid, tls, _] = args.0;
    // Unknown bits are ignored here, as Linux does for this call alone; the upper half is not looked at.
    let flags = CloneFlags::from_bits_truncate(raw & 0xffff_ffff & !CSIGNAL);
    if flags.contains(CloneFlags::PIDFD | CloneFlags::PARENT_SETTID) {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(CloneFlags::PIDFD) && flags.contains(CloneFlags::DETACHED) {
        return Err(Errno::EINVAL.into());
    }
    let request = CloneRequest {
        flags: flags & !CloneFlags::DETACHED,
        exit_signal: Signal::new((raw & CSIGNAL) as i32),
        stack,
        tls,
        parent_tid: UserAddr(parent_tid),
        child_tid: UserAddr(child_tid),
        pidfd: UserAddr(parent_tid),
        set_tid: Vec::new(),
        cgroup: -1,
    };
    start(task, &request)
}

pub(super) fn clone3(task: &mut CurrentTask, args: Args) -> SysResult {
    let size = args[1];
    let args: CloneArgs = task.mm().read_extensible(args.addr(0), size, CLONE_ARGS_SIZE_VER0)?;
    let flags = CloneFlags::from_bits(args.flags).ok_or(Errno::EINVAL)?;
    if flags.contains(CloneFlags::DETACHED) || args.exit_signal > CSIGNAL {
        return Err(Errno::EINVAL.into());
    }
    // The field that came last must be there.
    let has_group = size >= size_of::<CloneArgs>() as u64;
    let cgroup = i32::try_from(args.cgroup).ok().filter(|_| has_group);
    if flags.contains(CloneFlags::INTO_CGROUP) && cgroup.is_none() {
        return Err(Errno::EINVAL.into());
    }
    let exit_signal = exit_signal(args.exit_signal)?;
    let has_no_signal = flags.intersects(CloneFlags::THREAD | CloneFlags::PARENT);
    if has_no_signal && exit_signal.is_some() {
        return Err(Errno::EINVAL.into());
    }
    if (args.stack == 0) != (args.stack_size == 0) || (args.set_tid == 0) != (args.set_tid_size == 0) {
        return Err(Errno::EINVAL.into());
    }
    let stack = args.stack.checked_add(args.stack_size).ok_or(Errno::EINVAL)?;
    let set_tid = wanted_numbers(task, args.set_tid, args.set_tid_size)?;
    let request = CloneRequest {
        flags,
        exit_signal,
        stack,
        tls: args.tls,
        parent_tid: UserAddr(args.parent_tid),
        child_tid: UserAddr(args.child_tid),
        pidfd: UserAddr(args.pidfd),
        set_tid,
        cgroup: cgroup.unwrap_or(-1),
    };
    start(task, &request)
}

fn wanted_numbers(task: &CurrentTask, addr: u64, count: u64) -> Result<Vec<Tid>> {
    use crate::task::Capability::{CheckpointRestore, SysAdmin};
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > MAX_SET_TID {
        return Err(Errno::EINVAL);
    }
    let creds = task.creds();
    let owner = task.namespaces().pid_for_children.user_ns().clone();
    if !creds.has_in(&owner, SysAdmin) && !creds.has_in(&owner, CheckpointRestore) {
        return Err(Errno::EPERM);
    }
    let mut bytes = vec![0; count as usize * 4];
    task.mm().read(UserAddr(addr), &mut bytes)?;
    bytes.chunks_exact(4).map(|at| i32::read_from_bytes(at).map_err(|_| Errno::EINVAL)).collect()
}

pub(super) fn set_tid_address(task: &mut CurrentTask, args: Args) -> SysResult {
    task.details.lock().clear_child_tid = args.addr(0);
    Ok(task.tid() as u64)
}
