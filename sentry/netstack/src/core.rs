//! The stack's centre: what all sockets and layers share.
//!
//! Locks, outermost first: a socket's own lock → a listener's → the tables of `Core` (`tcp`, ports, neighbours,
//! routes, interfaces, groups) → timers → the buffer pool. No lock is held while an observer is called. A
//! device may be called with the sending socket's lock held, so that packets keep their order: it does not call back.

use crate::base::addr::{Family, is_limited_broadcast};
use crate::base::config::Config;
use crate::base::counters::Counters;
use crate::base::error::{Error, Result};
use crate::base::hash::{Key, Random, Sip};
use crate::base::time::{Clock, Instant};
use crate::base::wheel::Wheel;
use crate::buf::Pool;
use crate::buf::budget::Budget;
use crate::ip::fragment::Reassembly;
use crate::ip::icmp_error::RateLimit;
use crate::ip::neighbour::NeighbourTable;
use crate::ip::pmtu::PmtuCache;
use crate::ip::route::{RouteKind, RouteTable};
use crate::link::inbox::{InFlight, Inbox};
use crate::link::nic::Nic;
use crate::link::topology::{LinkWatcher, StackId};
use crate::netfilter::{Hook, Netfilter};
use crate::socket::datagram::DatagramSocket;
use crate::socket::packet::PacketCore;
use crate::socket::ports::{Ports, Sharing};
use crate::tcp::input::ChallengeLimit;
use crate::tcp::socket::TcpCore;
use crate::tcp::table::ConnTable;
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// Hears when the stack's next deadline has moved forward.
pub trait TimerWaker: Send + Sync {
    /// `Stack::advance` is to be called at `deadline`, which is earlier than what was last announced.
    fn wake_at(&self, deadline: Instant);
}

/// What a firing timer is about. Owners keep their own deadlines and ignore a firing that came too early.
#[derive(Debug, Clone)]
pub(crate) enum Timer {
    Tcp(Weak<TcpCore>),
    TimeWait,
    Neighbours,
    Fragments,
    /// An address is being checked; this many probes are left.
    Duplicate(u32, Ipv6Addr, u8),
    /// Ask an interface's link for routers; this many questions are left.
    RouterSolicit(u32, u8),
    /// Addresses or routers may have expired.
    Addresses,
    /// Connections that packet filters follow may have expired.
    Flows,
    /// Frames wait in the inbox for somebody to receive them.
    Inbox,
}

/// Where packets to an address go.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    pub(crate) nic: Arc<Nic>,
    pub(crate) source: IpAddr,
    /// Whom to hand the packet to on the link.
    pub(crate) next_hop: IpAddr,
    pub(crate) kind: PathKind,
    pub(crate) mtu: u32,
}

/// Kinds of destinations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    /// This stack.
    Local,
    Unicast,
    Broadcast,
    Multicast,
}

/// What a sender says about the way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Via {
    pub(crate) source: Option<IpAddr>,
    pub(crate) device: u32,
    pub(crate) on_link_only: bool,
}

/// A connection's addresses, as this end sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) local: crate::base::addr::Endpoint,
    pub(crate) remote: crate::base::addr::Endpoint,
}

impl Tuple {
    /// As the other end sees them.
    pub(crate) const fn flipped(self) -> Self {
        Self { local: self.remote, remote: self.local }
    }
}

/// Everything that sockets and layers share.
pub(crate) struct Core {
    pub(crate) clock: Arc<dyn Clock>,
    config: RwLock<Arc<Config>>,
    pub(crate) counters: Counters,
    pub(crate) random: Random,
    pub(crate) key: Key,
    pub(crate) budget: Arc<Budget>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) nics: RwLock<Vec<Arc<Nic>>>,
    /// Own addresses, with the interface that has them.
    pub(crate) locals: RwLock<HashMap<IpAddr, u32, Key>>,
    pub(crate) routes: RwLock<RouteTable>,
    /// How many sockets have joined a group on an interface.
    pub(crate) groups: Mutex<HashMap<(u32, IpAddr), u32, Key>>,
    pub(crate) tcp_ports: Ports<TcpCore>,
    pub(crate) tcp: ConnTable,
    pub(crate) udp_ports: Ports<DatagramSocket>,
    pub(crate) neighbours: Mutex<NeighbourTable>,
    pub(crate) fragments: Mutex<Reassembly>,
    pub(crate) pmtu: Mutex<PmtuCache>,
    pub(crate) icmp_limit: Mutex<RateLimit>,
    /// Until when routers that advertised themselves may be used.
    pub(crate) router_until: Mutex<HashMap<(u32, Ipv6Addr), Instant, Key>>,
    /// Frames from links within the sandbox.
    pub(crate) inbox: Inbox,
    watcher: OnceLock<Weak<dyn LinkWatcher>>,
    /// Tells stacks apart.
    pub(crate) stack_id: Arc<StackId>,
    /// Packets that this host sent to itself and has not received yet.
    pub(crate) backlog: Mutex<VecDeque<InFlight>>,
    pub(crate) ping_ports: Ports<DatagramSocket>,
    pub(crate) raw: RwLock<Vec<Arc<DatagramSocket>>>,
    pub(crate) taps: RwLock<Vec<Arc<PacketCore>>>,
    pub(crate) challenges: Mutex<ChallengeLimit>,
    pub(crate) netfilter: Netfilter,
    /// Packet sockets that saw a frame while a sender's lock was held; they hear of it from `run_backlog`.
    pub(crate) tap_wakes: Mutex<Vec<Arc<PacketCore>>>,
    /// How many packet sockets see the loopback interface.
    pub(crate) loopback_taps: AtomicU32,
    wheel: Mutex<Wheel<Timer>>,
    waker: OnceLock<Arc<dyn TimerWaker>>,
    next_id: AtomicU64,
    /// Connections that nobody holds and that are not over (`tcp_max_orphans`).
    pub(crate) orphans: AtomicU32,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("nics", &*self.nics.read()).finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(clock: Arc<dyn Clock>, seed: [u8; 16], config: Config, budget: &Arc<Budget>) -> Self {
        let seed = u128::from_le_bytes(seed);
        let seed = Random::new(Key(seed as u64, (seed >> 64) as u64));
        let key = || Key(seed.next_u64(), seed.next_u64());
        let table_key = key();
        let now = clock.now();
        Self {
            clock,
            counters: Counters::new(&config),
            random: Random::new(key()),
            key: key(),
            pool: Arc::clone(&budget.pool),
            budget: Arc::clone(budget),
            nics: RwLock::new(Vec::new()),
            locals: RwLock::new(HashMap::with_hasher(table_key)),
            routes: RwLock::new(RouteTable::default()),
            groups: Mutex::new(HashMap::with_hasher(table_key)),
            tcp_ports: Ports::new(Sharing::Stream, table_key),
            tcp: ConnTable::new(key()),
            udp_ports: Ports::new(Sharing::Datagram, table_key),
            neighbours: Mutex::new(NeighbourTable::new(table_key)),
            fragments: Mutex::new(Reassembly::new(table_key)),
            pmtu: Mutex::new(PmtuCache::new(table_key)),
            icmp_limit: Mutex::new(RateLimit::new(now)),
            router_until: Mutex::new(HashMap::with_hasher(table_key)),
            backlog: Mutex::new(VecDeque::new()),
            ping_ports: Ports::new(Sharing::Stream, table_key),
            raw: RwLock::new(Vec::new()),
            taps: RwLock::new(Vec::new()),
            challenges: Mutex::new(ChallengeLimit::new()),
            netfilter: Netfilter::new(table_key),
            tap_wakes: Mutex::new(Vec::new()),
            loopback_taps: AtomicU32::new(0),
            wheel: Mutex::new(Wheel::new(now)),
            waker: OnceLock::new(),
            inbox: Inbox::default(),
            watcher: OnceLock::new(),
            stack_id: Arc::default(),
            next_id: AtomicU64::new(1),
            orphans: AtomicU32::new(0),
            config: RwLock::new(Arc::new(config)),
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    pub(crate) fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.read())
    }

    pub(crate) fn set_config(&self, config: Config) {
        *self.config.write() = Arc::new(config);
    }

    /// A number for a new socket, never used again.
    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// A hash under the stack's secret key.
    pub(crate) fn hasher(&self) -> Sip {
        let mut sip = Sip::new(self.key);
        sip.write_u8(0);
        sip
    }

    pub(crate) fn set_watcher(&self, watcher: Weak<dyn LinkWatcher>) {
        let _first_stays = self.watcher.set(watcher);
    }

    /// Who hears of links that change by themselves.
    pub(crate) fn watcher(&self) -> Option<Arc<dyn LinkWatcher>> {
        self.watcher.get()?.upgrade()
    }

    pub(crate) fn set_waker(&self, waker: Arc<dyn TimerWaker>) {
        let _first_stays = self.waker.set(waker);
    }

    /// Arms a timer, and tells the owner where that is the next to fire.
    pub(crate) fn arm(&self, deadline: Instant, timer: Timer) {
        let mut wheel = self.wheel.lock();
        let before = wheel.next_deadline();
        wheel.insert(deadline, timer);
        let after = wheel.next_deadline();
        drop(wheel);
        if let (Some(at), Some(waker)) = (after, self.waker.get())
            && before.is_none_or(|before| at < before)
        {
            waker.wake_at(at);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.lock().next_deadline()
    }

    pub(crate) fn due_timers(&self, now: Instant) -> Vec<Timer> {
        let mut due = Vec::new();
        self.wheel.lock().advance(now, &mut due);
        due
    }

    pub(crate) fn nic(&self, index: u32) -> Option<Arc<Nic>> {
        self.nics.read().iter().find(|nic| nic.index == index).cloned()
    }

    /// The loopback interface, where it is up.
    pub(crate) fn loopback(&self) -> Option<Arc<Nic>> {
        self.nics.read().iter().find(|nic| nic.is_loopback() && nic.is_up()).cloned()
    }

    /// The interface that owns `ip`: where packets to it are delivered.
    pub(crate) fn owner_of(&self, ip: IpAddr) -> Option<Arc<Nic>> {
        if ip.is_loopback() {
            return self.nics.read().iter().find(|nic| nic.is_loopback()).cloned();
        }
        let index = self.locals.read().get(&ip).copied()?;
        self.nic(index)
    }

    /// Whether `ip` is an own address.
    pub(crate) fn is_local(&self, ip: IpAddr) -> bool {
        self.owner_of(ip).is_some()
    }

    /// Whether a socket may bind to `ip`.
    pub(crate) fn may_bind(&self, ip: IpAddr) -> bool {
        let broadcast = |ip| match ip {
            IpAddr::V4(v4) => self.nics.read().iter().any(|nic| nic.is_broadcast(v4)),
            IpAddr::V6(_) => false,
        };
        ip.is_unspecified() || self.is_local(ip) || ip.is_multicast() || broadcast(ip)
    }

    /// Finds the way to `to`.
    pub(crate) fn path(&self, to: IpAddr, via: &Via) -> Result<Path> {
        if to.is_multicast() {
            return self.multicast_path(to, via);
        }
        if let Some(nic) = self.broadcast_nic(to, via) {
            return self.path_over(nic, to, via, PathKind::Broadcast, None);
        }
        if self.is_local(to) {
            let nic = self.loopback().ok_or(Error::NetUnreachable)?;
            let own = if to.is_loopback() { Family::of(to).loopback() } else { to };
            let mtu = usable_mtu(&nic, to);
            let source = via.source.unwrap_or(own);
            return Ok(Path { nic, source, next_hop: to, kind: PathKind::Local, mtu });
        }
        self.unicast_path(to, via)
    }

    fn broadcast_nic(&self, to: IpAddr, via: &Via) -> Option<Arc<Nic>> {
        let IpAddr::V4(to) = to else { return None };
        let nics = self.nics.read();
        let mut fit = nics.iter().filter(|nic| {
            (via.device == 0 || via.device == nic.index)
                && nic.is_up()
                && !nic.is_loopback()
                && nic.is_broadcast(to)
        });
        if !is_limited_broadcast(IpAddr::V4(to)) || via.device != 0 {
            return fit.next().cloned();
        }
        // The limited broadcast goes out where the source says, else by the default route, else anywhere.
        let by_source = via.source.and_then(|ip| fit.clone().find(|nic| nic.has_addr(ip)).cloned());
        by_source
            .or_else(|| {
                let default = self.routes.read().candidates(IpAddr::V4(to), 0).next().map(|r| r.interface);
                default.and_then(|index| fit.clone().find(|nic| nic.index == index).cloned())
            })
            .or_else(|| fit.next().cloned())
    }

    fn multicast_path(&self, to: IpAddr, via: &Via) -> Result<Path> {
        let by_device = || (via.device != 0).then(|| self.nic(via.device)).flatten();
        let by_source = || via.source.filter(|ip| !ip.is_unspecified()).and_then(|ip| self.owner_of(ip));
        let by_route = || {
            let index = self.routes.read().candidates(to, 0).next().map(|route| route.interface)?;
            self.nic(index)
        };
        let any_v6 = || {
            let nics = self.nics.read();
            nics.iter()
                .find(|n| to.is_ipv6() && n.is_up() && !n.is_loopback() && n.link_local().is_some())
                .cloned()
        };
        let nic = by_device()
            .or_else(by_source)
            .or_else(by_route)
            .or_else(any_v6)
            .filter(|nic| nic.is_up())
            .ok_or(Error::NetUnreachable)?;
        self.path_over(nic, to, via, PathKind::Multicast, None)
    }

    fn unicast_path(&self, to: IpAddr, via: &Via) -> Result<Path> {
        // A neighbour on the link of an interface.
        let on_link = |nic: &&Arc<Nic>| {
            let ll = to.is_ipv6() && crate::base::addr::is_link_local(to);
            nic.is_up()
                && !nic.is_loopback()
                && (via.device == 0 || via.device == nic.index)
                && nic.with_addrs(|addrs| {
                    addrs.iter().any(|a| a.peer == Some(to) || a.prefix.contains(to))
                        || ll
                            && (via.device != 0
                                || via.source.is_some_and(|s| addrs.iter().any(|a| a.ip() == s)))
                })
        };
        let longest = |nic: &Arc<Nic>| {
            nic.with_addrs(|addrs| addrs.iter().filter(|a| a.prefix.contains(to)).map(|a| a.prefix.len).max())
        };
        let direct = {
            let nics = self.nics.read();
            nics.iter().filter(on_link).max_by_key(|nic| longest(nic)).cloned()
        };
        // Copied, so that the table's lock is never held while the interfaces' is taken.
        let routes: Vec<_> = self.routes.read().candidates(to, via.device).cloned().collect();
        let up = |index: u32| self.nic(index).filter(|nic| nic.is_up());
        let route =
            routes.iter().filter(|route| !(via.on_link_only && route.gateway.is_some())).find_map(|route| {
                match route.kind {
                    RouteKind::Unicast => up(route.interface).map(|nic| (route, Some(nic))),
                    _ => Some((route, None)),
                }
            });
        let direct_len = direct.as_ref().map(|nic| longest(nic).unwrap_or(u8::MAX));
        if let Some((route, nic)) = route
            && direct_len.is_none_or(|len| route.prefix.len > len)
        {
            let nic = match (route.kind, nic) {
                (RouteKind::Unicast, Some(nic)) => nic,
                (RouteKind::Blackhole, _) => return Err(Error::Invalid),
                (RouteKind::Prohibit, _) => return Err(Error::Access),
                _ => return Err(Error::HostUnreachable),
            };
            let hint = Via { source: via.source.or(route.source), ..*via };
            let mut path = self.path_over(nic, to, &hint, PathKind::Unicast, route.gateway)?;
            if route.mtu != 0 {
                path.mtu = path.mtu.min(route.mtu);
            }
            return Ok(path);
        }
        match direct {
            Some(nic) => self.path_over(nic, to, via, PathKind::Unicast, None),
            None => Err(Error::NetUnreachable),
        }
    }

    fn path_over(
        &self,
        nic: Arc<Nic>,
        to: IpAddr,
        via: &Via,
        kind: PathKind,
        gateway: Option<IpAddr>,
    ) -> Result<Path> {
        let source = via
            .source
            .filter(|ip| !ip.is_unspecified())
            .or_else(|| nic.source_for(to, self.now()))
            .or_else(|| self.foreign_source(to))
            .ok_or(if to.is_ipv4() { Error::NetUnreachable } else { Error::AddrNotAvailable })?;
        let mut mtu = usable_mtu(&nic, to);
        if kind == PathKind::Unicast
            && let Some(learnt) = self.pmtu.lock().get(to, self.now())
        {
            mtu = mtu.min(learnt);
        }
        Ok(Path { nic, source, next_hop: gateway.unwrap_or(to), kind, mtu })
    }

    /// An address of another interface, for an outgoing one that has none.
    fn foreign_source(&self, to: IpAddr) -> Option<IpAddr> {
        let nics = self.nics.read();
        nics.iter().filter(|nic| !nic.is_loopback()).find_map(|nic| nic.source_for(to, self.now()))
    }

    /// Whether somebody looks at packets to an own address, so that they must exist: a packet socket, or rules.
    pub(crate) fn is_loopback_observed(&self, to: IpAddr) -> bool {
        self.loopback_taps.load(Ordering::Relaxed) > 0
            || self.netfilter.sees(Family::of(to), Hook::SENT | Hook::ARRIVING)
    }

    /// Whether a socket of this host has joined `group` on an interface.
    pub(crate) fn has_group(&self, interface: u32, group: IpAddr) -> bool {
        self.groups.lock().contains_key(&(interface, group))
    }
}

/// What an interface's MTU means for packets to `to`: their length field has 16 bits.
fn usable_mtu(nic: &Nic, to: IpAddr) -> u32 {
    nic.mtu().min(if to.is_ipv4() { 65_535 } else { 65_575 })
}
