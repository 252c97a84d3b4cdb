//! Segments that arrived ahead of others, and what is reported about them (RFC 2018, RFC 2883).
//!
//! Offsets are 64-bit positions in the stream. Pieces do not overlap; the window bounds their bytes, a constant
//! their number.

use crate::buf::{Pool, StreamBuf};
use std::collections::BTreeMap;

/// Pieces that are kept at most.
const MAX_PIECES: usize = 4096;
/// What a piece costs beyond its data.
const OVERHEAD: usize = 96;

/// Pieces beyond the next byte expected.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    pieces: BTreeMap<u64, Vec<u8>>,
    /// Maximal runs of pieces: start and end.
    ranges: BTreeMap<u64, u64>,
    /// Where recently reported runs lie, latest first.
    recent: Vec<u64>,
    bytes: usize,
    charged: usize,
}

/// How a piece was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Insert {
    /// Some of it was new.
    New,
    /// All of it was there already.
    Duplicate,
    /// There was no room.
    NoRoom,
}

impl Assembler {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Keeps what is new of `data`, which begins at `start`.
    pub(crate) fn insert(&mut self, pool: &Pool, start: u64, data: &[u8]) -> Insert {
        let end = start + data.len() as u64;
        let mut at = start;
        let mut result = Insert::Duplicate;
        while at < end {
            let covered = self.ranges.range(..=at).next_back().map(|(_, end)| *end).filter(|end| *end > at);
            if let Some(covered) = covered {
                at = covered;
                continue;
            }
            let next = self.ranges.range(at..).next().map_or(end, |(start, _)| (*start).min(end));
            let piece = &data[(at - start) as usize..(next - start) as usize];
            if self.pieces.len() >= MAX_PIECES || !pool.charge(piece.len() + OVERHEAD) {
                return if result == Insert::New { result } else { Insert::NoRoom };
            }
            self.charged += piece.len() + OVERHEAD;
            self.bytes += piece.len();
            self.pieces.insert(at, piece.to_vec());
            self.add_range(at, next);
            result = Insert::New;
            at = next;
        }
        self.recent.retain(|recent| *recent != start);
        self.recent.insert(0, start);
        self.recent.truncate(8);
        result
    }

    fn add_range(&mut self, mut start: u64, mut end: u64) {
        if let Some((&before, &before_end)) = self.ranges.range(..=start).next_back()
            && before_end == start
        {
            start = before;
        }
        if let Some(&after_end) = self.ranges.get(&end) {
            self.ranges.remove(&end);
            end = after_end;
        }
        self.ranges.insert(start, end);
    }

    /// Moves what follows `next` without a gap into `buf`; returns the new next byte.
    pub(crate) fn drain(&mut self, pool: &Pool, buf: &mut StreamBuf, mut next: u64) -> u64 {
        while let Some((&start, _)) = self.pieces.first_key_value() {
            if start > next {
                break;
            }
            let Some(piece) = self.pieces.remove(&start) else { break };
            self.uncharge(pool, piece.len());
            let skip = (next - start) as usize;
            if let Some(fresh) = piece.get(skip..).filter(|fresh| !fresh.is_empty()) {
                let taken = buf.append_slice(pool, fresh);
                next += taken as u64;
                if taken < fresh.len() {
                    // The budget is used up: what did not fit will be sent again.
                    self.clear(pool);
                    return next;
                }
            }
        }
        self.forget_before(next);
        next
    }

    fn forget_before(&mut self, next: u64) {
        while let Some((&start, &end)) = self.ranges.first_key_value() {
            if start >= next {
                break;
            }
            self.ranges.remove(&start);
            if end > next {
                self.ranges.insert(next, end);
            }
        }
        self.recent.retain(|recent| *recent >= next);
    }

    fn uncharge(&mut self, pool: &Pool, len: usize) {
        self.bytes -= len;
        self.charged -= len + OVERHEAD;
        pool.uncharge(len + OVERHEAD);
    }

    pub(crate) fn clear(&mut self, pool: &Pool) {
        pool.uncharge(self.charged);
        *self = Self::default();
    }

    /// The runs to report, the one that changed last first.
    pub(crate) fn report(&self, max: usize) -> Vec<(u64, u64)> {
        let mut list: Vec<(u64, u64)> = Vec::new();
        for at in &self.recent {
            let run = self.ranges.range(..=*at).next_back().filter(|(_, end)| **end > *at);
            if let Some((&start, &end)) = run
                && !list.contains(&(start, end))
            {
                list.push((start, end));
            }
            if list.len() == max {
                break;
            }
        }
        list
    }

    /// Whether `start..end` is held in full.
    pub(crate) fn covers(&self, start: u64, end: u64) -> bool {
        self.ranges.range(..=start).next_back().is_some_and(|(_, run_end)| *run_end >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(start: u64, len: usize) -> Vec<u8> {
        (start..start + len as u64).map(|n| (n % 251) as u8).collect()
    }

    proptest! {
        #[test]
        fn any_order_gives_the_stream(parts in prop::collection::vec((0u64..2000, 1usize..300), 1..80)) {
            let pool = Pool::new(1 << 24);
            let mut assembler = Assembler::default();
            let mut buf = StreamBuf::default();
            let mut next = 0;
            let mut seen = vec![false; 3000];
            for (start, len) in parts {
                seen[start as usize..start as usize + len].fill(true);
                let data = bytes(start, len);
                if start <= next {
                    if start + len as u64 > next {
                        let fresh = &data[(next - start) as usize..];
                        next += buf.append_slice(&pool, fresh) as u64;
                        next = assembler.drain(&pool, &mut buf, next);
                    }
                } else {
                    assembler.insert(&pool, start, &data);
                }
                let expected = seen.iter().position(|seen| !seen).unwrap() as u64;
                prop_assert_eq!(next, expected);
                prop_assert_eq!(assembler.is_empty(), seen[next as usize..].iter().all(|seen| !seen));
                let runs = assembler.report(100);
                for (start, end) in &runs {
                    prop_assert!(seen[*start as usize..*end as usize].iter().all(|seen| *seen));
                    prop_assert!(!seen[*end as usize] && *start > next);
                }
            }
            let mut out = vec![0; next as usize];
            buf.copy_at(0, &mut out);
            prop_assert_eq!(out, bytes(0, next as usize));
            assembler.clear(&pool);
            buf.clear(&pool);
            prop_assert_eq!(pool.used(), 0);
        }
    }
}
