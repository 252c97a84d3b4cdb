//! The inbox: what was sent to a socket and not yet received.

use std::collections::VecDeque;

use super::address::UnixAddress;
use super::identity::Identity;
use super::rights::Rights;

/// A message, or a piece of a stream.
#[derive(Debug)]
pub(super) struct Message {
    /// The bytes.
    pub(super) data: Vec<u8>,
    /// How many of them were received already (streams).
    pub(super) taken: usize,
    /// The sender's name.
    pub(super) from: UnixAddress,
    /// The sender.
    pub(super) creds: Identity,
    /// Descriptors that travel with the first byte.
    pub(super) rights: Option<Rights>,
}

impl Message {
    /// The bytes not yet received.
    pub(super) fn rest(&self) -> &[u8] {
        &self.data[self.taken..]
    }
}

/// What was sent to a socket.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    messages: VecDeque<Message>,
    bytes: usize,
    /// Messages that senders have set room aside for, and the bytes of those.
    coming: (usize, usize),
    /// Nothing more will come: the peer has gone or shut down its sending side.
    pub(super) ended: bool,
    /// The owner takes nothing more: shut down for reading, or closed.
    pub(super) refused: bool,
}

/// Messages that a socket holds before senders wait, whatever their length (`net.unix.max_dgram_qlen`).
const MAX_MESSAGES: usize = 512;

/// What a message costs beside its bytes, as Linux counts the size of its buffers too (`skb->truesize`).
const MESSAGE_COST: usize = 256;

impl Inbox {
    /// Bytes waiting.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes that a sender with a buffer of `limit` may still send.
    pub(super) fn room(&self, limit: usize) -> usize {
        let (messages, bytes) = (self.messages.len() + self.coming.0, self.bytes + self.coming.1);
        if messages >= MAX_MESSAGES { 0 } else { limit.saturating_sub(bytes + messages * MESSAGE_COST) }
    }

    /// Whether nothing waits, and nobody has set room aside.
    pub(super) fn is_unused(&self) -> bool {
        self.is_empty() && self.coming.0 == 0
    }

    /// Sets room aside for a message of `len` bytes.
    pub(super) fn set_aside(&mut self, len: usize) {
        self.coming = (self.coming.0 + 1, self.coming.1 + len);
    }

    /// Ends what [`Self::set_aside`] began.
    pub(super) fn give_back(&mut self, len: usize) {
        self.coming = (self.coming.0 - 1, self.coming.1 - len);
    }

    /// Queues a message.
    pub(super) fn push(&mut self, message: Message) {
        self.bytes += message.rest().len();
        self.messages.push_back(message);
    }

    /// The message at position `index`.
    pub(super) fn get(&self, index: usize) -> Option<&Message> {
        self.messages.get(index)
    }

    /// All messages.
    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter()
    }

    /// Takes the files out of all messages.
    pub(super) fn take_rights(&mut self) -> Vec<Rights> {
        self.messages.iter_mut().filter_map(|message| message.rights.take()).collect()
    }

    /// The message in which the byte behind the next `skipped` ones is, and where in it.
    pub(super) fn find(&self, mut skipped: usize) -> Option<(usize, usize)> {
        for (index, message) in self.messages.iter().enumerate() {
            let len = message.rest().len();
            if skipped < len || skipped == 0 {
                return Some((index, skipped));
            }
            skipped -= len;
        }
        None
    }

    /// As [`Self::get`], to be changed.
    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Message> {
        self.messages.get_mut(index)
    }

    /// Takes `count` bytes off the first message, and the message itself where none are left.
    pub(super) fn consume(&mut self, count: usize) {
        if let Some(front) = self.messages.front_mut() {
            front.taken += count;
            self.bytes -= count;
            if front.rest().is_empty() {
                self.messages.pop_front();
            }
        }
    }

    /// Takes the first message away.
    pub(super) fn pop(&mut self) {
        if let Some(message) = self.messages.pop_front() {
            self.bytes -= message.rest().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Inbox, MESSAGE_COST};

    #[test]
    fn room_that_was_set_aside_is_not_offered_again() {
        let mut inbox = Inbox::default();
        inbox.set_aside(1000);
        assert_eq!(inbox.room(4000), 3000 - MESSAGE_COST);
        assert!(inbox.is_empty() && !inbox.is_unused());
        inbox.give_back(1000);
        assert_eq!(inbox.room(4000), 4000);
        assert!(inbox.is_unused());
    }
}
