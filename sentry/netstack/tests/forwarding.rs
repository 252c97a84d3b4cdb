//! A router between two networks: what it passes on, what it says of the rest, and what rules make of it.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::rules::*;
use common::spaces::*;
use common::*;
use netstack::netfilter::Hook;
use netstack::netfilter::expr::*;
use netstack::*;
use std::sync::Arc;
use std::time::Duration;

const TCP: u8 = 6;
const UDP: u8 = 17;
const SECOND: Duration = Duration::from_secs(1);

/// The first stack is the router: 10.1.0.1 and 10.2.0.1. The second is 10.1.0.2, the third 10.2.0.2; likewise in IPv6.
struct Net {
    spaces: Spaces,
    /// The router's interfaces.
    ports: Vec<Arc<Nic>>,
    /// The others'.
    ends: Vec<Arc<Nic>>,
}

impl Net {
    fn new() -> Self {
        let spaces = Spaces::new(3);
        spaces.stacks[0].update_config(|config| (config.ip_forward, config.ipv6_forward) = (true, true));
        let (mut ports, mut ends) = (Vec::new(), Vec::new());
        for net in 1..=2 {
            let host = &spaces.stacks[net];
            let (port, end) = spaces.stacks[0].add_veth(&named("veth%d"), host, &named("eth0")).unwrap();
            for (stack, nic, last) in [(&spaces.stacks[0], &port, 1), (host, &end, 2)] {
                stack.set_up(nic, true);
                address_in(stack, nic, &format!("10.{net}.0.{last}"));
                address_in(stack, nic, &format!("fd0{net}::{last}"));
            }
            for gateway in [format!("10.{net}.0.1"), format!("fd0{net}::1")] {
                let gateway: std::net::IpAddr = gateway.parse().unwrap();
                let all = Prefix::new(if gateway.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap(), 0);
                host.add_route(Route::new(all.unwrap(), Some(gateway), end.index)).unwrap();
            }
            ports.push(port);
            ends.push(end);
        }
        spaces.run(3 * SECOND);
        Self { spaces, ports, ends }
    }

    fn router(&self) -> &Stack {
        &self.spaces.stacks[0]
    }

    fn hosts(&self) -> (&Stack, &Stack) {
        (&self.spaces.stacks[1], &self.spaces.stacks[2])
    }

    /// What becomes of a connection from the first host.
    fn try_connect(&self, to: &str) -> Result<()> {
        let client = self.hosts().0.tcp_socket(Family::V4);
        let begun = client.connect(to.parse().unwrap());
        assert!(begun == Err(Error::InProgress) || begun == Ok(()), "{begun:?}");
        self.spaces.run(SECOND / 2);
        client.finish_connect()
    }

    /// Sends a datagram of the first host, and says what error it then has.
    fn datagram(&self, to: &str, ttl: u8, len: usize) -> Option<Error> {
        datagram(self.hosts().0, to, ttl, len)
    }
}

/// Sends a datagram, and says what error its socket then has.
fn datagram(from: &Stack, to: &str, ttl: u8, len: usize) -> Option<Error> {
    let udp = from.udp_socket(Family::V4);
    udp.connect(to.parse().unwrap()).unwrap();
    udp.set_options(|options| {
        options.ip4.ttl = Some(ttl);
        options.ip4.recv_err = true;
    });
    send_to(&udp, &vec![7; len], to).unwrap();
    udp.take_error()
}

#[test]
fn connections_pass_in_both_families() {
    let net = Net::new();
    let (a, b) = net.hosts();
    for (at, from) in [("10.2.0.2:80", "10.1.0.2"), ("[fd02::2]:80", "fd01::2")] {
        let (client, server) = connect(a, b, at);
        assert_eq!(server.peer_addr().unwrap().ip(), from.parse::<std::net::IpAddr>().unwrap());
        transfer(&client, &server, 2 << 20);
        transfer(&server, &client, 2 << 20);
    }
    let forwarded = net.router().counters().ip.forw_datagrams.get();
    assert!((10..1200).contains(&forwarded), "{forwarded}: long segments stay whole");
    assert_eq!(net.router().counters().ip.in_delivers.get(), 0);
}

#[test]
fn only_where_it_is_switched_on() {
    let net = Net::new();
    let (a, _) = net.hosts();
    net.ports[0].change_settings(|settings| settings.forwards = false);
    assert_eq!(net.try_connect("10.2.0.2:80"), Err(Error::InProgress));
    assert!(net.router().counters().ip.in_addr_errors.get() > 0);
    // Own addresses answer all the same, those of the other side too.
    assert_eq!(net.try_connect("10.2.0.1:80"), Err(Error::ConnRefused));
    net.router().update_config(|config| config.ip_forward = false);
    net.router().update_config(|config| config.ip_forward = true);
    assert!(net.ports[0].settings().forwards, "the switch for all is for each");
    let (dummy, _) = net.router().add_veth(&named("new0"), a, &named("new0")).unwrap();
    assert!(dummy.settings().forwards, "and for those to come");
    assert_eq!(net.try_connect("10.2.0.2:80"), Err(Error::ConnRefused));
}

#[test]
fn errors_tell_what_became_of_a_packet() {
    let net = Net::new();
    assert_eq!(net.datagram("10.2.0.2:9", 1, 10), Some(Error::HostUnreachable), "time exceeded");
    assert_eq!(net.datagram("10.2.0.2:9", 2, 10), Some(Error::ConnRefused), "it came there");
    assert_eq!(net.datagram("10.9.0.2:9", 64, 10), Some(Error::NetUnreachable), "no route");
    let add = |prefix: &str, kind| {
        let prefix = Prefix::new(prefix.parse().unwrap(), 24).unwrap();
        net.router().add_route(Route { kind, ..Route::new(prefix, None, 0) }).unwrap();
    };
    add("10.5.0.0", RouteKind::Unreachable);
    add("10.6.0.0", RouteKind::Prohibit);
    add("10.7.0.0", RouteKind::Blackhole);
    assert_eq!(net.datagram("10.5.0.2:9", 64, 10), Some(Error::HostUnreachable));
    assert_eq!(net.datagram("10.6.0.2:9", 64, 10), Some(Error::HostUnreachable));
    assert_eq!(net.datagram("10.7.0.2:9", 64, 10), None);
    let counters = net.router().counters();
    assert_eq!((counters.icmp.out_time_excds.get(), counters.icmp.out_dest_unreachs.get()), (1, 3));
}

#[test]
fn large_packets_are_cut_or_refused() {
    let net = Net::new();
    let (a, b) = net.hosts();
    net.router().set_mtu(&net.ports[1], 1280).unwrap();
    // Segments to the narrow side are answered with its width, and sent anew.
    for at in ["10.2.0.2:80", "[fd02::2]:80"] {
        let (client, server) = connect(a, b, at);
        let data = vec![1; 300_000];
        assert!(send(&client, &data).unwrap() > 0);
        net.spaces.run(2 * SECOND);
        let mut got = 0;
        while let Ok(part) = recv(&server, 1 << 20) {
            got += part.len();
        }
        assert!(got > 20_000, "{at} {got}");
    }
    assert_eq!(a.find_route("10.2.0.2".parse().unwrap(), 0).unwrap().mtu, 1280);
    // A datagram that may be cut is.
    let server = b.udp_socket(Family::V4);
    server.bind("10.2.0.2:99".parse().unwrap()).unwrap();
    let udp = a.udp_socket(Family::V4);
    udp.set_options(|options| options.ip4.mtu_discover = MtuDiscover::Dont);
    for rules in [Rules::new(), Rules::new().filter(Hook::Forward, in_state(0))] {
        rules.install(net.router());
        for len in [1400, 20_000] {
            let data: Vec<u8> = (0..len).map(|at| at as u8).collect();
            send_to(&udp, &data, "10.2.0.2:99").unwrap();
            assert_eq!(recv_from(&server, 65_536).unwrap().0, data);
        }
    }
    assert!(net.router().counters().ip.frag_creates.get() >= 17);
}

#[test]
fn what_was_put_together_is_passed_on_as_a_whole() {
    let net = Net::new();
    let (a, b) = net.hosts();
    // Fragments come in by the narrow link, and leave by one with room for the whole.
    for nic in [&net.ends[0], &net.ports[0]] {
        nic.set_mtu(1280).unwrap();
    }
    for nic in [&net.ends[1], &net.ports[1]] {
        nic.set_mtu(9000).unwrap();
    }
    Rules::new().filter(Hook::Forward, in_state(0)).install(net.router());
    let server = b.udp_socket(Family::V6);
    server.bind("[::]:99".parse().unwrap()).unwrap();
    let raw = b.raw_socket(Family::V4, UDP);
    for (at, family) in [("10.2.0.2:99", Family::V4), ("[fd02::2]:99", Family::V6)] {
        let udp = a.udp_socket(family);
        udp.set_options(|options| options.ip4.mtu_discover = MtuDiscover::Dont);
        let data: Vec<u8> = (0..5000).map(|at| at as u8).collect();
        send_to(&udp, &data, at).unwrap();
        assert_eq!(recv_from(&server, 65_536).unwrap().0, data, "{at}");
    }
    let mut packet = vec![0; 65_536];
    let len = raw.recv(&mut &mut packet[..], RecvFlags::empty()).unwrap().copied;
    assert_eq!((len, &packet[2..4], &packet[6..8]), (5028, &[0x13, 0xa4][..], &[0, 0][..]));
    assert_eq!(b.counters().ip.reasm_reqds.get() + b.counters().ip6.reasm_reqds.get(), 0);
}

#[test]
fn sources_have_to_be_where_answers_go() {
    let net = Net::new();
    let (a, b) = net.hosts();
    a.add_addr(&net.ends[0], IfAddr::new(Prefix::new("10.2.0.77".parse().unwrap(), 32).unwrap())).unwrap();
    let server = b.udp_socket(Family::V4);
    server.bind("10.2.0.2:99".parse().unwrap()).unwrap();
    let udp = a.udp_socket(Family::V4);
    udp.bind("10.2.0.77:5000".parse().unwrap()).unwrap();
    for (mode, arrives) in [(0, true), (1, false), (2, true)] {
        net.ports[0].change_settings(|settings| settings.rp_filter = mode);
        send_to(&udp, b"x", "10.2.0.2:99").unwrap();
        assert_eq!(recv_from(&server, 9).is_ok(), arrives, "rp_filter {mode}");
    }
    net.ports[0].change_settings(|settings| settings.rp_filter = 0);
    net.router().update_config(|config| config.nic_all.rp_filter = 1);
    send_to(&udp, b"x", "10.2.0.2:99").unwrap();
    assert!(recv_from(&server, 9).is_err(), "the setting of all counts too");
}

#[test]
fn rules_see_what_is_passed_on() {
    let net = Net::new();
    let reset = vec![Expr::Reject(Reject::Reset)];
    Rules::new()
        .filter(Hook::Forward, and(to_port(TCP, 81), drop_it()))
        .filter(Hook::Forward, and(to_port(TCP, 82), reset))
        .filter(Hook::Forward, and(to_port(TCP, 83), vec![Expr::Reject(Reject::Icmp(3))]))
        .filter(Hook::Input, drop_it())
        .install(net.router());
    assert_eq!(net.try_connect("10.2.0.2:80"), Err(Error::ConnRefused), "by the other host");
    assert_eq!(net.try_connect("10.2.0.2:81"), Err(Error::InProgress));
    assert_eq!(net.try_connect("10.2.0.2:82"), Err(Error::ConnRefused));
    assert_eq!(net.try_connect("10.2.0.2:83"), Err(Error::ConnRefused));
    assert_eq!(net.try_connect("10.1.0.1:80"), Err(Error::InProgress), "input is another hook");
}

/// Only what belongs to connections from the first network passes.
#[test]
fn answers_pass_where_questions_did() {
    let net = Net::new();
    let (a, b) = net.hosts();
    let one = register(1);
    let name = |name: &str| {
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        bytes
    };
    let from_b = vec![
        Expr::Meta(one, MetaKey::InName),
        Expr::Compare(one, Comparison::Equal, Box::new(name(&net.ports[1].name()))),
    ];
    Rules::new()
        .filter(Hook::Forward, and(in_state(2 | 4), vec![Expr::Verdict(Verdict::Accept)]))
        .filter(Hook::Forward, and(from_b, drop_it()))
        .install(net.router());
    let (client, server) = connect(a, b, "10.2.0.2:80");
    transfer(&client, &server, 1 << 20);
    let refused = b.tcp_socket(Family::V4);
    assert_eq!(refused.connect("10.1.0.2:80".parse().unwrap()), Err(Error::InProgress));
    net.spaces.run(SECOND);
    assert_eq!(refused.finish_connect(), Err(Error::InProgress));
}

#[test]
fn sources_become_the_routers() {
    let net = Net::new();
    let (a, b) = net.hosts();
    Rules::new()
        .nat(Hook::Postrouting, vec![Expr::Masquerade { port: None, flags: 0 }])
        .install(net.router());
    let (client, server) = connect(a, b, "10.2.0.2:80");
    assert_eq!(server.peer_addr().unwrap().ip().to_string(), "10.2.0.1");
    transfer(&client, &server, 2 << 20);
    transfer(&server, &client, 2 << 20);
    let known = net.router().connections();
    assert_eq!((known.len(), known[0].flow.tcp_state()), (1, Some(3)));
    assert_eq!(known[0].flow.reply.to.ip.to_string(), "10.2.0.1");
    assert!(known[0].seconds_left > 400_000 && known[0].has(&known[0].flow.reply));
    // Errors about translated packets come back to who sent them.
    assert_eq!(net.datagram("10.2.0.2:9", 64, 10), Some(Error::ConnRefused));
    assert_eq!(net.datagram("10.2.0.2:9", 1, 10), Some(Error::HostUnreachable));
}

#[test]
fn connections_can_be_forgotten() {
    let net = Net::new();
    let (a, b) = net.hosts();
    Rules::new()
        .nat(Hook::Postrouting, vec![Expr::Masquerade { port: None, flags: 0 }])
        .install(net.router());
    let (client, server) = connect(a, b, "10.2.0.2:80");
    assert_eq!(net.router().forget_connections(|one| one.flow.original.protocol == UDP), 0);
    assert_eq!(net.router().forget_connections(|one| one.flow.original.protocol == TCP), 1);
    assert!(net.router().connections().is_empty());
    // Its next packet begins it anew, and is translated as before.
    transfer(&client, &server, 1000);
    assert_eq!(net.router().connections().len(), 1);
}

#[test]
fn published_ports_lead_to_who_serves_them() {
    let net = Net::new();
    let (a, b) = net.hosts();
    Rules::new()
        .nat(Hook::Prerouting, and(to_port(TCP, 8080), translate(Side::Destination, [10, 2, 0, 2], Some(80))))
        .nat(Hook::Prerouting, and(to_port(UDP, 53), translate(Side::Destination, [10, 2, 0, 2], Some(5353))))
        .nat(Hook::Output, and(to_port(TCP, 8080), translate(Side::Destination, [10, 2, 0, 2], Some(80))))
        .nat(Hook::Postrouting, vec![Expr::Masquerade { port: None, flags: 0 }])
        .install(net.router());
    let listener = b.tcp_socket(Family::V4);
    listener.bind("0.0.0.0:80".parse().unwrap()).unwrap();
    listener.listen(8).unwrap();
    // From another network, from the router itself, and from the serving host back to itself.
    for (from, to) in [(a, "10.1.0.1:8080"), (net.router(), "10.1.0.1:8080"), (b, "10.2.0.1:8080")] {
        let client = from.tcp_socket(Family::V4);
        assert_eq!(client.connect(to.parse().unwrap()), Err(Error::InProgress));
        client.finish_connect().unwrap();
        let server = listener.accept().unwrap();
        assert_eq!(client.peer_addr().unwrap().to_string(), to);
        transfer(&client, &server, 1 << 20);
        transfer(&server, &client, 1 << 20);
    }
    let server = b.udp_socket(Family::V4);
    server.bind("10.2.0.2:5353".parse().unwrap()).unwrap();
    let udp = a.udp_socket(Family::V4);
    send_to(&udp, b"question", "10.1.0.1:53").unwrap();
    let (data, from) = recv_from(&server, 99).unwrap();
    assert_eq!(data, b"question");
    send_to(&server, b"answer", &from.from.unwrap().to_string()).unwrap();
    let (data, from) = recv_from(&udp, 99).unwrap();
    assert_eq!((data, from.from.unwrap().to_string()), (b"answer".to_vec(), "10.1.0.1:53".to_owned()));
}

/// Two routers that point at each other: a packet between them ends when its hops do.
#[test]
fn routing_circles_end() {
    let net = Net::new();
    let (a, b) = net.hosts();
    a.update_config(|config| config.ip_forward = true);
    let prefix = Prefix::new("10.9.0.0".parse().unwrap(), 24).unwrap();
    let back = Route::new(prefix, Some("10.1.0.2".parse().unwrap()), net.ports[0].index);
    net.router().add_route(back).unwrap();
    assert_eq!(datagram(b, "10.9.0.1:9", 64, 10), Some(Error::HostUnreachable));
    let forwarded = net.router().counters().ip.forw_datagrams.get() + a.counters().ip.forw_datagrams.get();
    assert!((60..=64).contains(&forwarded), "{forwarded}");
}

/// A fragment of a datagram with that many hops left: of 8 bytes, at `offset` of 16.
fn fragment(to_router: &[u8], offset: u8, ttl: u8) -> Vec<u8> {
    let more = if offset == 0 { 0x20 } else { 0 };
    let mut ip = vec![0x45, 0, 0, 28, 0, 7, more, offset / 8, ttl, UDP, 0, 0, 10, 1, 0, 2, 10, 2, 0, 2];
    let sum = ip.chunks(2).fold(0_u32, |sum, pair| sum + u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [to_router, &[2, 0, 0, 0, 0, 9], &[8, 0], &ip, &[0, 9, 0, 9, 0, 16, 0, 0]].concat()
}

/// What the first fragment has left counts, whichever comes last.
#[test]
fn fragments_that_have_no_hops_left_go_nowhere() {
    let net = Net::new();
    Rules::new().filter(Hook::Forward, and(to_port(TCP, 81), drop_it())).install(net.router());
    let tap = net.hosts().0.packet_socket(PacketKind::Raw, 0);
    let (router, nic) = (net.ports[0].mac(), &net.ends[0]);
    let to = LinkAddr { interface: nic.index, protocol: 0x800, hardware: 1, kind: 0, mac: router };
    let before = net.ports[1].stats.tx_packets.get();
    for (first, second) in [(0, 64), (1, 64)] {
        for (offset, ttl) in [(0, first), (8, second)] {
            tap.send(&mut &fragment(&router.0, offset, ttl)[..], Some(&to)).unwrap();
        }
        net.spaces.run(SECOND);
    }
    assert_eq!(net.ports[1].stats.tx_packets.get(), before);
}
