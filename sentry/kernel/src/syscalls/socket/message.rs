//! Sending and receiving: send*, recv*, and their vector forms.

use std::sync::Arc;

use abi::socket::{MMsgHdr, MsgFlags, MsgHdr, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET, UIO_MAXIOV};
use abi::{Errno, Result, Signal, Timespec, UserAddr};
use waiter::Events;
use zerocopy::IntoBytes;

use super::{deadline, may_block, read_address, socket_file, socket_of, timeout_is_again, write_address};
use crate::error::SysResult;
use crate::mm::{IoDst, IoRanges, IoSrc, MAX_RW_COUNT, MemoryManager};
use crate::socket::{ControlMessage, Received, RecvRequest, SendRequest, parse_control, write_control};
use crate::syscalls::table::Args;
use crate::time::MonotonicTime;
use crate::vfs::{Fd, File, ReservedFds};
use crate::{CurrentTask, SysError, Task};

/// The longest control buffer that is looked at (`net.core.optmem_max` is below it), bytes.
const MAX_CONTROL: u64 = 128 << 10;

/// sendto(2).
pub(super) fn sendto(
    task: &mut CurrentTask,
    Args([fd, buffer, len, flags, addr, addr_len]): Args,
) -> SysResult {
    let file = socket_file(task, fd)?;
    let flags = parse_msg_flags(flags);
    let mm = task.mm();
    let address = if addr == 0 { None } else { Some(read_address(&mm, UserAddr(addr), addr_len)?) };
    let mut data =
        IoSrc::user(&mm, UserAddr(buffer), usize::try_from(len).unwrap_or(usize::MAX).min(MAX_RW_COUNT));
    send(task, &file, &mut data, address.as_deref(), Vec::new(), flags)
}

/// sendmsg(2).
pub(super) fn sendmsg(task: &mut CurrentTask, Args([fd, msg, flags, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let header: MsgHdr = task.mm().read_object(UserAddr(msg))?;
    send_header(task, &file, &header, parse_msg_flags(flags))
}

/// sendmmsg(2).
pub(super) fn sendmmsg(task: &mut CurrentTask, Args([fd, vector, count, flags, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let (mm, flags) = (task.mm(), parse_msg_flags(flags));
    let mut sent = 0;
    for index in 0..u64::from(count as u32).min(UIO_MAXIOV as u64) {
        let at = element(vector, index)?;
        let result = mm.read_object::<MMsgHdr>(at).map_err(SysError::from).and_then(|entry| {
            let len = send_header(task, &file, &entry.msg_hdr, flags)?;
            mm.write_object(UserAddr(at.0 + size_of::<MsgHdr>() as u64), &(len as u32))?;
            Ok(())
        });
        match result {
            Ok(()) => sent += 1,
            Err(_) if sent > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// recvfrom(2).
pub(super) fn recvfrom(
    task: &mut CurrentTask,
    Args([fd, buffer, len, flags, addr, addr_len]): Args,
) -> SysResult {
    let file = socket_file(task, fd)?;
    let mm = task.mm();
    let mut data =
        IoDst::user(&mm, UserAddr(buffer), usize::try_from(len).unwrap_or(usize::MAX).min(MAX_RW_COUNT));
    let received = receive(task, &file, &mut data, parse_msg_flags(flags), None)?;
    if !received.address.is_empty() || addr != 0 {
        write_address(&mm, UserAddr(addr), UserAddr(addr_len), &received.address)?;
    }
    Ok(received.len as u64)
}

/// recvmsg(2).
pub(super) fn recvmsg(task: &mut CurrentTask, Args([fd, msg, flags, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    receive_header(task, &file, UserAddr(msg), parse_msg_flags(flags), None)
}

/// recvmmsg(2).
pub(super) fn recvmmsg(
    task: &mut CurrentTask,
    Args([fd, vector, count, flags, timeout, _]): Args,
) -> SysResult {
    let file = socket_file(task, fd)?;
    let mm = task.mm();
    let mut flags = parse_msg_flags(flags);
    let until = if timeout == 0 {
        None
    } else {
        let timeout: Timespec = mm.read_object(UserAddr(timeout))?;
        if !timeout.is_valid() {
            return Err(Errno::EINVAL.into());
        }
        deadline(task, Some(timeout.to_ns()))
    };
    let mut got = 0;
    for index in 0..u64::from(count as u32).min(UIO_MAXIOV as u64) {
        let at = element(vector, index)?;
        let result = receive_header(task, &file, at, flags, until).and_then(|len| {
            mm.write_object(UserAddr(at.0 + size_of::<MsgHdr>() as u64), &(len as u32))?;
            Ok(())
        });
        match result {
            Ok(()) => got += 1,
            Err(_) if got > 0 => break,
            Err(error) => return Err(error),
        }
        if flags.contains(MsgFlags::WAITFORONE) {
            flags |= MsgFlags::DONTWAIT;
        }
    }
    if let Some(until) = until.filter(|_| got > 0) {
        let left = until.since(task.kernel().timekeeper.monotonic()).max(0);
        mm.write_object(UserAddr(timeout), &Timespec::from_ns(left))?;
    }
    Ok(got)
}

fn element(vector: u64, index: u64) -> Result<UserAddr> {
    index
        .checked_mul(size_of::<MMsgHdr>() as u64)
        .and_then(|at| vector.checked_add(at))
        .map(UserAddr)
        .ok_or(Errno::EFAULT)
}

/// Linux ignores unknown bits here.
fn parse_msg_flags(flags: u64) -> MsgFlags {
    MsgFlags::from_bits_truncate(flags as u32)
}

fn iovec(mm: &MemoryManager, header: &MsgHdr) -> Result<IoRanges> {
    if header.msg_iovlen > UIO_MAXIOV as u64 {
        return Err(Errno::EMSGSIZE);
    }
    mm.read_iovec(UserAddr(header.msg_iov), header.msg_iovlen)
}

fn send_header(task: &Task, file: &Arc<File>, header: &MsgHdr, flags: MsgFlags) -> SysResult {
    let mm = task.mm();
    let address = if header.msg_name == 0 || header.msg_namelen == 0 {
        None
    } else {
        Some(read_address(&mm, UserAddr(header.msg_name), u64::from(header.msg_namelen))?)
    };
    let ranges = iovec(&mm, header)?;
    let control = if header.msg_control == 0 || header.msg_controllen == 0 {
        Vec::new()
    } else {
        if header.msg_controllen > MAX_CONTROL {
            return Err(Errno::ENOBUFS.into());
        }
        let mut bytes = vec![0; header.msg_controllen as usize];
        mm.read(UserAddr(header.msg_control), &mut bytes)?;
        let fds = task.fd_table();
        parse_control(&bytes, &mut |fd| fds.get(fd))?
    };
    let mut data = IoSrc::user_vec(&mm, &ranges);
    send(task, file, &mut data, address.as_deref(), control, flags)
}

/// Sends, waiting for room where the caller may wait. A stream goes on until everything is taken.
fn send(
    task: &Task,
    file: &Arc<File>,
    data: &mut IoSrc<'_>,
    address: Option<&[u8]>,
    control: Vec<ControlMessage>,
    flags: MsgFlags,
) -> SysResult {
    let socket = socket_of(file)?;
    let blocks = may_block(file) && !flags.contains(MsgFlags::DONTWAIT);
    let is_stream = socket.socket_type() == abi::socket::SocketType::Stream;
    let deadline = if blocks { deadline(task, socket.options().send_timeout_ns()) } else { None };
    let (mut sent, mut control) = (0, Some(control));
    loop {
        let mut attempt = || {
            let messages = control.clone().unwrap_or_default();
            socket.send(task, &mut SendRequest { data: &mut *data, address, control: messages, flags })
        };
        let result = match attempt() {
            Err(Errno::EAGAIN) if blocks => {
                let other = socket.send_queue(task, address);
                let queue = other.as_ref().or(file.ops().wait_queue()).ok_or(Errno::EAGAIN)?;
                timeout_is_again(task.block_on(queue, Events::WRITABLE, deadline, &mut attempt))
            }
            other => other.map_err(SysError::from),
        };
        match result {
            Ok(count) => {
                sent += count as u64;
                control = None;
                if !is_stream || !blocks || data.remaining() == 0 {
                    return Ok(sent);
                }
            }
            Err(_) if sent > 0 => return Ok(sent),
            Err(error) => {
                if error == SysError::Errno(Errno::EPIPE) && is_stream && !flags.contains(MsgFlags::NOSIGNAL)
                {
                    task.raise(Signal::PIPE);
                }
                return Err(error);
            }
        }
    }
}

/// Receives, waiting where the caller may wait; `MSG_WAITALL` goes on until the buffer of a stream is full.
fn receive(
    task: &Task,
    file: &Arc<File>,
    data: &mut IoDst<'_>,
    flags: MsgFlags,
    until: Option<MonotonicTime>,
) -> SysResult<Received> {
    let socket = socket_of(file)?;
    let blocks = may_block(file) && !flags.intersects(MsgFlags::DONTWAIT | MsgFlags::ERRQUEUE);
    let deadline = until.or_else(|| deadline(task, socket.options().receive_timeout_ns()));
    let wants_all = flags.contains(MsgFlags::WAITALL)
        && !flags.contains(MsgFlags::PEEK)
        && socket.socket_type() == abi::socket::SocketType::Stream;
    let mut total: Option<Received> = None;
    loop {
        let mut attempt = || socket.receive(task, &mut RecvRequest { data: &mut *data, flags });
        let result = match attempt() {
            Err(Errno::EAGAIN) if blocks => {
                let queue = file.ops().wait_queue().ok_or(Errno::EAGAIN)?;
                timeout_is_again(task.block_on(
                    queue,
                    Events::READABLE | Events::RDHUP,
                    deadline,
                    &mut attempt,
                ))
            }
            other => other.map_err(SysError::from),
        };
        let received = match (result, total.take()) {
            (Ok(more), None) => more,
            (Ok(more), Some(mut sum)) => {
                let is_end = more.len == 0;
                sum.len += more.len;
                sum.control.extend(more.control);
                if is_end {
                    return Ok(sum);
                }
                sum
            }
            (Err(_), Some(sum)) => return Ok(sum),
            (Err(error), None) => return Err(error),
        };
        let is_done = !wants_all || !blocks || received.len == 0 || data.remaining() == 0;
        if is_done || !received.control.is_empty() {
            return Ok(received);
        }
        total = Some(received);
    }
}

fn receive_header(
    task: &Task,
    file: &Arc<File>,
    at: UserAddr,
    flags: MsgFlags,
    until: Option<MonotonicTime>,
) -> SysResult {
    let mm = task.mm();
    let mut header: MsgHdr = mm.read_object(at)?;
    let ranges = iovec(&mm, &header)?;
    let mut data = IoDst::user_vec(&mm, &ranges);
    let received = receive(task, file, &mut data, flags, until)?;
    let mut out_flags = received.flags;
    if header.msg_name != 0 {
        let room = (header.msg_namelen as usize).min(received.address.len());
        mm.write(UserAddr(header.msg_name), &received.address[..room])?;
        header.msg_namelen = received.address.len() as u32;
    }
    let mut installed = Vec::new();
    let (control, is_cut) = encode_control(task, &header, received.control, &mut installed);
    out_flags.set(MsgFlags::CTRUNC, is_cut);
    out_flags.set(MsgFlags::CMSG_CLOEXEC, flags.contains(MsgFlags::CMSG_CLOEXEC));
    let told = if control.is_empty() { Ok(()) } else { mm.write(UserAddr(header.msg_control), &control) };
    header.msg_controllen = control.len() as u64;
    header.msg_flags = out_flags.bits();
    // Where the receiver does not learn their numbers, the files have none.
    told.and_then(|()| mm.write_object(at, &header))?;
    for (number, file) in installed {
        number.commit([file], flags.contains(MsgFlags::CMSG_CLOEXEC));
    }
    Ok(received.len as u64)
}

/// The control buffer that the receiver gets, and whether something did not fit. Descriptors that do not fit are
/// closed, as on Linux.
fn encode_control(
    task: &Task,
    header: &MsgHdr,
    messages: Vec<ControlMessage>,
    installed: &mut Vec<(ReservedFds, Arc<File>)>,
) -> (Vec<u8>, bool) {
    let limit = if header.msg_control == 0 { 0 } else { header.msg_controllen.min(MAX_CONTROL) as usize };
    let (mut buffer, mut is_cut) = (Vec::new(), false);
    for message in messages {
        is_cut |= match message {
            ControlMessage::Credentials(creds) => {
                write_control(&mut buffer, limit, SOL_SOCKET, SCM_CREDENTIALS, creds.as_bytes())
            }
            ControlMessage::Raw { level, kind, data } => {
                write_control(&mut buffer, limit, level, kind, &data)
            }
            ControlMessage::Rights(files) => {
                let room = limit.saturating_sub(buffer.len() + size_of::<abi::socket::CmsgHdr>()) / 4;
                let wanted = files.len();
                let received = receive_files(task, room, files);
                let numbers: Vec<Fd> =
                    received.iter().flat_map(|(number, _)| number.numbers()).copied().collect();
                if !numbers.is_empty() {
                    write_control(&mut buffer, limit, SOL_SOCKET, SCM_RIGHTS, numbers.as_bytes());
                }
                installed.extend(received);
                numbers.len() < wanted
            }
        };
    }
    (buffer, is_cut)
}

/// Sets a number aside for each of `files`, as far as there is `room` and the limit allows.
fn receive_files(task: &Task, room: usize, files: Vec<Arc<File>>) -> Vec<(ReservedFds, Arc<File>)> {
    let mut received = Vec::new();
    for file in files.into_iter().take(room) {
        match task.reserve_fds(1) {
            Ok(number) => received.push((number, file)),
            Err(_) => break,
        }
    }
    received
}
