//! Connections that packets belong to, as Linux's nf_conntrack follows them.
//!
//! The table is bounded: when it is full, the connection that is next to expire of those that have not earned to stay
//! makes room, else the new packet is dropped. Sequence numbers are not followed, not even those of resets (Linux's
//! `nf_conntrack_tcp_be_liberal` still checks these): who knows the addresses and ports of a connection can make the
//! table take it for closed, but not the sockets, which check for themselves.

mod flow;
mod tcp;
mod tuple;

pub use flow::{Flow, Status};
pub use tuple::Tuple;

use crate::base::hash::Key;
use crate::base::time::Instant;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Connections that are followed at most (`nf_conntrack_max`).
pub const MAX_FLOWS: usize = 65_536;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the first packet.
    Original,
    /// As the answers.
    Reply,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// What a packet is to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It begins one.
    New,
    /// Both sides have spoken.
    Established,
    /// An error about one.
    Related,
}

/// What is known of the connection of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Tracked {
    /// Nobody has asked.
    #[default]
    None,
    /// A rule says that it is not to be followed.
    Untracked,
    /// It makes no sense.
    Invalid,
    /// It belongs to connection `id`; `is_done` where its addresses are translated already, because it came by
    /// the loopback interface.
    Known { id: u64, direction: Direction, state: State, is_done: bool },
}

/// A connection as the owner is told of it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// A number that no other has or had.
    pub id: u64,
    /// What is known of it.
    pub flow: Flow,
    /// When it is forgotten unless a packet comes.
    pub seconds_left: u32,
}

impl Connection {
    /// Whether packets with these addresses belong to it.
    #[must_use]
    pub fn has(&self, tuple: &Tuple) -> bool {
        self.flow.original == *tuple || self.flow.reply == *tuple
    }
}

/// The table.
#[derive(Debug)]
pub struct Conntrack {
    flows: HashMap<u64, Flow, Key>,
    by_tuple: HashMap<Tuple, (u64, Direction), Key>,
    /// When to look whether a connection has expired: a second after it does at most.
    deadlines: BTreeSet<(Instant, u64)>,
    /// Those of `deadlines` whose connections are not assured: the first makes room.
    loose: BTreeSet<(Instant, u64)>,
    /// When the timers fire that are pending, each earlier than the one before it.
    armed: Vec<Instant>,
    last_id: u64,
}

impl Conntrack {
    pub(super) fn new(key: Key) -> Self {
        Self {
            flows: HashMap::with_hasher(key),
            by_tuple: HashMap::with_hasher(key),
            deadlines: BTreeSet::new(),
            loose: BTreeSet::new(),
            armed: Vec::new(),
            last_id: 0,
        }
    }

    /// The connections, the oldest first.
    pub(super) fn all(&self, now: Instant) -> Vec<Connection> {
        let told = |(id, flow): (&u64, &Flow)| {
            let seconds_left = u32::try_from(flow.expires.since(now).as_secs()).unwrap_or(u32::MAX);
            Connection { id: *id, flow: flow.clone(), seconds_left }
        };
        let mut all: Vec<_> = self.flows.iter().map(told).collect();
        all.sort_unstable_by_key(|connection| connection.id);
        all
    }

    /// How many connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The connection that a packet with these addresses belongs to.
    #[must_use]
    pub fn find(&self, tuple: &Tuple) -> Option<(u64, Direction)> {
        self.by_tuple.get(tuple).copied()
    }

    /// A connection.
    #[must_use]
    pub fn flow(&self, id: u64) -> Option<&Flow> {
        self.flows.get(&id)
    }

    pub(super) fn flow_mut(&mut self, id: u64) -> Option<&mut Flow> {
        self.flows.get_mut(&id)
    }

    /// Whether answers with these addresses would be taken for another connection's.
    pub(super) fn is_taken(&self, tuple: &Tuple) -> bool {
        self.by_tuple.contains_key(tuple)
    }

    /// Whether both sides of a connection have spoken.
    pub(super) fn state(&self, id: u64) -> State {
        let is_answered = self.flow(id).is_some_and(|flow| flow.status.contains(Status::SEEN_REPLY));
        if is_answered { State::Established } else { State::New }
    }

    /// Takes a connection into the table, or finds it there where another packet of it was faster. `None` where the
    /// table is full or the addresses are another's by now.
    pub(super) fn insert(&mut self, mut flow: Flow, now: Instant) -> Option<u64> {
        if let Some((id, direction)) = self.find(&flow.original) {
            let is_same = self.flow(id).is_some_and(|known| known.reply == flow.reply);
            return (is_same && direction == Direction::Original).then_some(id);
        }
        if self.is_taken(&flow.reply) || self.flows.len() >= MAX_FLOWS && !self.evict(now) {
            return None;
        }
        self.last_id += 1;
        let id = self.last_id;
        flow.status |= Status::CONFIRMED;
        flow.expires = now + flow.lifetime();
        let at = flow.expires;
        self.by_tuple.insert(flow.original, (id, Direction::Original));
        self.by_tuple.insert(flow.reply, (id, Direction::Reply));
        self.flows.insert(id, flow);
        self.look_at(id, at);
        Some(id)
    }

    /// A packet of a connection passes and lives it on. False where it makes no sense.
    pub(super) fn advance(&mut self, id: u64, direction: Direction, transport: &[u8], now: Instant) -> bool {
        let Some(flow) = self.flows.get_mut(&id) else { return false };
        let before = flow.status;
        if !flow.advance(direction, transport) {
            return false;
        }
        let is_promoted = (before ^ flow.status).contains(Status::ASSURED);
        flow.expires = now + flow.lifetime();
        // Deadlines that move back are found out when they come.
        let at = flow.expires.min(flow.looked_at);
        if at != flow.looked_at || is_promoted {
            self.look_at(id, at);
        }
        true
    }

    /// Sets when a connection is next looked at, and notes whether it may make room.
    fn look_at(&mut self, id: u64, at: Instant) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let before = (flow.looked_at, id);
        flow.looked_at = at;
        let is_loose = !flow.status.contains(Status::ASSURED);
        self.deadlines.remove(&before);
        self.loose.remove(&before);
        self.deadlines.insert((at, id));
        if is_loose {
            self.loose.insert((at, id));
        }
    }

    /// Makes room for a connection; whether it could.
    fn evict(&mut self, now: Instant) -> bool {
        self.forget_expired(now);
        if self.flows.len() >= MAX_FLOWS
            && let Some(&(_, id)) = self.loose.first()
        {
            self.remove(id);
        }
        self.flows.len() < MAX_FLOWS
    }

    /// Forgets a connection.
    pub(super) fn remove(&mut self, id: u64) {
        let Some(flow) = self.flows.remove(&id) else { return };
        self.deadlines.remove(&(flow.looked_at, id));
        self.loose.remove(&(flow.looked_at, id));
        self.by_tuple.remove(&flow.original);
        self.by_tuple.remove(&flow.reply);
    }

    fn forget_expired(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.deadlines.first() {
            let Some(flow) = self.flows.get(&id).filter(|_| at <= now) else { return };
            if flow.expires <= now {
                self.remove(id);
            } else {
                // Lively connections are not looked at with every packet's worth of delay.
                let at = flow.expires.max(now + Duration::from_secs(1));
                self.look_at(id, at);
            }
        }
    }

    /// A timer fires: forgets what has expired.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.armed.pop_if(|at| *at <= now).is_some() {}
        self.forget_expired(now);
    }

    /// The time for which the caller is to arm a timer, after every change: `None` where one that is pending will do.
    #[must_use]
    pub(super) fn next_timer(&mut self) -> Option<Instant> {
        let (first, _) = *self.deadlines.first()?;
        let is_late = self.armed.last().is_none_or(|pending| first < *pending);
        is_late.then(|| {
            self.armed.push(first);
            first
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::Endpoint;

    fn flow(port: u16) -> Flow {
        let (from, to) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let tuple =
            Tuple { from: Endpoint::new(from, port), to: Endpoint::new(to, 53), protocol: 17, kind: 0 };
        Flow::new(tuple)
    }

    fn tcp(port: u16) -> Flow {
        let mut flow = flow(port);
        flow.original.protocol = 6;
        let mut flow = Flow::new(flow.original);
        assert!(flow.advance(Direction::Original, &segment(SYN)));
        flow
    }

    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const ACK: u8 = 16;

    fn segment(flags: u8) -> [u8; 20] {
        let mut segment = [0; 20];
        segment[13] = flags;
        segment
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn connections_expire_unless_they_live_on() {
        let mut table = Conntrack::new(Key(1, 2));
        let a = table.insert(flow(1), at(0)).unwrap();
        assert_eq!(table.next_timer(), Some(at(30)));
        table.insert(flow(2), at(0)).unwrap();
        assert_eq!(table.next_timer(), None);
        table.expire(at(29));
        assert_eq!((table.len(), table.next_timer()), (2, None));
        assert!(table.advance(a, Direction::Original, &[], at(29)));
        table.expire(at(31));
        assert_eq!((table.len(), table.next_timer()), (1, Some(at(59))));
        table.expire(at(60));
        assert!(table.is_empty() && table.by_tuple.is_empty() && table.deadlines.is_empty());
        assert!(table.loose.is_empty() && table.armed.is_empty());
    }

    #[test]
    fn first_packets_that_come_at_once_begin_one_connection() {
        let mut table = Conntrack::new(Key(1, 2));
        let id = table.insert(flow(1), at(0));
        assert!(id.is_some());
        assert_eq!(table.insert(flow(1), at(0)), id);
        let mut other = flow(1);
        other.reply.from.port = 5353;
        assert_eq!(table.insert(other, at(0)), None, "translated otherwise");
        let inverted = Flow::new(flow(1).reply);
        assert_eq!(table.insert(inverted, at(0)), None, "the other way round");
    }

    #[test]
    fn a_deadline_that_moves_forward_arms_a_timer() {
        let mut table = Conntrack::new(Key(1, 2));
        let id = table.insert(tcp(1), at(0)).unwrap();
        assert_eq!(table.next_timer(), Some(at(120)));
        assert!(table.advance(id, Direction::Reply, &segment(SYN | ACK), at(0)));
        assert_eq!(table.next_timer(), Some(at(60)));
        assert!(table.advance(id, Direction::Original, &segment(ACK), at(0)));
        table.expire(at(60));
        assert_eq!(table.next_timer(), None, "the timer of the first segment is pending");
        table.expire(at(120));
        assert_eq!(table.next_timer(), Some(at(432_000)));
        assert!(table.advance(id, Direction::Original, &segment(FIN | ACK), at(200)));
        assert_eq!(table.next_timer(), Some(at(320)));
        table.expire(at(320));
        assert!(table.is_empty());
        assert_eq!(
            (table.next_timer(), table.armed.len()),
            (None, 1),
            "nothing but what was pending is pending"
        );
    }

    #[test]
    fn short_connections_beside_a_long_one_leave_no_timers_behind() {
        let mut table = Conntrack::new(Key(1, 2));
        let id = table.insert(tcp(1), at(0)).unwrap();
        assert!(table.advance(id, Direction::Reply, &segment(SYN | ACK), at(0)));
        assert!(table.advance(id, Direction::Original, &segment(ACK), at(0)));
        for second in 0..10_000 {
            table.insert(flow(2), at(second));
            let _armed = table.next_timer();
            table.expire(at(second));
            let _armed = table.next_timer();
            assert!(table.armed.len() <= 4, "{:?}", table.armed);
        }
    }

    /// Fills a table with connections, of which those that `is_assured` names have earned to stay.
    fn full(is_assured: impl Fn(usize) -> bool) -> Conntrack {
        let mut table = Conntrack::new(Key(1, 2));
        for n in 0..MAX_FLOWS {
            let mut next = flow(n as u16).original;
            next.to.port += (n >> 16) as u16;
            let id = table.insert(Flow::new(next), at(0)).unwrap();
            if is_assured(n) {
                for direction in [Direction::Reply, Direction::Original] {
                    assert!(table.advance(id, direction, &[], at(0)));
                }
            }
        }
        table
    }

    fn another() -> Flow {
        let mut tuple = flow(7).original;
        tuple.to.port = 9999;
        Flow::new(tuple)
    }

    #[test]
    fn a_full_table_forgets_whom_nobody_answered() {
        let mut table = full(|n| n < 1000);
        for n in 0..10 {
            let mut next = another();
            next.original.from.port = n;
            assert!(table.insert(Flow::new(next.original), at(1)).is_some());
        }
        assert_eq!(table.len(), MAX_FLOWS);
        let assured = table.flows.values().filter(|flow| flow.status.contains(Status::ASSURED));
        assert_eq!(assured.count(), 1000);
    }

    #[test]
    fn a_table_full_of_live_connections_takes_no_more_until_they_expire() {
        let mut table = full(|_| true);
        assert!(table.loose.is_empty());
        assert!(table.insert(another(), at(119)).is_none());
        assert!(table.insert(another(), at(121)).is_some());
        assert_eq!(table.len(), 1);
    }
}
