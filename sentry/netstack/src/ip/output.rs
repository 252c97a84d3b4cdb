//! Packets that leave (being built up).

use crate::base::addr::Family;
use crate::base::error::{Error, Result};
use crate::core::{Core, PathKind};
use crate::socket::ports::Arrival;
use crate::socket::udp::deliver::Cast;
use crate::socket::udp::send::Outgoing;

impl Core {
    /// Whether somebody looks at packets on the loopback interface, so that they must exist.
    pub(crate) fn is_loopback_observed(&self) -> bool {
        false
    }

    pub(crate) fn udp_transmit(&self, out: &Outgoing, data: Vec<u8>) -> Result<()> {
        let interface = out.path.nic.index;
        if out.path.kind == PathKind::Multicast && out.loops_back && self.has_group(interface, out.to.ip) {
            let datagram = self.local_datagram(out, data, interface);
            let arrival = Arrival { to: out.to, from: out.from, device: interface };
            self.udp_deliver(&arrival, Cast::Multicast, datagram);
            return Ok(());
        }
        let _ = (out.discover, out.no_checksum, out.device, Family::of(out.to.ip));
        if out.path.nic.is_loopback() { Ok(()) } else { Err(Error::NetUnreachable) }
    }
}
