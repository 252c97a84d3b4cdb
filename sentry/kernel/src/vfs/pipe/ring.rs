//! The bytes in a pipe: a ring that grows with its content, cut into segments.
//!
//! Stream writes extend the last segment; packet writes (`O_DIRECT`) make one of their own, which a read never crosses.

use std::collections::VecDeque;

use abi::{PAGE_SIZE, Result};
use host::heap::{self, Purpose};

/// A run of bytes that was written in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    len: usize,
    is_packet: bool,
}

/// Bytes in order of arrival. Never holds more than its caller lets in.
#[derive(Debug, Default)]
pub(super) struct Ring {
    storage: Vec<u8>,
    head: usize,
    len: usize,
    segments: VecDeque<Segment>,
}

/// Storage up to this size is kept while the ring is empty.
const KEEP: usize = 64 << 10;

impl Ring {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Packets in it.
    pub(super) fn packets(&self) -> usize {
        self.segments.iter().filter(|segment| segment.is_packet).count()
    }

    /// Whether the next read is of a packet.
    pub(super) fn is_at_packet(&self) -> bool {
        self.segments.front().is_some_and(|segment| segment.is_packet)
    }

    /// Bytes that one read may take: up to the end of a packet, or up to the first one.
    pub(super) fn readable(&self) -> usize {
        if self.is_at_packet() {
            return self.segments[0].len;
        }
        self.segments.iter().take_while(|segment| !segment.is_packet).map(|segment| segment.len).sum()
    }

    /// Makes room for `extra` bytes behind the content; `ENOMEM` where there is no memory for it.
    pub(super) fn reserve(&mut self, extra: usize) -> Result<()> {
        if self.len + extra > self.storage.len() {
            heap::room_for((self.len + extra) as u64, Purpose::Process)?;
            self.grow(extra);
        }
        Ok(())
    }

    fn grow(&mut self, extra: usize) {
        let needed = self.len + extra;
        let mut grown = vec![0; needed.next_power_of_two().max(PAGE_SIZE as usize)];
        let (front, back) = self.content();
        grown[..front.len()].copy_from_slice(front);
        grown[front.len()..front.len() + back.len()].copy_from_slice(back);
        self.storage = grown;
        self.head = 0;
    }

    fn content(&self) -> (&[u8], &[u8]) {
        let end = self.head + self.len;
        if end <= self.storage.len() {
            (&self.storage[self.head..end], &[])
        } else {
            (&self.storage[self.head..], &self.storage[..end - self.storage.len()])
        }
    }

    /// Appends up to `max` bytes that `fill` stores into the ranges it is given, until it stores less than a range.
    pub(super) fn push_with(
        &mut self,
        max: usize,
        is_packet: bool,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<usize> {
        self.reserve(max)?;
        let mut done = 0;
        while done < max {
            let at = (self.head + self.len) % self.storage.len();
            let room = (self.storage.len() - at).min(max - done);
            let stored = match fill(&mut self.storage[at..at + room]) {
                Ok(stored) => stored.min(room),
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => 0,
            };
            self.len += stored;
            done += stored;
            if stored < room {
                break;
            }
        }
        self.note_pushed(done, is_packet);
        Ok(done)
    }

    fn note_pushed(&mut self, len: usize, is_packet: bool) {
        match self.segments.back_mut() {
            _ if len == 0 => {}
            Some(last) if !last.is_packet && !is_packet => last.len += len,
            _ => self.segments.push_back(Segment { len, is_packet }),
        }
    }

    /// Hands the first `max` bytes, in at most two ranges, to `take` until it takes less than a range. Removes nothing.
    pub(super) fn peek_with(
        &self,
        max: usize,
        take: &mut dyn FnMut(&[u8]) -> Result<usize>,
    ) -> Result<usize> {
        let (front, back) = self.content();
        let mut done = 0;
        for range in [front, back] {
            let range = &range[..range.len().min(max - done)];
            if range.is_empty() {
                break;
            }
            let taken = match take(range) {
                Ok(taken) => taken.min(range.len()),
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => 0,
            };
            done += taken;
            if taken < range.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Appends bytes for which there was found to be memory.
    pub(super) fn push_all(&mut self, bytes: &[u8]) {
        if self.len + bytes.len() > self.storage.len() {
            self.grow(bytes.len());
        }
        let at = if bytes.is_empty() { 0 } else { (self.head + self.len) % self.storage.len() };
        let (front, wrapped) = bytes.split_at(bytes.len().min(self.storage.len() - at));
        self.storage[at..at + front.len()].copy_from_slice(front);
        self.storage[..wrapped.len()].copy_from_slice(wrapped);
        self.len += bytes.len();
        self.note_pushed(bytes.len(), false);
    }

    /// Removes the first `count` bytes; of a packet, all of it: a read drops what it has no room for.
    pub(super) fn consume(&mut self, count: usize) {
        match self.segments.front() {
            Some(first) if first.is_packet && count > 0 => self.advance(first.len),
            _ => self.advance(count),
        }
    }

    /// Removes the first `count` bytes alone.
    pub(super) fn advance(&mut self, count: usize) {
        let mut left = count.min(self.len);
        while left > 0 {
            let Some(first) = self.segments.front_mut() else { break };
            let step = left.min(first.len);
            first.len -= step;
            if first.len == 0 {
                self.segments.pop_front();
            }
            self.head = (self.head + step) % self.storage.len();
            self.len -= step;
            left -= step;
        }
        if self.len == 0 {
            self.head = 0;
            if self.storage.len() > KEEP {
                self.storage = Vec::new();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ring;

    fn push(ring: &mut Ring, bytes: &[u8], is_packet: bool) {
        let mut from = bytes;
        let pushed = ring.push_with(bytes.len(), is_packet, &mut |to| {
            let count = to.len();
            to.copy_from_slice(&from[..count]);
            from = &from[count..];
            Ok(count)
        });
        assert_eq!(pushed, Ok(bytes.len()));
    }

    fn pop(ring: &mut Ring, max: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let max = max.min(ring.readable());
        let count = ring.peek_with(max, &mut |from| {
            out.extend_from_slice(from);
            Ok(from.len())
        });
        ring.consume(count.expect("copying to a vector cannot fail"));
        out
    }

    #[test]
    fn content_survives_wrapping_and_growing() {
        let (mut ring, mut next_in, mut next_out) = (Ring::default(), 0_u32, 0_u32);
        for round in 0..400_u32 {
            let bytes: Vec<u8> = (0..round * 7 % 1500).map(|i| ((next_in + i) % 251) as u8).collect();
            next_in += bytes.len() as u32;
            push(&mut ring, &bytes, false);
            for byte in pop(&mut ring, (round * 11 % 1300) as usize) {
                assert_eq!(u32::from(byte), next_out % 251);
                next_out += 1;
            }
            assert_eq!(ring.len() as u32, next_in - next_out);
        }
    }

    #[test]
    fn what_is_not_used_stays_first() {
        let mut ring = Ring::default();
        for round in 1..300_usize {
            ring.push_all(&vec![round as u8; round * 31 % 5000 + 1]);
            let before = ring.len();
            ring.advance(round * 17 % 4000);
            assert_eq!(ring.len(), before.saturating_sub(round * 17 % 4000));
        }
        let mut ring = Ring::default();
        push(&mut ring, b"packet", true);
        ring.push_all(b"stream");
        ring.advance(3);
        assert_eq!(pop(&mut ring, 100), b"ket");
        assert_eq!(pop(&mut ring, 100), b"stream");
    }

    #[test]
    fn a_read_never_crosses_a_packet_and_drops_its_rest() {
        let mut ring = Ring::default();
        push(&mut ring, b"stream", false);
        push(&mut ring, b"one", true);
        push(&mut ring, b"two", true);
        assert_eq!(ring.packets(), 2);
        assert_eq!(pop(&mut ring, 100), b"stream");
        assert_eq!(pop(&mut ring, 2), b"on");
        assert_eq!(pop(&mut ring, 100), b"two");
        assert!(ring.is_empty());
    }
}
