//! Who is bound to which port: conflicts between binds, choice of ephemeral ports, and look-up for arriving packets.
//!
//! One table for each protocol. The rules are those of Linux's `inet_csk_get_port` and `udp_lib_get_port`; man 7
//! socket (`SO_REUSEADDR`, `SO_REUSEPORT`). The table's lock is a leaf.

use crate::base::addr::{Endpoint, Family};
use crate::base::error::{Error, Result};
use crate::base::hash::{Key, Random};
use crate::socket::options::Options;
use parking_lot::RwLock;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// What differs between the protocols' rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// With `SO_REUSEADDR` a port is shared as long as nobody listens.
    Stream,
    /// With `SO_REUSEADDR` a port is shared.
    Datagram,
}

/// A claim to an address and port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// The address, or the unspecified one of the socket's family.
    pub(crate) ip: IpAddr,
    pub(crate) v6_only: bool,
    pub(crate) device: u32,
    pub(crate) reuse_addr: bool,
    pub(crate) reuse_port: bool,
    pub(crate) uid: u32,
}

impl Binding {
    /// The claim that a socket with these options lays to `ip`.
    pub(crate) fn new(ip: IpAddr, options: &Options) -> Self {
        let base = &options.base;
        Self {
            ip,
            v6_only: options.ip6.v6_only,
            device: base.device,
            reuse_addr: base.reuse_addr,
            reuse_port: base.reuse_port,
            uid: base.uid,
        }
    }

    /// Whether the claim covers packets to `ip`.
    fn covers(&self, ip: IpAddr) -> bool {
        if self.ip.is_unspecified() { self.covers_family(Family::of(ip)) } else { self.ip == ip }
    }

    fn covers_family(&self, family: Family) -> bool {
        match (Family::of(self.ip), family) {
            (own, other) if own == other => true,
            (Family::V6, Family::V4) => self.ip.is_unspecified() && !self.v6_only,
            _ => false,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        if self.device != other.device && self.device != 0 && other.device != 0 {
            return false;
        }
        match (self.ip.is_unspecified(), other.ip.is_unspecified()) {
            (true, true) => {
                [Family::V4, Family::V6].into_iter().any(|f| self.covers_family(f) && other.covers_family(f))
            }
            (true, false) => self.covers(other.ip),
            (false, true) => other.covers(self.ip),
            (false, false) => self.ip == other.ip,
        }
    }
}

#[derive(Debug)]
struct Entry<T> {
    id: u64,
    binding: Binding,
    peer: Option<Endpoint>,
    is_listening: bool,
    socket: Arc<T>,
}

/// Connections that use a port without an entry of their own, by local address: with and without `SO_REUSEADDR`.
#[derive(Debug, Default, Clone, Copy)]
struct Users {
    reusing: u32,
    other: u32,
}

#[derive(Debug)]
struct Bucket<T> {
    entries: Vec<Entry<T>>,
    users: HashMap<IpAddr, Users, Key>,
}

/// The table of one protocol.
#[derive(Debug)]
pub(crate) struct Ports<T> {
    buckets: RwLock<HashMap<u16, Bucket<T>, Key>>,
    sharing: Sharing,
    key: Key,
}

/// A packet, as far as the choice of a socket goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) to: Endpoint,
    pub(crate) from: Endpoint,
    pub(crate) device: u32,
}

/// Which entries a look-up considers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Listening,
    All,
}

impl<T> Bucket<T> {
    fn conflicts(&self, id: u64, new: &Binding, sharing: Sharing) -> bool {
        let by_entry = self.entries.iter().any(|entry| {
            let old = &entry.binding;
            let may_reuse =
                new.reuse_addr && old.reuse_addr && (sharing == Sharing::Datagram || !entry.is_listening);
            let may_share = new.reuse_port && old.reuse_port && new.uid == old.uid;
            entry.id != id && new.overlaps(old) && !may_reuse && !may_share
        });
        by_entry
            || self.users.iter().any(|(ip, users)| {
                new.covers(*ip) && (users.other > 0 || users.reusing > 0 && !new.reuse_addr)
            })
    }

    fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.users.is_empty()
    }
}

impl<T> Ports<T> {
    pub(crate) fn new(sharing: Sharing, key: Key) -> Self {
        Self { buckets: RwLock::new(HashMap::with_hasher(key)), sharing, key }
    }

    /// Binds `socket`; port 0 picks a free one from `range`.
    pub(crate) fn bind(
        &self,
        id: u64,
        socket: &Arc<T>,
        binding: Binding,
        port: u16,
        pick: (&Random, (u16, u16)),
    ) -> Result<u16> {
        let mut buckets = self.buckets.write();
        let free = |buckets: &HashMap<u16, Bucket<T>, Key>, port: u16| {
            buckets.get(&port).is_none_or(|bucket| !bucket.conflicts(id, &binding, self.sharing))
        };
        let port = if port != 0 {
            if !free(&buckets, port) {
                return Err(Error::AddrInUse);
            }
            port
        } else {
            ephemeral(pick).find(|port| free(&buckets, *port)).ok_or(Error::AddrInUse)?
        };
        let key = self.key;
        let bucket = buckets
            .entry(port)
            .or_insert_with(|| Bucket { entries: Vec::new(), users: HashMap::with_hasher(key) });
        let entry = Entry { id, binding, peer: None, is_listening: false, socket: Arc::clone(socket) };
        bucket.entries.push(entry);
        Ok(port)
    }

    /// Removes a bind.
    pub(crate) fn unbind(&self, id: u64, port: u16) {
        let mut buckets = self.buckets.write();
        if let Some(bucket) = buckets.get_mut(&port) {
            bucket.entries.retain(|entry| entry.id != id);
            if bucket.is_empty() {
                buckets.remove(&port);
            }
        }
    }

    /// Makes a bound socket listen, if nobody else does on what it claims.
    pub(crate) fn listen(&self, id: u64, port: u16) -> Result<()> {
        let mut buckets = self.buckets.write();
        let bucket = buckets.get_mut(&port).ok_or(Error::Invalid)?;
        let at = bucket.entries.iter().position(|entry| entry.id == id).ok_or(Error::Invalid)?;
        let binding = bucket.entries[at].binding;
        if bucket.conflicts(id, &binding, self.sharing) {
            return Err(Error::AddrInUse);
        }
        bucket.entries[at].is_listening = true;
        Ok(())
    }

    /// Ends listening; the bind stays.
    pub(crate) fn unlisten(&self, id: u64, port: u16) {
        self.change(id, port, |entry| entry.is_listening = false);
    }

    /// Restricts an entry to packets from `peer` to `ip`, or lifts that.
    pub(crate) fn set_peer(&self, id: u64, port: u16, ip: IpAddr, peer: Option<Endpoint>) {
        self.change(id, port, |entry| {
            entry.binding.ip = ip;
            entry.peer = peer;
        });
    }

    /// Options of a bound socket changed.
    pub(crate) fn rebind(&self, id: u64, port: u16, change: impl FnOnce(&mut Binding)) {
        self.change(id, port, |entry| change(&mut entry.binding));
    }

    fn change(&self, id: u64, port: u16, change: impl FnOnce(&mut Entry<T>)) {
        let mut buckets = self.buckets.write();
        if let Some(entry) = buckets.get_mut(&port).and_then(|b| b.entries.iter_mut().find(|e| e.id == id)) {
            change(entry);
        }
    }

    /// Picks an ephemeral port that nobody bound and for which `is_free` holds, and counts a user on it.
    pub(crate) fn connect_from(
        &self,
        ip: IpAddr,
        reuse: bool,
        pick: (&Random, (u16, u16)),
        is_free: impl Fn(u16) -> bool,
    ) -> Result<u16> {
        let mut buckets = self.buckets.write();
        let unbound = |port: &u16| buckets.get(port).is_none_or(|bucket| bucket.entries.is_empty());
        let port =
            ephemeral(pick).filter(unbound).find(|port| is_free(*port)).ok_or(Error::AddrNotAvailable)?;
        Self::count(&mut buckets, self.key, port, ip, reuse);
        Ok(port)
    }

    fn count(buckets: &mut HashMap<u16, Bucket<T>, Key>, key: Key, port: u16, ip: IpAddr, reuse: bool) {
        let bucket = buckets
            .entry(port)
            .or_insert_with(|| Bucket { entries: Vec::new(), users: HashMap::with_hasher(key) });
        let users = bucket.users.entry(ip).or_default();
        if reuse {
            users.reusing = users.reusing.saturating_add(1);
        } else {
            users.other = users.other.saturating_add(1);
        }
    }

    /// Counts a connection that uses `port` beside the binds (children of a listener).
    pub(crate) fn add_user(&self, port: u16, ip: IpAddr, reuse: bool) {
        Self::count(&mut self.buckets.write(), self.key, port, ip, reuse);
    }

    /// Ends what [`Ports::add_user`] or [`Ports::connect_from`] counted.
    pub(crate) fn remove_user(&self, port: u16, ip: IpAddr, reuse: bool) {
        let mut buckets = self.buckets.write();
        let Some(bucket) = buckets.get_mut(&port) else { return };
        if let Some(users) = bucket.users.get_mut(&ip) {
            if reuse {
                users.reusing = users.reusing.saturating_sub(1);
            } else {
                users.other = users.other.saturating_sub(1);
            }
            if users.reusing == 0 && users.other == 0 {
                bucket.users.remove(&ip);
            }
        }
        if bucket.is_empty() {
            buckets.remove(&port);
        }
    }

    /// The socket that an arriving packet is for.
    pub(crate) fn lookup(&self, arrival: &Arrival, wanted: Wanted) -> Option<Arc<T>> {
        let buckets = self.buckets.read();
        let bucket = buckets.get(&arrival.to.port)?;
        let mut best: Option<(u8, &Entry<T>)> = None;
        let mut ties = 0u64;
        for entry in &bucket.entries {
            let Some(score) = entry.score(arrival, wanted) else { continue };
            match best {
                Some((top, _)) if score < top => {}
                Some((top, first))
                    if score == top && first.binding.reuse_port && entry.binding.reuse_port =>
                {
                    ties += 1;
                }
                // Of equals without SO_REUSEPORT the latest bind wins.
                _ => {
                    best = Some((score, entry));
                    ties = 1;
                }
            }
        }
        let (top, entry) = best?;
        if ties <= 1 {
            return Some(Arc::clone(&entry.socket));
        }
        let chosen = usize::try_from(self.flow_hash(arrival) % ties).unwrap_or(0);
        let equals = |e: &&Entry<T>| e.score(arrival, wanted) == Some(top) && e.binding.reuse_port;
        bucket.entries.iter().filter(equals).nth(chosen).map(|entry| Arc::clone(&entry.socket))
    }

    fn flow_hash(&self, arrival: &Arrival) -> u64 {
        let mut sip = self.key.build_hasher();
        arrival.from.hash(&mut sip);
        arrival.to.hash(&mut sip);
        sip.finish()
    }

    /// Every socket that an arriving multicast or broadcast packet is for.
    pub(crate) fn lookup_all(&self, arrival: &Arrival) -> Vec<Arc<T>> {
        let buckets = self.buckets.read();
        let entries = buckets.get(&arrival.to.port).map_or(&[][..], |bucket| &bucket.entries);
        entries
            .iter()
            .filter(|entry| entry.score(arrival, Wanted::All).is_some())
            .map(|entry| Arc::clone(&entry.socket))
            .collect()
    }

    /// Every bound socket.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        let buckets = self.buckets.read();
        buckets.values().flat_map(|bucket| bucket.entries.iter().map(|e| Arc::clone(&e.socket))).collect()
    }

    /// Every socket that listens.
    pub(crate) fn listening(&self) -> Vec<Arc<T>> {
        let buckets = self.buckets.read();
        let entries = buckets.values().flat_map(|bucket| bucket.entries.iter());
        entries.filter(|entry| entry.is_listening).map(|entry| Arc::clone(&entry.socket)).collect()
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        let taken = std::mem::replace(&mut *self.buckets.write(), HashMap::with_hasher(self.key));
        drop(taken);
    }
}

impl<T> Entry<T> {
    /// How well the entry fits, `None` for not at all.
    fn score(&self, arrival: &Arrival, wanted: Wanted) -> Option<u8> {
        let binding = &self.binding;
        if wanted == Wanted::Listening && !self.is_listening
            || !binding.covers(arrival.to.ip)
            || binding.device != 0 && binding.device != arrival.device
            || self.peer.is_some_and(|peer| peer != arrival.from)
        {
            return None;
        }
        let same_family = Family::of(binding.ip) == Family::of(arrival.to.ip);
        Some(
            u8::from(self.peer.is_some()) * 8
                + u8::from(!binding.ip.is_unspecified()) * 4
                + u8::from(binding.device != 0) * 2
                + u8::from(same_family),
        )
    }
}

/// The ports of a range from a random one on, around once.
fn ephemeral((random, (low, high)): (&Random, (u16, u16))) -> impl Iterator<Item = u16> {
    let count = u32::from(high.saturating_sub(low)) + 1;
    let start = random.below(count);
    (0..count).map(move |step| low.saturating_add(((start + step) % count) as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: (u16, u16) = (40_000, 40_009);

    fn binding(ip: &str) -> Binding {
        let ip = ip.parse().unwrap();
        Binding { ip, v6_only: false, device: 0, reuse_addr: false, reuse_port: false, uid: 0 }
    }

    fn ports(sharing: Sharing) -> (Ports<u64>, Random) {
        (Ports::new(sharing, Key(1, 2)), Random::new(Key(3, 4)))
    }

    fn bind(table: &(Ports<u64>, Random), id: u64, binding: Binding, port: u16) -> Result<u16> {
        table.0.bind(id, &Arc::new(id), binding, port, (&table.1, RANGE))
    }

    fn arrival(to: &str, from: &str) -> Arrival {
        let end = |s: &str| {
            let a: std::net::SocketAddr = s.parse().unwrap();
            Endpoint::new(a.ip(), a.port())
        };
        Arrival { to: end(to), from: end(from), device: 1 }
    }

    #[test]
    fn wildcard_conflicts_with_specific_and_with_dual_stack() {
        let table = ports(Sharing::Stream);
        assert_eq!(bind(&table, 1, binding("::"), 80), Ok(80));
        assert_eq!(bind(&table, 2, binding("0.0.0.0"), 80), Err(Error::AddrInUse));
        assert_eq!(bind(&table, 3, binding("127.0.0.1"), 80), Err(Error::AddrInUse));
        table.0.unbind(1, 80);
        assert_eq!(bind(&table, 4, Binding { v6_only: true, ..binding("::") }, 80), Ok(80));
        assert_eq!(bind(&table, 5, binding("0.0.0.0"), 80), Ok(80));
        assert_eq!(bind(&table, 6, binding("::1"), 80), Err(Error::AddrInUse));
    }

    #[test]
    fn reuse_addr_lets_streams_share_until_one_listens() {
        let table = ports(Sharing::Stream);
        let reusing = Binding { reuse_addr: true, ..binding("0.0.0.0") };
        assert_eq!(bind(&table, 1, reusing, 80), Ok(80));
        assert_eq!(bind(&table, 2, reusing, 80), Ok(80));
        assert_eq!(table.0.listen(1, 80), Ok(()));
        assert_eq!(table.0.listen(2, 80), Err(Error::AddrInUse));
        assert_eq!(bind(&table, 3, reusing, 80), Err(Error::AddrInUse));
    }

    #[test]
    fn reuse_port_needs_the_same_user_and_spreads_flows() {
        let table = ports(Sharing::Stream);
        let sharing = Binding { reuse_port: true, ..binding("0.0.0.0") };
        for id in 1..=4 {
            assert_eq!(bind(&table, id, sharing, 80), Ok(80));
            assert_eq!(table.0.listen(id, 80), Ok(()));
        }
        assert_eq!(bind(&table, 9, Binding { uid: 5, ..sharing }, 80), Err(Error::AddrInUse));
        let mut hits = [0; 5];
        for port in 1000..2000 {
            let from = format!("10.0.0.1:{port}");
            let chosen = table.0.lookup(&arrival("10.0.0.2:80", &from), Wanted::Listening).unwrap();
            hits[usize::try_from(*chosen).unwrap()] += 1;
        }
        assert!(hits[1..].iter().all(|n| *n > 150), "{hits:?}");
    }

    #[test]
    fn the_best_match_wins() {
        let table = ports(Sharing::Datagram);
        bind(&table, 1, Binding { reuse_addr: true, ..binding("::") }, 53).unwrap();
        bind(&table, 2, Binding { reuse_addr: true, ..binding("0.0.0.0") }, 53).unwrap();
        bind(&table, 3, Binding { reuse_addr: true, ..binding("10.0.0.2") }, 53).unwrap();
        bind(&table, 4, Binding { reuse_addr: true, ..binding("10.0.0.2") }, 53).unwrap();
        let peer = arrival("10.0.0.2:53", "10.0.0.1:99").from;
        table.0.set_peer(4, 53, "10.0.0.2".parse().unwrap(), Some(peer));
        let find = |to: &str, from: &str| table.0.lookup(&arrival(to, from), Wanted::All).map(|s| *s);
        assert_eq!(find("10.0.0.2:53", "10.0.0.1:99"), Some(4));
        assert_eq!(find("10.0.0.2:53", "10.0.0.1:98"), Some(3));
        assert_eq!(find("10.0.0.3:53", "10.0.0.1:98"), Some(2));
        assert_eq!(find("[fe80::1]:53", "[fe80::2]:98"), Some(1));
        assert_eq!(find("10.0.0.3:54", "10.0.0.1:98"), None);
    }

    #[test]
    fn ephemeral_ports_run_out_and_come_back() {
        let table = ports(Sharing::Datagram);
        for id in 1..=10 {
            let port = bind(&table, id, binding("0.0.0.0"), 0).unwrap();
            assert!((RANGE.0..=RANGE.1).contains(&port));
        }
        assert_eq!(bind(&table, 11, binding("0.0.0.0"), 0), Err(Error::AddrInUse));
        assert_eq!(
            table.0.connect_from("127.0.0.1".parse().unwrap(), false, (&table.1, RANGE), |_| true),
            Err(Error::AddrNotAvailable)
        );
        table.0.unbind(4, 40_000);
        table.0.all().iter().for_each(|id| (RANGE.0..=RANGE.1).for_each(|port| table.0.unbind(**id, port)));
        let local = "127.0.0.1".parse().unwrap();
        let port = table.0.connect_from(local, false, (&table.1, RANGE), |port| port == 40_003).unwrap();
        assert_eq!(port, 40_003);
        assert_eq!(bind(&table, 12, binding("127.0.0.1"), port), Err(Error::AddrInUse));
        assert_eq!(bind(&table, 13, binding("127.0.0.2"), port), Ok(port));
        table.0.remove_user(port, local, false);
        assert_eq!(bind(&table, 14, binding("127.0.0.1"), port), Ok(port));
    }
}
