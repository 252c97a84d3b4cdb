//! Sending and receiving.

use std::sync::Arc;

use abi::socket::{MsgFlags, SOL_SOCKET, SocketType, so};
use abi::{Errno, Result};
use host::heap::{self, Purpose};
use kernel::Task;
use kernel::socket::{ControlMessage, Received, RecvRequest, SendRequest};
use kernel::vfs::File;
use parking_lot::MutexGuard;
use waiter::Events;

use super::address::UnixAddress;
use super::identity::Identity;
use super::inbox::{Inbox, Message};
use super::rights::Rights;
use super::room::Place;
use super::socket::{Link, UnixSocket};

/// The largest piece of a stream that is queued at once, bytes.
const PIECE: usize = 64 << 10;

impl UnixSocket {
    pub(super) fn send_message(&self, task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        if request.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let (creds, files) = take_control(task, std::mem::take(&mut request.control))?;
        if self.kind != SocketType::Stream {
            self.name_for_credentials(task)?;
        }
        let (from, error) = {
            let mut state = self.state.lock();
            // Without anybody to send to, that comes first.
            let is_connected = matches!(state.link, Link::Connected { .. });
            let has_target = match self.kind {
                SocketType::Stream => is_connected && request.address.is_none(),
                SocketType::Datagram => is_connected || request.address.is_some(),
                _ => is_connected,
            };
            if state.write_shut && has_target {
                return Err(Errno::EPIPE);
            }
            // A stream whose peer is gone is a broken pipe, whatever the next reader is told.
            let error = if self.kind == SocketType::Stream { None } else { state.error.take() };
            (state.local.clone(), error)
        };
        if let Some(error) = error {
            return Err(error);
        }
        let mut rights =
            if files.is_empty() { None } else { Some(Rights::send(&self.transit, task, files)?) };
        // What is sent goes with the first piece.
        let mut message = |data| Message {
            data,
            taken: 0,
            from: from.clone(),
            creds: creds.clone(),
            rights: rights.take(),
        };
        if self.kind == SocketType::Stream {
            return self.send_stream(request, message);
        }
        let to = self.destination(task, request.address)?;
        let len = request.data.remaining();
        let limit = self.options.send_buffer();
        if len > limit {
            return Err(Errno::EMSGSIZE);
        }
        if !to.takes_from(self) {
            return Err(Errno::EPERM);
        }
        let place = Place::for_message(&to, len, limit)?;
        heap::room_for(len as u64, Purpose::Process).map_err(|_| Errno::ENOBUFS)?;
        let mut data = vec![0; len];
        let read = request.data.take(&mut data)?;
        if read < len {
            return Err(Errno::EFAULT);
        }
        place.fill(message(data))?;
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
            let wanted = request.data.remaining().min(PIECE);
            let piece = Place::for_piece(&peer, wanted, limit, &self.queue).and_then(|place| {
                heap::room_for(place.len() as u64, Purpose::Process).map_err(|_| Errno::ENOBUFS)?;
                let mut data = vec![0; place.len()];
                let count = request.data.take(&mut data)?;
                data.truncate(count);
                if count > 0 {
                    place.fill(message(data))?;
                }
                Ok(count)
            });
            match piece {
                Ok(0) => break,
                Ok(count) => sent += count,
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
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

    pub(super) fn receive_message(&self, task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        if request.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        // Of a stream all bytes that arrived are read before an error is told.
        let is_stream = self.kind == SocketType::Stream;
        if !is_stream {
            self.check_error()?;
        }
        let inbox = self.inbox.lock();
        if inbox.is_empty() {
            let ended = inbox.ended;
            drop(inbox);
            if is_stream {
                self.check_error()?;
            }
            return self.nothing(ended);
        }
        let is_peek = request.flags.contains(MsgFlags::PEEK);
        let reader = self.options.is_set(so::PASSCRED).then_some(task);
        let (mut received, files) = if is_stream {
            receive_stream(inbox, request, reader)?
        } else {
            receive_one(inbox, request, reader)?
        };
        let files = self.arrive(files);
        if !files.is_empty() {
            received.control.push(ControlMessage::Rights(files));
        }
        if !is_peek {
            self.queue.notify(Events::WRITABLE);
            if let Some(peer) = self.peer() {
                peer.queue.notify(Events::WRITABLE);
            }
        }
        Ok(received)
    }

    fn check_error(&self) -> Result<()> {
        self.state.lock().error.take().map_or(Ok(()), Err)
    }

    /// Makes files that came with a message the receiver's. No inbox is locked.
    fn arrive(&self, files: Files) -> Vec<Arc<File>> {
        match files {
            Files::None => Vec::new(),
            Files::Taken(rights) => rights.receive(),
            Files::Peeked(files) => {
                self.transit.settle();
                files
            }
        }
    }

    fn nothing(&self, ended: bool) -> Result<Received> {
        let state = self.state.lock();
        match &state.link {
            Link::None | Link::Listening { .. } if self.is_connection() => {
                Err(if self.kind == SocketType::Stream { Errno::EINVAL } else { Errno::ENOTCONN })
            }
            _ if ended || state.read_shut => Ok(Received::default()),
            _ => Err(Errno::EAGAIN),
        }
    }
}

/// Sorts a message's control part: who sent it, and the open files.
fn take_control(task: &Task, control: Vec<ControlMessage>) -> Result<(Identity, Vec<Arc<File>>)> {
    let (mut claim, mut rights) = (None, Vec::new());
    for message in control {
        match message {
            ControlMessage::Rights(files) => rights.extend(files),
            ControlMessage::Credentials(claimed) => claim = Some(Identity::claimed(task, claimed)?),
            // As on Linux, what is meant for other layers is passed over.
            ControlMessage::Raw { level, .. } if level != SOL_SOCKET => {}
            ControlMessage::Raw { .. } => return Err(Errno::EINVAL),
        }
    }
    Ok((claim.unwrap_or_else(|| Identity::of_sender(task)), rights))
}

/// What came with a message.
#[derive(Default)]
enum Files {
    #[default]
    None,
    Taken(Rights),
    /// Copied, the message keeps its own.
    Peeked(Vec<Arc<File>>),
}

/// Says where `message` came from, to a `reader` who from, too.
fn describe(message: &Message, reader: Option<&Task>, received: &mut Received) {
    received.address = if message.from == UnixAddress::Unnamed { Vec::new() } else { message.from.encode() };
    if let Some(reader) = reader {
        received.control.push(ControlMessage::Credentials(message.creds.seen_by(reader)));
    }
}

/// The files that came with `message`.
fn files_of(message: &mut Message, is_peek: bool) -> Files {
    if is_peek {
        let rights = message.rights.as_ref();
        return rights.map_or(Files::None, |rights| Files::Peeked(rights.files().to_vec()));
    }
    message.rights.take().map_or(Files::None, Files::Taken)
}

/// One message whole; what does not fit is lost.
fn receive_one(
    mut inbox: MutexGuard<'_, Inbox>,
    request: &mut RecvRequest<'_, '_>,
    reader: Option<&Task>,
) -> Result<(Received, Files)> {
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
    describe(message, reader, &mut received);
    let files = files_of(message, is_peek);
    if !is_peek {
        inbox.pop();
    }
    Ok((received, files))
}

/// Bytes across messages, but never across a change of sender where the reader is told who that is, nor past the first
/// descriptors (`unix_stream_read_generic`).
fn receive_stream(
    mut inbox: MutexGuard<'_, Inbox>,
    request: &mut RecvRequest<'_, '_>,
    reader: Option<&Task>,
) -> Result<(Received, Files)> {
    let is_peek = request.flags.contains(MsgFlags::PEEK);
    let (mut received, mut files) = (Received::default(), Files::None);
    let (mut index, mut sender) = (0, None);
    while let Some(message) = inbox.get_mut(index) {
        let is_first = sender.is_none();
        let is_another = reader.is_some() && sender.as_ref() != Some(&message.creds);
        if (!is_first && is_another) || request.data.remaining() == 0 {
            break;
        }
        let copied = match request.data.put(message.rest()) {
            Ok(copied) => copied,
            Err(_) if received.len > 0 => break,
            Err(error) => return Err(error),
        };
        let (is_whole, has_files) = (copied == message.rest().len(), message.rights.is_some());
        received.len += copied;
        if is_first {
            describe(message, reader, &mut received);
            sender = Some(message.creds.clone());
        }
        files = files_of(message, is_peek);
        if is_peek {
            index += 1;
        } else {
            inbox.consume(copied);
        }
        if !is_whole || has_files {
            break;
        }
    }
    Ok((received, files))
}
