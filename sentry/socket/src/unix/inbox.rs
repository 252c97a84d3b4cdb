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
        if self.messages.len() >= MAX_MESSAGES {
            return 0;
        }
        limit.saturating_sub(self.bytes + self.messages.len() * MESSAGE_COST)
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

    /// The first message.
    pub(super) fn front_mut(&mut self) -> Option<&mut Message> {
        self.messages.front_mut()
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
