//! Where packets meet the chains.
//!
//! A packet of a socket is shown to OUTPUT and POSTROUTING before it is cut into fragments and before its checksum is
//! made; a packet that arrives, after its fragments were put together, to PREROUTING, and then to INPUT, or to FORWARD and
//! POSTROUTING, by whom it is for once PREROUTING is through with it.

use super::conntrack::{Connection, Conntrack, Direction, Flow, State, Tracked, Tuple};
use super::machine::{Decision, MAX_WORK, Machine};
use super::passing::{Followed, Passing};
use super::ruleset::Step;
use super::{Hook, Netfilter};
use crate::base::addr::Family;
use crate::base::error::{Error, Result};
use crate::core::{Core, Path, PathKind, Timer, Via};
use crate::ip::forward::Transit;
use crate::ip::icmp::quoted;
use crate::ip::output::{HEADROOM, IpHeader};
use crate::ip::packet::{Aim, Cast, Packet, protocol, put16, put32};
use crate::link::nic::Nic;
use crate::socket::options::Sender;
use crate::stack::Stack;
use parking_lot::MutexGuard;
use std::net::IpAddr;
use std::sync::Arc;

/// What is known of a packet's headers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) family: Family,
    pub(crate) header_len: usize,
    pub(crate) protocol: u8,
    /// The transport checksum is made later.
    pub(crate) is_unsummed: bool,
}

/// What the chains made of a packet that is sent.
#[derive(Debug)]
pub(crate) struct Rerouted {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) path: Path,
}

impl Core {
    /// Shows a packet that is sent to the chains. The segment starts at `HEADROOM` in `data`.
    ///
    /// # Errors
    /// `NotPermitted` where it is dropped, and what finding another way says.
    pub(crate) fn filter_output(&self, header: &IpHeader<'_>, data: &mut [u8]) -> Result<Rerouted> {
        let family = Family::of(header.to);
        let start = HEADROOM - family.header_len();
        write_header(header, &mut data[start..]);
        let header_len = family.header_len();
        let shape = Shape { family, header_len, protocol: header.protocol, is_unsummed: true };
        self.filter_sent(header.path, header.sender, &mut data[start..], shape)
    }

    /// As [`Core::filter_output`], for a packet with its network header.
    pub(crate) fn filter_sent(
        &self,
        path: &Path,
        sender: Option<Sender>,
        bytes: &mut [u8],
        shape: Shape,
    ) -> Result<Rerouted> {
        let mut packet = Passing {
            output: Some(Arc::clone(&path.nic)),
            owner: sender,
            mark: sender.map_or(0, |sender| sender.mark),
            ..Passing::new(bytes, shape, cast_of(path.kind), Hook::Output)
        };
        let before = packet.to();
        if !self.netfilter.pass(self, &mut packet) {
            return Err(Error::NotPermitted);
        }
        let mut path = path.clone();
        if packet.to() != before {
            path = self.path(packet.to(), &Via { source: Some(packet.from()), ..Via::default() })?;
            packet.output = Some(Arc::clone(&path.nic));
            packet.cast = cast_of(path.kind);
        }
        packet.hook = Hook::Postrouting;
        if !self.netfilter.pass(self, &mut packet) {
            return Err(Error::NotPermitted);
        }
        Ok(Rerouted { from: packet.from(), to: packet.to(), path })
    }

    /// Shows a packet that has arrived to the chains, and passes it on to whom it is for by then.
    pub(crate) fn filter_arriving(&self, packet: &Packet<'_>) {
        let mut transit = Transit::of(packet);
        let followed = Followed::default();
        let mut passing = Passing::arrived(packet, transit.bytes(), Hook::Prerouting, followed);
        if !self.netfilter.pass(self, &mut passing) {
            return;
        }
        let (from, to) = (passing.from(), passing.to());
        let aim = if to == packet.to { packet.aim } else { self.aim_at(packet.nic, to) };
        let packet = Packet { from, to, aim, ..*packet };
        match aim {
            Aim::Local => {
                passing.hook = Hook::Input;
                if self.netfilter.pass(self, &mut passing) {
                    let from = passing.from();
                    self.deliver_up(&Packet { from, whole: passing.bytes, ..packet });
                }
            }
            Aim::Elsewhere => {
                // Errors quote it as it came.
                let followed = passing.follow();
                self.forward(&packet, Transit { followed, ..transit });
            }
            Aim::Nobody => self.count_undeliverable(Family::of(to)),
        }
    }

    /// Shows a packet that is passed on to the chains; whether it goes on.
    pub(crate) fn filter_forward(
        &self,
        packet: &Packet<'_>,
        transit: &mut Transit,
        output: Arc<Nic>,
    ) -> bool {
        let followed = std::mem::take(&mut transit.followed);
        let mut passing = Passing::arrived(packet, transit.bytes(), Hook::Forward, followed);
        passing.output = Some(output);
        if !self.netfilter.pass(self, &mut passing) {
            return false;
        }
        // There it is nobody's any more whence it came.
        passing.hook = Hook::Postrouting;
        passing.input = None;
        self.netfilter.pass(self, &mut passing)
    }

    /// Forgets connections that have expired.
    pub(crate) fn expire_flows(&self) {
        let mut table = self.netfilter.conntrack.lock();
        table.expire(self.now());
        self.arm_flows(table);
    }

    /// Lets go of the table of connections, and arms the timer that it needs by now.
    fn arm_flows(&self, mut table: MutexGuard<'_, Conntrack>) {
        let next = table.next_timer();
        drop(table);
        if let Some(at) = next {
            self.arm(at, Timer::Flows);
        }
    }
}

impl Stack {
    /// The connections that packet filters follow.
    #[must_use]
    pub fn connections(&self) -> Vec<Connection> {
        let core = self.core();
        let table = core.netfilter.conntrack.lock();
        table.all(core.now())
    }

    /// Forgets the connections that `matches`, and says how many.
    pub fn forget_connections(&self, matches: impl Fn(&Connection) -> bool) -> usize {
        let gone: Vec<_> = self.connections().iter().filter(|one| matches(one)).map(|one| one.id).collect();
        let mut table = self.core().netfilter.conntrack.lock();
        gone.iter().for_each(|id| table.remove(*id));
        gone.len()
    }
}

fn cast_of(kind: PathKind) -> Cast {
    match kind {
        PathKind::Broadcast => Cast::Broadcast,
        PathKind::Multicast => Cast::Multicast,
        PathKind::Local | PathKind::Unicast => Cast::Unicast,
    }
}

/// The network header that a packet is about to get, for the chains to look at.
fn write_header(header: &IpHeader<'_>, place: &mut [u8]) {
    let len = place.len();
    match (header.from, header.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            place[..20].fill(0);
            place[0] = 0x45;
            place[1] = header.tos;
            put16(place, 2, u16::try_from(len).unwrap_or(0));
            put16(place, 6, if header.dont_fragment { 0x4000 } else { 0 });
            place[8] = header.ttl;
            place[9] = header.protocol;
            place[12..16].copy_from_slice(&from.octets());
            place[16..20].copy_from_slice(&to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            put32(place, 0, 0x6000_0000 | u32::from(header.tos) << 20);
            put16(place, 4, u16::try_from(len.saturating_sub(40)).unwrap_or(0));
            place[6] = header.protocol;
            place[7] = header.ttl;
            place[8..24].copy_from_slice(&from.octets());
            place[24..40].copy_from_slice(&to.octets());
        }
        // Never sent: both ends are of one family.
        _ => {}
    }
}

impl Netfilter {
    /// Shows a packet to what hooks in at `packet.hook`; whether it goes on.
    fn pass(&self, core: &Core, packet: &mut Passing<'_>) -> bool {
        let compiled = self.compiled();
        packet.work = MAX_WORK;
        compiled.steps(packet.family(), packet.hook).all(|step| match step {
            Step::Track => self.track(core, packet),
            Step::Translate => self.translate(core, packet),
            Step::Chain(table, chain) => Machine::new(core, table, packet).ask(chain) == Decision::Accept,
            Step::Confirm => self.confirm(core, packet),
        })
    }

    /// Finds a packet's connection, or begins one.
    fn track(&self, core: &Core, packet: &mut Passing<'_>) -> bool {
        if packet.track != Tracked::None {
            return true;
        }
        packet.track = self.find(core, packet);
        true
    }

    fn find(&self, core: &Core, packet: &mut Passing<'_>) -> Tracked {
        let Some(tuple) = packet.tuple() else { return self.find_related(packet) };
        let is_looped =
            packet.hook == Hook::Prerouting && packet.input.as_ref().is_some_and(|n| n.is_loopback());
        let mut table = self.conntrack.lock();
        if is_looped {
            return find_looped(&table, &tuple);
        }
        let transport = packet.transport();
        let is_over =
            |id, direction| table.flow(id).is_some_and(|flow| flow.is_followed_by(direction, transport));
        let (id, direction) = match table.find(&tuple) {
            Some((id, direction)) if is_over(id, direction) => {
                table.remove(id);
                drop(table);
                return begin(packet, tuple);
            }
            Some(found) => found,
            None => {
                drop(table);
                return begin(packet, tuple);
            }
        };
        let makes_sense = table.advance(id, direction, transport, core.now());
        let state = table.state(id);
        core.arm_flows(table);
        if makes_sense { Tracked::Known { id, direction, state, is_done: false } } else { Tracked::Invalid }
    }

    /// The connection that an ICMP error is about.
    fn find_related(&self, packet: &Passing<'_>) -> Tracked {
        let is_v4 = packet.family() == Family::V4;
        let message = packet.transport();
        let kind = message.first().copied().unwrap_or(0);
        match packet.protocol {
            protocol::ICMP if matches!(kind, 3 | 4 | 5 | 11 | 12) => {}
            protocol::ICMPV6 if (1..=4).contains(&kind) => {}
            // Neighbour discovery and group membership belong to no connection.
            protocol::ICMPV6 if (130..=143).contains(&kind) => return Tracked::Untracked,
            protocol::IGMP => return Tracked::Untracked,
            _ => return Tracked::Invalid,
        }
        let about = message.get(8..).and_then(|inner| quoted(inner, is_v4));
        let Some(tuple) = about.and_then(|(from, to, number, segment)| Tuple::of(from, to, number, segment))
        else {
            return Tracked::Invalid;
        };
        let table = self.conntrack.lock();
        // The error goes the other way than the packet that it quotes.
        if let Some((id, direction)) = table.find(&tuple.inverted()) {
            return Tracked::Known { id, direction, state: State::Related, is_done: false };
        }
        // On the loopback interface the quoted packet is translated already.
        match table.find(&tuple) {
            Some((id, direction)) => {
                let direction = direction.other();
                Tracked::Known { id, direction, state: State::Related, is_done: true }
            }
            None => Tracked::Invalid,
        }
    }

    /// The packet has made it past all chains: its connection counts.
    fn confirm(&self, core: &Core, packet: &mut Passing<'_>) -> bool {
        let Some(flow) = packet.fresh.take() else { return true };
        let mut table = self.conntrack.lock();
        let inserted = table.insert(*flow, core.now());
        core.arm_flows(table);
        let Some(id) = inserted else { return false };
        if let Tracked::Known { id: known, .. } = &mut packet.track {
            *known = id;
        }
        true
    }

    /// An answer to a packet that a rule refuses is about to go: where the packet would have been the first of its
    /// connection, that counts now, so that the answer is known as one and is translated back.
    pub(super) fn attach(&self, core: &Core, packet: &mut Passing<'_>) {
        // Without room in the table, the answer goes as it is.
        let _known = self.confirm(core, packet);
    }

    /// Looks at a packet's connection.
    pub(super) fn with_flow<R>(&self, packet: &Passing<'_>, f: impl FnOnce(&Flow) -> R) -> Option<R> {
        if let Some(flow) = &packet.fresh {
            return Some(f(flow));
        }
        let Tracked::Known { id, .. } = packet.track else { return None };
        self.conntrack.lock().flow(id).map(f)
    }

    /// Changes a packet's connection.
    pub(super) fn change_flow(&self, packet: &mut Passing<'_>, f: impl FnOnce(&mut Flow)) {
        if let Some(flow) = &mut packet.fresh {
            return f(flow);
        }
        let Tracked::Known { id, .. } = packet.track else { return };
        if let Some(flow) = self.conntrack.lock().flow_mut(id) {
            f(flow);
        }
    }
}

/// A packet's first: a connection that is in no table before the packet has made it.
fn begin(packet: &mut Passing<'_>, tuple: Tuple) -> Tracked {
    let mut flow = Flow::new(tuple);
    if !tuple.can_begin() || !flow.advance(Direction::Original, packet.transport()) {
        return Tracked::Invalid;
    }
    packet.fresh = Some(Box::new(flow));
    Tracked::Known { id: 0, direction: Direction::Original, state: State::New, is_done: false }
}

/// The connection of a packet that this host sent to itself: it was followed, and translated, when it was sent.
/// If it was not, because a rule says so, it is not now.
fn find_looped(table: &Conntrack, tuple: &Tuple) -> Tracked {
    let found = table.find(tuple).or_else(|| {
        // Translated, its addresses are those that the answers to it have, turned round.
        table.find(&tuple.inverted()).map(|(id, direction)| (id, direction.other()))
    });
    let Some((id, direction)) = found else { return Tracked::Untracked };
    Tracked::Known { id, direction, state: table.state(id), is_done: true }
}
