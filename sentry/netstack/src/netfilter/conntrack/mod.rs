//! Connections that packets belong to, as Linux's nf_conntrack follows them.
//!
//! The table is bounded: when it is full, the connection that is next to expire and was never answered makes room,
//! else the new packet is dropped. Sequence numbers are not followed: what Linux calls
//! `nf_conntrack_tcp_be_liberal`.

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
/// Connections that are looked at for one that can make room.
const EVICTION_SEARCH: usize = 64;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tracked {
    /// Nobody has asked.
    None,
    /// A rule says that it is not to be followed.
    Untracked,
    /// It makes no sense.
    Invalid,
    /// It belongs to connection `id`; `is_done` where its addresses are translated already, because it came by
    /// the loopback interface.
    Known { id: u64, direction: Direction, state: State, is_done: bool },
}

/// The table.
#[derive(Debug)]
pub struct Conntrack {
    flows: HashMap<u64, Flow, Key>,
    by_tuple: HashMap<Tuple, (u64, Direction), Key>,
    /// When to look whether a connection has expired: never later than it does.
    deadlines: BTreeSet<(Instant, u64)>,
    last_id: u64,
}

impl Conntrack {
    pub(super) fn new(key: Key) -> Self {
        Self {
            flows: HashMap::with_hasher(key),
            by_tuple: HashMap::with_hasher(key),
            deadlines: BTreeSet::new(),
            last_id: 0,
        }
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

    /// Takes a connection into the table. `None` where it is full or the addresses are another's by now.
    pub(super) fn insert(&mut self, mut flow: Flow, now: Instant) -> Option<u64> {
        if self.is_taken(&flow.original) || self.is_taken(&flow.reply) {
            return None;
        }
        if self.flows.len() >= MAX_FLOWS && !self.evict() {
            return None;
        }
        self.last_id += 1;
        let id = self.last_id;
        flow.status |= Status::CONFIRMED;
        flow.expires = now + flow.lifetime();
        flow.looked_at = flow.expires;
        self.deadlines.insert((flow.looked_at, id));
        self.by_tuple.insert(flow.original, (id, Direction::Original));
        self.by_tuple.insert(flow.reply, (id, Direction::Reply));
        self.flows.insert(id, flow);
        Some(id)
    }

    /// A packet of a connection lives it on.
    pub(super) fn refresh(&mut self, id: u64, now: Instant) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        flow.expires = now + flow.lifetime();
        // Deadlines that move back are found out when they come.
        if flow.expires < flow.looked_at {
            self.deadlines.remove(&(flow.looked_at, id));
            flow.looked_at = flow.expires;
            self.deadlines.insert((flow.looked_at, id));
        }
    }

    fn evict(&mut self) -> bool {
        let is_loose =
            |id: &u64| self.flows.get(id).is_some_and(|flow| !flow.status.contains(Status::ASSURED));
        let victim = self.deadlines.iter().map(|(_, id)| *id).take(EVICTION_SEARCH).find(is_loose);
        victim.map(|id| self.remove(id)).is_some()
    }

    fn remove(&mut self, id: u64) {
        let Some(flow) = self.flows.remove(&id) else { return };
        self.deadlines.remove(&(flow.looked_at, id));
        self.by_tuple.remove(&flow.original);
        self.by_tuple.remove(&flow.reply);
    }

    /// Forgets what has expired; tells when to look again.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Instant> {
        while let Some(&(at, id)) = self.deadlines.first() {
            if at > now {
                return Some(at);
            }
            self.deadlines.pop_first();
            let Some(flow) = self.flows.get_mut(&id) else { continue };
            if flow.expires <= now {
                self.remove(id);
            } else {
                // Lively connections are not looked at with every packet's worth of delay.
                flow.looked_at = flow.expires.max(now + Duration::from_secs(1));
                self.deadlines.insert((flow.looked_at, id));
            }
        }
        None
    }

    /// When to look at the table again.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The connections, oldest first.
    #[must_use]
    pub fn all(&self) -> Vec<&Flow> {
        let mut ids: Vec<_> = self.flows.keys().copied().collect();
        ids.sort_unstable();
        ids.iter().filter_map(|id| self.flows.get(id)).collect()
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

    #[test]
    fn connections_expire_unless_they_live_on() {
        let mut table = Conntrack::new(Key(1, 2));
        let start = Instant::from_nanos(0);
        let a = table.insert(flow(1), start).unwrap();
        table.insert(flow(2), start).unwrap();
        assert!(table.insert(flow(2), start).is_none(), "the same connection twice");
        let later = start + Duration::from_secs(29);
        assert_eq!(table.expire(later), Some(start + Duration::from_secs(30)));
        table.refresh(a, later);
        table.expire(start + Duration::from_secs(31));
        assert_eq!(table.len(), 1);
        table.expire(start + Duration::from_secs(60));
        assert!(table.is_empty() && table.by_tuple.is_empty() && table.deadlines.is_empty());
    }

    #[test]
    fn a_full_table_forgets_whom_nobody_answered() {
        let mut table = Conntrack::new(Key(1, 2));
        let start = Instant::from_nanos(0);
        for n in 0..MAX_FLOWS + 10 {
            let mut next = flow(n as u16);
            next.original.to.port += (n >> 16) as u16;
            next.reply = next.original.inverted();
            assert!(table.insert(next, start).is_some());
        }
        assert_eq!(table.len(), MAX_FLOWS);
        assert!(table.flows.values_mut().all(|flow| {
            flow.status |= Status::ASSURED;
            true
        }));
        let mut last = flow(7);
        last.original.to.port = 9999;
        last.reply = last.original.inverted();
        assert!(table.insert(last, start).is_none());
    }
}
