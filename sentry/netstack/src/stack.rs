//! The stack as its owner holds it: interfaces, routes, sockets, packets in, time.

use crate::base::addr::Family;
use crate::base::config::{Config, NicSettings};
use crate::base::counters::Counters;
use crate::base::error::{Error, Result};
use crate::base::time::{Clock, Instant};
use crate::buf::budget::Budget;
use crate::core::{Core, PathKind, Timer, TimerWaker, Via};
use crate::ip::neighbour::{Neighbour, NeighbourState};
use crate::ip::route::Route;
use crate::link::device::RxMeta;
use crate::link::nic::{IfAddr, Mac, Nic, NicConfig, NicKind};
use crate::link::topology::{is_valid_name, next_index};
use crate::netfilter::Netfilter;
use crate::socket::SocketSummary;
use crate::socket::datagram::ping::PingSocket;
use crate::socket::datagram::raw::RawSocket;
use crate::socket::datagram::udp::UdpSocket;
use crate::socket::packet::{PacketKind, PacketSocket, PacketSummary};
use crate::tcp::socket::TcpSocket;
use crate::tcp::state::TcpState;
use crate::tcp::table::Conn;
use std::net::IpAddr;
use std::sync::Arc;

/// The way that packets to an address take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundRoute {
    /// Interface.
    pub interface: u32,
    /// The own address that they come from.
    pub source: IpAddr,
    /// Router, where the destination is not on the link.
    pub gateway: Option<IpAddr>,
    /// The destination is this stack.
    pub is_local: bool,
    /// The largest packet that they may be: of the link, the route and what was learnt of the path.
    pub mtu: u32,
}

/// A network stack: one network name space.
#[derive(Debug)]
pub struct Stack {
    core: Arc<Core>,
}

impl Stack {
    /// A stack without interfaces. `seed` is secret randomness: sequence numbers, ports and hash keys come from it;
    /// the same seed, clock and input give the same output.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seed: [u8; 16], config: Config) -> Self {
        Self::sharing(&Budget::usual(), clock, seed, config)
    }

    /// As [`Stack::new`], of several that share a budget.
    #[must_use]
    pub fn sharing(budget: &Arc<Budget>, clock: Arc<dyn Clock>, seed: [u8; 16], config: Config) -> Self {
        Self { core: Arc::new(Core::new(clock, seed, config, budget)) }
    }

    pub(crate) const fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Sets who hears that [`Stack::next_deadline`] has moved forward; the first call counts.
    pub fn set_timer_waker(&self, waker: Arc<dyn TimerWaker>) {
        self.core.set_waker(waker);
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.core.config()
    }

    /// Changes settings; existing sockets keep what they took over when they were made. Forwarding that is switched for the
    /// whole is switched for each interface, present and to come.
    pub fn update_config(&self, f: impl FnOnce(&mut Config)) {
        let old = self.core.config();
        let mut config = (*old).clone();
        f(&mut config);
        let (forwards, forwards_v6) = (config.ip_forward, config.ipv6_forward);
        let follow = |settings: &mut NicSettings| {
            if forwards != old.ip_forward {
                settings.forwards = forwards;
            }
            if forwards_v6 != old.ipv6_forward {
                settings.forwards_v6 = forwards_v6;
            }
        };
        follow(&mut config.nic_default);
        self.core.set_config(config);
        self.nics().iter().for_each(|nic| nic.change_settings(follow));
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// The packet filters.
    #[must_use]
    pub fn netfilter(&self) -> &Netfilter {
        &self.core.netfilter
    }

    /// What it shares with other stacks.
    #[must_use]
    pub fn budget(&self) -> &Arc<Budget> {
        &self.core.budget
    }

    /// Bytes that buffers hold, those of the stacks included that share the budget.
    #[must_use]
    pub fn memory_used(&self) -> usize {
        self.core.pool.used()
    }

    /// When [`Stack::advance`] should be called next; `None` while nothing is pending.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.core.next_deadline()
    }

    /// Does what is due by now.
    pub fn advance(&self) {
        let now = self.core.now();
        for timer in self.core.due_timers(now) {
            match timer {
                Timer::Tcp(socket) => {
                    if let Some(socket) = socket.upgrade() {
                        socket.on_timer();
                    }
                }
                Timer::TimeWait => self.core.expire_time_wait(now),
                Timer::Neighbours => self.core.advance_neighbours(now),
                Timer::Fragments => self.core.expire_fragments(),
                Timer::Duplicate(index, ip, left) => {
                    if let Some(nic) = self.core.nic(index) {
                        self.core.probe_duplicate(&nic, ip, left);
                    }
                }
                Timer::RouterSolicit(index, left) => {
                    if let Some(nic) = self.core.nic(index) {
                        self.core.router_solicitation(&nic, left);
                    }
                }
                Timer::Addresses => self.core.expire_addresses(),
                Timer::Flows => self.core.expire_flows(),
                Timer::Inbox => self.core.resume_inbox(),
            }
        }
        self.core.run_backlog();
    }

    /// A frame arrives on an interface: from the Ethernet header on, or a bare packet where the interface has none.
    /// Called from any thread.
    pub fn receive(&self, nic: &Arc<Nic>, frame: &[u8], meta: RxMeta) {
        self.core.receive(nic, frame, meta);
    }

    /// The neighbour table.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Neighbour> {
        self.core.neighbours.lock().all()
    }

    /// Sets a neighbour by hand.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::NoBuffers`] where there are too many.
    pub fn set_neighbour(&self, interface: u32, ip: IpAddr, mac: Mac, state: NeighbourState) -> Result<()> {
        let nic = self.core.nic(interface).ok_or(Error::NoDevice)?;
        let now = self.core.now();
        let max = self.core.config().neigh_max;
        let waiting = self.core.neighbours.lock().set((interface, ip), mac, state, now, max);
        let waiting = waiting.ok_or(Error::NoBuffers)?;
        self.core.send_waiting(&nic, mac, waiting);
        self.core.schedule_neighbours(now);
        self.core.run_backlog();
        Ok(())
    }

    /// Removes a neighbour.
    ///
    /// # Errors
    /// [`Error::NoEntry`].
    pub fn remove_neighbour(&self, interface: u32, ip: IpAddr) -> Result<()> {
        if self.core.neighbours.lock().remove((interface, ip)) { Ok(()) } else { Err(Error::NoEntry) }
    }

    /// Adds an interface, down and without addresses. Names are unique.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that makes no sense, [`Error::Exists`] for one that is taken.
    pub fn add_nic(&self, config: NicConfig) -> Result<Arc<Nic>> {
        let index = next_index(&self.core.nics.read());
        self.add_nic_at(index, config)
    }

    /// As [`Stack::add_nic`], with a given index.
    ///
    /// # Errors
    /// As there; [`Error::Invalid`] for index 0, [`Error::Exists`] for one that is taken.
    pub fn add_nic_at(&self, index: u32, config: NicConfig) -> Result<Arc<Nic>> {
        if !is_valid_name(&config.name) || index == 0 {
            return Err(Error::Invalid);
        }
        let mut nics = self.core.nics.write();
        if nics.iter().any(|nic| nic.index == index || nic.name() == config.name) {
            return Err(Error::Exists);
        }
        let nic = Arc::new(Nic::new(index, config));
        nic.change_settings(|settings| *settings = self.core.config().nic_default);
        nics.push(Arc::clone(&nic));
        drop(nics);
        Ok(nic)
    }

    /// Adds `lo`, down; its addresses come with it going up.
    ///
    /// # Errors
    /// [`Error::Exists`].
    pub fn add_loopback(&self) -> Result<Arc<Nic>> {
        self.add_nic(NicConfig {
            name: "lo".into(),
            kind: NicKind::Loopback,
            mac: Mac::default(),
            mtu: 65_536,
            device: None,
        })
    }

    /// Takes an interface away, with its addresses, its routes, and the other end of its pair.
    pub fn remove_nic(&self, nic: &Arc<Nic>) {
        self.core.remove_nic(nic);
    }

    /// Renames an interface.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that makes no sense, [`Error::Exists`] for one that is taken.
    pub fn rename_nic(&self, nic: &Nic, name: String) -> Result<()> {
        if !is_valid_name(&name) {
            return Err(Error::Invalid);
        }
        // Locked for all, so that of two that take a name one wins.
        let nics = self.core.nics.write();
        if nics.iter().any(|other| other.index != nic.index && other.name() == name) {
            return Err(Error::Exists);
        }
        nic.rename(name);
        Ok(())
    }

    /// Switches an interface on or off. Off, its routes and neighbours go. On, an Ethernet interface takes a link-local
    /// IPv6 address and asks for routers; loopback takes 127.0.0.1/8 and `::1` where it has no address of the family.
    pub fn set_up(&self, nic: &Arc<Nic>, up: bool) {
        self.core.set_up(nic, up);
        self.core.run_backlog();
    }

    /// The interfaces, by index.
    #[must_use]
    pub fn nics(&self) -> Vec<Arc<Nic>> {
        let mut nics = self.core.nics.read().clone();
        nics.sort_by_key(|nic| nic.index);
        nics
    }

    /// The interface with this index.
    #[must_use]
    pub fn nic(&self, index: u32) -> Option<Arc<Nic>> {
        self.core.nic(index)
    }

    /// The interface of this name.
    #[must_use]
    pub fn nic_by_name(&self, name: &str) -> Option<Arc<Nic>> {
        self.core.nics.read().iter().find(|nic| nic.name() == name).cloned()
    }

    /// Gives an interface an address.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is not one host's, [`Error::Exists`], [`Error::NoBuffers`] where there
    /// are too many.
    pub fn add_addr(&self, nic: &Nic, addr: IfAddr) -> Result<()> {
        self.core.add_addr(nic, addr)
    }

    /// Takes an address from an interface.
    ///
    /// # Errors
    /// [`Error::AddrNotAvailable`].
    pub fn remove_addr(&self, nic: &Nic, ip: IpAddr) -> Result<()> {
        self.core.remove_addr(nic, ip)
    }

    /// Adds a route. Own networks need none: they follow from the addresses.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::Exists`].
    pub fn add_route(&self, route: Route) -> Result<()> {
        if route.kind == crate::ip::route::RouteKind::Unicast && self.core.nic(route.interface).is_none() {
            return Err(Error::NoDevice);
        }
        self.core.routes.write().add(route)
    }

    /// Removes the first route that `matches`.
    ///
    /// # Errors
    /// [`Error::NoEntry`].
    pub fn remove_route(&self, matches: impl Fn(&Route) -> bool) -> Result<Route> {
        self.core.routes.write().remove(matches).ok_or(Error::NoEntry)
    }

    /// The routes that were added, best first.
    #[must_use]
    pub fn routes(&self) -> Vec<Route> {
        self.core.routes.read().all().to_vec()
    }

    /// The way that packets to `to` take, over `interface` where that is not 0.
    ///
    /// # Errors
    /// [`Error::NetUnreachable`] and its kin.
    pub fn find_route(&self, to: IpAddr, interface: u32) -> Result<FoundRoute> {
        let via = Via { source: None, device: interface, on_link_only: false };
        let path = self.core.path(to, &via)?;
        Ok(FoundRoute {
            interface: path.nic.index,
            source: path.source,
            gateway: Some(path.next_hop).filter(|hop| *hop != to),
            is_local: path.kind == PathKind::Local,
            mtu: path.mtu,
        })
    }

    /// Whether `ip` is an own address.
    #[must_use]
    pub fn is_local(&self, ip: IpAddr) -> bool {
        self.core.is_local(ip)
    }

    /// A TCP socket.
    #[must_use]
    pub fn tcp_socket(&self, family: Family) -> TcpSocket {
        TcpSocket::new(&self.core, family)
    }

    /// A UDP socket.
    #[must_use]
    pub fn udp_socket(&self, family: Family) -> UdpSocket {
        UdpSocket::new(&self.core, family)
    }

    /// A ping socket.
    #[must_use]
    pub fn ping_socket(&self, family: Family) -> PingSocket {
        PingSocket::new(&self.core, family)
    }

    /// A raw socket of an IP protocol. The caller has checked CAP_NET_RAW.
    #[must_use]
    pub fn raw_socket(&self, family: Family, protocol: u8) -> RawSocket {
        RawSocket::new(&self.core, family, protocol)
    }

    /// A packet socket; protocol 0 receives nothing until it is bound. The caller has checked CAP_NET_RAW.
    #[must_use]
    pub fn packet_socket(&self, kind: PacketKind, protocol: u16) -> PacketSocket {
        PacketSocket::new(&self.core, kind, protocol)
    }

    /// Every TCP socket that is connected or listens, and every TIME-WAIT, for `/proc/net/tcp` and sock_diag.
    #[must_use]
    pub fn tcp_sockets(&self) -> Vec<SocketSummary> {
        let mut list: Vec<_> =
            self.core.tcp_ports.listening().iter().map(|socket| socket.summary()).collect();
        list.extend(self.core.tcp.all().iter().map(|(tuple, conn)| match conn {
            Conn::Socket(socket) => socket.summary(),
            Conn::TimeWait(wait) => SocketSummary {
                id: 0,
                family: Family::of(tuple.local.ip),
                local: (tuple.local.ip, tuple.local.port).into(),
                peer: Some((tuple.remote.ip, tuple.remote.port).into()),
                state: TcpState::TimeWait as u8,
                send_queue: 0,
                recv_queue: 0,
                uid: wait.uid,
                inode: 0,
            },
        }));
        list
    }

    /// Every bound UDP socket.
    #[must_use]
    pub fn udp_sockets(&self) -> Vec<SocketSummary> {
        self.core.udp_ports.all().iter().map(|socket| socket.summary()).collect()
    }

    /// Every raw socket; its port is its protocol.
    #[must_use]
    pub fn raw_sockets(&self) -> Vec<SocketSummary> {
        self.core.raw.read().iter().map(|socket| socket.summary()).collect()
    }

    /// Every packet socket.
    #[must_use]
    pub fn packet_sockets(&self) -> Vec<PacketSummary> {
        self.core.taps.read().iter().map(|socket| socket.summary()).collect()
    }

    /// Multicast groups that sockets have joined: interface, group, how many sockets.
    #[must_use]
    pub fn groups(&self) -> Vec<(u32, IpAddr, u32)> {
        let groups = self.core.groups.lock();
        let mut list: Vec<_> = groups.iter().map(|((nic, group), users)| (*nic, *group, *users)).collect();
        list.sort_unstable();
        list
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.remove_links();
        // Sockets hold the core and the core's tables hold sockets.
        self.core.tcp.clear();
        self.core.tcp_ports.clear();
        self.core.udp_ports.clear();
        self.core.ping_ports.clear();
        self.core.raw.write().clear();
        self.core.taps.write().clear();
    }
}
