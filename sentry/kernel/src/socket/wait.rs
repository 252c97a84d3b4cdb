//! Calls on sockets that wait: connect(2), accept(2), sending and receiving.
//!
//! A socket never waits: it says `EAGAIN`, and the task sleeps on a queue of the socket's, for as long as its time-outs
//! allow ([`IoTimeout`]), unless the file or the call does not block.

use std::sync::Arc;

use abi::socket::{MsgFlags, SocketType};
use abi::{Errno, OpenFlags, Result, Signal};
use waiter::Events;

use super::{Accepted, ControlMessage, Received, RecvRequest, SendRequest, Socket};
use crate::error::{SysError, SysResult};
use crate::mm::{IoDst, IoSrc};
use crate::task::Task;
use crate::time::MonotonicTime;
use crate::vfs::File;
use crate::vfs::io_timeout::IoTimeout;

/// The socket side of an open file.
///
/// # Errors
/// `ENOTSOCK`.
pub(crate) fn socket_of(file: &File) -> Result<&dyn Socket> {
    file.ops().socket().ok_or(Errno::ENOTSOCK)
}

/// Whether calls on this file may wait.
fn may_block(file: &File) -> bool {
    !file.flags().contains(OpenFlags::NONBLOCK)
}

/// Connects, waiting until the connection is there where the caller may wait.
///
/// # Errors
/// As connect(2).
pub(crate) fn connect(task: &Task, file: &File, address: &[u8]) -> SysResult<()> {
    let socket = socket_of(file)?;
    let timeout = IoTimeout::to_write(task, file);
    let mut registration = None;
    loop {
        match socket.connect(task, address) {
            Ok(()) => return Ok(()),
            // The listener's backlog is full: wait for it to accept, having looked again once that would be heard.
            Err(Errno::EAGAIN) if may_block(file) => match registration.take() {
                Some(_held) => timeout.sleep(task)?,
                None => {
                    // Looked up each time: the address may have another listener by now, or none.
                    let listener = socket.send_queue(task, Some(address));
                    let queue = listener.as_ref().or(file.ops().wait_queue()).ok_or(Errno::EAGAIN)?;
                    registration = Some(queue.register(Events::WRITABLE, task.notifier()));
                }
            },
            Err(state @ (Errno::EINPROGRESS | Errno::EALREADY)) if may_block(file) => {
                return await_connection(task, file, address, timeout, state);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits until a connection that is under way is decided, and asks for the outcome. Where time is over before, the caller
/// hears the `state` that it was in.
fn await_connection(
    task: &Task,
    file: &File,
    address: &[u8],
    timeout: IoTimeout,
    state: Errno,
) -> SysResult<()> {
    let socket = socket_of(file)?;
    let queue = file.ops().wait_queue().ok_or(state)?;
    let decided = Events::OUT | Events::ERR | Events::HUP;
    let attempt = &mut || if file.poll().intersects(decided) { Ok(()) } else { Err(Errno::EAGAIN) };
    match timeout.block_on(task, queue, decided, attempt) {
        Err(SysError::Errno(Errno::EAGAIN)) => return Err(state.into()),
        other => other?,
    }
    match socket.connect(task, address) {
        Ok(()) | Err(Errno::EISCONN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes a connection from a listening socket, waiting for one where the caller may wait.
///
/// # Errors
/// As accept(2).
pub(crate) fn accept(task: &Task, file: &File) -> SysResult<Accepted> {
    let socket = socket_of(file)?;
    match socket.accept(task) {
        Err(Errno::EAGAIN) if may_block(file) => {
            let queue = file.ops().wait_queue().ok_or(Errno::EAGAIN)?;
            let timeout = IoTimeout::to_read(task, file);
            timeout.block_on(task, queue, Events::READABLE, &mut || socket.accept(task))
        }
        other => Ok(other?),
    }
}

/// Sends, waiting for room where the caller may wait. A stream goes on until everything is taken.
///
/// # Errors
/// As send(2).
pub(crate) fn send(
    task: &Task,
    file: &Arc<File>,
    data: &mut IoSrc<'_>,
    address: Option<&[u8]>,
    control: Vec<ControlMessage>,
    flags: MsgFlags,
) -> SysResult {
    let socket = socket_of(file)?;
    let blocks = may_block(file) && !flags.contains(MsgFlags::DONTWAIT);
    let is_stream = socket.socket_type() == SocketType::Stream;
    let timeout = IoTimeout::to_write(task, file);
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
                timeout.block_on(task, queue, Events::WRITABLE, &mut attempt)
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
///
/// # Errors
/// As recv(2).
pub(crate) fn receive(
    task: &Task,
    file: &Arc<File>,
    data: &mut IoDst<'_>,
    flags: MsgFlags,
    until: Option<MonotonicTime>,
) -> SysResult<Received> {
    let socket = socket_of(file)?;
    let blocks = may_block(file) && !flags.intersects(MsgFlags::DONTWAIT | MsgFlags::ERRQUEUE);
    let timeout = IoTimeout::to_read(task, file).until(until);
    let wants_all = flags.contains(MsgFlags::WAITALL)
        && !flags.contains(MsgFlags::PEEK)
        && socket.socket_type() == SocketType::Stream;
    let mut total: Option<Received> = None;
    loop {
        let mut attempt = || socket.receive(task, &mut RecvRequest { data: &mut *data, flags });
        let result = match attempt() {
            Err(Errno::EAGAIN) if blocks => {
                let queue = file.ops().wait_queue().ok_or(Errno::EAGAIN)?;
                timeout.block_on(task, queue, Events::READABLE | Events::RDHUP, &mut attempt)
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
