//! TCP segments that arrive (being built up).

use crate::core::{Core, Tuple};
use crate::ip::icmp::Verdict;
use crate::ip::packet::Packet;

impl Core {
    pub(crate) fn tcp_input(&self, _packet: &Packet<'_>) {
        self.counters.tcp.in_segs.inc();
    }

    pub(crate) fn tcp_error(&self, _tuple: Tuple, _seq: u32, _verdict: &Verdict) {}
}
