//! Packet filters: what passes, what is refused, how addresses are translated, within one stack and between hosts.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::net::*;
use common::rules::*;
use common::*;
use netstack::netfilter::Hook;
use netstack::netfilter::expr::*;
use netstack::netfilter::ruleset::ChainKind;
use netstack::netfilter::xt::Match;
use netstack::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

fn net(count: usize) -> Net {
    let calm = Weather { delay: Duration::from_millis(5), ..Weather::default() };
    let offloads = Offloads { tx_checksum: true, segmentation: true };
    let mut net = Net::with_offloads(count, 1, calm, Config::default(), offloads);
    net.run(3 * SECOND);
    net
}

fn end(addr: std::net::SocketAddr) -> Endpoint {
    Endpoint::new(addr.ip(), addr.port())
}

#[test]
fn redirected_connections_know_where_they_wanted_to_go() {
    let host = host();
    Rules::new().nat(Hook::Output, and(to_port(TCP, 80), redirect(15_001))).install(&host.stack);
    for (at, own) in [("127.0.0.1", "127.0.0.1"), ("[::1]", "[::1]")] {
        let listener = host.listener(&format!("{own}:15001"));
        let client = host.connect(&format!("{at}:80"));
        let server = listener.accept().unwrap();
        send(&client, b"to").unwrap();
        send(&server, b"fro").unwrap();
        assert_eq!(recv(&server, 9), Ok(b"to".to_vec()));
        assert_eq!(recv(&client, 9), Ok(b"fro".to_vec()));
        assert_eq!(client.peer_addr(), Ok(format!("{at}:80").parse().unwrap()));
        let (local, peer) = (end(server.local_addr()), end(server.peer_addr().unwrap()));
        let wanted = host.stack.netfilter().original_destination(TCP, local, peer);
        assert_eq!(wanted, Some(Endpoint::new(local.ip, 80)));
    }
}

#[test]
fn without_rules_again_connections_build_no_packets() {
    let host = host();
    Rules::new().filter(Hook::Input, vec![]).install(&host.stack);
    let before = host.stack.counters().ip.out_requests.get();
    let _seen = host.pair();
    assert!(host.stack.counters().ip.out_requests.get() > before);
    Rules::new().install(&host.stack);
    let before = host.stack.counters().ip.out_requests.get();
    let _unseen = host.pair();
    assert_eq!(host.stack.counters().ip.out_requests.get(), before);
}

#[test]
fn dropped_and_refused() {
    let host = host();
    let refuse = vec![Expr::Reject(Reject::Reset)];
    let unreachable = vec![Expr::Reject(Reject::Icmp(3))];
    Rules::new()
        .filter(Hook::Input, and(to_port(TCP, 81), drop_it()))
        .filter(Hook::Input, and(to_port(TCP, 82), refuse.clone()))
        .filter(Hook::Output, and(to_port(TCP, 83), refuse))
        .filter(Hook::Output, and(to_port(TCP, 84), unreachable))
        .filter(Hook::Output, and(to_port(UDP, 85), drop_it()))
        .install(&host.stack);
    let listeners = [81, 82, 83, 84].map(|port| host.listener(&format!("127.0.0.1:{port}")));
    let connect = |port: u16| {
        let socket = host.tcp();
        let _in_progress = socket.connect(format!("127.0.0.1:{port}").parse().unwrap());
        socket.finish_connect()
    };
    assert_eq!(connect(81), Err(Error::InProgress));
    for port in [82, 83, 84] {
        assert_eq!(connect(port), Err(Error::ConnRefused), "{port}");
    }
    assert_eq!(send_to(&host.udp(), b"x", "127.0.0.1:85"), Err(Error::NotPermitted));
    drop(listeners);
}

#[test]
fn counters_count_and_states_are_known() {
    let host = host();
    let (fresh, known) = (Count::new(0, 0), Count::new(0, 0));
    Rules::new()
        .filter(Hook::Input, and(in_state(8), vec![Expr::Counter(fresh.clone())]))
        .filter(Hook::Input, and(in_state(2), vec![Expr::Counter(known.clone())]))
        .install(&host.stack);
    let server = host.udp_at("127.0.0.1:53");
    let client = host.udp_at("127.0.0.1:5353");
    for _ in 0..3 {
        send_to(&client, b"question", "127.0.0.1:53").unwrap();
        recv_from(&server, 99).unwrap();
        send_to(&server, b"answer", "127.0.0.1:5353").unwrap();
        recv_from(&client, 99).unwrap();
    }
    assert_eq!((fresh.read(false), known.read(false).0), ((1, 36), 5));
    // Connections are forgotten, and nothing is left to wait for.
    host.advance(200);
    host.advance(200);
    assert!(host.stack.next_deadline().is_none());
}

#[test]
fn a_packet_that_costs_too_much_is_dropped() {
    let host = host();
    let is_reached = Count::new(0, 0);
    let mark = Expr::SetMark(register(1));
    // Each chain alone is cheap enough; what counts is all of them at the hook.
    let costly = |kind: ChainKind, rules: usize| {
        (0..rules).fold(Rules::new(), |all, _| all.rule(Hook::Output, kind, vec![mark.clone(); 120]))
    };
    let send_one = |rules: Rules| {
        rules.install(&host.stack);
        send_to(&host.udp(), b"x", "127.0.0.1:85")
    };
    assert_eq!(send_one(costly(ChainKind::Filter, 4000)), Ok(1));
    let counted = vec![Expr::Counter(is_reached.clone())];
    let too_much = (0..4000).fold(costly(ChainKind::Filter, 4000), |all, _| {
        all.rule(Hook::Output, ChainKind::Route, vec![mark.clone(); 120])
    });
    let too_much = too_much.rule(Hook::Output, ChainKind::Route, counted);
    assert_eq!(send_one(too_much), Err(Error::NotPermitted));
    assert_eq!(is_reached.read(false).0, 0);
    assert_eq!(send_one(Rules::new()), Ok(1));
}

#[test]
fn kinds_of_addresses_matter_where_they_are_asked_for() {
    const LOCAL: u16 = 1 << 2;
    const INVERT_SOURCE: u32 = 1;
    let host = host();
    let sent = |source: u16, destination: u16, flags: u32| {
        let halves = [source.to_ne_bytes(), destination.to_ne_bytes()].concat();
        let info = [halves, flags.to_ne_bytes().to_vec()].concat();
        let asked = Match::parse("addrtype", 1, &info).unwrap();
        Rules::new().filter(Hook::Output, and(vec![Expr::Match(asked)], drop_it())).install(&host.stack);
        send_to(&host.udp(), b"x", "127.0.0.1:85")
    };
    let dropped = Err(Error::NotPermitted);
    assert_eq!(sent(0, LOCAL, 0), dropped);
    assert_eq!(sent(0, LOCAL, INVERT_SOURCE), dropped, "nothing was asked of the source");
    assert_eq!(sent(LOCAL, 0, 0), dropped);
    assert_eq!(sent(LOCAL, 0, INVERT_SOURCE), Ok(1));
    assert_eq!(sent(0, LOCAL << 1, 0), Ok(1));
}

#[test]
fn a_connection_that_follows_another_is_a_new_one() {
    let host = host();
    let (old, fresh) = (Count::new(0, 0), Count::new(0, 0));
    Rules::new()
        .filter(Hook::Output, and(in_state(8), vec![Expr::Counter(old.clone())]))
        .install(&host.stack);
    let connect = || {
        let client = host.tcp();
        client.bind("127.0.0.1:4444".parse().unwrap()).unwrap();
        let _in_progress = client.connect("127.0.0.1:80".parse().unwrap());
        client.finish_connect()
    };
    assert_eq!(connect(), Err(Error::ConnRefused));
    Rules::new()
        .nat(Hook::Output, and(to_port(TCP, 80), redirect(15_001)))
        .filter(Hook::Output, and(in_state(8), vec![Expr::Counter(fresh.clone())]))
        .install(&host.stack);
    let _listener = host.listener("127.0.0.1:15001");
    assert_eq!(connect(), Ok(()));
    assert_eq!((old.read(false).0, fresh.read(false).0), (1, 1));
}

#[test]
fn what_is_not_followed_is_not_followed_on_loopback() {
    let host = host();
    let (untracked, others) = (Count::new(0, 0), Count::new(0, 0));
    Rules::new()
        .raw(Hook::Output, and(to_port(UDP, 53), vec![Expr::NoTrack]))
        .filter(Hook::Input, and(in_state(64), vec![Expr::Counter(untracked.clone())]))
        .filter(Hook::Input, and(in_state(1 | 2 | 4 | 8), vec![Expr::Counter(others.clone())]))
        .install(&host.stack);
    let server = host.udp_at("127.0.0.1:53");
    send_to(&host.udp(), b"question", "127.0.0.1:53").unwrap();
    recv_from(&server, 99).unwrap();
    assert_eq!((untracked.read(false).0, others.read(false).0), (1, 0));
}

#[test]
fn whole_packets_are_of_the_family_of_their_socket() {
    let host = host();
    Rules::new().filter(Hook::Output, vec![]).install(&host.stack);
    for (family, to, version) in [(Family::V4, "127.0.0.1:0", 6), (Family::V6, "[::1]:0", 4)] {
        let raw = host.stack.raw_socket(family, 17);
        raw.set_options(|options| {
            options.ip4.hdr_incl = true;
            options.ip6.hdr_incl = true;
        });
        let meta = SendMeta { to: Some(to.parse().unwrap()), ..SendMeta::default() };
        let mut packet = [0; 60];
        packet[0] = (version << 4) | 5;
        assert_eq!(raw.send(&mut &packet[..], &meta), Err(Error::Invalid));
        packet[0] = ((10 - version) << 4) | 5;
        assert_eq!(raw.send(&mut &packet[..], &meta), Ok(60));
    }
}

/// A transfer from host 0 to `to`, that `listener` on host 1 gets.
fn transfer(net: &mut Net, to: &str, listener: &TcpSocket) -> (TcpSocket, TcpSocket) {
    let client = net.stacks[0].tcp_socket(Family::V4);
    assert_eq!(client.connect(to.parse().unwrap()), Err(Error::InProgress));
    net.run(SECOND);
    client.finish_connect().unwrap();
    let server = listener.accept().unwrap();
    let data: Vec<u8> = (0..300_000u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < data.len() {
        sent += send(&client, &data[sent..]).unwrap_or(0);
        net.run(Duration::from_millis(20));
        got.extend(recv(&server, 1 << 20).unwrap_or_default());
    }
    assert!(got == data, "the stream is another one");
    send(&server, b"thanks").unwrap();
    net.run(SECOND);
    assert_eq!(recv(&client, 99), Ok(b"thanks".to_vec()));
    (client, server)
}

fn listen(net: &Net, host: usize, at: &str) -> TcpSocket {
    let socket = net.stacks[host].tcp_socket(Family::V4);
    socket.bind(at.parse().unwrap()).unwrap();
    socket.listen(16).unwrap();
    socket
}

#[test]
fn arriving_connections_are_redirected() {
    let mut net = net(2);
    Rules::new().nat(Hook::Prerouting, and(to_port(TCP, 80), redirect(8080))).install(&net.stacks[1]);
    let listener = listen(&net, 1, "0.0.0.0:8080");
    let (_, server) = transfer(&mut net, "10.0.0.2:80", &listener);
    assert_eq!(server.local_addr(), "10.0.0.2:8080".parse().unwrap());
    let (local, peer) = (end(server.local_addr()), end(server.peer_addr().unwrap()));
    let wanted = net.stacks[1].netfilter().original_destination(TCP, local, peer);
    assert_eq!(wanted, Some(end("10.0.0.2:80".parse().unwrap())));
}

#[test]
fn refusals_of_redirected_packets_come_from_where_they_were_sent() {
    let mut net = net(2);
    Rules::new()
        .nat(Hook::Prerouting, and(to_port(TCP, 80), redirect(8080)))
        .nat(Hook::Prerouting, and(to_port(UDP, 53), redirect(5353)))
        .filter(Hook::Input, and(to_port(TCP, 8080), vec![Expr::Reject(Reject::Reset)]))
        .filter(Hook::Input, and(to_port(UDP, 5353), vec![Expr::Reject(Reject::Icmp(3))]))
        .install(&net.stacks[1]);
    let (tcp, udp) = (net.stacks[0].tcp_socket(Family::V4), net.stacks[0].udp_socket(Family::V4));
    assert_eq!(tcp.connect("10.0.0.2:80".parse().unwrap()), Err(Error::InProgress));
    net.run(SECOND);
    assert_eq!(tcp.finish_connect(), Err(Error::ConnRefused));
    udp.connect("10.0.0.2:53".parse().unwrap()).unwrap();
    for _ in 0..2 {
        udp.send(&mut &b"x"[..], &SendMeta::default()).unwrap();
        net.run(SECOND);
        assert_eq!(recv_from(&udp, 9).err(), Some(Error::ConnRefused));
    }
}

#[test]
fn leaving_connections_go_elsewhere_and_come_from_elsewhere() {
    let mut net = net(2);
    net.stacks[0]
        .add_addr(&net.nics[0], IfAddr::new(Prefix::new([10, 0, 0, 77].into(), 24).unwrap()))
        .unwrap();
    Rules::new()
        .nat(Hook::Output, and(to_port(TCP, 80), translate(Side::Destination, [10, 0, 0, 2], Some(8080))))
        .nat(Hook::Postrouting, and(to_port(TCP, 8080), translate(Side::Source, [10, 0, 0, 77], None)))
        .install(&net.stacks[0]);
    let listener = listen(&net, 1, "0.0.0.0:8080");
    let (client, server) = transfer(&mut net, "10.0.0.55:80", &listener);
    assert_eq!(client.peer_addr(), Ok("10.0.0.55:80".parse().unwrap()));
    assert_eq!(server.peer_addr().unwrap().ip(), std::net::IpAddr::from([10, 0, 0, 77]));
    // From the loopback interface to another host.
    let (client, _) = transfer(&mut net, "10.0.0.1:80", &listener);
    assert_eq!(client.peer_addr(), Ok("10.0.0.1:80".parse().unwrap()));
}

#[test]
fn two_connections_from_one_port_get_two() {
    let mut net = net(3);
    let masquerade = vec![Expr::Masquerade { port: None, flags: 0 }];
    Rules::new()
        .nat(Hook::Output, and(to_port(UDP, 1000), translate(Side::Destination, [10, 0, 0, 2], Some(53))))
        .nat(Hook::Output, and(to_port(UDP, 1001), translate(Side::Destination, [10, 0, 0, 2], Some(53))))
        .nat(Hook::Postrouting, masquerade)
        .install(&net.stacks[0]);
    let server = net.stacks[1].udp_socket(Family::V4);
    server.bind("10.0.0.2:53".parse().unwrap()).unwrap();
    let client = net.stacks[0].udp_socket(Family::V4);
    client.bind("10.0.0.1:7777".parse().unwrap()).unwrap();
    let mut ports = Vec::new();
    for to in ["10.0.0.3:1000", "10.0.0.3:1001"] {
        send_to(&client, b"who", to).unwrap();
        net.run(SECOND);
        let (_, asked) = recv_from(&server, 99).unwrap();
        let from = asked.from.unwrap();
        ports.push(from.port());
        send_to(&server, b"you", &from.to_string()).unwrap();
        net.run(SECOND);
        let (answer, got) = recv_from(&client, 99).unwrap();
        assert_eq!((answer, got.from), (b"you".to_vec(), Some(to.parse().unwrap())));
    }
    assert!(ports[0] == 7777 && ports[1] != 7777, "{ports:?}");
}

#[test]
fn errors_find_their_way_back() {
    let mut net = net(2);
    Rules::new()
        .nat(Hook::Output, and(to_port(UDP, 53), translate(Side::Destination, [10, 0, 0, 2], Some(9))))
        .filter(Hook::Input, and(in_state(4), vec![]))
        .install(&net.stacks[0]);
    let client = net.stacks[0].udp_socket(Family::V4);
    client.connect("10.0.0.55:53".parse().unwrap()).unwrap();
    client.send(&mut &b"x"[..], &SendMeta::default()).unwrap();
    net.run(SECOND);
    assert_eq!(recv_from(&client, 9).err(), Some(Error::ConnRefused));
}

#[test]
fn echoes_are_translated() {
    let mut net = net(2);
    let is_echo = vec![
        Expr::Meta(register(1), MetaKey::L4Proto),
        Expr::Compare(register(1), Comparison::Equal, Box::new([ICMP])),
    ];
    net.stacks[0]
        .add_addr(&net.nics[0], IfAddr::new(Prefix::new([10, 0, 0, 77].into(), 24).unwrap()))
        .unwrap();
    Rules::new()
        .nat(Hook::Postrouting, and(is_echo, translate(Side::Source, [10, 0, 0, 77], None)))
        .install(&net.stacks[0]);
    let socket = net.stacks[0].ping_socket(Family::V4);
    let meta = SendMeta { to: Some("10.0.0.2:0".parse().unwrap()), ..SendMeta::default() };
    socket.send(&mut &[8, 0, 0, 0, 0, 0, 0, 1, 42][..], &meta).unwrap();
    net.run(SECOND);
    let mut data = [0; 64];
    let got = socket.recv(&mut &mut data[..], RecvFlags::empty()).unwrap();
    assert_eq!((data[0], data[8], got.copied), (0, 42, 9));
}
