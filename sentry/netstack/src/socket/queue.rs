//! The receive queue of datagram sockets, bounded in bytes, and the error queue.

use super::message::{ExtendedError, PacketInfo};
use crate::base::addr::Endpoint;
use crate::buf::Pool;
use std::collections::VecDeque;

/// What a queued packet costs beyond its data.
const OVERHEAD: usize = 576;
/// Entries that an error queue holds.
const MAX_ERRORS: usize = 64;

/// One received datagram.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) from: Endpoint,
    pub(crate) info: PacketInfo,
    pub(crate) data: Vec<u8>,
    /// Bytes at the front that the reader does not see (headers).
    pub(crate) skip: usize,
}

impl Datagram {
    pub(crate) fn payload(&self) -> &[u8] {
        self.data.get(self.skip..).unwrap_or(&[])
    }

    fn cost(&self) -> usize {
        self.data.capacity() + OVERHEAD
    }
}

/// An entry of the error queue, with the data of the packet that caused it.
#[derive(Debug, Clone)]
pub(crate) struct ErrorEntry {
    pub(crate) error: ExtendedError,
    /// Where the packet was going.
    pub(crate) to: Endpoint,
    pub(crate) data: Vec<u8>,
}

/// Datagrams waiting to be read.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Datagram>,
    bytes: usize,
    dropped: u32,
    errors: VecDeque<ErrorEntry>,
}

impl Queue {
    /// Queues a datagram; false where there is no room for it. An empty queue always takes one.
    pub(crate) fn push(&mut self, pool: &Pool, limit: usize, mut datagram: Datagram) -> bool {
        let cost = datagram.cost();
        let is_full = self.bytes.saturating_add(cost) > limit && !self.items.is_empty();
        if is_full || !pool.charge(cost) {
            self.dropped = self.dropped.wrapping_add(1);
            return false;
        }
        self.bytes += cost;
        datagram.info.dropped = self.dropped;
        self.items.push_back(datagram);
        true
    }

    pub(crate) fn front(&self) -> Option<&Datagram> {
        self.items.front()
    }

    pub(crate) fn pop(&mut self, pool: &Pool) -> Option<Datagram> {
        let datagram = self.items.pop_front()?;
        self.bytes -= datagram.cost();
        pool.uncharge(datagram.cost());
        Some(datagram)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn clear(&mut self, pool: &Pool) {
        while self.pop(pool).is_some() {}
        self.errors.clear();
    }

    pub(crate) fn push_error(&mut self, entry: ErrorEntry) {
        if self.errors.len() < MAX_ERRORS {
            self.errors.push_back(entry);
        }
    }

    pub(crate) fn pop_error(&mut self) -> Option<ErrorEntry> {
        self.errors.pop_front()
    }

    /// The error of the first entry, without taking it.
    pub(crate) fn peek_error(&self) -> Option<&ErrorEntry> {
        self.errors.front()
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Bytes charged to the receive buffer.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
