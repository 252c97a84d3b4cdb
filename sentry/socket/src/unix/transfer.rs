//! Sending and receiving.

use std::sync::Arc;

use abi::socket::{MsgFlags, SocketType, Ucred, so};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::{ControlMessage, Received, RecvRequest, SendRequest};
use kernel::task::Capability;
use kernel::vfs::File;
use parking_lot::MutexGuard;
use waiter::Events;

use super::address::UnixAddress;
use super::inbox::{Inbox, Message};
use super::socket::{Link, UnixSocket, credentials_of};

/// The largest piece of a stream that is queued at once, bytes.
const PIECE: usize = 64 << 10;

impl UnixSocket {
    pub(super) fn send_message(&self, task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        if request.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (creds, rights) = take_control(task, std::mem::take(&mut request.control))?;
        let (from, error) = {
            let mut state = self.state.lock();
            if state.write_shut {
                return Err(Errno::EPIPE);
            }
            (state.local.clone(), state.error.take())
        };
        if let Some(error) = error {
            return Err(error);
        }
        let message = |data| Message { data, taken: 0, from: from.clone(), creds, rights: rights.clone() };
        if self.kind == SocketType::Stream {
            return self.send_stream(request, message);
        }
        let to = self.destination(task, request.address)?;
        let len = request.data.remaining();
        let limit = self.options.send_buffer();
        if len > limit {
            return Err(Errno::EMSGSIZE);
        }
        to.check_room(len, limit)?;
        let mut data = vec![0; len];
        let read = request.data.take(&mut data)?;
        if read < len {
            return Err(Errno::EFAULT);
        }
        to.inbox.lock().push(message(data));
        to.queue.notify(Events::READABLE);
        Ok(len)
    }

    fn send_stream(
        &self,
        request: &mut SendRequest<'_, '_>,
        mut message: impl FnMut(Vec<u8>) -> Message,
    ) -> Result<usize> {
        let connected = matches!(self.state.lock().link, Link::Connected { .. });
        if request.address.is_some() {
            return Err(if connected { Errno::EISCONN } else { Errno::EOPNOTSUPP });
        }
        if !connected {
            return Err(Errno::ENOTCONN);
        }
        let peer = self.peer().ok_or(Errno::EPIPE)?;
        let limit = self.options.send_buffer();
        let mut sent = 0;
        while request.data.remaining() > 0 {
            let room = {
                let inbox = peer.inbox.lock();
                if inbox.refused {
                    return if sent > 0 { Ok(sent) } else { Err(Errno::EPIPE) };
                }
                inbox.room(limit)
            };
            if room == 0 {
                break;
            }
            let mut data = vec![0; room.min(PIECE).min(request.data.remaining())];
            let count = match request.data.take(&mut data) {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            };
            data.truncate(count);
            let mut piece = message(data);
            if sent > 0 {
                piece.rights.clear();
            }
            peer.inbox.lock().push(piece);
            sent += count;
        }
        if sent == 0 && request.data.remaining() > 0 {
            return Err(Errno::EAGAIN);
        }
        peer.queue.notify(Events::READABLE);
        Ok(sent)
    }

    /// Where a message goes: the address given, or the peer.
    fn destination(&self, task: &Task, address: Option<&[u8]>) -> Result<Arc<UnixSocket>> {
        if let Some(address) = address.filter(|_| self.kind == SocketType::Datagram) {
            let to = self.find(task, &UnixAddress::parse(address)?)?;
            return if to.kind == self.kind { Ok(to) } else { Err(Errno::EPROTOTYPE) };
        }
        let state = self.state.lock();
        match &state.link {
            Link::Connected { peer, .. } => {
                let gone = if self.is_connection() { Errno::EPIPE } else { Errno::ECONNREFUSED };
                peer.upgrade().ok_or(gone)
            }
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn check_room(&self, len: usize, limit: usize) -> Result<()> {
        let inbox = self.inbox.lock();
        if inbox.refused {
            return Err(Errno::EPIPE);
        }
        let room = inbox.room(limit);
        if room == 0 || (room < len && !inbox.is_empty()) { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    pub(super) fn receive_message(&self, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        if request.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        if let Some(error) = self.state.lock().error.take() {
            return Err(error);
        }
        let inbox = self.inbox.lock();
        if inbox.is_empty() {
            let ended = inbox.ended;
            drop(inbox);
            return self.nothing(ended);
        }
        let is_peek = request.flags.contains(MsgFlags::PEEK);
        let received = if self.kind == SocketType::Stream {
            receive_stream(inbox, request, self.options.is_set(so::PASSCRED))?
        } else {
            receive_one(inbox, request, self.options.is_set(so::PASSCRED))?
        };
        if !is_peek {
            self.queue.notify(Events::WRITABLE);
            if let Some(peer) = self.peer() {
                peer.queue.notify(Events::WRITABLE);
            }
        }
        Ok(received)
    }

    fn nothing(&self, ended: bool) -> Result<Received> {
        let state = self.state.lock();
        if ended || state.read_shut {
            return Ok(Received::default());
        }
        match &state.link {
            Link::Connected { .. } => Err(Errno::EAGAIN),
            _ if self.is_connection() => {
                Err(if self.kind == SocketType::Stream { Errno::EINVAL } else { Errno::ENOTCONN })
            }
            _ => Err(Errno::EAGAIN),
        }
    }
}

/// Sorts a message's control part: who sent it, and the open files.
fn take_control(task: &Task, control: Vec<ControlMessage>) -> Result<(Ucred, Vec<Arc<File>>)> {
    let own = credentials_of(task);
    let (mut creds, mut rights) = (own, Vec::new());
    for message in control {
        match message {
            ControlMessage::Rights(files) => rights.extend(files),
            ControlMessage::Credentials(claimed) => creds = check_claim(task, &own, claimed)?,
            ControlMessage::Raw { .. } => return Err(Errno::EINVAL),
        }
    }
    Ok((creds, rights))
}

/// Only the privileged may claim to be somebody else (`man 7 unix`, SCM_CREDENTIALS).
fn check_claim(task: &Task, own: &Ucred, claimed: Ucred) -> Result<Ucred> {
    let creds = task.creds();
    let uid = [creds.uid, creds.euid, creds.suid].contains(&claimed.uid) || creds.has(Capability::Setuid);
    let gid = [creds.gid, creds.egid, creds.sgid].contains(&claimed.gid) || creds.has(Capability::Setgid);
    let pid = claimed.pid == own.pid || creds.has(Capability::SysAdmin);
    if uid && gid && pid { Ok(claimed) } else { Err(Errno::EPERM) }
}

fn describe(message: &mut Message, is_peek: bool, with_creds: bool, received: &mut Received) {
    received.address = if message.from == UnixAddress::Unnamed { Vec::new() } else { message.from.encode() };
    if with_creds {
        received.control.push(ControlMessage::Credentials(message.creds));
    }
    let rights = if is_peek { message.rights.clone() } else { std::mem::take(&mut message.rights) };
    if !rights.is_empty() {
        received.control.push(ControlMessage::Rights(rights));
    }
}

/// One message whole; what does not fit is lost.
fn receive_one(
    mut inbox: MutexGuard<'_, Inbox>,
    request: &mut RecvRequest<'_, '_>,
    with_creds: bool,
) -> Result<Received> {
    let is_peek = request.flags.contains(MsgFlags::PEEK);
    let Some(message) = inbox.front_mut() else { return Err(Errno::EAGAIN) };
    let len = message.rest().len();
    let copied = if len == 0 { 0 } else { request.data.put(message.rest())? };
    let mut received = Received { len: copied, ..Received::default() };
    if copied < len {
        received.flags |= MsgFlags::TRUNC;
        if request.flags.contains(MsgFlags::TRUNC) {
            received.len = len;
        }
    }
    describe(message, is_peek, with_creds, &mut received);
    if !is_peek {
        let done = inbox.pop();
        drop(inbox);
        drop(done);
    }
    Ok(received)
}

/// Bytes across messages, but never across a change of sender or past the first descriptors.
fn receive_stream(
    mut inbox: MutexGuard<'_, Inbox>,
    request: &mut RecvRequest<'_, '_>,
    with_creds: bool,
) -> Result<Received> {
    let is_peek = request.flags.contains(MsgFlags::PEEK);
    let mut received = Received::default();
    let (mut index, mut last_creds) = (0, None);
    while let Some(message) = inbox.get(index) {
        let is_first = last_creds.is_none();
        let boundary = !message.rights.is_empty() || (with_creds && last_creds != Some(message.creds));
        if (!is_first && boundary) || request.data.remaining() == 0 {
            break;
        }
        let copied = match request.data.put(message.rest()) {
            Ok(copied) => copied,
            Err(_) if received.len > 0 => break,
            Err(error) => return Err(error),
        };
        let (whole, had_rights) = (copied == message.rest().len(), !message.rights.is_empty());
        received.len += copied;
        last_creds = Some(message.creds);
        if is_peek {
            if is_first {
                describe_peek(message, with_creds, &mut received);
            }
            index += 1;
        } else {
            if is_first && let Some(front) = inbox.front_mut() {
                describe(front, false, with_creds, &mut received);
            }
            inbox.consume(copied);
        }
        if !whole || had_rights {
            break;
        }
    }
    Ok(received)
}

fn describe_peek(message: &Message, with_creds: bool, received: &mut Received) {
    received.address = if message.from == UnixAddress::Unnamed { Vec::new() } else { message.from.encode() };
    if with_creds {
        received.control.push(ControlMessage::Credentials(message.creds));
    }
    if !message.rights.is_empty() {
        received.control.push(ControlMessage::Rights(message.rights.clone()));
    }
}
