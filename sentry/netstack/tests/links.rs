//! Links within a sandbox: pairs and bridges between stacks that share a clock, as name spaces of one sandbox do.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::spaces::*;
use common::*;
use netstack::*;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

#[test]
fn a_pair_carries_connections_between_stacks() {
    let spaces = Spaces::new(2);
    let (a, b) = (&spaces.stacks[0], &spaces.stacks[1]);
    let (one, two) = a.add_veth(&named("veth0"), b, &named("eth0")).unwrap();
    assert_eq!((one.name(), two.name()), ("veth0".into(), "eth0".into()));
    a.set_up(&one, true);
    assert!(!one.has_carrier(), "the other end is down");
    b.set_up(&two, true);
    assert!(one.has_carrier() && two.has_carrier());
    address(a, &one, 1);
    address(b, &two, 2);
    let (client, server) = connect(a, b, "10.0.0.2:80");
    transfer(&client, &server, 3 << 20);
    transfer(&server, &client, 1 << 20);
    // The first was sent while the other end was down.
    assert_eq!((one.stats.tx_dropped.get(), two.stats.tx_dropped.get()), (1, 0));
    // Long segments go over as they are.
    assert!(one.stats.tx_packets.get() < 800, "{}", one.stats.tx_packets.get());
    drop((client, server));
    spaces.run(Duration::from_secs(200));
    assert_eq!((a.memory_used(), b.memory_used()), (0, 0));
}

#[test]
fn both_ends_of_a_pair_can_be_in_one_stack() {
    let spaces = Spaces::new(1);
    let stack = &spaces.stacks[0];
    let (one, two) = stack.add_veth(&named("veth%d"), stack, &named("veth%d")).unwrap();
    assert_eq!((two.name(), one.name()), ("veth0".into(), "veth1".into()));
    stack.set_up(&one, true);
    stack.set_up(&two, true);
    let tap = stack.packet_socket(PacketKind::Raw, 3);
    tap.bind(two.index, 3).unwrap();
    let sender = stack.packet_socket(PacketKind::Raw, 0);
    let frame = [&two.mac().0[..], &one.mac().0, &[0x88, 0xb5, 1, 2, 3]].concat();
    let to = LinkAddr { interface: one.index, protocol: 0x88b5, hardware: 1, kind: 0, mac: two.mac() };
    sender.send(&mut &frame[..], Some(&to)).unwrap();
    let mut data = [0; 64];
    let mut got = Vec::new();
    while let Ok(frame) = tap.recv(&mut &mut data[..], RecvFlags::empty()) {
        got.push(data[..frame.copied].to_vec());
    }
    assert!(got.contains(&frame));
    stack.remove_nic(&one);
    assert!(stack.nic_by_name("veth0").is_none(), "the other end goes too");
}

#[test]
fn a_bridge_learns_and_passes_frames_on() {
    let (spaces, bridge, ports) = Spaces::bridged(3);
    let [_, a, b, c] = &spaces.stacks[..] else { panic!() };
    let (client, server) = connect(a, b, "10.0.0.2:80");
    let before = ports[2].stats.tx_packets.get();
    transfer(&client, &server, 1 << 20);
    assert_eq!(ports[2].stats.tx_packets.get(), before, "nobody else sees what goes to a known station");
    let stations = spaces.stacks[0].stations(&bridge);
    let learnt = |nic: &Arc<Nic>| {
        stations.iter().filter(|s| !s.is_local && s.port == nic.index).map(|s| s.mac).collect::<Vec<_>>()
    };
    assert_eq!(learnt(&ports[0]), [a.nic_by_name("eth0").unwrap().mac()]);
    assert_eq!(learnt(&ports[1]), [b.nic_by_name("eth0").unwrap().mac()]);
    // The bridge's own address answers, and the bridge reaches the stations.
    let (client, server) = connect(c, &spaces.stacks[0], "10.0.0.254:80");
    transfer(&client, &server, 1 << 20);
    let (client, server) = connect(&spaces.stacks[0], c, "10.0.0.3:80");
    transfer(&client, &server, 1 << 20);
    spaces.run(Duration::from_secs(400));
    assert!(spaces.stacks[0].stations(&bridge).iter().all(|station| station.is_local));
}

#[test]
fn a_bridge_has_the_lowest_address_and_mtu_of_its_ports() {
    let (spaces, bridge, ports) = Spaces::bridged(2);
    let host = &spaces.stacks[0];
    assert_eq!(Some(bridge.mac().0), ports.iter().map(|port| port.mac().0).min());
    host.set_mtu(&ports[1], 1400).unwrap();
    assert_eq!(bridge.mtu(), 1400);
    host.set_mac(&ports[1], Mac([0, 1, 2, 3, 4, 5])).unwrap();
    assert_eq!(bridge.mac(), Mac([0, 1, 2, 3, 4, 5]));
    host.set_mac(&bridge, Mac([2, 9, 9, 9, 9, 9])).unwrap();
    host.set_bridge(&ports[1], None).unwrap();
    assert_eq!((bridge.mac(), bridge.mtu()), (Mac([2, 9, 9, 9, 9, 9]), 1500));
    assert!(ports[1].port().is_none());
    let other = host.add_bridge(&named("br1")).unwrap();
    assert_eq!(host.set_bridge(&bridge, Some(&bridge)), Err(Error::Invalid));
    assert_eq!(host.set_bridge(&bridge, Some(&other)), Err(Error::Loop));
    assert_eq!(host.set_bridge(&ports[0], Some(&ports[1])), Err(Error::NotSupported));
    host.remove_nic(&bridge);
    assert!(ports[0].port().is_none());
}

#[test]
fn ports_do_as_they_are_set() {
    let (spaces, _bridge, ports) = Spaces::bridged(3);
    let [_, a, b, _] = &spaces.stacks[..] else { panic!() };
    ports[0].port().unwrap().change(|settings| settings.isolated = true);
    ports[1].port().unwrap().change(|settings| settings.isolated = true);
    let client = a.tcp_socket(Family::V4);
    assert_eq!(client.connect("10.0.0.2:80".parse().unwrap()), Err(Error::InProgress));
    spaces.run(Duration::from_secs(5));
    assert_eq!(client.finish_connect(), Err(Error::HostUnreachable), "isolated ports do not hear each other");
    ports[1].port().unwrap().change(|settings| settings.isolated = false);
    let (client, server) = connect(a, b, "10.0.0.2:80");
    transfer(&client, &server, 100_000);
}

/// Two bridges with two pairs between them: without a spanning tree a broadcast goes round for ever.
#[test]
fn frames_that_go_round_cost_no_more_than_their_share() {
    let spaces = Spaces::new(2);
    let (a, b) = (&spaces.stacks[0], &spaces.stacks[1]);
    let bridges = [a, b].map(|stack| {
        let bridge = stack.add_bridge(&named("br0")).unwrap();
        stack.set_up(&bridge, true);
        bridge
    });
    for _ in 0..2 {
        let (here, there) = a.add_veth(&named("veth%d"), b, &named("veth%d")).unwrap();
        a.set_bridge(&here, Some(&bridges[0])).unwrap();
        b.set_bridge(&there, Some(&bridges[1])).unwrap();
        a.set_up(&here, true);
        b.set_up(&there, true);
    }
    address(a, &bridges[0], 1);
    let udp = a.udp_socket(Family::V4);
    udp.set_options(|options| options.base.broadcast = true);
    // Each call comes back.
    for _ in 0..3 {
        send_to(&udp, b"x", "10.0.0.255:9").unwrap();
        assert!(a.next_deadline().is_some() || b.next_deadline().is_some());
        a.advance();
        b.advance();
    }
    a.remove_nic(&bridges[0]);
    for _ in 0..100 {
        a.advance();
        b.advance();
    }
    let before = bridges[1].stats.rx_packets.get();
    b.advance();
    assert_eq!(bridges[1].stats.rx_packets.get(), before, "the circle is broken");
}

#[test]
fn ends_move_and_go_with_their_stack() {
    let mut spaces = Spaces::new(3);
    let [a, b, c] = &spaces.stacks[..] else { panic!() };
    let (one, two) = a.add_veth(&named("veth0"), a, &named("veth1")).unwrap();
    a.set_up(&two, true);
    address(a, &two, 7);
    let moved = a.move_nic(&two, b, None, None).unwrap();
    assert!(a.nic_by_name("veth1").is_none() && !moved.is_up() && moved.addrs().is_empty());
    assert_eq!((moved.index, moved.mac()), (two.index, two.mac()));
    assert_eq!(a.move_nic(&two, c, None, None).unwrap_err(), Error::NoDevice, "it is gone from there");
    let moved = b.move_nic(&moved, c, Some("eth0"), None).unwrap();
    a.set_up(&one, true);
    c.set_up(&moved, true);
    address(a, &one, 1);
    address(c, &moved, 2);
    let (client, server) = connect(a, c, "10.0.0.2:80");
    transfer(&client, &server, 100_000);
    let loopback = a.nic_by_name("lo").unwrap();
    assert_eq!(a.move_nic(&loopback, b, None, None).unwrap_err(), Error::Invalid);
    drop((client, server));
    // Another end has the name there already: it stays where and what it is.
    let (_, third) = a.add_veth(&named("veth5"), a, &named("eth0")).unwrap();
    let bridge = a.add_bridge(&named("br0")).unwrap();
    a.set_bridge(&third, Some(&bridge)).unwrap();
    a.set_up(&third, true);
    assert_eq!(a.move_nic(&third, c, None, None).unwrap_err(), Error::Exists);
    assert_eq!(a.move_nic(&third, a, None, None).unwrap_err(), Error::Invalid);
    assert!(a.nic_by_name("eth0").is_some() && third.is_up() && third.port().is_some());
    assert_eq!(a.stations(&bridge).len(), 2, "the bridge and its port");
    spaces.stacks.truncate(2);
    assert!(spaces.stacks[0].nic_by_name("veth0").is_none(), "its other end went with the stack");
}

/// Of two that want an interface one gets it, and no end stays without the other.
#[test]
fn ends_that_move_while_the_others_go() {
    for round in 0..200 {
        let spaces = Spaces::new(2);
        let [a, b] = &spaces.stacks[..] else { panic!() };
        let (one, two) = a.add_veth(&named("veth0"), a, &named("veth1")).unwrap();
        let bridges = ["br0", "br1"].map(|name| a.add_bridge(&named(name)).unwrap());
        a.set_bridge(&two, Some(&bridges[0])).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| a.set_bridge(&two, Some(&bridges[1])));
            scope.spawn(|| a.move_nic(&two, b, None, None));
            scope.spawn(|| a.remove_nic(&bridges[0]));
            if round % 2 == 0 {
                scope.spawn(|| a.remove_nic(&one));
            }
        });
        let is_left = |stack: &Stack| stack.nic_by_name("veth1").is_some();
        match round % 2 {
            0 => assert!(!is_left(a) && !is_left(b)),
            _ => assert!(is_left(b) && two.port().is_none()),
        }
        assert!(bridges[1].bridge().unwrap().ports().is_empty());
    }
}

#[test]
fn looking_at_everything_ends_with_the_interface() {
    let spaces = Spaces::new(1);
    let stack = &spaces.stacks[0];
    let at = |name| stack.add_dummy(&LinkConfig { index: Some(9), ..named(name) }).unwrap();
    let tap = || stack.packet_socket(PacketKind::Raw, 0);
    let (old, new) = (tap(), tap());
    let first = at("dummy0");
    old.set_promiscuous(9, true).unwrap();
    stack.remove_nic(&first);
    let second = at("dummy1");
    new.set_promiscuous(9, true).unwrap();
    assert_eq!(old.set_promiscuous(9, false), Err(Error::AddrNotAvailable));
    drop(old);
    assert!(second.is_promiscuous(), "the other still looks");
    drop(new);
    assert!(!second.is_promiscuous());
}

#[derive(Default)]
struct Watcher(Mutex<Vec<String>>);

impl LinkWatcher for Watcher {
    fn changed(&self, nic: &Arc<Nic>) {
        self.0.lock().unwrap().push(format!("{} {}", nic.name(), nic.has_carrier()));
    }

    fn gone(&self, nic: &Arc<Nic>) {
        self.0.lock().unwrap().push(format!("{} gone", nic.name()));
    }
}

#[test]
fn owners_hear_of_what_follows_elsewhere() {
    let spaces = Spaces::new(2);
    let (a, b) = (&spaces.stacks[0], &spaces.stacks[1]);
    let watcher = Arc::new(Watcher::default());
    let weak: Weak<Watcher> = Arc::downgrade(&watcher);
    a.set_link_watcher(weak);
    let heard = || std::mem::take(&mut *watcher.0.lock().unwrap());
    let (one, two) = a.add_veth(&named("veth0"), b, &named("eth0")).unwrap();
    let bridge = a.add_bridge(&named("br0")).unwrap();
    a.set_up(&one, true);
    a.set_up(&bridge, true);
    assert!(heard().is_empty());
    a.set_bridge(&one, Some(&bridge)).unwrap();
    assert_eq!(heard(), ["br0 false"]);
    b.set_up(&two, true);
    assert_eq!(heard(), ["veth0 true"]);
    b.remove_nic(&two);
    assert_eq!(heard(), ["veth0 false", "br0 false", "veth0 gone"]);
}

#[test]
fn indices_stay_within_an_int() {
    let spaces = Spaces::new(1);
    let stack = &spaces.stacks[0];
    let with = |index| LinkConfig { index: Some(index), ..named("dummy%d") };
    for index in [0, 1 << 31, u32::MAX] {
        assert_eq!(stack.add_dummy(&with(index)).map(drop), Err(Error::Invalid));
    }
    let highest = i32::MAX.unsigned_abs();
    stack.add_dummy(&with(highest)).unwrap();
    let next = stack.add_dummy(&named("dummy%d")).unwrap();
    assert!(next.index < highest, "the lowest free one");
}
