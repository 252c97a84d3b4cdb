//! Sending and receiving.

use std::sync::Arc;

use abi::socket::{MsgFlags, SOL_SOCKET, SocketType};
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
use super::socket::{Link, Passing, UnixSocket};

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
        let mut state = self.state.lock();
        let Link::Connected { peer, .. } = &state.link else { return Err(Errno::ENOTCONN) };
        match peer.upgrade() {
            Some(peer) => Ok(peer),
            None if self.is_connection() => Err(Errno::EPIPE),
            // It is told once.
            None => {
                state.link = Link::None;
                Err(Errno::ECONNREFUSED)
            }
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
        let is_peek = request.flags.contains(MsgFlags::PEEK);
        let skipped = if is_peek { self.options.peek_offset() } else { 0 };
        let inbox = self.inbox.lock();
        let Some(start) = inbox.find(skipped) else {
            let ended = inbox.ended;
            drop(inbox);
            if is_stream {
                self.check_error()?;
            }
            return self.nothing(ended);
        };
        let passing = self.passing();
        let taken = if is_stream {
            receive_stream(inbox, request, start, passing)?
        } else {
            receive_one(inbox, request, start)?
        };
        self.options.move_peek_offset(taken.moved, is_peek);
        let received = self.describe(task, taken, passing);
        if !is_peek {
            self.queue.notify(Events::WRITABLE);
            if let Some(peer) = self.peer() {
                peer.queue.notify(Events::WRITABLE);
            }
        }
        Ok(received)
    }

    /// What `reader` is told of what it received, in Linux's order.
    fn describe(&self, reader: &Task, taken: Taken, passing: Passing) -> Received {
        let Taken { mut received, sender, files, .. } = taken;
        if let Some(sender) = sender.as_ref().filter(|_| passing.credentials) {
            received.control.push(ControlMessage::Credentials(sender.seen_by(reader)));
        }
        let files = self.arrive(files);
        if !files.is_empty() {
            received.control.push(ControlMessage::Rights(files));
        }
        if let Some(process) = sender.filter(|_| passing.process).and_then(|sender| sender.process()) {
            received.control.push(ControlMessage::Process(process));
        }
        received
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
            ControlMessage::Raw { .. } | ControlMessage::Process(_) => return Err(Errno::EINVAL),
        }
    }
    Ok((claim.unwrap_or_else(|| Identity::of_sender(task)), rights))
}

/// What was taken out of an inbox, or looked at.
#[derive(Default)]
struct Taken {
    received: Received,
    /// How many bytes a later peek finds elsewhere.
    moved: usize,
    /// Who sent it.
    sender: Option<Identity>,
    files: Files,
}

impl Taken {
    /// Has `message` tell where all of it comes from.
    fn name_sender(&mut self, message: &Message) {
        if message.from != UnixAddress::Unnamed {
            self.received.address = message.from.encode();
        }
        self.sender = Some(message.creds.clone());
    }
}

/// The files that came with a message.
#[derive(Default)]
enum Files {
    #[default]
    None,
    Taken(Rights),
    /// Copied, the message keeps its own.
    Peeked(Vec<Arc<File>>),
}

/// The files that came with `message`.
fn files_of(message: &mut Message, is_peek: bool) -> Files {
    if is_peek {
        let rights = message.rights.as_ref();
        return rights.map_or(Files::None, |rights| Files::Peeked(rights.files().to_vec()));
    }
    message.rights.take().map_or(Files::None, Files::Taken)
}

/// One message whole, from where `start` says; what does not fit is lost.
fn receive_one(
    mut inbox: MutexGuard<'_, Inbox>,
    request: &mut RecvRequest<'_, '_>,
    (index, skipped): (usize, usize),
) -> Result<Taken> {
    let is_peek = request.flags.contains(MsgFlags::PEEK);
    let Some(message) = inbox.get_mut(index) else { return Err(Errno::EAGAIN) };
    let bytes = &message.rest()[skipped..];
    let len = bytes.len();
    let copied = if len == 0 { 0 } else { request.data.put(bytes)? };
    let mut taken = Taken { moved: if is_peek { copied } else { len }, ..Taken::default() };
    taken.received.len = copied;
    if copied < len {
        taken.received.flags |= MsgFlags::TRUNC;
        if request.flags.contains(MsgFlags::TRUNC) {
            taken.received.len = len;
        }
    }
    taken.name_sender(message);
    taken.files = files_of(message, is_peek);
    if !is_peek {
        inbox.pop();
    }
    Ok(taken)
}

/// Bytes across messages, but never across a change of sender where the reader is told who that is, nor past the first
/// descriptors (`unix_stream_read_generic`).
fn receive_stream(
    mut inbox: MutexGuard<'_, Inbox>,
    request: &mut RecvRequest<'_, '_>,
    (mut index, mut skipped): (usize, usize),
    passing: Passing,
) -> Result<Taken> {
    let is_peek = request.flags.contains(MsgFlags::PEEK);
    let mut taken = Taken::default();
    while let Some(message) = inbox.get_mut(index) {
        let is_first = taken.sender.is_none();
        let is_another = passing.is_any() && taken.sender.as_ref() != Some(&message.creds);
        if (!is_first && is_another) || request.data.remaining() == 0 {
            break;
        }
        let bytes = &message.rest()[skipped..];
        let copied = match request.data.put(bytes) {
            Ok(copied) => copied,
            Err(_) if taken.moved > 0 => break,
            Err(error) => return Err(error),
        };
        let (is_whole, has_files) = (copied == bytes.len(), message.rights.is_some());
        taken.moved += copied;
        if is_first {
            taken.name_sender(message);
        }
        taken.files = files_of(message, is_peek);
        if is_peek {
            (index, skipped) = (index + 1, 0);
        } else {
            inbox.consume(copied);
        }
        if !is_whole || has_files {
            break;
        }
    }
    taken.received.len = taken.moved;
    Ok(taken)
}
