//! Hostile packets: whatever arrives, nothing panics, memory stays bounded and comes back. Inputs that once found
//! something are kept in `tests/corpus` and replayed first.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::net::Dice;
use common::rules::*;
use common::*;
use netstack::netfilter::Hook;
use netstack::netfilter::expr::{Count, Expr, Reject};
use netstack::*;
use proptest::prelude::*;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Keeps what the stack sends, so that answers can be made from it.
#[derive(Default)]
struct Recorder(Mutex<Vec<Vec<u8>>>);

impl Device for Recorder {
    fn transmit(&self, frames: &[TxFrame]) -> usize {
        let mut kept = self.0.lock().unwrap();
        kept.extend(frames.iter().map(|frame| frame.bytes().to_vec()));
        if kept.len() > 64 {
            let old = kept.len() - 64;
            kept.drain(..old);
        }
        frames.len()
    }
}

struct Target {
    host: Host,
    nic: Arc<Nic>,
    sent: Arc<Recorder>,
    listener: TcpSocket,
    accepted: Vec<TcpSocket>,
    client: TcpSocket,
    datagrams: Vec<UdpSocket>,
    others: (RawSocket, PingSocket, PacketSocket),
}

const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 2]);
const BUDGET: usize = 2 << 20;

fn target() -> Target {
    let config = Config { ipfrag_high_thresh: 256 << 10, dad_transmits: 0, ..Config::default() };
    let host = host_within(&Budget::new(BUDGET), config);
    let sent = Arc::new(Recorder::default());
    let device: Arc<dyn Device> = sent.clone();
    let nic = host
        .stack
        .add_nic(NicConfig {
            name: "eth0".into(),
            kind: NicKind::Ethernet,
            mac: OWN,
            mtu: 1500,
            device: Some(device),
        })
        .unwrap();
    host.stack.set_up(&nic, true);
    for (ip, len) in [("10.0.0.1", 24), ("fd00::1", 64)] {
        host.stack.add_addr(&nic, IfAddr::new(Prefix::new(ip.parse().unwrap(), len).unwrap())).unwrap();
    }
    for ip in ["10.0.0.2", "fd00::2"] {
        host.stack.set_neighbour(nic.index, ip.parse().unwrap(), PEER, NeighbourState::Permanent).unwrap();
    }
    let listener = host.listener("[::]:80");
    let client = host.tcp();
    client.connect("10.0.0.2:7".parse().unwrap()).unwrap_err();
    let datagrams = vec![host.udp_at("0.0.0.0:53"), host.udp_at("[::]:5353")];
    let group = Membership {
        group: "239.0.0.1".parse().unwrap(),
        interface: nic.index,
        is_include: false,
        sources: vec![],
    };
    datagrams[0].join_group(group).unwrap();
    let others = (
        host.stack.raw_socket(Family::V4, 1),
        host.stack.ping_socket(Family::V4),
        host.stack.packet_socket(PacketKind::Raw, 3),
    );
    Target { host, nic, sent, listener, accepted: Vec::new(), client, datagrams, others }
}

/// With rules that look at everything, refuse some of it and translate the rest.
fn filtered() -> Target {
    let target = target();
    let refuse = vec![Expr::Reject(Reject::Icmp(3))];
    Rules::new()
        .nat(Hook::Prerouting, and(to_port(6, 80), redirect(80)))
        .nat(Hook::Prerouting, and(to_port(17, 53), redirect(5353)))
        .nat(Hook::Postrouting, vec![Expr::Masquerade { port: None, flags: 4 }])
        .filter(Hook::Input, and(in_state(1), vec![Expr::Counter(Count::new(0, 0))]))
        .filter(Hook::Input, and(to_port(17, 9), refuse.clone()))
        .filter(Hook::Input, and(to_port(6, 81), vec![Expr::Reject(Reject::Reset)]))
        .filter(Hook::Output, and(in_state(4), refuse))
        .install(&target.host.stack);
    target
}

impl Target {
    fn inject(&mut self, frame: &[u8]) {
        self.host.stack.receive(&self.nic, frame, RxMeta { checksum_ok: true, ..RxMeta::default() });
        self.host.clock.advance(Duration::from_millis(7));
        self.host.stack.advance();
        assert!(self.host.stack.memory_used() <= BUDGET);
        if let Ok(socket) = self.listener.accept() {
            let _full_is_fine = send(&socket, &[9; 20_000]);
            self.accepted.push(socket);
        }
        if self.accepted.len() > 4 {
            self.accepted.remove(0);
        }
        let _nothing_is_fine = recv(&self.client, 100);
    }

    /// Everything ends, whatever state it was left in.
    fn finish(self) {
        let Self { host, listener, accepted, client, datagrams, others, .. } = self;
        drop((listener, accepted, client, datagrams, others));
        for _ in 0..400 {
            host.advance(10);
        }
        assert_eq!(host.stack.memory_used(), 0);
        assert!(host.stack.tcp_sockets().is_empty(), "{:?}", host.stack.tcp_sockets());
        assert_eq!(host.stack.counters().tcp.curr_estab.get(), 0);
    }
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&OWN.0[..], &PEER.0[..], &kind.to_be_bytes()].concat();
    frame.extend_from_slice(payload);
    frame
}

/// An IPv4 packet with a right header checksum.
fn ipv4(protocol: u8, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend(((payload.len() + 20) as u16).to_be_bytes());
    packet.extend([0, 7]);
    packet.extend(flags.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1]);
    let sum: u32 = packet.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    ethernet(0x0800, &packet)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 255]);
    packet.extend("fd00::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend("fd00::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
    packet.extend_from_slice(payload);
    ethernet(0x86dd, &packet)
}

fn tcp(from: u16, to: u16, seq: u32, ack: u32, flags: u8, rest: &[u8]) -> Vec<u8> {
    let options = rest.len().min(40) / 4 * 4;
    let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([((20 + options) / 4 * 16) as u8, flags, 0x40, 0, 0, 0, 0, 3]);
    segment.extend_from_slice(rest);
    segment
}

/// A frame that gets past the first checks.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    let segment = (0u16..4, 0u16..3, any::<u32>(), any::<u32>(), any::<u8>(), bytes(80)).prop_map(
        |(from, to, seq, ack, flags, rest)| {
            tcp(1000 + from, [80, 53, 32_768][usize::from(to)], seq, ack, flags, &rest)
        },
    );
    let datagram = (0u16..3, bytes(60)).prop_map(|(to, rest)| {
        let mut data = vec![3, 232, 0, [53u8, 80, 9][usize::from(to)], 0, (rest.len() + 8) as u8, 0, 0];
        data.extend(rest);
        data
    });
    let icmp =
        (0u8..20, 0u8..6, bytes(90)).prop_map(|(kind, code, rest)| [&[kind, code, 0, 0][..], &rest].concat());
    let icmp6 = (prop_oneof![0u8..6, 126u8..145], bytes(90))
        .prop_map(|(kind, rest)| [&[kind, 0, 0, 0][..], &rest].concat());
    let fragment = (any::<u16>(), bytes(100));
    let chain = (prop_oneof![Just(0u8), Just(43), Just(44), Just(60)], bytes(120));
    prop_oneof![
        4 => segment.clone().prop_map(|s| ipv4(6, 0, &s)),
        2 => segment.prop_map(|s| ipv6(6, &s)),
        1 => datagram.clone().prop_map(|s| ipv4(17, 0, &s)),
        1 => datagram.prop_map(|s| ipv6(17, &s)),
        2 => icmp.prop_map(|s| ipv4(1, 0, &s)),
        2 => icmp6.prop_map(|s| ipv6(58, &s)),
        2 => fragment.prop_map(|(flags, data)| ipv4(17, flags & 0x3fff, &data)),
        2 => chain.prop_map(|(next, data)| ipv6(next, &data)),
        1 => bytes(60).prop_map(|data| ethernet(0x0806, &[&[0, 1, 8, 0, 6, 4, 0, 1][..], &data].concat())),
        1 => bytes(40).prop_map(|data| ipv4(2, 0, &data)),
        1 => (any::<u16>(), bytes(100)).prop_map(|(kind, data)| ethernet(kind, &data)),
        1 => bytes(200),
    ]
}

proptest! {

    #[test]
    fn random_frames_do_no_harm(frames in prop::collection::vec(frame(), 1..80)) {
        let mut target = target();
        for frame in &frames {
            target.inject(frame);
        }
        target.finish();
    }

    #[test]
    fn random_frames_past_rules_do_no_harm(frames in prop::collection::vec(frame(), 1..80)) {
        let mut target = filtered();
        for frame in &frames {
            target.inject(frame);
        }
        target.finish();
    }

    #[test]
    fn mutated_answers_past_rules_do_no_harm(seed in 1u64.., count in 1usize..150) {
        let mut target = filtered();
        let mut dice = Dice(seed);
        talk(&mut target, &mut dice, count);
        target.finish();
    }

    /// Segments that fit a live connection but for a few fields: what a peer with bad intentions sends.
    #[test]
    fn mutated_answers_do_no_harm(seed in 1u64.., count in 1usize..150) {
        let mut target = target();
        let mut dice = Dice(seed);
        talk(&mut target, &mut dice, count);
        target.finish();
    }
}

/// Answers the stack's own segments, mostly plausibly.
fn talk(target: &mut Target, dice: &mut Dice, count: usize) {
    let mut next = 1000u32;
    target.inject(&ipv4(6, 0, &tcp(1000, 80, next, 0, 2, &[2, 4, 5, 180, 4, 2, 1, 1, 3, 3, 7, 1])));
    next += 1;
    for _ in 0..count {
        let frames = target.sent.0.lock().unwrap().clone();
        let Some(heard) = frames.iter().rev().find(|f| f.len() >= 54 && f[23] == 6 && f[12] == 8) else {
            return;
        };
        let ports = [heard[36..38].to_vec(), heard[34..36].to_vec()].concat();
        let number = |at: usize| u32::from_be_bytes(heard[at..at + 4].try_into().unwrap());
        let end =
            number(38).wrapping_add((heard.len() - 54) as u32).wrapping_add(u32::from(heard[47] & 3 != 0));
        let small = |dice: &mut Dice| (dice.roll(4000) as u32).wrapping_sub(1000);
        let ack = if dice.roll(4) == 0 { end.wrapping_add(small(dice)) } else { end };
        let seq = if dice.roll(3) == 0 { next.wrapping_add(small(dice)) } else { number(42) };
        let flags = [0x10u8, 0x10, 0x10, 0x18, 0x11, 0x12, 0x30, 0xd0, 0x14, 0x02][dice.roll(10) as usize];
        // SACK blocks around what is on the way.
        let mut rest = Vec::new();
        if dice.roll(2) == 0 {
            rest.extend([1, 1, 5, 18]);
            for _ in 0..2 {
                let start = number(38).wrapping_add(small(dice));
                rest.extend(start.to_be_bytes());
                rest.extend(start.wrapping_add(dice.roll(3000) as u32).to_be_bytes());
            }
        }
        let options = rest.len();
        rest.extend(vec![7; dice.roll(1400) as usize]);
        let mut segment = tcp(0, 0, seq, ack, flags, &rest);
        segment[..4].copy_from_slice(&ports);
        segment[12] = ((20 + options) / 4 * 16) as u8;
        if dice.roll(5) == 0 {
            segment[14] = 0;
            segment[15] = 0;
        }
        next = number(42).wrapping_add((rest.len() - options) as u32);
        target.inject(&ipv4(6, 0, &segment));
        if dice.roll(10) == 0 {
            target.host.advance(dice.roll(30));
        }
    }
}

#[test]
fn corpus_is_replayed() {
    let corpus = include_str!("corpus/frames.txt");
    let mut target = target();
    for line in corpus.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let digits: Vec<u8> = line.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        target.inject(&digits.chunks(2).map(byte).collect::<Vec<_>>());
    }
    target.finish();
}

#[test]
fn floods_are_bounded() {
    let target = target();
    let mut dice = Dice(99);
    for n in 0..20_000u32 {
        let frame = match n % 4 {
            0 => ipv4(6, 0, &tcp(n as u16 | 1, 80, dice.roll(1 << 32) as u32, 0, 2, &[])),
            1 => ipv4(17, 0x2000 | (n % 100) as u16, &[0; 512]),
            2 => ipv4(17, 0, &[3, 232, 0, 53, 0, 108].into_iter().chain([0; 102]).collect::<Vec<_>>()),
            _ => ipv6(17, &[3, 232, 0, 9, 0, 9, 0, 1, 0]),
        };
        target.host.stack.receive(&target.nic, &frame, RxMeta { checksum_ok: true, ..RxMeta::default() });
        assert!(target.host.stack.memory_used() <= BUDGET);
    }
    let counters = target.host.stack.counters();
    assert!(counters.tcp_ext.syncookies_sent.get() > 3000);
    assert!(counters.udp.rcvbuf_errors.get() > 3000);
    // ICMP answers are limited in rate.
    assert!(counters.icmp6.out_dest_unreachs.get() <= 60);
    target.finish();
}
