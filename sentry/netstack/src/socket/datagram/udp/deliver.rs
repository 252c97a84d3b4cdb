//! Datagrams that arrive, from this stack or from a link.

use crate::base::addr::{Endpoint, Family};
use crate::base::filter::View;
use crate::core::Core;
use crate::ip::packet::Cast;
use crate::socket::datagram::DatagramSocket;
use crate::socket::message::ExtendedError;
use crate::socket::ports::{Arrival, Wanted};
use crate::socket::queue::Datagram;
use bpf::Program;
use std::net::IpAddr;

impl Core {
    /// Hands a datagram to the sockets that it is for; gives it back where there is none.
    pub(crate) fn udp_deliver(&self, arrival: &Arrival, cast: Cast, datagram: Datagram) -> Option<Datagram> {
        let counters = self.counters.udp_of(Family::of(arrival.to.ip));
        if cast == Cast::Unicast {
            let Some(socket) = self.udp_ports.lookup(arrival, Wanted::All) else {
                counters.no_ports.inc();
                return Some(datagram);
            };
            socket.deliver(datagram, counters);
            return None;
        }
        let sockets = self.udp_ports.lookup_all(arrival);
        let mut taken = false;
        for socket in sockets {
            if cast == Cast::Broadcast || socket.wants_group(arrival) {
                socket.deliver(datagram.clone(), counters);
                taken = true;
            }
        }
        if taken {
            return None;
        }
        counters.ignored_multi.inc();
        Some(datagram)
    }

    /// An ICMP error concerns a datagram that was sent from `local` to `remote`.
    pub(crate) fn udp_error(
        &self,
        local: Endpoint,
        remote: Endpoint,
        device: u32,
        error: ExtendedError,
        is_hard: bool,
        quoted: &[u8],
    ) {
        let arrival = Arrival { to: local, from: remote, device };
        if let Some(socket) = self.udp_ports.lookup(&arrival, Wanted::All) {
            socket.fail(remote, error, is_hard, quoted);
        }
    }
}

impl DatagramSocket {
    fn deliver(&self, mut datagram: Datagram, counters: &crate::base::counters::Udp) {
        let state = self.state.lock();
        let limit = state.options.base.rcv_buf();
        let filter = state.options.base.filter.clone();
        let min_ttl = match self.family {
            Family::V4 => state.options.ip4.min_ttl,
            Family::V6 => state.options.ip6.min_hop_count,
        };
        drop(state);
        if datagram.info.ttl < min_ttl {
            return;
        }
        if filter.is_some_and(|filter| !pass(&filter, &mut datagram)) {
            counters.in_errors.inc();
            return;
        }
        if self.queue_datagram(limit, datagram) {
            counters.in_datagrams.inc();
        } else {
            counters.rcvbuf_errors.inc();
            counters.in_errors.inc();
        }
    }

    /// Whether a multicast packet passes the socket's memberships and source filters.
    fn wants_group(&self, arrival: &Arrival) -> bool {
        let state = self.state.lock();
        let all = match arrival.to.ip {
            IpAddr::V4(_) => state.options.ip4.multicast_all,
            IpAddr::V6(_) => state.options.ip6.multicast_all,
        };
        let joined =
            state.memberships.iter().find(|m| m.group == arrival.to.ip && m.interface == arrival.device);
        joined.map_or(all, |membership| membership.accepts(arrival.from.ip))
    }
}

/// Whether a datagram passes a filter, which sees it from the UDP header on and may cut it short.
fn pass(filter: &Program, datagram: &mut Datagram) -> bool {
    const HEADER: usize = 8;
    let payload = datagram.payload();
    let to = datagram.info.to.map_or(0, |to| to.port());
    let len = (payload.len() + HEADER) as u16;
    let header = [datagram.from.port, to, len, 0].map(u16::to_be_bytes).concat();
    let packet = [&header, payload].concat();
    let kept = View { data: &packet, ..View::default() }.kept_by(filter);
    datagram.data.truncate(datagram.skip + kept.saturating_sub(HEADER));
    kept > 0
}
