//! The neighbour table: link addresses by network address, for ARP and NDP (RFC 826, RFC 4861 section 7.3).

use crate::base::hash::Key;
use crate::base::time::Instant;
use crate::link::device::TxFrame;
use crate::link::nic::Mac;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// How long a confirmed neighbour is believed (`base_reachable_time`).
const REACHABLE: Duration = Duration::from_secs(30);
/// Wait before probing a stale neighbour that is in use (`delay_first_probe_time`).
const DELAY: Duration = Duration::from_secs(5);
/// Between solicitations (`retrans_time`).
const RETRANS: Duration = Duration::from_secs(1);
/// Solicitations, multicast or unicast.
const MAX_PROBES: u8 = 3;
/// How long a failed or unused entry is kept.
const KEEP: Duration = Duration::from_secs(60);
/// Packets that wait for an address, and their bytes (`unres_qlen`, `unres_qlen_bytes`).
const MAX_WAITING: usize = 101;
const MAX_WAITING_BYTES: usize = 212_992;
/// Bytes of packets that wait for all addresses together.
const MAX_ALL_WAITING_BYTES: usize = 4 << 20;

/// States of a neighbour, with Linux's numbers (`NUD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 4861's")]
pub enum NeighbourState {
    Incomplete = 0x01,
    Reachable = 0x02,
    Stale = 0x04,
    Delay = 0x08,
    Probe = 0x10,
    Failed = 0x20,
    Permanent = 0x80,
}

/// A neighbour as shown to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Interface.
    pub interface: u32,
    /// Network address.
    pub ip: IpAddr,
    /// Link address, where it is known.
    pub mac: Option<Mac>,
    /// State.
    pub state: NeighbourState,
    /// It is a router.
    pub is_router: bool,
}

#[derive(Debug)]
struct Entry {
    mac: Option<Mac>,
    state: NeighbourState,
    is_router: bool,
    /// When the state ends.
    until: Instant,
    probes: u8,
    used: Instant,
    waiting: Queue,
}

/// Packets that wait for an address, oldest first.
#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<TxFrame>,
    bytes: usize,
}

impl Queue {
    /// Adds a packet; the oldest make room for it.
    fn push(&mut self, frame: TxFrame) {
        self.bytes += frame.data.len();
        self.frames.push_back(frame);
        while self.frames.len() > MAX_WAITING || self.bytes > MAX_WAITING_BYTES {
            let Some(oldest) = self.frames.pop_front() else { return };
            self.bytes -= oldest.data.len();
        }
    }

    fn take(&mut self) -> Vec<TxFrame> {
        std::mem::take(self).frames.into()
    }
}

/// What is to be done about a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Send it there.
    Send(Mac, TxFrame),
    /// It was queued; ask for the address.
    Ask,
    /// It was queued; the question is out already.
    Wait,
    /// The table is full, or the neighbour is known to be gone.
    Drop,
}

/// What happens at a timer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Ask again: to everyone, or to the address last known.
    Ask(u32, IpAddr, Option<Mac>),
    /// The neighbour does not answer; these packets are lost.
    Failed(u32, IpAddr, Vec<TxFrame>),
}

/// The table.
#[derive(Debug)]
pub(crate) struct NeighbourTable {
    entries: HashMap<(u32, IpAddr), Entry, Key>,
    /// When the table's timer will fire.
    pub(crate) armed_for: Option<Instant>,
}

impl NeighbourTable {
    pub(crate) fn new(key: Key) -> Self {
        Self { entries: HashMap::with_hasher(key), armed_for: None }
    }

    /// Finds out where a frame goes.
    pub(crate) fn resolve(
        &mut self,
        at: (u32, IpAddr),
        frame: TxFrame,
        now: Instant,
        max: usize,
    ) -> Resolution {
        let known = self.entries.get(&at);
        let (is_new, has_to_wait) = (known.is_none(), known.is_none_or(|entry| entry.mac.is_none()));
        if has_to_wait && self.waiting_bytes() + frame.data.len() > MAX_ALL_WAITING_BYTES
            || is_new && !self.make_room(now, max)
        {
            return Resolution::Drop;
        }
        let entry = self.entries.entry(at).or_insert_with(|| Entry {
            mac: None,
            state: NeighbourState::Failed,
            is_router: false,
            until: now,
            probes: 0,
            used: now,
            waiting: Queue::default(),
        });
        entry.used = now;
        match (entry.state, entry.mac) {
            (NeighbourState::Incomplete, _) => {
                entry.waiting.push(frame);
                Resolution::Wait
            }
            (NeighbourState::Failed, _) | (_, None) => {
                entry.state = NeighbourState::Incomplete;
                entry.until = now + RETRANS;
                entry.probes = 1;
                entry.waiting.push(frame);
                Resolution::Ask
            }
            (NeighbourState::Stale, Some(mac)) => {
                entry.state = NeighbourState::Delay;
                entry.until = now + DELAY;
                Resolution::Send(mac, frame)
            }
            (_, Some(mac)) => Resolution::Send(mac, frame),
        }
    }

    /// An address was learnt. `confirmed`: it answers our question. `create`: also where nobody asked. Returns the
    /// packets that waited for it.
    pub(crate) fn learn(
        &mut self,
        at: (u32, IpAddr),
        mac: Mac,
        confirmed: bool,
        create: Option<usize>,
        now: Instant,
    ) -> Vec<TxFrame> {
        if !self.entries.contains_key(&at) {
            let Some(max) = create else { return Vec::new() };
            if !self.make_room(now, max) {
                return Vec::new();
            }
        }
        let entry = self.entries.entry(at).or_insert_with(|| Entry {
            mac: None,
            state: NeighbourState::Incomplete,
            is_router: false,
            until: now,
            probes: 0,
            used: now,
            waiting: Queue::default(),
        });
        if entry.state == NeighbourState::Permanent {
            return Vec::new();
        }
        let is_new = entry.mac != Some(mac);
        if confirmed {
            entry.state = NeighbourState::Reachable;
            entry.until = now + REACHABLE;
        } else if is_new || entry.state == NeighbourState::Incomplete || entry.state == NeighbourState::Failed
        {
            entry.state = NeighbourState::Stale;
            entry.until = now + KEEP;
        }
        entry.mac = Some(mac);
        entry.probes = 0;
        entry.waiting.take()
    }

    pub(crate) fn set_router(&mut self, at: (u32, IpAddr), is_router: bool) {
        if let Some(entry) = self.entries.get_mut(&at) {
            entry.is_router = is_router;
        }
    }

    /// A transport protocol saw the neighbour answer.
    pub(crate) fn confirm(&mut self, at: (u32, IpAddr), now: Instant) {
        if let Some(entry) = self.entries.get_mut(&at)
            && entry.mac.is_some()
            && entry.state != NeighbourState::Permanent
        {
            entry.state = NeighbourState::Reachable;
            entry.until = now + REACHABLE;
        }
    }

    /// Sets an entry by hand; returns the packets that waited, or nothing where the table is full.
    pub(crate) fn set(
        &mut self,
        at: (u32, IpAddr),
        mac: Mac,
        state: NeighbourState,
        now: Instant,
        max: usize,
    ) -> Option<Vec<TxFrame>> {
        if !self.entries.contains_key(&at) && !self.make_room(now, max) {
            return None;
        }
        let old = self.entries.insert(
            at,
            Entry {
                mac: Some(mac),
                state,
                is_router: false,
                until: now + REACHABLE,
                probes: 0,
                used: now,
                waiting: Queue::default(),
            },
        );
        Some(old.map_or(Vec::new(), |mut old| old.waiting.take()))
    }

    pub(crate) fn remove(&mut self, at: (u32, IpAddr)) -> bool {
        self.entries.remove(&at).is_some()
    }

    pub(crate) fn remove_interface(&mut self, interface: u32) {
        self.entries.retain(|(index, _), _| *index != interface);
    }

    pub(crate) fn all(&self) -> Vec<Neighbour> {
        let show = |((interface, ip), entry): (&(u32, IpAddr), &Entry)| Neighbour {
            interface: *interface,
            ip: *ip,
            mac: entry.mac,
            state: entry.state,
            is_router: entry.is_router,
        };
        self.entries.iter().map(show).collect()
    }

    /// Bytes of all packets that wait. Nobody needs it while neighbours answer, so it is not kept.
    fn waiting_bytes(&self) -> usize {
        self.entries.values().map(|entry| entry.waiting.bytes).sum()
    }

    fn make_room(&mut self, now: Instant, max: usize) -> bool {
        if self.entries.len() < max {
            return true;
        }
        let victim = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.state != NeighbourState::Permanent && entry.used < now)
            .min_by_key(|(_, entry)| entry.used)
            .map(|(at, _)| *at);
        victim.is_some_and(|at| self.entries.remove(&at).is_some())
    }

    /// When [`NeighbourTable::advance`] is next needed.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let timed = self.entries.values().filter(|entry| entry.state != NeighbourState::Permanent);
        timed.map(|entry| entry.until.max(now + Duration::from_millis(1))).min()
    }

    /// Moves on what is due.
    pub(crate) fn advance(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        for ((interface, ip), entry) in &mut self.entries {
            if entry.until <= now {
                entry.step((*interface, *ip), now, &mut events);
            }
        }
        self.entries.retain(|_, entry| {
            let is_idle = matches!(entry.state, NeighbourState::Failed | NeighbourState::Stale);
            !(is_idle && now.since(entry.used) >= KEEP)
        });
        events
    }
}

impl Entry {
    fn step(&mut self, (interface, ip): (u32, IpAddr), now: Instant, events: &mut Vec<Event>) {
        match self.state {
            NeighbourState::Incomplete | NeighbourState::Probe if self.probes >= MAX_PROBES => {
                self.state = NeighbourState::Failed;
                self.mac = None;
                self.until = now + KEEP;
                events.push(Event::Failed(interface, ip, self.waiting.take()));
            }
            NeighbourState::Incomplete | NeighbourState::Probe => {
                self.probes += 1;
                self.until = now + RETRANS;
                events.push(Event::Ask(interface, ip, self.mac));
            }
            NeighbourState::Delay => {
                self.state = NeighbourState::Probe;
                self.probes = 1;
                self.until = now + RETRANS;
                events.push(Event::Ask(interface, ip, self.mac));
            }
            NeighbourState::Reachable => {
                self.state = NeighbourState::Stale;
                self.until = now + KEEP;
            }
            NeighbourState::Stale | NeighbourState::Failed | NeighbourState::Permanent => {
                self.until = now + KEEP;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    fn frame(n: u8) -> TxFrame {
        TxFrame { data: vec![n], start: 0, meta: crate::link::device::TxMeta::default() }
    }

    fn at(n: u8) -> (u32, IpAddr) {
        (1, [10, 0, 0, n].into())
    }

    #[test]
    fn asks_three_times_then_fails() {
        let mut table = NeighbourTable::new(Key(1, 2));
        let mut now = Instant::from_millis(1);
        assert_eq!(table.resolve(at(1), frame(1), now, 10), Resolution::Ask);
        assert_eq!(table.resolve(at(1), frame(2), now, 10), Resolution::Wait);
        for _ in 0..2 {
            now += RETRANS;
            assert_eq!(table.advance(now), [Event::Ask(1, at(1).1, None)]);
        }
        now += RETRANS;
        assert_eq!(table.advance(now), [Event::Failed(1, at(1).1, vec![frame(1), frame(2)])]);
        assert_eq!(table.resolve(at(1), frame(3), now, 10), Resolution::Ask);
    }

    #[test]
    fn answer_releases_the_queue_and_use_of_a_stale_entry_probes() {
        let mut table = NeighbourTable::new(Key(1, 2));
        let mut now = Instant::from_millis(1);
        table.resolve(at(1), frame(1), now, 10);
        assert_eq!(table.learn(at(1), MAC, true, None, now), [frame(1)]);
        assert_eq!(table.resolve(at(1), frame(2), now, 10), Resolution::Send(MAC, frame(2)));
        now += REACHABLE;
        table.advance(now);
        assert_eq!(table.resolve(at(1), frame(3), now, 10), Resolution::Send(MAC, frame(3)));
        now += DELAY;
        assert_eq!(table.advance(now), [Event::Ask(1, at(1).1, Some(MAC))]);
        assert!(table.learn(at(2), MAC, false, None, now).is_empty());
        assert_eq!(table.all().len(), 1);
    }

    #[test]
    fn a_flood_of_addresses_is_bounded() {
        let mut table = NeighbourTable::new(Key(1, 2));
        for n in 0..200u8 {
            table.resolve(at(n), frame(0), Instant::from_millis(n.into()), 16);
        }
        assert_eq!(table.all().len(), 16);
    }

    #[test]
    fn what_waits_for_one_neighbour_is_bounded() {
        let mut table = NeighbourTable::new(Key(1, 2));
        let now = Instant::from_millis(1);
        let large = |n: u8| TxFrame { data: vec![n; 60_000], ..frame(n) };
        for n in 0..10 {
            table.resolve(at(1), large(n), now, 10);
        }
        for n in 0..200 {
            table.resolve(at(2), frame(n), now, 10);
        }
        let kept = |table: &mut NeighbourTable, n| {
            let frames = table.learn(at(n), MAC, true, None, now);
            frames.iter().map(|frame| frame.data[0]).collect::<Vec<_>>()
        };
        assert_eq!(kept(&mut table, 1), [7, 8, 9]);
        assert_eq!(kept(&mut table, 2), (99..200).collect::<Vec<_>>());
    }

    #[test]
    fn what_waits_for_all_neighbours_is_bounded() {
        let mut table = NeighbourTable::new(Key(1, 2));
        let now = Instant::from_millis(1);
        let large = || TxFrame { data: vec![0; 100_000], ..frame(0) };
        let taken = (0..100).filter(|n| table.resolve(at(*n), large(), now, 1024) == Resolution::Ask).count();
        assert_eq!(taken, MAX_ALL_WAITING_BYTES / 100_000);
        table.learn(at(0), MAC, true, None, now);
        assert_eq!(table.resolve(at(200), large(), now, 1024), Resolution::Ask);
    }

    #[test]
    fn neighbours_set_by_hand_are_bounded_too() {
        let mut table = NeighbourTable::new(Key(1, 2));
        let now = Instant::from_millis(1);
        let mut set = |n| table.set(at(n), MAC, NeighbourState::Permanent, now, 4).is_some();
        assert_eq!([1, 2, 3, 4, 5].map(&mut set), [true, true, true, true, false]);
        assert!(set(4));
    }
}
