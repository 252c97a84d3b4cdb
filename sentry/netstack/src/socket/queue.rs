//! The receive queue of datagram sockets, bounded in bytes, and the error queue.

use super::message::{ExtendedError, PacketInfo, Received, RecvFlags};
use crate::base::addr::{Endpoint, Family, to_user};
use crate::base::error::{Error, Result};
use crate::base::io::Sink;
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

    /// Gives the datagram to the caller of a socket of `family`. Without locks: guest memory may have to be fetched
    /// first. As on Linux it is lost where the copy faults.
    pub(crate) fn deliver(&self, family: Family, sink: &mut dyn Sink) -> Result<Received> {
        let payload = self.payload();
        Ok(Received {
            copied: copy(payload, sink)?,
            full_len: payload.len(),
            from: Some(to_user(family, self.from, self.info.interface)),
            info: self.info,
            ..Received::default()
        })
    }
}

/// Copies as much as there is room for.
fn copy(data: &[u8], sink: &mut dyn Sink) -> Result<usize> {
    let wanted = data.len().min(sink.room());
    if sink.put(&data[..wanted]) < wanted { Err(Error::Fault) } else { Ok(wanted) }
}

/// An entry of the error queue, with the data of the packet that caused it.
#[derive(Debug, Clone)]
pub(crate) struct ErrorEntry {
    pub(crate) error: ExtendedError,
    /// Where the packet was going.
    pub(crate) to: Endpoint,
    pub(crate) data: Vec<u8>,
}

impl ErrorEntry {
    /// Gives the entry to the caller of a socket of `family`; as [`Datagram::deliver`].
    pub(crate) fn deliver(&self, family: Family, sink: &mut dyn Sink) -> Result<Received> {
        Ok(Received {
            copied: copy(&self.data, sink)?,
            full_len: self.data.len(),
            from: Some(to_user(family, self.to, 0)),
            error: Some(self.error),
            ..Received::default()
        })
    }
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

    /// The first datagram, taken out unless it is only looked at.
    pub(crate) fn take(&mut self, pool: &Pool, flags: RecvFlags) -> Option<Datagram> {
        if flags.contains(RecvFlags::PEEK) { self.front().cloned() } else { self.pop(pool) }
    }

    /// The first entry of the error queue, taken out, and the error of the next one.
    pub(crate) fn take_error(&mut self) -> Option<(ErrorEntry, Option<Error>)> {
        let entry = self.errors.pop_front()?;
        Some((entry, self.errors.front().map(|next| next.error.error)))
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

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Bytes charged to the receive buffer.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}
