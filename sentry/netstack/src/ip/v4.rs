//! IPv4 packets that arrive (RFC 791, RFC 1122 section 3.2).

use super::checksum;
use super::fragment::{Fragment, FragmentKey, Outcome, Whole};
use super::packet::{Aim, Cast, Packet, get16, put16};
use crate::base::addr::Family;
use crate::core::{Core, Timer};
use crate::link::device::RxMeta;
use crate::link::nic::Nic;
use crate::netfilter::Hook;
use smoltcp::wire::Ipv4Packet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

impl Core {
    pub(super) fn ipv4_input(&self, nic: &Arc<Nic>, data: &[u8], meta: RxMeta, link_cast: Cast) {
        let counters = &self.counters.ip;
        counters.in_receives.inc();
        let Ok(ip) = Ipv4Packet::new_checked(data) else {
            self.counters.ip_ext.in_truncated_pkts.inc();
            return counters.in_hdr_errors.inc();
        };
        let (header_len, total) = (usize::from(ip.header_len()), usize::from(ip.total_len()));
        // What the device or the loopback put together may be longer than the field can say.
        let total = if meta.gso_size != 0 && total == 0 { data.len() } else { total };
        if ip.version() != 4 || header_len < 20 || total < header_len || !ip.verify_checksum() {
            return counters.in_hdr_errors.inc();
        }
        let Some(whole) = data.get(..total) else { return counters.in_hdr_errors.inc() };
        self.counters.ip_ext.in_octets.add(total as u64);
        self.count_ecn(ip.ecn());
        let (from, to) = (ip.src_addr(), ip.dst_addr());
        if !is_plausible_source(nic, from) || has_source_route(&whole[20..header_len]) {
            return counters.in_addr_errors.inc();
        }
        let Some((aim, cast)) = self.v4_aim(nic, to, total) else { return };
        if !self.is_reachable(nic, from.into()) {
            return self.counters.ip_ext.in_no_routes.inc();
        }
        if link_cast != Cast::Unicast && cast == Cast::Unicast {
            // RFC 1122 3.3.6: a link broadcast of a unicast packet is dropped.
            return counters.in_discards.inc();
        }
        let packet = Packet {
            nic,
            from: IpAddr::V4(from),
            to: IpAddr::V4(to),
            protocol: ip.next_header().into(),
            ttl: ip.hop_limit(),
            tos: ip.dscp() << 2 | ip.ecn(),
            cast,
            aim,
            is_reassembled: false,
            whole,
            header_len,
            meta,
        };
        let is_whole = !ip.more_frags() && ip.frag_offset() == 0;
        // Fragments for others are put together only where somebody wants to see the whole.
        if is_whole || aim == Aim::Elsewhere && !self.netfilter.sees(Family::V4, Hook::PASSING) {
            return self.deliver(&packet);
        }
        let key = FragmentKey {
            from: packet.from,
            to: packet.to,
            id: ip.ident().into(),
            protocol: packet.protocol,
            interface: nic.index,
        };
        let part = Fragment {
            offset: ip.frag_offset().into(),
            is_last: !ip.more_frags(),
            data: &whole[header_len..],
            header: &whole[..header_len],
            ecn: ip.ecn(),
        };
        if let Some(mut whole) = self.reassemble(key, part) {
            make_whole(&mut whole);
            let meta = RxMeta { checksum_ok: false, checksum: None, ..meta };
            // As the first fragment says, whichever came last.
            let (tos, ttl) = (whole.bytes[1], whole.bytes[8]);
            let (whole, header_len) = (&whole.bytes[..], whole.header_len);
            self.deliver(&Packet { whole, header_len, tos, ttl, meta, is_reassembled: true, ..packet });
        }
    }

    fn count_ecn(&self, ecn: u8) {
        let counters = &self.counters.ip_ext;
        match ecn {
            0 => counters.in_noect_pkts.inc(),
            1 => counters.in_ect1_pkts.inc(),
            2 => counters.in_ect0_pkts.inc(),
            _ => counters.in_ce_pkts.inc(),
        }
    }

    /// Whom a packet for `to` is for, and what kind of destination that is; `None` where it goes nowhere.
    fn v4_aim(&self, nic: &Nic, to: Ipv4Addr, len: usize) -> Option<(Aim, Cast)> {
        let counters = &self.counters;
        if to.is_multicast() {
            counters.ip_ext.in_mcast_pkts.inc();
            counters.ip_ext.in_mcast_octets.add(len as u64);
            let all_hosts = to == Ipv4Addr::new(224, 0, 0, 1);
            let is_wanted = all_hosts || self.has_group(nic.index, IpAddr::V4(to));
            return is_wanted.then_some((Aim::Local, Cast::Multicast));
        }
        if nic.is_broadcast(to) {
            counters.ip_ext.in_bcast_pkts.inc();
            counters.ip_ext.in_bcast_octets.add(len as u64);
            return Some((Aim::Local, Cast::Broadcast));
        }
        let aim = self.aim_at(nic, to.into());
        let may_change = || self.netfilter.sees(Family::V4, Hook::Prerouting.bit());
        let goes_on = match aim {
            Aim::Local => true,
            Aim::Elsewhere => self.forwards(nic, Family::V4) || may_change(),
            Aim::Nobody => false,
        };
        if !goes_on {
            counters.ip.in_addr_errors.inc();
        }
        goes_on.then_some((aim, Cast::Unicast))
    }

    /// Puts fragments together; gives the whole packet when it is complete.
    pub(super) fn reassemble(&self, key: FragmentKey, part: Fragment<'_>) -> Option<Whole> {
        let config = self.config();
        let now = self.now();
        let is_v4 = key.to.is_ipv4();
        let (requests, oks, fails) = if is_v4 {
            (&self.counters.ip.reasm_reqds, &self.counters.ip.reasm_oks, &self.counters.ip.reasm_fails)
        } else {
            (&self.counters.ip6.reasm_reqds, &self.counters.ip6.reasm_oks, &self.counters.ip6.reasm_fails)
        };
        requests.inc();
        let mut table = self.fragments.lock();
        let was_empty = table.is_empty();
        let outcome = table.add(key, part, config.ipfrag_high_thresh, now);
        let is_empty = table.is_empty();
        drop(table);
        if was_empty && !is_empty {
            self.arm(now + Duration::from_secs(config.ipfrag_time.into()), Timer::Fragments);
        }
        match outcome {
            Outcome::Whole(whole) => {
                oks.inc();
                return Some(whole);
            }
            Outcome::Waiting => {}
            Outcome::Dropped => fails.inc(),
            Outcome::Overlap => {
                fails.inc();
                self.counters.ip_ext.reasm_overlaps.inc();
            }
        }
        None
    }

    /// Drops packets whose fragments did not all come in time.
    pub(crate) fn expire_fragments(&self) {
        let now = self.now();
        let lifetime = Duration::from_secs(self.config().ipfrag_time.into());
        let mut table = self.fragments.lock();
        let expired = table.expire(now, lifetime);
        let is_empty = table.is_empty();
        drop(table);
        if !is_empty {
            self.arm(now + Duration::from_secs(1), Timer::Fragments);
        }
        for packet in expired {
            let (timeouts, fails) = if packet.key.to.is_ipv4() {
                (&self.counters.ip.reasm_timeout, &self.counters.ip.reasm_fails)
            } else {
                (&self.counters.ip6.reasm_timeout, &self.counters.ip6.reasm_fails)
            };
            timeouts.inc();
            fails.inc();
            self.reassembly_timed_out(&packet);
        }
    }
}

/// "Don't fragment" in the field of flags and offset.
pub(super) const DONT_FRAGMENT: u16 = 0x4000;

/// The header of a packet that was put together is its first fragment's: it becomes that of the whole.
fn make_whole(whole: &mut Whole) {
    let bytes = &mut whole.bytes;
    let len = u16::try_from(bytes.len()).unwrap_or(0);
    put16(bytes, 2, len);
    let field = get16(bytes, 6).unwrap_or(0) & DONT_FRAGMENT;
    put16(bytes, 6, field);
    if whole.has_congestion {
        bytes[1] |= 3;
    }
    seal(bytes);
}

/// Makes an IPv4 header's checksum.
pub(super) fn seal(bytes: &mut [u8]) {
    let len = usize::from(bytes[0] & 0xf) * 4;
    put16(bytes, 10, 0);
    let sum = !checksum::sum(&bytes[..len]);
    put16(bytes, 10, sum);
}

/// RFC 1122 3.2.1.3: which addresses cannot be a sender's.
fn is_plausible_source(nic: &Nic, from: Ipv4Addr) -> bool {
    !(from.is_multicast() || nic.is_broadcast(from) || from.is_loopback() && !nic.is_loopback())
}

/// Source routes are refused (`accept_source_route`), as are options that make no sense.
fn has_source_route(mut options: &[u8]) -> bool {
    while let Some((kind, rest)) = options.split_first() {
        match kind {
            0 => return false,
            1 => options = rest,
            131 | 137 => return true,
            _ => {
                let len = usize::from(rest.first().copied().unwrap_or(0));
                let Some(next) = options.get(len..).filter(|_| len >= 2) else { return true };
                options = next;
            }
        }
    }
    false
}
