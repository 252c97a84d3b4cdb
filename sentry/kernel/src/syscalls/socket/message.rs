//! Sending and receiving: send*, recv*, and their vector forms.

use std::sync::Arc;

use abi::socket::{
    CmsgHdr, MMsgHdr, MsgFlags, MsgHdr, SCM_CREDENTIALS, SCM_PIDFD, SCM_RIGHTS, SOL_SOCKET, UIO_MAXIOV,
};
use abi::{Errno, Result, Timespec, UserAddr};
use zerocopy::IntoBytes;

use super::{SOCKADDR_MAX, read_address, socket_file, write_address};
use crate::error::SysResult;
use crate::mm::{IoDst, IoRanges, IoSrc, MAX_RW_COUNT, MemoryManager};
use crate::socket::{ControlMessage, parse_control, wait, write_control};
use crate::syscalls::table::Args;
use crate::task::Pid;
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
    wait::send(task, &file, &mut data, address.as_deref(), Vec::new(), flags)
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
            write_length(&mm, at, len)?;
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
    let received = wait::receive(task, &file, &mut data, parse_msg_flags(flags), None)?;
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
        Some(task.kernel().timekeeper.deadline_in(timeout.to_ns()))
    };
    let mut got = 0;
    for index in 0..u64::from(count as u32).min(UIO_MAXIOV as u64) {
        let at = element(vector, index)?;
        let result = receive_header(task, &file, at, flags, until).and_then(|len| {
            write_length(&mm, at, len)?;
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

/// Stores what an element of a vector has moved.
fn write_length(mm: &MemoryManager, element: UserAddr, len: u64) -> Result<()> {
    let at = element.checked_add(size_of::<MsgHdr>() as u64).ok_or(Errno::EFAULT)?;
    mm.write_object(at, &(len as u32))
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

/// Where a message's address is or goes, and how many bytes there are; what exceeds a `sockaddr_storage` is not looked at.
fn name_buffer(header: &MsgHdr) -> Result<Option<(UserAddr, usize)>> {
    if header.msg_name == 0 {
        return Ok(None);
    }
    let len = usize::try_from(header.msg_namelen.cast_signed()).map_err(|_| Errno::EINVAL)?;
    Ok((len > 0).then_some((UserAddr(header.msg_name), len.min(SOCKADDR_MAX))))
}

fn send_header(task: &Task, file: &Arc<File>, header: &MsgHdr, flags: MsgFlags) -> SysResult {
    let mm = task.mm();
    let name = name_buffer(header)?;
    let address = name.map(|(at, len)| read_address(&mm, at, len as u64)).transpose()?;
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
    wait::send(task, file, &mut data, address.as_deref(), control, flags)
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
    name_buffer(&header)?;
    let ranges = iovec(&mm, &header)?;
    let mut data = IoDst::user_vec(&mm, &ranges);
    let received = wait::receive(task, file, &mut data, flags, until)?;
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
    for Arrival { number, file, is_pidfd } in installed {
        number.commit([file], is_pidfd || flags.contains(MsgFlags::CMSG_CLOEXEC));
    }
    Ok(received.len as u64)
}

/// A file that comes with a message, and the number that it will have.
struct Arrival {
    number: ReservedFds,
    file: Arc<File>,
    /// Made for the receiver, who did not have to ask for it to close on exec.
    is_pidfd: bool,
}

/// The control buffer that the receiver gets, and whether something did not fit. Descriptors that do not fit are
/// closed, as on Linux.
fn encode_control(
    task: &Task,
    header: &MsgHdr,
    messages: Vec<ControlMessage>,
    installed: &mut Vec<Arrival>,
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
            ControlMessage::Process(pid) => {
                let is_cut = limit < buffer.len() + size_of::<CmsgHdr>() + size_of::<Fd>();
                if !is_cut {
                    let told = receive_pidfd(task, &pid, installed).unwrap_or_else(|errno| -errno.raw());
                    write_control(&mut buffer, limit, SOL_SOCKET, SCM_PIDFD, told.as_bytes());
                }
                is_cut
            }
            ControlMessage::Rights(files) => {
                let room = limit.saturating_sub(buffer.len() + size_of::<CmsgHdr>()) / 4;
                let wanted = files.len();
                let received = receive_files(task, room, files);
                let numbers: Vec<Fd> =
                    received.iter().flat_map(|arrival| arrival.number.numbers()).copied().collect();
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
fn receive_files(task: &Task, room: usize, files: Vec<Arc<File>>) -> Vec<Arrival> {
    let mut received = Vec::new();
    for file in files.into_iter().take(room) {
        match task.reserve_fds(1) {
            Ok(number) => received.push(Arrival { number, file, is_pidfd: false }),
            Err(_) => break,
        }
    }
    received
}

/// Sets a number aside for a descriptor of the process that sent a message.
fn receive_pidfd(task: &Task, pid: &Arc<Pid>, installed: &mut Vec<Arrival>) -> Result<Fd> {
    let file = task.pidfd_of(pid)?;
    let number = task.reserve_fds(1)?;
    let fd = number.numbers().first().copied().ok_or(Errno::EMFILE)?;
    installed.push(Arrival { number, file, is_pidfd: true });
    Ok(fd)
}
