//! `man 2 ptrace`.

use std::sync::Arc;

use abi::ptrace::{PEEKSIGINFO_SHARED, PeekSiginfoArgs, SyscallInfo, TraceOptions, request};
use abi::seccomp::{AUDIT_ARCH_X86_64, FilterFlags, Metadata, SECCOMP_MODE_FILTER};
use abi::{Errno, Result, SigInfo, SigSet, Signal, UserAddr};
use zerocopy::IntoBytes;

use crate::security::Filter;
use crate::syscalls::table::Args;
use crate::task::{Capability, ExitStatus, RegisterSet, Resume, StopKind, Task};
use crate::{CurrentTask, SysResult};

/// The size of `sigset_t` in the requests.
const SIGSET_SIZE: u64 = 8;
/// `PTRACE_SYSCALL_INFO_*`.
const INFO_NONE: u8 = 0;
const INFO_ENTRY: u8 = 1;
const INFO_EXIT: u8 = 2;
const INFO_SECCOMP: u8 = 3;

pub(super) fn ptrace(task: &mut CurrentTask, args: Args) -> SysResult {
    let [request, pid, addr, data, ..] = args.0;
    if request == request::TRACEME {
        task.task().trace_me()?;
        return Ok(0);
    }
    let target = task.pid_ns().task(pid as i32).ok_or(Errno::ESRCH)?;
    match request {
        request::ATTACH => {
            target.attach(task.task(), None)?;
            return Ok(0);
        }
        request::SEIZE => {
            if addr != 0 {
                return Err(Errno::EIO.into());
            }
            target.attach(task.task(), Some(options(task, data)?))?;
            return Ok(0);
        }
        _ => {}
    }
    if target.tracer().is_none_or(|tracer| tracer.id() != task.id()) {
        return Err(Errno::ESRCH.into());
    }
    match request {
        request::KILL => {
            target.thread_group().kill(ExitStatus::Killed { signal: Signal::KILL, core: false });
            return Ok(0);
        }
        request::INTERRUPT => {
            if !target.trace.lock().is_seized() {
                return Err(Errno::EIO.into());
            }
            target.interrupt_for_tracer();
            return Ok(0);
        }
        _ if !target.is_trace_stopped() => return Err(Errno::ESRCH.into()),
        _ => {}
    }
    stopped_request(task, &target, request, addr, data)
}

fn options(task: &CurrentTask, raw: u64) -> Result<TraceOptions> {
    let options = TraceOptions::from_bits(raw).ok_or(Errno::EINVAL)?;
    if options.contains(TraceOptions::SUSPEND_SECCOMP) && !task.creds().capable(Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    Ok(options)
}

fn stopped_request(task: &CurrentTask, target: &Arc<Task>, request: u64, addr: u64, data: u64) -> SysResult {
    let resume = |how| {
        let signal = passed_signal(data)?;
        target.resume_tracee(how, signal).map(|()| 0)
    };
    let result = match request {
        request::PEEKTEXT | request::PEEKDATA => peek(task, target, addr, data),
        request::POKETEXT | request::POKEDATA => poke(target, addr, data),
        request::PEEKUSER => target.peek_user(addr).and_then(|word| store(task, data, word)),
        request::POKEUSER => target.poke_user(addr, data).map(|()| 0),
        request::CONT => resume(Resume::Continue),
        request::SYSCALL => resume(Resume::ToCall),
        request::SYSEMU => resume(Resume::EmulateCalls),
        request::SINGLESTEP => resume(Resume::Step),
        request::LISTEN => target.resume_tracee(Resume::Listen, None).map(|()| 0),
        request::DETACH => passed_signal(data).map(|signal| {
            target.unlink_tracer(signal);
            0
        }),
        request::GETREGS => get_set(task, target, RegisterSet::General, data),
        request::GETFPREGS => get_set(task, target, RegisterSet::Fpu, data),
        request::SETREGS => set_whole(task, target, RegisterSet::General, data),
        request::SETFPREGS => set_whole(task, target, RegisterSet::Fpu, data),
        request::GETREGSET => regset(task, target, RegisterSet::from_note(addr)?, data, Access::Get),
        request::SETREGSET => regset(task, target, RegisterSet::from_note(addr)?, data, Access::Set),
        request::SETOPTIONS => options(task, data).map(|options| {
            target.trace.lock().options = options;
            0
        }),
        request::GETEVENTMSG => {
            let message = target.trace.lock().message;
            store(task, data, message)
        }
        request::GETSIGINFO => {
            let info = target.with_stopped(|stopped| stopped.info.ok_or(Errno::EINVAL))?;
            store(task, data, info)
        }
        request::SETSIGINFO => {
            let info: SigInfo = task.mm().read_object(UserAddr(data))?;
            target
                .with_stopped(|stopped| stopped.info.as_mut().map(|old| *old = info).ok_or(Errno::EINVAL))?;
            target.trace.lock().last_info = Some(info);
            Ok(0)
        }
        request::PEEKSIGINFO => peek_signals(task, target, addr, data),
        request::GETSIGMASK if addr == SIGSET_SIZE => store(task, data, target.blocked()),
        request::SETSIGMASK if addr == SIGSET_SIZE => {
            let mask: SigSet = task.mm().read_object(UserAddr(data))?;
            target.set_blocked(mask);
            Ok(0)
        }
        request::SECCOMP_GET_FILTER => seccomp_filter(task, target, addr, data),
        request::SECCOMP_GET_METADATA => seccomp_metadata(task, target, addr, data),
        request::GET_SYSCALL_INFO => syscall_info(task, target, addr, data),
        request::ARCH_PRCTL => arch_prctl(task, target, addr, data),
        request::GETSIGMASK | request::SETSIGMASK => Err(Errno::EINVAL),
        _ => Err(Errno::EIO),
    };
    Ok(result?)
}

fn passed_signal(number: u64) -> Result<Option<Signal>> {
    match i32::try_from(number) {
        Ok(0) => Ok(None),
        Ok(number) => Signal::new(number).map(Some).ok_or(Errno::EIO),
        Err(_) => Err(Errno::EIO),
    }
}

fn store<T: IntoBytes + zerocopy::Immutable>(task: &CurrentTask, addr: u64, value: T) -> Result<u64> {
    task.mm().write_object(UserAddr(addr), &value).map(|()| 0)
}

fn peek(task: &CurrentTask, target: &Task, addr: u64, data: u64) -> Result<u64> {
    let mut word = [0; 8];
    let mm = target.try_mm().ok_or(Errno::ESRCH)?;
    if mm.read_forced(UserAddr(addr), &mut word) != word.len() {
        return Err(Errno::EIO);
    }
    store(task, data, u64::from_ne_bytes(word))
}

fn poke(target: &Task, addr: u64, data: u64) -> Result<u64> {
    let mm = target.try_mm().ok_or(Errno::ESRCH)?;
    let word = data.to_ne_bytes();
    if mm.write_forced(UserAddr(addr), &word) == word.len() { Ok(0) } else { Err(Errno::EIO) }
}

fn features(task: &CurrentTask) -> u64 {
    task.kernel().platform.xstate_layout().1
}

fn get_set(task: &CurrentTask, target: &Task, set: RegisterSet, data: u64) -> Result<u64> {
    let bytes = target.with_stopped(|stopped| Ok(stopped.read_set(set, features(task))))?;
    task.mm().write(UserAddr(data), &bytes).map(|()| 0)
}

fn set_whole(task: &CurrentTask, target: &Task, set: RegisterSet, data: u64) -> Result<u64> {
    let mut bytes = target.with_stopped(|stopped| Ok(stopped.read_set(set, 0)))?;
    task.mm().read(UserAddr(data), &mut bytes)?;
    target.with_stopped(|stopped| stopped.write_set(set, &bytes)).map(|()| 0)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Get,
    Set,
}

fn regset(task: &CurrentTask, target: &Task, set: RegisterSet, iov: u64, access: Access) -> Result<u64> {
    let mm = task.mm();
    let [base, len]: [u64; 2] = mm.read_object(UserAddr(iov))?;
    if len % 8 != 0 {
        return Err(Errno::EINVAL);
    }
    let mut bytes = target.with_stopped(|stopped| Ok(stopped.read_set(set, features(task))))?;
    bytes.truncate(usize::try_from(len).unwrap_or(usize::MAX));
    if access == Access::Get {
        mm.write(UserAddr(base), &bytes)?;
    } else {
        mm.read(UserAddr(base), &mut bytes)?;
        target.with_stopped(|stopped| stopped.write_set(set, &bytes))?;
    }
    mm.write_object(UserAddr(iov), &[base, bytes.len() as u64])?;
    Ok(0)
}

fn peek_signals(task: &CurrentTask, target: &Task, addr: u64, data: u64) -> Result<u64> {
    let args: PeekSiginfoArgs = task.mm().read_object(UserAddr(addr))?;
    if args.nr < 0 || args.flags & !PEEKSIGINFO_SHARED != 0 {
        return Err(Errno::EINVAL);
    }
    let skip = usize::try_from(args.off).unwrap_or(usize::MAX);
    let wanted = usize::try_from(args.nr).unwrap_or(0);
    let infos: Vec<SigInfo> = {
        let state = target.thread_group().signal.lock();
        if args.flags & PEEKSIGINFO_SHARED != 0 {
            state.shared.iter().skip(skip).take(wanted).copied().collect()
        } else {
            target.signals.lock().pending.iter().skip(skip).take(wanted).copied().collect()
        }
    };
    for (index, info) in infos.iter().enumerate() {
        let at = data.checked_add((index * size_of::<SigInfo>()) as u64).ok_or(Errno::EFAULT)?;
        if let Err(errno) = task.mm().write_object(UserAddr(at), info) {
            // What was told before stands.
            return if index == 0 { Err(errno) } else { Ok(index as u64) };
        }
    }
    Ok(infos.len() as u64)
}

/// Filter `index` of the target, for a caller who may see it.
fn filter_of(task: &CurrentTask, target: &Task, index: u64) -> Result<Arc<Filter>> {
    if !task.creds().capable(Capability::SysAdmin) || task.seccomp_mode() != 0 {
        return Err(Errno::EACCES);
    }
    if target.seccomp_mode() != SECCOMP_MODE_FILTER {
        return Err(Errno::EINVAL);
    }
    let filter = usize::try_from(index).ok().and_then(|index| target.filter(index));
    filter.ok_or(Errno::ENOENT)
}

/// `size` says how much the caller knows of the structure, which begins with the number of the filter that is meant.
fn seccomp_metadata(task: &CurrentTask, target: &Task, size: u64, data: u64) -> Result<u64> {
    const NUMBER: u64 = size_of::<u64>() as u64;
    let size = size.min(size_of::<Metadata>() as u64);
    if size < NUMBER {
        return Err(Errno::EINVAL);
    }
    let filter_off: u64 = task.mm().read_object(UserAddr(data))?;
    let filter = filter_of(task, target, filter_off)?;
    let flags = if filter.logs() { FilterFlags::LOG } else { FilterFlags::empty() };
    let metadata = Metadata { filter_off, flags: flags.bits().into() };
    task.mm().write(UserAddr(data), &metadata.as_bytes()[..size as usize])?;
    Ok(size)
}

fn seccomp_filter(task: &CurrentTask, target: &Task, index: u64, data: u64) -> Result<u64> {
    let filter = filter_of(task, target, index)?;
    let source = filter.source();
    if data != 0 {
        task.mm().write(UserAddr(data), source.as_bytes())?;
    }
    Ok(source.len() as u64)
}

fn syscall_info(task: &CurrentTask, target: &Task, size: u64, data: u64) -> Result<u64> {
    let message = target.trace.lock().message;
    let (info, len) = target.with_stopped(|stopped| {
        let regs = &stopped.regs;
        let mut info = SyscallInfo {
            arch: AUDIT_ARCH_X86_64,
            instruction_pointer: regs.rip,
            stack_pointer: regs.rsp,
            ..SyscallInfo::default()
        };
        let call = |info: &mut SyscallInfo| {
            info.words[0] = regs.orig_rax;
            info.words[1..].copy_from_slice(&regs.syscall_args());
        };
        let len = match stopped.kind {
            StopKind::CallEntry => {
                info.op = INFO_ENTRY;
                call(&mut info);
                80
            }
            StopKind::CallExit => {
                info.op = INFO_EXIT;
                let is_error = (-4095..0).contains(&(regs.rax as i64));
                info.words[0] = regs.rax;
                info.words[1] = is_error.into();
                33
            }
            StopKind::Event(abi::ptrace::event::SECCOMP) => {
                info.op = INFO_SECCOMP;
                call(&mut info);
                info.ret_data = message as u32;
                84
            }
            _ => {
                info.op = INFO_NONE;
                24
            }
        };
        Ok((info, len))
    })?;
    let written = usize::try_from(size).unwrap_or(usize::MAX).min(len);
    task.mm().write(UserAddr(data), &info.as_bytes()[..written])?;
    Ok(len as u64)
}

fn arch_prctl(task: &CurrentTask, target: &Task, addr: u64, code: u64) -> Result<u64> {
    use abi::prctl::{ARCH_GET_FS, ARCH_GET_GS, ARCH_SET_FS, ARCH_SET_GS};
    const FS_BASE: u64 = std::mem::offset_of!(abi::Regs, fs_base) as u64;
    const GS_BASE: u64 = std::mem::offset_of!(abi::Regs, gs_base) as u64;
    match code {
        ARCH_SET_FS => target.poke_user(FS_BASE, addr).map(|()| 0),
        ARCH_SET_GS => target.poke_user(GS_BASE, addr).map(|()| 0),
        ARCH_GET_FS => target.peek_user(FS_BASE).and_then(|base| store(task, addr, base)),
        ARCH_GET_GS => target.peek_user(GS_BASE).and_then(|base| store(task, addr, base)),
        _ => Err(Errno::EINVAL),
    }
}
