//! Reassembly of fragmented packets (RFC 791, RFC 8200 section 4.5, RFC 5722).
//!
//! Overlapping fragments spoil the whole packet. What is held is bounded in bytes, in packets and in time; when the
//! bound is reached the oldest packet goes.

use crate::base::hash::Key;
use crate::base::time::Instant;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Packets that may be in reassembly.
const MAX_PACKETS: usize = 256;
/// Fragments that one packet may consist of.
const MAX_PARTS: usize = 512;
/// What a fragment costs beyond its data.
const OVERHEAD: usize = 64;

/// Bits of `ecn_seen`: a sender that does not speak ECN, and a router's mark.
const NOT_CAPABLE: u8 = 1 << 0;
const CONGESTION: u8 = 1 << 3;

/// What identifies the packet that a fragment belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FragmentKey {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) id: u32,
    pub(crate) protocol: u8,
    pub(crate) interface: u32,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment<'a> {
    pub(crate) offset: usize,
    pub(crate) is_last: bool,
    pub(crate) data: &'a [u8],
    /// The unfragmentable headers; those of the first fragment are kept.
    pub(crate) header: &'a [u8],
    /// ECN bits.
    pub(crate) ecn: u8,
}

#[derive(Debug)]
struct Partial {
    started: Instant,
    /// Disjoint, sorted by offset.
    parts: Vec<(usize, Vec<u8>)>,
    header: Option<Vec<u8>>,
    total: Option<usize>,
    bytes: usize,
    /// Which ECN codepoints its fragments have, a bit for each.
    ecn_seen: u8,
    is_spoilt: bool,
}

/// A packet that was put together.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Headers of the first fragment, then the data.
    pub(crate) bytes: Vec<u8>,
    /// Length of those headers.
    pub(crate) header_len: usize,
    /// A router has marked one of the fragments (RFC 3168 section 5.3).
    pub(crate) has_congestion: bool,
}

/// What a fragment led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// More are needed.
    Waiting,
    /// That was the last one.
    Whole(Whole),
    /// The fragment made no sense, or there was no room.
    Dropped,
    /// The fragment overlapped another.
    Overlap,
}

/// A packet whose time ran out.
#[derive(Debug)]
pub(crate) struct Expired {
    pub(crate) key: FragmentKey,
    /// The first fragment (header and data), where it had come: an ICMP message can quote it.
    pub(crate) first: Option<Vec<u8>>,
}

/// All packets in reassembly.
#[derive(Debug)]
pub(crate) struct Reassembly {
    packets: HashMap<FragmentKey, Partial, Key>,
    bytes: usize,
}

impl Reassembly {
    pub(crate) fn new(key: Key) -> Self {
        Self { packets: HashMap::with_hasher(key), bytes: 0 }
    }

    /// Takes a fragment.
    pub(crate) fn add(
        &mut self,
        key: FragmentKey,
        part: Fragment<'_>,
        limit: usize,
        now: Instant,
    ) -> Outcome {
        let Some(end) = part.offset.checked_add(part.data.len()) else { return Outcome::Dropped };
        let is_odd = !part.is_last && !part.data.len().is_multiple_of(8);
        if end > 65_535 || is_odd || part.data.is_empty() {
            return Outcome::Dropped;
        }
        let header_len = if part.offset == 0 { part.header.len() } else { 0 };
        let cost = part.data.len() + header_len + OVERHEAD;
        while self.bytes + cost > limit
            || self.packets.len() >= MAX_PACKETS && !self.packets.contains_key(&key)
        {
            if !self.evict() {
                return Outcome::Dropped;
            }
        }
        let packet = self.packets.entry(key).or_insert_with(|| Partial {
            started: now,
            parts: Vec::new(),
            header: None,
            total: None,
            bytes: 0,
            ecn_seen: 0,
            is_spoilt: false,
        });
        if packet.is_spoilt {
            return Outcome::Dropped;
        }
        match packet.insert(part, end) {
            Outcome::Waiting => {
                packet.bytes += cost;
                self.bytes += cost;
            }
            // Spoilt: its data goes now, the entry stays so that the rest of the packet is dropped too.
            outcome => {
                if outcome == Outcome::Overlap {
                    self.bytes -= packet.bytes;
                    packet.bytes = 0;
                    packet.parts = Vec::new();
                    packet.header = None;
                    packet.is_spoilt = true;
                }
                return outcome;
            }
        }
        if !packet.is_complete() {
            return Outcome::Waiting;
        }
        let Some(packet) = self.packets.remove(&key) else { return Outcome::Dropped };
        self.bytes -= packet.bytes;
        packet.join()
    }

    fn evict(&mut self) -> bool {
        let oldest = self.packets.iter().min_by_key(|(_, packet)| packet.started).map(|(key, _)| *key);
        let Some(packet) = oldest.and_then(|key| self.packets.remove(&key)) else { return false };
        self.bytes -= packet.bytes;
        true
    }

    /// Drops the packets whose time is over.
    pub(crate) fn expire(&mut self, now: Instant, lifetime: Duration) -> Vec<Expired> {
        let old: Vec<_> = self
            .packets
            .iter()
            .filter(|(_, p)| now.since(p.started) >= lifetime)
            .map(|(key, _)| *key)
            .collect();
        old.into_iter()
            .filter_map(|key| {
                let packet = self.packets.remove(&key)?;
                self.bytes -= packet.bytes;
                let first = packet.parts.first().filter(|(offset, _)| *offset == 0);
                let first =
                    packet.header.as_ref().zip(first).map(|(header, (_, data))| [&header[..], data].concat());
                Some(Expired { key, first })
            })
            .collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

impl Partial {
    fn insert(&mut self, part: Fragment<'_>, end: usize) -> Outcome {
        let at = self.parts.partition_point(|(offset, _)| *offset < part.offset);
        // An exact copy is a duplicate, not an attack.
        if self.parts.get(at).is_some_and(|(offset, data)| *offset == part.offset && data == part.data) {
            return Outcome::Dropped;
        }
        let before = at.checked_sub(1).and_then(|at| self.parts.get(at));
        let overlaps = before.is_some_and(|(offset, data)| offset + data.len() > part.offset)
            || self.parts.get(at).is_some_and(|(offset, _)| *offset < end);
        let beyond = self.total.is_some_and(|total| end > total || part.is_last && end != total);
        let short = part.is_last && self.parts.last().is_some_and(|(offset, data)| offset + data.len() > end);
        if overlaps || beyond || short {
            return Outcome::Overlap;
        }
        if self.parts.len() >= MAX_PARTS {
            return Outcome::Dropped;
        }
        if part.is_last {
            self.total = Some(end);
        }
        if part.offset == 0 {
            self.header = Some(part.header.to_vec());
        }
        self.ecn_seen |= 1 << (part.ecn & 3);
        self.parts.insert(at, (part.offset, part.data.to_vec()));
        Outcome::Waiting
    }

    fn is_complete(&self) -> bool {
        let held: usize = self.parts.iter().map(|(_, data)| data.len()).sum();
        self.header.is_some() && self.total == Some(held)
    }

    fn join(self) -> Outcome {
        let Some(mut bytes) = self.header else { return Outcome::Dropped };
        let header_len = bytes.len();
        for (_, data) in self.parts {
            bytes.extend_from_slice(&data);
        }
        let is_v4 = bytes.first().is_some_and(|byte| byte >> 4 == 4);
        let is_too_long = bytes.len() > if is_v4 { 65_535 } else { 65_535 + 40 };
        let is_mixed = self.ecn_seen & NOT_CAPABLE != 0 && self.ecn_seen != NOT_CAPABLE;
        if is_too_long || is_mixed {
            return Outcome::Dropped;
        }
        Outcome::Whole(Whole { bytes, header_len, has_congestion: self.ecn_seen & CONGESTION != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(id: u32) -> FragmentKey {
        let ip = "10.0.0.1".parse().unwrap();
        FragmentKey { from: ip, to: ip, id, protocol: 17, interface: 1 }
    }

    fn part(data: &[u8], offset: usize, len: usize) -> Fragment<'_> {
        let end = (offset + len).min(data.len());
        Fragment { offset, is_last: end == data.len(), data: &data[offset..end], header: b"head", ecn: 0 }
    }

    proptest! {
        #[test]
        fn any_order_with_duplicates_gives_the_packet(
            len in 1usize..6000,
            cut in 2usize..200,
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        ) {
            let data: Vec<u8> = (0..len).map(|n| (n % 241) as u8).collect();
            let mut parts: Vec<_> = (0..len).step_by(cut * 8).map(|at| part(&data, at, cut * 8)).collect();
            for (index, other) in order.iter().enumerate() {
                let (a, b) = (index % parts.len(), other.index(parts.len()));
                parts.swap(a, b);
                let copy = parts[b];
                parts.push(copy);
            }
            let mut table = Reassembly::new(Key(1, 2));
            let mut got = 0;
            for part in parts {
                if let Outcome::Whole(whole) = table.add(key(1), part, 1 << 20, Instant::ZERO) {
                    prop_assert_eq!(&whole.bytes[whole.header_len..], &data[..]);
                    prop_assert_eq!(&whole.bytes[..whole.header_len], b"head");
                    got += 1;
                }
            }
            prop_assert!(got >= 1);
        }

        #[test]
        fn hostile_fragments_stay_within_bounds(
            parts in prop::collection::vec((0u32..600, 0usize..9000, 0usize..70, any::<bool>()), 0..300),
        ) {
            let data = vec![7; 600];
            let mut table = Reassembly::new(Key(1, 2));
            for (id, offset, len, is_last) in parts {
                let part = Fragment { offset: offset * 8, is_last, data: &data[..len * 8], header: b"h", ecn: 3 };
                table.add(key(id), part, 20_000, Instant::ZERO);
                prop_assert!(table.bytes <= 20_000 && table.packets.len() <= MAX_PACKETS);
            }
            table.expire(Instant::from_millis(40_000), Duration::from_secs(30));
            prop_assert!(table.is_empty() && table.bytes == 0);
        }
    }

    #[test]
    fn overlap_spoils_the_packet() {
        let data = vec![1; 64];
        let mut table = Reassembly::new(Key(1, 2));
        let mut add = |offset, len| table.add(key(1), part(&data, offset, len), 1 << 20, Instant::ZERO);
        assert_eq!(add(0, 32), Outcome::Waiting);
        assert_eq!(add(16, 24), Outcome::Overlap);
        assert_eq!(add(32, 32), Outcome::Dropped);
    }

    /// What fragments with these ECN codepoints become: whether there is a whole, and whether it is marked.
    fn marked(codepoints: &[u8]) -> Option<bool> {
        let data = vec![1; codepoints.len() * 8];
        let mut table = Reassembly::new(Key(1, 2));
        let outcomes = codepoints.iter().enumerate().map(|(index, ecn)| {
            let part = Fragment { ecn: *ecn, ..part(&data, index * 8, 8) };
            table.add(key(1), part, 1 << 20, Instant::ZERO)
        });
        match outcomes.last() {
            Some(Outcome::Whole(whole)) => Some(whole.has_congestion),
            _ => None,
        }
    }

    #[test]
    fn a_mark_on_one_fragment_is_one_on_the_packet() {
        assert_eq!(marked(&[0, 0, 0]), Some(false));
        assert_eq!(marked(&[1, 2, 2]), Some(false));
        assert_eq!(marked(&[2, 3, 2]), Some(true));
        assert_eq!(marked(&[0, 3]), None, "who does not speak ECN is not marked");
        assert_eq!(marked(&[2, 0]), None);
    }

    #[test]
    fn headers_count_too() {
        let (data, header) = (vec![1; 16], vec![2; 10_000]);
        let mut table = Reassembly::new(Key(1, 2));
        for id in 0..200 {
            let part = Fragment { header: &header, ..part(&data, 0, 8) };
            table.add(key(id), part, 100_000, Instant::ZERO);
        }
        assert!((5..10).contains(&table.packets.len()), "{}", table.packets.len());
    }
}
