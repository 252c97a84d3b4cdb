//! IP over Ethernet between simulated hosts: ARP, NDP, ICMP, UDP, fragments, multicast, raw and packet sockets.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::net::*;
use common::*;
use netstack::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn net() -> Net {
    let weather = Weather { delay: Duration::from_micros(100), ..Weather::default() };
    let mut net = Net::new(2, 1, weather, Config::default());
    net.run(3 * SECOND);
    net
}

fn udp(net: &Net, host: usize, at: &str) -> UdpSocket {
    let socket = net.stacks[host].udp_socket(if at.starts_with('[') { Family::V6 } else { Family::V4 });
    socket.bind(at.parse().unwrap()).unwrap();
    socket
}

#[test]
fn udp_over_both_families() {
    let mut net = net();
    for (a_at, b_at) in [("10.0.0.1:1000", "10.0.0.2:2000"), ("[fd00::1]:1000", "[fd00::2]:2000")] {
        let (a, b) = (udp(&net, 0, a_at), udp(&net, 1, b_at));
        send_to(&a, b"question", b_at).unwrap();
        net.run(SECOND);
        let (data, got) = recv_from(&b, 100).unwrap();
        assert_eq!((&data[..], got.from.unwrap().to_string()), (&b"question"[..], a_at.to_string()));
        assert_eq!((got.info.ttl, got.info.to.unwrap().to_string()), (64, b_at.to_string()));
        send_to(&b, b"answer", a_at).unwrap();
        net.run(SECOND);
        assert_eq!(recv_from(&a, 100).unwrap().0, b"answer");
    }
    let known = net.stacks[0].neighbours();
    assert_eq!(known.iter().filter(|n| n.mac == Some(Mac([2, 0, 0, 0, 0, 2]))).count(), 2, "{known:?}");
}

#[test]
fn link_local_addresses_are_made_and_used() {
    let mut net = net();
    let own: Vec<_> = net.nics[0].addrs().iter().map(|a| (a.ip().to_string(), a.state)).collect();
    assert!(own.contains(&("fe80::ff:fe00:1".to_string(), AddrState::Valid)), "{own:?}");
    let b = udp(&net, 1, "[::]:2000");
    let a = net.stacks[0].udp_socket(Family::V6);
    assert_eq!(a.connect("[fe80::ff:fe00:2]:2000".parse().unwrap()), Err(Error::Invalid));
    send_to(&a, b"x", "[fe80::ff:fe00:2%2]:2000").unwrap();
    net.run(SECOND);
    let from = recv_from(&b, 100).unwrap().1.from.unwrap();
    assert!(from.to_string().starts_with("[fe80::ff:fe00:1%2]"), "{from}");
}

#[test]
fn closed_ports_and_missing_hosts_are_reported() {
    let mut net = net();
    let a = udp(&net, 0, "10.0.0.1:1000");
    a.connect("10.0.0.2:9".parse().unwrap()).unwrap();
    a.send(&mut &b"x"[..], &SendMeta::default()).unwrap();
    net.run(SECOND);
    assert_eq!(recv_from(&a, 1).err(), Some(Error::ConnRefused));
    assert_eq!(net.stacks[1].counters().icmp.out_dest_unreachs.get(), 1);
    a.connect("10.0.0.77:9".parse().unwrap()).unwrap();
    // That a host does not answer may pass: it is told to those who want to know all errors.
    for (wants_all, told) in [(false, Error::Again), (true, Error::HostUnreachable)] {
        a.set_options(|o| o.ip4.recv_err = wants_all);
        a.send(&mut &b"x"[..], &SendMeta::default()).unwrap();
        net.run(5 * SECOND);
        assert_eq!(recv_from(&a, 1).err(), Some(told));
    }
    let six = udp(&net, 0, "[fd00::1]:1000");
    six.set_options(|o| o.ip6.recv_err = true);
    send_to(&six, b"abc", "[fd00::2]:9").unwrap();
    net.run(SECOND);
    let mut out = [0; 10];
    let error = six.recv(&mut &mut out[..], RecvFlags::ERRQUEUE).unwrap();
    assert_eq!((error.copied, error.error.unwrap().kind, error.error.unwrap().code), (3, 1, 4));
    assert_eq!(error.error.unwrap().offender.unwrap().to_string(), "fd00::2");
}

#[test]
fn large_datagrams_are_fragmented_and_put_together() {
    let mut net = net();
    let data: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
    for (a_at, b_at) in [("10.0.0.1:1000", "10.0.0.2:2000"), ("[fd00::1]:1000", "[fd00::2]:2000")] {
        let (a, b) = (udp(&net, 0, a_at), udp(&net, 1, b_at));
        send_to(&a, &data, b_at).unwrap();
        net.run(SECOND);
        assert!(recv_from(&b, 70_000).unwrap().0 == data);
        a.set_options(|o| {
            o.ip4.mtu_discover = MtuDiscover::Do;
            o.ip6.mtu_discover = MtuDiscover::Do;
        });
        assert_eq!(send_to(&a, &data, b_at), Err(Error::MessageSize));
    }
    assert_eq!(net.stacks[1].counters().ip.reasm_oks.get(), 1);
    assert_eq!(net.stacks[1].counters().ip6.reasm_oks.get(), 1);
}

#[test]
fn lost_fragments_time_out() {
    let mut net = net();
    let (a, b) = (udp(&net, 0, "10.0.0.1:1000"), udp(&net, 1, "10.0.0.2:2000"));
    send_to(&a, b"warm up", "10.0.0.2:2000").unwrap();
    net.run(SECOND);
    recv_from(&b, 10).unwrap();
    net.set_weather(Weather { loss: 1000, delay: Duration::from_micros(100), ..Weather::default() });
    for _ in 0..50 {
        send_to(&a, &[5; 30_000], "10.0.0.2:2000").unwrap();
    }
    net.run(100 * SECOND);
    let counters = net.stacks[1].counters();
    assert!(counters.ip.reasm_timeout.get() > 10);
    while let Ok((data, _)) = recv_from(&b, 40_000) {
        assert_eq!(data, [5; 30_000]);
    }
    assert_eq!(net.stacks[1].memory_used(), 0);
    assert!(net.stacks.iter().all(|stack| stack.next_deadline().is_none()), "idle stacks have no timers");
}

#[test]
fn ping_works_by_socket_and_by_raw_socket() {
    let mut net = net();
    for (family, to, request, reply) in
        [(Family::V4, "10.0.0.2:0", 8, 0), (Family::V6, "[fd00::2]:0", 128, 129)]
    {
        let ping = net.stacks[0].ping_socket(family);
        let message = [request, 0, 0, 0, 9, 9, 0, 1, 1, 2, 3];
        let meta = SendMeta { to: Some(to.parse().unwrap()), ..SendMeta::default() };
        assert_eq!(ping.send(&mut &message[..], &meta), Ok(11));
        net.run(SECOND);
        let mut out = [0; 64];
        let got = ping.recv(&mut &mut out[..], RecvFlags::empty()).unwrap();
        assert_eq!((got.copied, out[0]), (11, reply));
        assert_eq!(&out[8..11], &[1, 2, 3]);
        assert_eq!(u16::from_be_bytes([out[4], out[5]]), ping.local_addr().port());
    }
    let raw = net.stacks[0].raw_socket(Family::V4, 1);
    let meta = SendMeta { to: Some("10.0.0.2:0".parse().unwrap()), ..SendMeta::default() };
    raw.send(&mut &[8, 0, 0xf7, 0xff, 0, 0, 0, 0][..], &meta).unwrap();
    net.run(SECOND);
    let mut out = [0; 64];
    let got = raw.recv(&mut &mut out[..], RecvFlags::empty()).unwrap();
    assert_eq!((got.copied, out[0], out[9], out[20]), (28, 0x45, 1, 0));
}

#[test]
fn ping_of_own_addresses_goes_over_loopback() {
    let net = net();
    for to in ["127.0.0.1:0", "10.0.0.1:0"] {
        let ping = net.stacks[0].ping_socket(Family::V4);
        let meta = SendMeta { to: Some(to.parse().unwrap()), ..SendMeta::default() };
        ping.send(&mut &[8, 0, 0, 0, 0, 0, 0, 1][..], &meta).unwrap();
        let mut out = [0; 64];
        assert_eq!(ping.recv(&mut &mut out[..], RecvFlags::empty()).unwrap().copied, 8, "{to}");
    }
}

#[test]
fn multicast_reaches_members_only() {
    let mut net = Net::new(3, 1, Weather::default(), Config::default());
    net.run(3 * SECOND);
    for (group, any) in [("239.1.2.3:5000", "0.0.0.0:5000"), ("[ff05::77]:5000", "[::]:5000")] {
        let to: std::net::SocketAddr = group.parse().unwrap();
        let members: Vec<_> = (1..3).map(|host| udp(&net, host, any)).collect();
        let membership = Membership { group: to.ip(), interface: 2, is_include: false, sources: Vec::new() };
        members[0].join_group(membership.clone()).unwrap();
        assert_eq!(members[0].join_group(membership), Err(Error::AddrInUse));
        let sender = net.stacks[0].udp_socket(Family::of(to.ip()));
        sender.set_options(|o| {
            o.ip4.multicast_if = 2;
            o.ip6.multicast_if = 2;
        });
        send_to(&sender, b"all", group).unwrap();
        net.run(SECOND);
        assert_eq!(recv_from(&members[0], 10).unwrap().0, b"all");
        assert_eq!(recv_from(&members[1], 10).err(), Some(Error::Again));
        members[0].leave_group(to.ip(), 0).unwrap();
        send_to(&sender, b"all", group).unwrap();
        net.run(SECOND);
        assert_eq!(recv_from(&members[0], 10).err(), Some(Error::Again));
    }
}

#[test]
fn broadcast_needs_permission() {
    let mut net = net();
    let b = udp(&net, 1, "0.0.0.0:5000");
    let a = net.stacks[0].udp_socket(Family::V4);
    assert_eq!(send_to(&a, b"x", "10.0.0.255:5000"), Err(Error::Access));
    a.set_options(|o| o.base.broadcast = true);
    send_to(&a, b"x", "10.0.0.255:5000").unwrap();
    send_to(&a, b"y", "255.255.255.255:5000").unwrap();
    net.run(SECOND);
    assert_eq!(recv_from(&b, 10).unwrap().0, b"x");
    assert_eq!(recv_from(&b, 10).unwrap().0, b"y");
}

#[test]
fn a_gateway_is_used() {
    let mut net = net();
    let a = net.stacks[0].udp_socket(Family::V4);
    assert_eq!(send_to(&a, b"x", "8.8.8.8:53"), Err(Error::NetUnreachable));
    let gateway = Some([10, 0, 0, 2].into());
    net.stacks[0].add_route(Route::new(Prefix::all(Family::V4), gateway, 2)).unwrap();
    let tap = net.stacks[1].packet_socket(PacketKind::Cooked, 0x0800);
    send_to(&a, b"x", "8.8.8.8:53").unwrap();
    net.run(SECOND);
    let mut out = [0; 100];
    let got = tap.recv(&mut &mut out[..], RecvFlags::empty()).unwrap();
    assert_eq!((&out[16..20], got.link.unwrap().protocol), (&[8, 8, 8, 8][..], 0x0800));
}

#[test]
fn packet_sockets_see_loopback_and_send_frames() {
    let mut net = net();
    let tap = net.stacks[0].packet_socket(PacketKind::Raw, 3);
    let a = udp(&net, 0, "127.0.0.1:1000");
    send_to(&a, b"self", "127.0.0.1:1000").unwrap();
    assert_eq!(recv_from(&a, 10).unwrap().0, b"self");
    let mut out = [0; 200];
    let got = tap.recv(&mut &mut out[..], RecvFlags::empty()).unwrap();
    assert_eq!((got.copied, got.link.unwrap().interface), (14 + 28 + 4, 1));
    let b = net.stacks[1].packet_socket(PacketKind::Raw, 0x1234);
    let mut frame = [0; 60];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&[0x12, 0x34]);
    let to = LinkAddr { interface: 2, ..LinkAddr::default() };
    tap.send(&mut &frame[..], Some(&to)).unwrap();
    net.run(SECOND);
    assert_eq!(b.recv(&mut &mut out[..], RecvFlags::empty()).unwrap().copied, 60);
}

#[test]
fn corrupt_packets_are_counted_and_dropped() {
    let mut net = net();
    let (a, b) = (udp(&net, 0, "10.0.0.1:1000"), udp(&net, 1, "10.0.0.2:2000"));
    send_to(&a, b"warm up", "10.0.0.2:2000").unwrap();
    net.run(SECOND);
    recv_from(&b, 10).unwrap();
    net.set_weather(Weather { corrupt: 10_000, delay: Duration::from_micros(100), ..Weather::default() });
    for _ in 0..200 {
        send_to(&a, &[9; 300], "10.0.0.2:2000").unwrap();
        net.run(Duration::from_millis(1));
    }
    net.run(SECOND);
    assert!(net.stacks[1].counters().udp.in_csum_errors.get() > 100);
    while let Ok((data, _)) = recv_from(&b, 1000) {
        // What came through was hit in the link header.
        assert_eq!(data, [9; 300]);
    }
}

#[test]
fn router_advertisements_configure() {
    let mut net = net();
    let raw = net.stacks[1].raw_socket(Family::V6, 58);
    raw.set_options(|o| o.ip6.multicast_hops = 255);
    let mut message = vec![134, 0, 0, 0, 64, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([1, 1, 2, 0, 0, 0, 0, 2]);
    message.extend([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0]);
    message.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let meta = SendMeta {
        to: Some("[ff02::1]:0".parse().unwrap()),
        source: Some("fe80::ff:fe00:2".parse().unwrap()),
        interface: 2,
        ..SendMeta::default()
    };
    raw.send(&mut &message[..], &meta).unwrap();
    net.run(3 * SECOND);
    assert!(net.stacks[0].is_local("2001:db8::ff:fe00:1".parse().unwrap()));
    let routes = net.stacks[0].routes();
    assert!(routes.iter().any(|r| r.gateway == Some("fe80::ff:fe00:2".parse().unwrap())), "{routes:?}");
    net.run(101 * SECOND);
    assert!(net.stacks[0].routes().is_empty());
    net.run(7200 * SECOND);
    assert!(!net.stacks[0].is_local("2001:db8::ff:fe00:1".parse().unwrap()));
}

#[test]
fn duplicate_addresses_are_found() {
    let mut net = Net::new(2, 1, Weather::default(), Config::default());
    // Both take the same link-local address.
    net.nics[1].set_mac(net.nics[0].mac());
    net.stacks[1].set_up(&net.nics[1], false);
    let old = net.nics[1].addrs().iter().find(|a| a.is_dynamic).unwrap().ip();
    net.stacks[1].remove_addr(&net.nics[1], old).unwrap();
    net.run(3 * SECOND);
    net.stacks[1].set_up(&net.nics[1], true);
    net.run(3 * SECOND);
    let state = |host: usize| net.nics[host].addrs().iter().find(|a| a.is_dynamic).unwrap().state;
    assert_eq!((state(0), state(1)), (AddrState::Valid, AddrState::Duplicate));
}

#[test]
fn what_claims_to_come_from_ourselves_does_not_come_from_a_wire() {
    let net = net();
    let (stack, nic) = (&net.stacks[0], &net.nics[0]);
    let heard = [udp(&net, 0, "10.0.0.1:1000"), udp(&net, 0, "[fd00::1]:1000")];
    let ethernet = |kind: u16| {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9];
        frame.extend(kind.to_be_bytes());
        frame
    };
    let datagram = [0u8, 9, 3, 232, 0, 9, 0, 0, b'x'];
    let refused = || [stack.counters().ip.in_addr_errors.get(), stack.counters().ip6.in_addr_errors.get()];
    let before = refused();
    for last in [1, 2] {
        let mut four = ethernet(0x0800);
        four.extend([0x45, 0, 0, 29, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, last, 10, 0, 0, 1]);
        let sum: u32 = four[14..].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        four[24..26].copy_from_slice(&sum.to_be_bytes());
        four.extend(datagram);
        stack.receive(nic, &four, RxMeta { checksum_ok: true, ..RxMeta::default() });
        let mut six = ethernet(0x86dd);
        six.extend([0x60, 0, 0, 0, 0, 9, 17, 64]);
        for host in [last, 1] {
            six.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
        }
        six.extend([0, 9, 3, 232, 0, 9, 1, 1, b'x']);
        stack.receive(nic, &six, RxMeta { checksum_ok: true, ..RxMeta::default() });
        let told = heard.each_ref().map(|socket| recv_from(socket, 9).is_ok());
        assert_eq!(told, [last == 2; 2], "from host {last}");
    }
    assert_eq!(refused(), before.map(|count| count + 1));
}
