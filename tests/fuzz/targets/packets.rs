//! Frames from a link: everything that the stack does with what arrives.
//!
//! The input is a list of records: two bytes of length, then a kind and a body. The stack has a listener, a connection
//! that a handshake has brought about, datagram, raw, ping and packet sockets; a record is a frame as it is, the payload
//! of an IP packet with a header made for it, a segment of that connection with numbers near the right ones, or time that
//! goes by.
#![no_main]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use netstack::{
    Budget, Clock, Config, Device, Family, IfAddr, Instant, Mac, ManualClock, NeighbourState, Nic, NicConfig, NicKind,
    PacketKind, Prefix, RecvFlags, RxMeta, SendFlags, Stack, TcpSocket, TxFrame,
};

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const BUDGET: usize = 2 << 20;
/// Our sequence number for the connection.
const ISS: u32 = 1000;

/// Remembers the last segment that the stack has sent.
#[derive(Default)]
struct Wire(Mutex<Option<(u32, u32)>>);

impl Device for Wire {
    fn transmit(&self, frames: &[TxFrame]) -> usize {
        for frame in frames {
            let bytes = frame.bytes();
            let word = |at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
            if bytes.get(12..14) == Some(&[8, 0]) && bytes.get(23) == Some(&6) {
                *self.0.lock().unwrap() = word(38).zip(word(42));
            }
        }
        frames.len()
    }
}

struct Target {
    clock: Arc<ManualClock>,
    stack: Stack,
    nic: Arc<Nic>,
    wire: Arc<Wire>,
    connection: Option<TcpSocket>,
}

impl Target {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Instant::from_millis(1000)));
        let config = Config { ipfrag_high_thresh: 256 << 10, dad_transmits: 0, ..Config::default() };
        let budget = Budget::new(BUDGET);
        let stack = Stack::sharing(&budget, Arc::clone(&clock) as Arc<dyn Clock>, [7; 16], config);
        stack.add_loopback().unwrap();
        let wire = Arc::new(Wire::default());
        let device = Some(Arc::clone(&wire) as Arc<dyn Device>);
        let nic = NicConfig { name: "eth0".into(), kind: NicKind::Ethernet, mac: OWN, mtu: 1500, device };
        let nic = stack.add_nic(nic).unwrap();
        stack.set_up(&nic, true);
        for (ip, len) in [("10.0.0.1", 24), ("fd00::1", 64)] {
            stack.add_addr(&nic, IfAddr::new(Prefix::new(ip.parse().unwrap(), len).unwrap())).unwrap();
        }
        for ip in ["10.0.0.2", "fd00::2"] {
            stack.set_neighbour(nic.index, ip.parse().unwrap(), PEER, NeighbourState::Permanent).unwrap();
        }
        Self { clock, stack, nic, wire, connection: None }
    }

    fn inject(&self, frame: &[u8]) {
        self.stack.receive(&self.nic, frame, RxMeta { checksum_ok: true, ..RxMeta::default() });
        assert!(self.stack.memory_used() <= BUDGET);
    }

    fn inject_v4(&self, protocol: u8, payload: &[u8]) {
        let len = (20 + payload.len()) as u16;
        let mut frame = [&OWN.0[..], &PEER.0, &[8, 0, 0x45, 0], &len.to_be_bytes()].concat();
        frame.extend([0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
        frame.extend(payload);
        self.inject(&frame);
    }

    fn inject_v6(&self, next: u8, payload: &[u8]) {
        let mut frame = [&OWN.0[..], &PEER.0, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
        frame.extend((payload.len() as u16).to_be_bytes());
        frame.extend([next, 255]);
        for last in [2, 1] {
            frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
        }
        frame.extend(payload);
        self.inject(&frame);
    }

    /// A segment of the connection: flags, how far its numbers are off, options, data.
    fn inject_segment(&self, body: &[u8]) {
        let &[flags, sequence, acknowledgement, options, ref data @ ..] = body else { return };
        let (next, expected) = self.wire.0.lock().unwrap().unwrap_or((0, ISS));
        let near = |base: u32, off: u8| base.wrapping_add_signed(i32::from(off.cast_signed()) * 97);
        let options = usize::from(options % 11);
        let mut segment = [40000u16.to_be_bytes(), 80u16.to_be_bytes()].concat();
        segment.extend(near(expected, sequence).to_be_bytes());
        segment.extend(near(next.wrapping_add(1), acknowledgement).to_be_bytes());
        segment.extend([((5 + options) as u8) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
        let (head, rest) = data.split_at((options * 4).min(data.len()));
        segment.extend(head);
        segment.resize(20 + options * 4, 1);
        segment.extend(rest);
        self.inject_v4(6, &segment);
    }

    fn run(&mut self, input: &[u8]) {
        let listener = self.stack.tcp_socket(Family::V4);
        listener.bind("0.0.0.0:80".parse().unwrap()).unwrap();
        listener.listen(8).unwrap();
        let datagrams = [("0.0.0.0:53", Family::V4), ("[::]:5353", Family::V6)].map(|(at, family)| {
            let socket = self.stack.udp_socket(family);
            socket.bind(at.parse().unwrap()).unwrap();
            socket
        });
        let others = (
            self.stack.raw_socket(Family::V4, 1),
            self.stack.ping_socket(Family::V4),
            self.stack.packet_socket(PacketKind::Raw, 3),
        );
        // SYN, and the answer to what comes back.
        self.inject_segment(&[2, 0, 0, 0]);
        self.inject_segment(&[0x10, 0, 0, 0]);
        self.connection = listener.accept().ok();
        let mut left = input;
        while let Some((head, rest)) = left.split_first_chunk::<3>() {
            let len = usize::from(u16::from_be_bytes([head[0], head[1]])).min(rest.len());
            let (body, next) = rest.split_at(len);
            left = next;
            match head[2] % 6 {
                0 => self.inject(body),
                1 => self.inject_v4(body.first().copied().unwrap_or(0), body.get(1..).unwrap_or(&[])),
                2 => self.inject_v6(body.first().copied().unwrap_or(0), body.get(1..).unwrap_or(&[])),
                3 => self.inject_segment(body),
                4 => {
                    if let Some(connection) = &self.connection {
                        // Full or closed is as good.
                        let _ = connection.send(&mut &body[..], SendFlags::empty());
                        let _ = connection.recv(&mut &mut [0; 500][..], RecvFlags::empty());
                    }
                }
                _ => {
                    self.clock.advance(Duration::from_millis(len as u64 * 10));
                    self.stack.advance();
                }
            }
        }
        drop((listener, datagrams, others));
    }
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let mut target = Target::new();
    target.run(input);
    target.connection = None;
    // Whatever is left ends by itself.
    for _ in 0..40 {
        target.clock.advance(Duration::from_secs(60));
        target.stack.advance();
    }
    assert_eq!(target.stack.memory_used(), 0);
});
