//! Ping sockets: `SOCK_DGRAM` with `IPPROTO_ICMP` or `IPPROTO_ICMPV6` (man 7 icmp). The identifier is the port.

use super::{DatagramSocket, State};
use crate::base::addr::{Endpoint, Family, to_user};
use crate::base::error::{Error, Result};
use crate::base::io::{Source, gather};
use crate::core::Core;
use crate::ip::checksum;
use crate::ip::icmp::{Verdict, icmp_of};
use crate::ip::output::{Checksum, HEADROOM};
use crate::ip::packet::{Packet, get16, put16};
use crate::link::device::TxMeta;
use crate::socket::message::SendMeta;
use crate::socket::ports::{Arrival, Binding, Wanted};
use crate::socket::queue::Datagram;
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

/// ICMP's header; a message is no shorter.
const HEADER: usize = 8;
/// The longest message.
const MAX_LEN: usize = 65_507;

/// A ping socket. Dropping it closes it.
#[derive(Debug)]
pub struct PingSocket(Arc<DatagramSocket>);

impl Deref for PingSocket {
    type Target = DatagramSocket;

    fn deref(&self) -> &DatagramSocket {
        &self.0
    }
}

impl PingSocket {
    pub(crate) fn new(stack: &Arc<Core>, family: Family) -> Self {
        Self(Arc::new(DatagramSocket::new(stack, family, false)))
    }

    /// bind(2): an address, and an identifier or 0 for any.
    ///
    /// # Errors
    /// What bind(2) says.
    pub fn bind(&self, addr: SocketAddr) -> Result<()> {
        self.bind_by(addr, |state, local| self.claim(state, local))
    }

    /// connect(2): fixes the peer.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn connect(&self, addr: SocketAddr) -> Result<()> {
        self.connect_by(&mut self.state.lock(), addr, |state, any| self.claim(state, any))
    }

    /// connect(2) with `AF_UNSPEC`: forgets the peer.
    pub fn disconnect(&self) {
        let mut state = self.state.lock();
        if state.disconnect(self.family) && !state.is_port_bound {
            self.stack.ping_ports.unbind(self.id, state.local.port);
            state.local.port = 0;
        }
    }

    /// sendmsg(2): an echo request; identifier and checksum are filled in.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no echo request; what sendmsg(2) says.
    pub fn send(&self, source: &mut dyn Source, meta: &SendMeta) -> Result<usize> {
        let len = source.remaining();
        if len > MAX_LEN {
            return Err(Error::MessageSize);
        }
        if len < HEADER {
            return Err(Error::Invalid);
        }
        let mut data = gather(source, HEADROOM).ok_or(Error::Fault)?;
        let request = if self.family == Family::V4 { 8 } else { 128 };
        if data[HEADROOM] != request || data[HEADROOM + 1] != 0 {
            return Err(Error::Invalid);
        }
        let mut state = self.state.lock();
        state.check_writable()?;
        let to = self.destination(&state, meta)?;
        if state.local.port == 0 {
            let any = Endpoint { port: 0, ..state.local };
            self.claim(&mut state, any)?;
        }
        let out = self.settle(&state, to, meta)?;
        drop(state);
        put16(&mut data, HEADROOM + 4, out.from.port);
        put16(&mut data, HEADROOM + 2, 0);
        let counters = &self.stack.counters;
        let checksum = if self.family == Family::V4 {
            let sum = !checksum::sum(&data[HEADROOM..]);
            put16(&mut data, HEADROOM + 2, sum);
            counters.icmp.out_echos.inc();
            counters.icmp.out_msgs.inc();
            None
        } else {
            counters.icmp6.out_echos.inc();
            counters.icmp6.out_msgs.inc();
            Some(Checksum { offset: 2 })
        };
        self.stack.ip_send(&out.header(icmp_of(self.family)), data, checksum, TxMeta::default())?;
        self.stack.run_backlog();
        Ok(len)
    }

    fn claim(&self, state: &mut State, local: Endpoint) -> Result<()> {
        // Identifiers are one space: no two sockets of a family share one.
        let binding = Binding {
            ip: self.family.any(),
            v6_only: true,
            device: 0,
            reuse_addr: false,
            reuse_port: false,
            uid: 0,
        };
        let pick = (&self.stack.random, (1, u16::MAX));
        let port = self.stack.ping_ports.bind(self.id, &self.0, binding, local.port, pick)?;
        state.local = Endpoint { ip: local.ip, port };
        Ok(())
    }
}

impl Drop for PingSocket {
    fn drop(&mut self) {
        let port = self.state.lock().local.port;
        if port != 0 {
            self.stack.ping_ports.unbind(self.id, port);
        }
        self.close();
    }
}

impl Core {
    /// An echo reply arrives: it belongs to the socket with its identifier.
    pub(crate) fn echo_reply(&self, packet: &Packet<'_>) {
        let message = packet.payload();
        let Some(id) = get16(message, 4) else { return };
        let family = Family::of(packet.to);
        let arrival = Arrival {
            to: Endpoint::new(packet.to, id),
            from: Endpoint::new(packet.from, 0),
            device: packet.nic.index,
        };
        let Some(socket) = self.ping_ports.lookup(&arrival, Wanted::All) else { return };
        let state = socket.state.lock();
        let limit = state.options.base.rcv_buf();
        let other_peer = state.peer.is_some_and(|peer| peer.ip != packet.from);
        let other_address = !state.local.ip.is_unspecified() && state.local.ip != packet.to;
        let device = state.options.base.device;
        drop(state);
        if other_peer || other_address || device != 0 && device != packet.nic.index {
            return;
        }
        let to = Endpoint::new(packet.to, 0);
        let mut info = packet.info(self.clock.wall_ns());
        info.to = Some(to_user(family, to, packet.nic.index));
        let datagram = Datagram { from: arrival.from, info, data: message.to_vec(), skip: 0 };
        socket.queue_datagram(limit, datagram);
    }

    /// An ICMP error concerns an echo request.
    pub(crate) fn ping_error(&self, to: IpAddr, segment: &[u8], verdict: &Verdict) {
        let Some(id) = get16(segment, 4) else { return };
        let arrival =
            Arrival { to: Endpoint::new(Family::of(to).any(), id), from: Endpoint::new(to, 0), device: 0 };
        if let Some(socket) = self.ping_ports.lookup(&arrival, Wanted::All) {
            socket.fail(arrival.from, verdict.error, verdict.is_hard, segment);
        }
    }
}
