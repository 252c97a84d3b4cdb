//! Packet sockets: frames as the link carries them (man 7 packet). The caller has checked CAP_NET_RAW.

use super::message::{LinkAddr, PacketInfo, Received, RecvFlags};
use super::options::Options;
use super::queue::{Datagram, Queue};
use crate::base::addr::{Endpoint, Family};
use crate::base::error::{Error, Result};
use crate::base::filter::View;
use crate::base::io::{Sink, Source, gather};
use crate::base::ready::{Observer, ObserverSlot, Readiness};
use crate::core::Core;
use crate::ip::output::ETHERNET;
use crate::ip::packet::{get16, put16};
use crate::link::device::{TxFrame, TxMeta};
use crate::link::nic::{Mac, Nic, NicKind};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

/// `ETH_P_ALL`
const ALL: u16 = 3;
const PACKET_HOST: u8 = 0;
const PACKET_BROADCAST: u8 = 1;
const PACKET_MULTICAST: u8 = 2;
const PACKET_OTHERHOST: u8 = 3;
const PACKET_OUTGOING: u8 = 4;

/// Whether a packet socket sees link headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// `SOCK_RAW`: frames with their link header.
    Raw,
    /// `SOCK_DGRAM`: without.
    Cooked,
}

/// What `/proc/net/packet` tells of a packet socket.
#[derive(Clone, Copy, Debug)]
pub struct PacketSummary {
    /// With link headers or without.
    pub kind: PacketKind,
    /// Ethernet type, 0 for none.
    pub protocol: u16,
    /// Interface, 0 for all.
    pub interface: u32,
    /// Bytes not yet read.
    pub recv_queue: usize,
    /// Owner.
    pub uid: u32,
    /// The number that the owner shows for it.
    pub inode: u32,
}

/// A packet socket. Dropping it closes it.
#[derive(Debug)]
pub struct PacketSocket {
    core: Arc<PacketCore>,
}

#[derive(Debug)]
pub(crate) struct PacketCore {
    stack: Arc<Core>,
    id: u64,
    kind: PacketKind,
    events: ObserverSlot,
    inner: Mutex<Inner>,
    queue: Mutex<(Queue, std::collections::VecDeque<LinkAddr>)>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    /// Ethernet type, `ETH_P_ALL` or 0 for nothing.
    protocol: u16,
    /// Interface, 0 for all.
    interface: u32,
    error: Option<Error>,
    /// `PACKET_MR_PROMISC` memberships.
    promiscuous: Vec<Weak<Nic>>,
    /// Counted in `Core::loopback_taps`.
    sees_loopback: bool,
    /// `PACKET_IGNORE_OUTGOING`.
    ignores_outgoing: bool,
    packets: u32,
    drops: u32,
}

impl PacketSocket {
    pub(crate) fn new(stack: &Arc<Core>, kind: PacketKind, protocol: u16) -> Self {
        let inner = Inner {
            options: Options::new(&stack.config(), false),
            protocol,
            interface: 0,
            error: None,
            promiscuous: Vec::new(),
            sees_loopback: false,
            ignores_outgoing: false,
            packets: 0,
            drops: 0,
        };
        let core = Arc::new(PacketCore {
            stack: Arc::clone(stack),
            id: stack.new_id(),
            kind,
            events: ObserverSlot::default(),
            inner: Mutex::new(inner),
            queue: Mutex::new((Queue::default(), std::collections::VecDeque::new())),
        });
        stack.taps.write().push(Arc::clone(&core));
        core.note_loopback(&mut core.inner.lock());
        Self { core }
    }

    /// Sets who hears of readiness; the first call counts.
    pub fn set_observer(&self, observer: Weak<dyn Observer>) {
        self.core.events.set(observer);
    }

    /// bind(2): to an interface (0 for all) and a protocol (0 keeps the socket's).
    ///
    /// # Errors
    /// [`Error::NoDevice`].
    pub fn bind(&self, interface: u32, protocol: u16) -> Result<()> {
        if interface != 0 {
            let nic = self.core.stack.nic(interface).ok_or(Error::NoDevice)?;
            if !nic.is_up() {
                self.core.inner.lock().error = Some(Error::NetDown);
            }
        }
        let mut inner = self.core.inner.lock();
        inner.interface = interface;
        if protocol != 0 {
            inner.protocol = protocol;
        }
        self.core.note_loopback(&mut inner);
        Ok(())
    }

    /// getsockname(2): interface and protocol.
    #[must_use]
    pub fn local_addr(&self) -> LinkAddr {
        let inner = self.core.inner.lock();
        let nic = self.core.stack.nic(inner.interface);
        LinkAddr {
            interface: inner.interface,
            protocol: inner.protocol,
            hardware: nic.as_ref().map_or(0, |nic| hardware(nic)),
            kind: PACKET_HOST,
            mac: nic.map(|nic| nic.mac()).unwrap_or_default(),
        }
    }

    /// sendmsg(2): a frame, or with `Cooked` a packet to `to`.
    ///
    /// # Errors
    /// [`Error::NoDevice`], [`Error::NetDown`], [`Error::MessageSize`]; [`Error::Invalid`] for less than a header,
    /// [`Error::DestAddrRequired`], [`Error::Fault`].
    pub fn send(&self, source: &mut dyn Source, to: Option<&LinkAddr>) -> Result<usize> {
        let core = &self.core;
        let len = source.remaining();
        let inner = core.inner.lock();
        let index = to.map_or(inner.interface, |to| to.interface);
        let protocol = to.map_or(inner.protocol, |to| to.protocol);
        drop(inner);
        let nic = core.stack.nic(index).ok_or(Error::NoDevice)?;
        if !nic.is_up() {
            return Err(Error::NetDown);
        }
        let is_raw = core.kind == PacketKind::Raw;
        let header = if is_raw && nic.kind != NicKind::Ip { ETHERNET } else { 0 };
        if len > nic.mtu() as usize + header {
            return Err(Error::MessageSize);
        }
        if is_raw && len < header {
            return Err(Error::Invalid);
        }
        let headroom = if !is_raw && nic.kind == NicKind::Ethernet { ETHERNET } else { 0 };
        let mut data = gather(source, headroom).ok_or(Error::Fault)?;
        if headroom > 0 {
            let mac = to.map(|to| to.mac).ok_or(Error::DestAddrRequired)?;
            data[..6].copy_from_slice(&mac.0);
            data[6..12].copy_from_slice(&nic.mac().0);
            put16(&mut data, 12, protocol);
        }
        if nic.is_loopback() {
            let start = if is_raw { ETHERNET } else { 0 };
            let frame = TxFrame { data, start, meta: TxMeta::default() };
            core.stack.loop_back(&nic, frame);
        } else {
            core.stack.transmit(&nic, TxFrame { data, start: 0, meta: TxMeta::default() });
        }
        core.stack.run_backlog();
        Ok(len)
    }

    /// recvmsg(2).
    ///
    /// # Errors
    /// [`Error::Again`] where there is nothing, [`Error::Fault`], and what has happened to the interface meanwhile.
    pub fn recv(&self, sink: &mut dyn Sink, flags: RecvFlags) -> Result<Received> {
        let core = &self.core;
        if let Some(error) = core.inner.lock().error.take() {
            return Err(error);
        }
        let mut queue = core.queue.lock();
        let (frames, links) = &mut *queue;
        let link = links.front().copied();
        let frame = frames.take(&core.stack.pool, flags).ok_or(Error::Again)?;
        if !flags.contains(RecvFlags::PEEK) {
            links.pop_front();
        }
        drop(queue);
        Ok(Received { from: None, link, ..frame.deliver(Family::V4, sink)? })
    }

    /// What can be done without waiting.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let failed = self.core.inner.lock().error.is_some();
        let mut ready = Readiness::OUT;
        ready.set(Readiness::IN, !self.core.queue.lock().0.is_empty());
        ready.set(Readiness::ERR, failed);
        ready
    }

    /// `PACKET_ADD_MEMBERSHIP` and `PACKET_DROP_MEMBERSHIP` with `PACKET_MR_PROMISC`.
    ///
    /// # Errors
    /// [`Error::NoDevice`]; [`Error::AddrNotAvailable`] where it does not receive everything, [`Error::NoBuffers`]
    /// where it asks too often.
    pub fn set_promiscuous(&self, interface: u32, wanted: bool) -> Result<()> {
        let nic = self.core.stack.nic(interface).ok_or(Error::NoDevice)?;
        let mut inner = self.core.inner.lock();
        let at = inner.promiscuous.iter().position(|other| std::ptr::eq(other.as_ptr(), &*nic));
        match (at, wanted) {
            (None, false) => return Err(Error::AddrNotAvailable),
            (Some(at), false) => {
                inner.promiscuous.swap_remove(at);
            }
            (_, true) if inner.promiscuous.len() >= 64 => return Err(Error::NoBuffers),
            (_, true) => inner.promiscuous.push(Arc::downgrade(&nic)),
        }
        nic.add_promiscuous(wanted);
        Ok(())
    }

    /// `PACKET_IGNORE_OUTGOING`: whether frames that this stack sends are not for the socket.
    pub fn ignore_outgoing(&self, wanted: bool) {
        self.core.inner.lock().ignores_outgoing = wanted;
    }

    /// `PACKET_IGNORE_OUTGOING`
    #[must_use]
    pub fn is_ignoring_outgoing(&self) -> bool {
        self.core.inner.lock().ignores_outgoing
    }

    /// `PACKET_STATISTICS`: packets seen and dropped since the last call.
    #[must_use]
    pub fn take_statistics(&self) -> (u32, u32) {
        let mut inner = self.core.inner.lock();
        (std::mem::take(&mut inner.packets), std::mem::take(&mut inner.drops))
    }

    /// `SO_ERROR`
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        self.core.inner.lock().error.take()
    }

    /// Reads options.
    pub fn options<R>(&self, f: impl FnOnce(&Options) -> R) -> R {
        f(&self.core.inner.lock().options)
    }

    /// Looks at options.
    pub fn read_options<R>(&self, f: impl FnOnce(&Options) -> R) -> R {
        f(&self.core.inner.lock().options)
    }

    /// Changes options.
    pub fn set_options<R>(&self, f: impl FnOnce(&mut Options) -> R) -> R {
        f(&mut self.core.inner.lock().options)
    }

    /// `SIOCINQ`: length of the next frame.
    #[must_use]
    pub fn next_len(&self) -> usize {
        self.core.queue.lock().0.front().map_or(0, |datagram| datagram.payload().len())
    }
}

impl Drop for PacketSocket {
    fn drop(&mut self) {
        let core = &self.core;
        core.stack.taps.write().retain(|other| other.id != core.id);
        let mut inner = core.inner.lock();
        if std::mem::take(&mut inner.sees_loopback) {
            core.stack.loopback_taps.fetch_sub(1, Ordering::Relaxed);
        }
        for nic in inner.promiscuous.drain(..).filter_map(|nic| nic.upgrade()) {
            nic.add_promiscuous(false);
        }
        drop(inner);
        core.queue.lock().0.clear(&core.stack.pool);
    }
}

impl PacketCore {
    /// Keeps count of who looks at the loopback interface: while somebody does, its packets are really built.
    fn note_loopback(&self, inner: &mut Inner) {
        let is_loopback =
            inner.interface == 0 || self.stack.nic(inner.interface).is_some_and(|nic| nic.is_loopback());
        let sees = inner.protocol != 0 && is_loopback;
        if sees != inner.sees_loopback {
            inner.sees_loopback = sees;
            if sees {
                self.stack.loopback_taps.fetch_add(1, Ordering::Relaxed);
            } else {
                self.stack.loopback_taps.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Queues a frame, whose link header has `header` bytes, if the socket wants it; whether its observer is to hear of it.
    fn take(&self, link: &LinkAddr, frame: &[u8], header: usize) -> bool {
        let mut inner = self.inner.lock();
        let wanted = (inner.interface == 0 || inner.interface == link.interface)
            && (inner.protocol == ALL || inner.protocol == link.protocol && link.kind != PACKET_OUTGOING);
        if !wanted || inner.ignores_outgoing && link.kind == PACKET_OUTGOING {
            return false;
        }
        let skip = if self.kind == PacketKind::Cooked { header } else { 0 };
        let (data, network) = (frame.get(skip..).unwrap_or(&[]), header - skip);
        let kept = inner.options.base.filter.as_ref().map_or(data.len(), |filter| {
            let (protocol, kind, hardware) = (link.protocol, link.kind, link.hardware);
            let interface = link.interface;
            let view = View { data, network: Some(network), protocol, kind, interface, hardware };
            view.kept_by(filter).min(data.len())
        });
        if kept == 0 {
            return false;
        }
        let limit = inner.options.base.rcv_buf();
        inner.packets = inner.packets.wrapping_add(1);
        let info = PacketInfo {
            interface: link.interface,
            stamp_ns: self.stack.clock.wall_ns(),
            ..PacketInfo::default()
        };
        let datagram =
            Datagram { from: Endpoint::any(Family::V4), info, data: data[..kept].to_vec(), skip: 0 };
        let mut queue = self.queue.lock();
        if queue.0.push(&self.stack.pool, limit, datagram) {
            queue.1.push_back(*link);
            return true;
        }
        inner.drops = inner.drops.wrapping_add(1);
        false
    }

    pub(crate) fn summary(&self) -> PacketSummary {
        let inner = self.inner.lock();
        let base = &inner.options.base;
        PacketSummary {
            kind: self.kind,
            protocol: inner.protocol,
            interface: inner.interface,
            recv_queue: self.queue.lock().0.bytes(),
            uid: base.uid,
            inode: base.inode,
        }
    }

    /// Tells the observer of a frame. The caller holds no lock.
    pub(crate) fn notify(&self) {
        self.events.notify(Readiness::IN);
    }
}

const fn hardware(nic: &Nic) -> u16 {
    match nic.kind {
        NicKind::Ethernet => 1,
        NicKind::Loopback => 772,
        NicKind::Ip => 65_534,
    }
}

impl Core {
    /// Shows a frame to the packet sockets.
    pub(crate) fn tap(&self, nic: &Nic, frame: &[u8], outgoing: bool) {
        let taps = self.taps.read();
        if taps.is_empty() {
            return;
        }
        let taps = taps.clone();
        let bare_protocol = if frame.first().is_some_and(|byte| byte >> 4 == 6) { 0x86dd } else { 0x0800 };
        let (data, header) = match nic.kind {
            NicKind::Ethernet => (frame.to_vec(), ETHERNET),
            NicKind::Ip => (frame.to_vec(), 0),
            NicKind::Loopback => {
                let mut data = vec![0; ETHERNET];
                put16(&mut data, 12, bare_protocol);
                data.extend_from_slice(frame);
                (data, ETHERNET)
            }
        };
        let has_header = nic.kind != NicKind::Ip;
        let mac =
            |at: usize| data.get(at..at + 6).and_then(|m| m.try_into().ok()).map_or(Mac::default(), Mac);
        let (to, from) = if has_header { (mac(0), mac(6)) } else { (Mac::default(), Mac::default()) };
        let kind = match to {
            _ if outgoing => PACKET_OUTGOING,
            _ if nic.kind != NicKind::Ethernet || to == nic.mac() => PACKET_HOST,
            Mac::BROADCAST => PACKET_BROADCAST,
            to if to.is_group() => PACKET_MULTICAST,
            _ => PACKET_OTHERHOST,
        };
        if kind == PACKET_OTHERHOST && !nic.is_promiscuous() {
            return;
        }
        let protocol = if has_header { get16(&data, 12).unwrap_or(0) } else { bare_protocol };
        let link = LinkAddr { interface: nic.index, protocol, hardware: hardware(nic), kind, mac: from };
        for tap in taps {
            if tap.take(&link, &data, header) {
                self.tap_wakes.lock().push(tap);
            }
        }
    }
}
