//! `--pcap-log` and `--log-packets`: what passes the sandbox's links, loopback included, in a file or in the debug log.
//!
//! A packet socket of the sentry's own sees every frame; whoever sends or receives one writes it down on the way. Lock:
//! `sink`, held while frames are written, so that they keep their order.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use abi::time::NSEC_PER_SEC_U64;
use kernel::DebugLog;
use netstack::{LinkAddr, Observer, PacketKind, PacketSocket, Readiness, RecvFlags};
use parking_lot::Mutex;
use socket::inet::NetNamespace;

/// Bytes that may wait to be written.
const QUEUE: usize = 16 << 20;
/// The longest frame.
const FRAME_MAX: usize = (64 << 10) + 64;
/// `ETH_P_ALL`.
const ALL: u16 = 3;
/// `PACKET_OUTGOING`.
const OUTGOING: u8 = 4;

/// Where frames go.
struct Sink {
    file: Option<File>,
    log: Option<DebugLog>,
}

/// The watcher of a name space's links.
pub(crate) struct Capture {
    socket: PacketSocket,
    sink: Mutex<Sink>,
}

impl Capture {
    /// Watches `net` from now on; `None` where nobody wants to know.
    pub(crate) fn start(
        net: &NetNamespace,
        file: Option<OwnedFd>,
        log: Option<DebugLog>,
    ) -> Option<Arc<Self>> {
        if file.is_none() && log.is_none() {
            return None;
        }
        let socket = net.stack().packet_socket(PacketKind::Raw, ALL);
        socket.set_options(|all| all.base.force_rcv_buf(QUEUE));
        let mut file = file.map(File::from);
        // Without its header the file would be no capture.
        file = file.filter(|mut file| file.write_all(&file_header()).is_ok());
        let capture = Arc::new(Self { socket, sink: Mutex::new(Sink { file, log }) });
        let observer: Weak<Self> = Arc::downgrade(&capture);
        capture.socket.set_observer(observer);
        Some(capture)
    }
}

impl Observer for Capture {
    fn ready(&self, _bits: Readiness) {
        let mut sink = self.sink.lock();
        let mut frame = vec![0; FRAME_MAX];
        while let Ok(got) = self.socket.recv(&mut &mut frame[..], RecvFlags::empty()) {
            let data = frame.get(..got.copied).unwrap_or_default();
            sink.write(data, got.full_len, got.info.stamp_ns, &got.link.unwrap_or_default());
        }
    }
}

impl Sink {
    fn write(&mut self, data: &[u8], len: usize, stamp_ns: u64, link: &LinkAddr) {
        if let Some(log) = &self.log {
            log.line(&describe(data, link));
        }
        let record = || [record_header(data.len(), len, stamp_ns).as_slice(), data].concat();
        // A full disk ends the capture, not the sandbox.
        if self.file.as_mut().is_some_and(|file| file.write_all(&record()).is_err()) {
            self.file = None;
        }
    }
}

/// Magic, version 2.4, time zone, accuracy, longest packet, `LINKTYPE_ETHERNET`.
fn file_header() -> Vec<u8> {
    let words = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 0x4_0000, 1];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn record_header(stored: usize, len: usize, stamp_ns: u64) -> Vec<u8> {
    let (seconds, nanos) = (stamp_ns / NSEC_PER_SEC_U64, stamp_ns % NSEC_PER_SEC_U64);
    let words = [seconds as u32, (nanos / 1000) as u32, stored as u32, len as u32];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// One line that says what a frame is: direction, interface, addresses, protocol, length.
fn describe(data: &[u8], link: &LinkAddr) -> String {
    let direction = if link.kind == OUTGOING { "send" } else { "recv" };
    let packet = data.get(14..).unwrap_or_default();
    let what = match link.protocol {
        0x0800 => describe_v4(packet),
        0x86dd => describe_v6(packet),
        0x0806 => Some("arp".to_owned()),
        other => Some(format!("type {other:#06x}")),
    };
    let what = what.unwrap_or_else(|| "truncated packet".to_owned());
    format!("{direction} link {} {what} length {}", link.interface, packet.len())
}

fn describe_v4(packet: &[u8]) -> Option<String> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let ip = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
    let is_first = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
    let payload = packet.get(usize::from(header[0] & 0xf) * 4..).filter(|_| is_first);
    Some(transport(header[9], &ip(12).to_string(), &ip(16).to_string(), payload))
}

fn describe_v6(packet: &[u8]) -> Option<String> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let ip = |at: usize| header[at..].first_chunk().map(|bytes: &[u8; 16]| Ipv6Addr::from(*bytes));
    Some(transport(header[6], &format!("[{}]", ip(8)?), &format!("[{}]", ip(24)?), packet.get(40..)))
}

/// The line's part from the addresses on. A fragment has no `payload` to look at.
fn transport(protocol: u8, from: &str, to: &str, payload: Option<&[u8]>) -> String {
    let port = |at: usize| {
        let bytes = payload?.get(at..at + 2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    let (name, rest) = match (protocol, payload) {
        (6, Some(segment)) => ("tcp", tcp(segment).unwrap_or_default()),
        (17, _) => ("udp", String::new()),
        (1, Some([kind, code, ..])) => return format!("{from} > {to} icmp type {kind} code {code}"),
        (58, Some([kind, code, ..])) => return format!("{from} > {to} icmp6 type {kind} code {code}"),
        _ => return format!("{from} > {to} protocol {protocol}"),
    };
    match (port(0), port(2)) {
        (Some(source), Some(destination)) => format!("{from}:{source} > {to}:{destination} {name}{rest}"),
        _ => format!("{from} > {to} {name}"),
    }
}

/// Flags, sequence and acknowledgement numbers, window.
fn tcp(segment: &[u8]) -> Option<String> {
    let header: &[u8; 20] = segment.first_chunk()?;
    let names = ['F', 'S', 'R', 'P', 'A', 'U', 'E', 'C'];
    let flags: String = (0..8).filter(|bit| header[13] >> bit & 1 != 0).map(|bit| names[bit]).collect();
    let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let window = u16::from_be_bytes([header[14], header[15]]);
    Some(format!(" {flags} seq {} ack {} win {window}", word(4), word(8)))
}

#[cfg(test)]
mod tests {
    use netstack::LinkAddr;

    use super::{describe, file_header, record_header};

    #[test]
    fn frames_are_described() {
        let mut frame = vec![0; 14];
        frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([0, 80, 1, 0, 0, 0, 0, 7, 0, 0, 0, 9, 0x50, 0x12, 1, 0, 0, 0, 0, 0]);
        let link = LinkAddr { interface: 2, protocol: 0x800, kind: 4, ..LinkAddr::default() };
        assert_eq!(
            describe(&frame, &link),
            "send link 2 10.0.0.1:80 > 10.0.0.2:256 tcp SA seq 7 ack 9 win 256 length 40"
        );
        for len in 0..frame.len() {
            let _ = describe(&frame[..len], &link);
            let _ = describe(&frame[..len], &LinkAddr { protocol: 0x86dd, ..link });
        }
    }

    #[test]
    fn headers_have_their_lengths() {
        assert_eq!((file_header().len(), record_header(1, 2, 3_000_001_000).len()), (24, 16));
        assert_eq!(record_header(1, 2, 3_000_001_000)[..8], [3, 0, 0, 0, 1, 0, 0, 0]);
    }
}
