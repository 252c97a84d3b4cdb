//! ARP (RFC 826, RFC 5227 for conflicts).

use super::neighbour::Event;
use crate::base::time::Instant;
use crate::core::{Core, Timer};
use crate::link::device::{TxFrame, TxMeta};
use crate::link::nic::{Mac, Nic};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const FRAME_LEN: usize = 14 + 28;

impl Core {
    /// An ARP packet arrives.
    pub(crate) fn arp_input(&self, nic: &Arc<Nic>, payload: &[u8]) {
        let Ok(packet) = ArpPacket::new_checked(payload) else { return nic.stats.rx_errors.inc() };
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return;
        };
        let mac = Mac(source_hardware_addr.0);
        let from = IpAddr::V4(source_protocol_addr);
        let is_ours = nic.has_addr(IpAddr::V4(target_protocol_addr));
        if mac.is_group() || source_protocol_addr.is_multicast() || self.is_local(from) {
            return;
        }
        let now = self.now();
        if !source_protocol_addr.is_unspecified() {
            let is_answer = operation == ArpOperation::Reply && is_ours;
            let create = is_ours.then(|| self.config().neigh_max);
            let waiting = self.neighbours.lock().learn((nic.index, from), mac, is_answer, create, now);
            self.send_waiting(nic, mac, waiting);
            self.schedule_neighbours(now);
        }
        if operation == ArpOperation::Request && is_ours {
            self.send_arp(nic, ArpOperation::Reply, mac, target_protocol_addr, mac, source_protocol_addr);
        }
    }

    /// Asks who has `ip`.
    pub(crate) fn arp_ask(&self, nic: &Arc<Nic>, ip: Ipv4Addr, known: Option<Mac>) {
        let Some(IpAddr::V4(own)) = nic.source_for(IpAddr::V4(ip), self.now()) else { return };
        self.send_arp(nic, ArpOperation::Request, known.unwrap_or(Mac::BROADCAST), own, Mac::default(), ip);
    }

    fn send_arp(
        &self,
        nic: &Nic,
        operation: ArpOperation,
        to: Mac,
        own: Ipv4Addr,
        target: Mac,
        ip: Ipv4Addr,
    ) {
        let mac = EthernetAddress(nic.mac().0);
        let arp = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: mac,
            source_protocol_addr: own,
            target_hardware_addr: EthernetAddress(target.0),
            target_protocol_addr: ip,
        };
        let ethernet =
            EthernetRepr { src_addr: mac, dst_addr: EthernetAddress(to.0), ethertype: EthernetProtocol::Arp };
        let mut data = vec![0; FRAME_LEN];
        ethernet.emit(&mut EthernetFrame::new_unchecked(&mut data));
        arp.emit(&mut ArpPacket::new_unchecked(&mut data[14..]));
        self.transmit(nic, TxFrame { data, start: 0, meta: TxMeta::default() });
    }

    /// Sends frames that waited for a link address.
    pub(crate) fn send_waiting(&self, nic: &Nic, mac: Mac, frames: Vec<TxFrame>) {
        for mut frame in frames {
            address_frame(&mut frame, mac);
            self.transmit(nic, frame);
        }
    }

    /// Does what is due in the neighbour table.
    pub(crate) fn advance_neighbours(&self, now: Instant) {
        let events = self.neighbours.lock().advance(now);
        for event in events {
            match event {
                Event::Ask(index, ip, known) => {
                    if let Some(nic) = self.nic(index) {
                        self.ask_neighbour(&nic, ip, known);
                    }
                }
                Event::Failed(index, ip, frames) => self.neighbour_failed(index, ip, &frames),
            }
        }
        self.schedule_neighbours(now);
    }

    /// Asks for the link address of a neighbour.
    pub(crate) fn ask_neighbour(&self, nic: &Arc<Nic>, ip: IpAddr, known: Option<Mac>) {
        match ip {
            IpAddr::V4(ip) => self.arp_ask(nic, ip, known),
            IpAddr::V6(ip) => self.solicit(nic, ip, known),
        }
    }

    /// Arms the table's timer for its next deadline.
    pub(crate) fn schedule_neighbours(&self, now: Instant) {
        let mut table = self.neighbours.lock();
        let Some(at) = table.next_deadline(now) else { return };
        if table.armed_for.is_some_and(|armed| armed <= at && armed > now) {
            return;
        }
        table.armed_for = Some(at);
        drop(table);
        self.arm(at, Timer::Neighbours);
    }
}

/// Fills in the destination of a frame.
pub(crate) fn address_frame(frame: &mut TxFrame, mac: Mac) {
    let start = frame.start;
    if let Some(place) = frame.data.get_mut(start..start + 6) {
        place.copy_from_slice(&mac.0);
    }
}
