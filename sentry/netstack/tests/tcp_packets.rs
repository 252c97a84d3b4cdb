//! TCP between simulated hosts: handshake, data, close, errors.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::net::*;
use common::*;
use netstack::*;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn calm() -> Weather {
    Weather { delay: Duration::from_millis(5), ..Weather::default() }
}

fn net() -> Net {
    let mut net = Net::new(2, 1, calm(), Config::default());
    net.run(3 * SECOND);
    net
}

fn listen(net: &Net, host: usize, at: &str) -> TcpSocket {
    let socket = net.stacks[host].tcp_socket(if at.starts_with('[') { Family::V6 } else { Family::V4 });
    socket.bind(at.parse().unwrap()).unwrap();
    socket.listen(16).unwrap();
    socket
}

fn begin(net: &Net, host: usize, to: &str) -> TcpSocket {
    let socket = net.stacks[host].tcp_socket(if to.starts_with('[') { Family::V6 } else { Family::V4 });
    assert_eq!(socket.connect(to.parse().unwrap()), Err(Error::InProgress));
    socket
}

fn pair_at(net: &mut Net, to: &str) -> (TcpSocket, TcpSocket, TcpSocket) {
    let listener = listen(net, 1, to);
    let client = begin(net, 0, to);
    net.run(SECOND);
    client.finish_connect().unwrap();
    let server = listener.accept().unwrap();
    (client, server, listener)
}

fn pair(net: &mut Net) -> (TcpSocket, TcpSocket) {
    let (client, server, _) = pair_at(net, "10.0.0.2:80");
    (client, server)
}

#[test]
fn data_flows_over_both_families() {
    let mut net = net();
    for to in ["10.0.0.2:80", "[fd00::2]:80"] {
        let (client, server, _listener) = pair_at(&mut net, to);
        assert_eq!(client.peer_addr(), Ok(to.parse().unwrap()));
        assert_eq!(server.peer_addr(), Ok(client.local_addr()));
        send(&client, b"hello").unwrap();
        net.run(SECOND);
        assert_eq!(recv(&server, 100), Ok(b"hello".to_vec()));
        send(&server, b"world").unwrap();
        net.run(SECOND);
        assert_eq!(recv(&client, 100), Ok(b"world".to_vec()));
        let info = client.info();
        assert!(info.rtt > 9_000 && info.rtt < 60_000, "{info:?}");
        assert_eq!(info.options & 7, 7);
    }
}

#[test]
fn orderly_close_from_both_sides() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    send(&client, b"bye").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    net.run(SECOND);
    assert_eq!((client.state(), server.state()), (TcpState::FinWait2, TcpState::CloseWait));
    assert_eq!(recv(&server, 9), Ok(b"bye".to_vec()));
    assert_eq!(recv(&server, 9), Ok(vec![]));
    send(&server, b"late").unwrap();
    net.run(SECOND);
    assert_eq!(recv(&client, 9), Ok(b"late".to_vec()));
    drop(server);
    net.run(SECOND);
    assert_eq!(recv(&client, 9), Ok(vec![]));
    assert!(client.readiness().contains(Readiness::HUP));
    assert_eq!(net.stacks[1].tcp_sockets().len(), 0);
    let waits = net.stacks[0].tcp_sockets();
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].state, TcpState::TimeWait as u8);
    drop(client);
    net.run(61 * SECOND);
    for stack in &net.stacks {
        assert!(stack.tcp_sockets().is_empty());
        assert_eq!((stack.memory_used(), stack.counters().tcp.curr_estab.get()), (0, 0));
    }
}

#[test]
fn simultaneous_close_ends_in_time_wait_twice() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    drop(client);
    drop(server);
    net.run(SECOND);
    for stack in &net.stacks {
        let list = stack.tcp_sockets();
        assert_eq!(list.len(), 1);
        assert_eq!(list[0].state, TcpState::TimeWait as u8);
    }
}

#[test]
fn data_for_a_socket_that_was_shut_both_ways_resets() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    server.shutdown(Shutdown::Both).unwrap();
    net.run(SECOND);
    send(&client, b"late").unwrap();
    net.run(SECOND);
    assert_eq!(recv(&server, 9), Err(Error::ConnReset));
    assert!(client.readiness().contains(Readiness::ERR | Readiness::HUP));
    assert_eq!(send(&client, b"x"), Err(Error::Pipe));
}

#[test]
fn refused_reset_and_unreachable() {
    let mut net = net();
    let refused = begin(&net, 0, "10.0.0.2:9");
    let lost = begin(&net, 0, "10.0.0.99:9");
    net.run(5 * SECOND);
    assert_eq!(refused.finish_connect(), Err(Error::ConnRefused));
    assert_eq!(lost.finish_connect(), Err(Error::HostUnreachable));
    let (client, server) = pair(&mut net);
    send(&client, b"unread").unwrap();
    net.run(SECOND);
    drop(server);
    net.run(SECOND);
    assert_eq!(recv(&client, 9), Err(Error::ConnReset));
    assert_eq!(recv(&client, 9), Ok(vec![]));
    assert_eq!(send(&client, b"x"), Err(Error::Pipe));
}

#[test]
fn a_silent_peer_times_out() {
    let mut net = net();
    let (client, _server) = pair(&mut net);
    let (peer, mac) = ([10, 0, 0, 2].into(), Mac([2, 0, 0, 0, 0, 2]));
    net.stacks[0].set_neighbour(2, peer, mac, NeighbourState::Permanent).unwrap();
    net.set_weather(Weather { loss: 10_000, ..calm() });
    let other = begin(&net, 0, "10.0.0.2:81");
    send(&client, b"anybody?").unwrap();
    net.run(140 * SECOND);
    assert_eq!(other.finish_connect(), Err(Error::TimedOut));
    assert_eq!(client.state(), TcpState::Established);
    net.run(1200 * SECOND);
    assert_eq!(recv(&client, 9), Err(Error::TimedOut));
    let timeouts = net.stacks[0].counters().tcp_ext.timeouts.get();
    assert!((15..17).contains(&timeouts), "{timeouts}");
}

#[test]
fn user_timeout_and_keepalive_end_connections() {
    let mut net = net();
    let (client, _server) = pair(&mut net);
    let (idle, _other, _listener) = pair_at(&mut net, "10.0.0.2:81");
    client.set_options(|o| o.tcp.set_user_timeout(5000)).unwrap();
    idle.set_options(|o| {
        o.base.keepalive = true;
        o.tcp.set_keep_idle(10)?;
        o.tcp.set_keep_interval(2)?;
        o.tcp.set_keep_count(3)
    })
    .unwrap();
    net.run(60 * SECOND);
    assert_eq!(idle.state(), TcpState::Established);
    assert!(net.stacks[0].counters().tcp_ext.keep_alive.get() >= 5);
    net.set_weather(Weather { loss: 10_000, ..calm() });
    send(&client, b"x").unwrap();
    net.run(10 * SECOND);
    assert_eq!(recv(&client, 9), Err(Error::TimedOut));
    net.run(10 * SECOND);
    assert_eq!(recv(&idle, 9), Err(Error::TimedOut));
}

#[test]
fn a_zero_window_is_probed_and_opens() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    server.set_options(|o| o.base.force_rcv_buf(8000));
    let data: Vec<u8> = (0..500_000u32).map(|n| (n % 249) as u8).collect();
    let mut sent = 0;
    for _ in 0..100 {
        sent += send(&client, &data[sent..]).unwrap_or(0);
        net.run(SECOND);
    }
    assert!(sent < data.len());
    net.run(300 * SECOND);
    assert!(net.stacks[0].counters().tcp_ext.win_probe.get() > 3);
    assert_eq!(client.state(), TcpState::Established);
    let mut got = Vec::new();
    while got.len() < data.len() {
        net.run(Duration::from_millis(50));
        while let Ok(part) = recv(&server, 3000) {
            got.extend(part);
        }
        if sent < data.len() {
            sent += send(&client, &data[sent..]).unwrap_or(0);
        }
    }
    assert!(got == data);
}

#[test]
fn nagle_cork_and_nodelay() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    let segments = |net: &Net| net.stacks[0].counters().tcp_ext.orig_data_sent.get();
    let before = segments(&net);
    for _ in 0..10 {
        send(&client, b"x").unwrap();
    }
    net.run(SECOND);
    assert_eq!(segments(&net) - before, 2);
    client.set_options(|o| o.tcp.nodelay = true);
    let before = segments(&net);
    for _ in 0..10 {
        send(&client, b"x").unwrap();
    }
    net.run(SECOND);
    assert_eq!(segments(&net) - before, 10);
    client.set_options(|o| o.tcp.cork = true);
    let before = segments(&net);
    send(&client, b"head").unwrap();
    net.run(Duration::from_millis(100));
    assert_eq!(segments(&net) - before, 0);
    client.set_options(|o| o.tcp.cork = false);
    assert_eq!(segments(&net) - before, 1);
    net.run(SECOND);
    client.send(&mut &b"more"[..], SendFlags::MORE).unwrap();
    net.run(Duration::from_millis(150));
    assert_eq!(recv(&server, 99).unwrap().len(), 24);
    assert_eq!(recv(&server, 99), Err(Error::Again));
    // Nothing is held back for ever.
    net.run(SECOND);
    assert_eq!(recv(&server, 99), Ok(b"more".to_vec()));
}

#[test]
fn urgent_data_crosses() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    send(&client, b"abc").unwrap();
    client.send(&mut &b"!"[..], SendFlags::OOB).unwrap();
    send(&client, b"def").unwrap();
    net.run(SECOND);
    assert!(server.readiness().contains(Readiness::PRI));
    assert_eq!(recv(&server, 9), Ok(b"abc".to_vec()));
    let mut out = [0; 4];
    assert_eq!(server.recv(&mut &mut out[..], RecvFlags::OOB).unwrap().copied, 1);
    assert_eq!(out[0], b'!');
    assert_eq!(recv(&server, 9), Ok(b"def".to_vec()));
}

#[test]
fn a_flood_of_syns_is_met_with_cookies() {
    let config = Config { tcp_max_syn_backlog: 4, ..Config::default() };
    let mut net = Net::new(2, 3, calm(), config);
    net.run(3 * SECOND);
    let listener = listen(&net, 1, "10.0.0.2:80");
    // Requests whose answers never reach anybody.
    let raw = net.stacks[0].raw_socket(Family::V4, 6);
    let meta = SendMeta { to: Some("10.0.0.2:0".parse().unwrap()), ..SendMeta::default() };
    raw.set_options(|o| o.ip4.hdr_incl = true);
    let warm_up = net.stacks[0].udp_socket(Family::V4);
    send_to(&warm_up, b"x", "10.0.0.2:9").unwrap();
    net.run(SECOND);
    for n in 0..200u16 {
        let mut packet = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 50, 10, 0, 0, 2];
        packet.extend((1000 + n).to_be_bytes());
        packet.extend([0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0x20, 0, 0, 0, 0, 0]);
        let mut sum: u32 = 6 + 20;
        packet[12..].chunks(2).for_each(|w| sum += u32::from(w[0]) << 8 | u32::from(w[1]));
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        packet[36..38].copy_from_slice(&sum.to_be_bytes());
        raw.send(&mut &packet[..], &meta).unwrap();
    }
    net.run(Duration::from_millis(100));
    assert!(net.stacks[1].counters().tcp_ext.syncookies_sent.get() > 150);
    let client = begin(&net, 0, "10.0.0.2:80");
    send(&client, b"x").unwrap_err();
    net.run(Duration::from_millis(100));
    client.finish_connect().unwrap();
    send(&client, &[7; 5000]).unwrap();
    net.run(SECOND);
    assert_eq!(net.stacks[1].counters().tcp_ext.syncookies_recv.get(), 1);
    let server = listener.accept().unwrap();
    assert_eq!(server.info().options & 7, 7);
    assert_eq!(recv(&server, 9000).unwrap().len(), 5000);
}

#[test]
fn backlog_and_defer_accept() {
    let mut net = net();
    let listener = net.stacks[1].tcp_socket(Family::V4);
    listener.bind("10.0.0.2:80".parse().unwrap()).unwrap();
    listener.listen(1).unwrap();
    let clients: Vec<_> = (0..4).map(|_| begin(&net, 0, "10.0.0.2:80")).collect();
    net.run(Duration::from_millis(500));
    let mut accepted = Vec::new();
    while let Ok(socket) = listener.accept() {
        accepted.push(socket);
    }
    assert_eq!(accepted.len(), 2);
    for client in &clients {
        let _not_all_are_connected = send(client, b"x");
    }
    net.run(10 * SECOND);
    while let Ok(socket) = listener.accept() {
        accepted.push(socket);
    }
    assert_eq!(accepted.len(), 4);
    listener.set_options(|o| o.tcp.set_defer_accept(3));
    let quiet = begin(&net, 0, "10.0.0.2:80");
    let busy = begin(&net, 0, "10.0.0.2:80");
    net.run(SECOND);
    assert_eq!(listener.accept().err(), Some(Error::Again));
    send(&busy, b"x").unwrap();
    net.run(SECOND);
    assert_eq!(listener.accept().unwrap().peer_addr(), Ok(busy.local_addr()));
    net.run(30 * SECOND);
    assert_eq!(listener.accept().unwrap().peer_addr(), Ok(quiet.local_addr()));
}

#[test]
fn loopback_uses_packets_while_somebody_looks() {
    let net = net();
    let tap = net.stacks[0].packet_socket(PacketKind::Raw, 3);
    let listener = listen(&net, 0, "127.0.0.1:80");
    let client = begin(&net, 0, "127.0.0.1:80");
    client.finish_connect().unwrap();
    let server = listener.accept().unwrap();
    send(&client, &[1; 100_000]).unwrap();
    let mut got = 0;
    while let Ok(data) = recv(&server, 10_000) {
        got += data.len();
    }
    assert!(got > 60_000, "{got}");
    drop(tap);
    let quick = begin(&net, 0, "127.0.0.1:80");
    assert_eq!(quick.state(), TcpState::Established);
}

#[test]
fn segmentation_offload_sends_large_frames() {
    let offloads = Offloads { tx_checksum: true, segmentation: true };
    let mut net = Net::with_offloads(2, 1, calm(), Config::default(), offloads);
    net.run(3 * SECOND);
    let (client, server) = pair(&mut net);
    let before = net.frames;
    let mut sent = 0;
    let mut got = 0;
    while got < 2_000_000 {
        sent += send(&client, &vec![3; 2_000_000 - sent]).unwrap_or(0);
        net.run(Duration::from_millis(10));
        while let Ok(data) = recv(&server, 100_000) {
            assert!(data.iter().all(|b| *b == 3));
            got += data.len();
        }
    }
    let frames = net.frames - before;
    assert!(frames < 600, "{frames} frames");
}

#[test]
fn crossing_syns_make_one_connection() {
    let mut net = net();
    let _neighbours_know_each_other = pair(&mut net);
    let ends: Vec<_> = (0..2)
        .map(|host| {
            let socket = net.stacks[host].tcp_socket(Family::V4);
            socket.bind(format!("10.0.0.{}:5000", host + 1).parse().unwrap()).unwrap();
            socket
        })
        .collect();
    let segments =
        |net: &Net| net.stacks.iter().map(|stack| stack.counters().tcp.out_segs.get()).sum::<u64>();
    let before = segments(&net);
    for (end, to) in ends.iter().zip(["10.0.0.2:5000", "10.0.0.1:5000"]) {
        assert_eq!(end.connect(to.parse().unwrap()), Err(Error::InProgress));
    }
    net.run(SECOND);
    for end in &ends {
        assert_eq!((end.finish_connect(), end.state()), (Ok(()), TcpState::Established));
    }
    // SYN, SYN-ACK and at most an acknowledgement from each.
    assert!(segments(&net) - before <= 6, "{} segments", segments(&net) - before);
    assert_eq!(send(&ends[0], &[7; 20_000]), Ok(20_000));
    net.run(SECOND);
    assert_eq!(recv(&ends[1], 60_000).unwrap().len(), 20_000);
}

#[test]
fn a_socket_can_talk_to_itself_over_packets() {
    let net = net();
    let _tap = net.stacks[0].packet_socket(PacketKind::Raw, 3);
    let socket = net.stacks[0].tcp_socket(Family::V4);
    socket.bind("127.0.0.1:5000".parse().unwrap()).unwrap();
    assert_eq!(socket.connect("127.0.0.1:5000".parse().unwrap()), Err(Error::InProgress));
    socket.finish_connect().unwrap();
    send(&socket, b"echo").unwrap();
    assert_eq!(recv(&socket, 10), Ok(b"echo".to_vec()));
}

#[test]
fn a_failed_connect_leaves_a_socket_that_can_be_used() {
    let mut net = net();
    let socket = begin(&net, 0, "10.0.0.2:9");
    net.run(SECOND);
    assert_eq!(socket.finish_connect(), Err(Error::ConnRefused));
    socket.bind("10.0.0.1:80".parse().unwrap()).unwrap();
    socket.listen(1).unwrap();
    let client = begin(&net, 1, "10.0.0.1:80");
    net.run(SECOND);
    assert_eq!(client.finish_connect(), Ok(()));
    assert!(socket.accept().is_ok());
}

/// A connection whose reader has stopped reading, so that the window is shut.
fn stuffed(net: &mut Net) -> (TcpSocket, TcpSocket) {
    let (client, server) = pair(net);
    server.set_options(|o| o.base.force_rcv_buf(4000));
    let mut sent = 0;
    for _ in 0..20 {
        sent += send(&client, &[1; 20_000]).unwrap_or(0);
        net.run(SECOND / 10);
    }
    assert!(sent > 20_000 && client.queues().1 > 0);
    (client, server)
}

#[test]
fn probes_of_a_shut_window_become_rare() {
    let mut net = net();
    let (client, _server) = stuffed(&mut net);
    let probes = |net: &Net| net.stacks[0].counters().tcp_ext.win_probe.get();
    net.run(600 * SECOND);
    assert!((8..18).contains(&probes(&net)), "{}", probes(&net));
    let before = probes(&net);
    net.run(1200 * SECOND);
    assert_eq!(probes(&net) - before, 10);
    assert_eq!(client.state(), TcpState::Established);
}

#[test]
fn an_orphan_with_a_shut_window_is_given_up() {
    let mut net = net();
    let (client, _server) = stuffed(&mut net);
    drop(client);
    net.run(60 * SECOND);
    assert_eq!(net.stacks[0].tcp_sockets().len(), 1);
    net.run(1200 * SECOND);
    assert!(net.stacks[0].tcp_sockets().is_empty());
    assert_eq!(net.stacks[0].memory_used(), 0);
}

#[test]
fn there_are_only_so_many_orphans() {
    let mut net = Net::new(2, 1, calm(), Config { tcp_max_orphans: 1, ..Config::default() });
    net.run(3 * SECOND);
    let first = stuffed(&mut net);
    let (second, other, _listener) = pair_at(&mut net, "10.0.0.2:81");
    drop(first.0);
    drop(second);
    net.run(SECOND);
    assert_eq!(other.state(), TcpState::Closed);
    assert_eq!(first.1.state(), TcpState::Established);
    assert_eq!(net.stacks[0].counters().tcp_ext.abort_on_memory.get(), 1);
}

/// What a segment is made into before it arrives a second time.
type Forgery = fn(&mut [u8]);

/// Where IPv4's and TCP's headers stand in a frame.
const IP: usize = 14;
const TCP: usize = IP + 20;

/// Another acknowledgement, far from any that was sent, and a much later time stamp.
fn blind_stamp(frame: &mut [u8]) {
    frame[TCP + 8] ^= 0x40;
    // Behind two bytes of padding and the option's own two.
    frame[TCP + 24] = frame[TCP + 24].wrapping_add(0x20);
}

fn old_fin(frame: &mut [u8]) {
    frame[TCP + 13] |= 1;
}

/// The frame that carried one byte of data, from among those that a tap saw.
fn data_frame(tap: &PacketSocket, byte: u8) -> [u8; TCP + 33] {
    let mut frame = [0; 100];
    loop {
        let len = tap.recv(&mut &mut frame[..], RecvFlags::empty()).unwrap().copied;
        if len == TCP + 33 && frame[len - 1] == byte {
            return *frame.first_chunk().unwrap();
        }
    }
}

#[test]
fn segments_that_make_no_sense_leave_no_trace() {
    for forge in [blind_stamp as Forgery, old_fin] {
        let mut net = net();
        let (client, server) = pair(&mut net);
        server.set_options(|o| o.tcp.quickack = Some(false));
        let tap = net.stacks[1].packet_socket(PacketKind::Raw, 0x0800);
        send(&client, b"a").unwrap();
        net.run(SECOND);
        let mut frame = data_frame(&tap, b'a');
        send(&client, b"b").unwrap();
        net.run(Duration::from_millis(6));
        // Both bytes are here, of which the second is not acknowledged.
        assert_eq!(server.queues().0, 2);
        // With the younger segment's time stamp, which makes it no ghost.
        frame[TCP + 24..TCP + 28].copy_from_slice(&data_frame(&tap, b'b')[TCP + 24..TCP + 28]);
        forge(&mut frame);
        let meta = RxMeta { checksum_ok: true, ..RxMeta::default() };
        net.stacks[1].receive(&net.nics[1], &frame, meta);
        send(&client, b"c").unwrap();
        net.run(5 * SECOND);
        assert_eq!(recv(&server, 9), Ok(b"abc".to_vec()));
    }
}

#[test]
fn a_read_acknowledges_what_came_before_it() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    server.set_options(|o| o.tcp.quickack = Some(false));
    let sent = server.info().segs_out;
    send(&client, &[7; 8000]).unwrap();
    net.run(Duration::from_millis(6));
    assert_eq!((server.queues().0, server.info().segs_out - sent), (8000, 0));
    assert_eq!(recv(&server, 8000).unwrap().len(), 8000);
    assert_eq!(server.info().segs_out - sent, 1);
    // A reader that stays away does not keep the peer waiting for long.
    send(&client, &[7; 8000]).unwrap();
    net.run(Duration::from_millis(60));
    assert_eq!((server.queues().0, client.queues().1), (8000, 0));
}

#[test]
fn promises_are_kept() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    let mut buffer = [0; 16];
    assert_eq!(server.promise(&mut buffer).input, 0);
    send(&client, b"hello, world").unwrap();
    net.run(SECOND);
    assert_eq!(server.promise(&mut buffer[..11]).input, 0, "what does not fit whole is not promised");
    let promise = server.promise(&mut buffer);
    assert_eq!((promise.input, &buffer[..12]), (12, &b"hello, world"[..]));
    assert!(promise.credit > 4096, "{promise:?}");
    // More comes before the first of it was read.
    send(&client, b"!").unwrap();
    net.run(SECOND);
    server.keep_read(7);
    assert_eq!(recv(&server, 100), Ok(b"world!".to_vec()));
    server.keep_sent(b"an answer, ", SendFlags::empty());
    server.keep_sent(&[b'x'; 5000], SendFlags::empty());
    net.run(SECOND);
    let answer = recv(&client, 10_000).unwrap();
    assert_eq!((answer.len(), &answer[..12]), (5011, &b"an answer, x"[..]));
}

#[test]
fn what_was_promised_waits_for_what_follows_it_at_once() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    let sent = server.info().data_segs_out;
    server.keep_sent(b"header, ", SendFlags::MORE);
    net.run(Duration::from_millis(20));
    assert_eq!((recv(&client, 99), server.info().data_segs_out - sent), (Err(Error::Again), 0));
    send(&server, b"body").unwrap();
    net.run(SECOND);
    assert_eq!((recv(&client, 99), server.info().data_segs_out - sent), (Ok(b"header, body".to_vec()), 1));
    // Nothing did follow.
    server.keep_sent(b"header", SendFlags::MORE);
    server.keep_sent(&[], SendFlags::empty());
    net.run(Duration::from_millis(20));
    assert_eq!(recv(&client, 99), Ok(b"header".to_vec()));
}

#[test]
fn what_was_promised_is_sent_beyond_the_budget_and_lost_with_the_connection() {
    let budgets = [Budget::usual(), Budget::new(1 << 20)];
    let mut net = Net::within(&budgets, 1, calm(), Config::default(), Offloads::default());
    net.run(3 * SECOND);
    let (client, server) = pair(&mut net);
    let credit = server.promise(&mut []).credit;
    assert!(credit > 5000, "{credit}");
    // Somebody else takes all there is.
    let other = host_within(&budgets[1], Config::default());
    let _hoards: Vec<_> = std::iter::from_fn(|| {
        let pair = other.pair();
        let mut sent = 0;
        while send(&pair.0, &[b'x'; 1024]).is_ok() {
            sent += 1;
        }
        (sent > 0).then_some(pair)
    })
    .collect();
    assert!(send(&server, &[b'x'; 5000]).is_err());
    assert_eq!(server.promise(&mut []).credit, 0);
    server.keep_sent(&[b'y'; 5000], SendFlags::empty());
    net.run(SECOND);
    assert_eq!(recv(&client, 10_000).unwrap(), [b'y'; 5000]);
    // The peer resets the connection: it has data that nobody will read.
    server.keep_sent(b"unread", SendFlags::empty());
    net.run(SECOND);
    drop(client);
    net.run(SECOND);
    server.keep_sent(b"too late", SendFlags::empty());
    server.keep_read(5);
    assert_eq!(server.promise(&mut []), Promise::default());
    assert_eq!(server.take_error(), Some(Error::ConnReset));
}

#[test]
fn urgent_data_and_the_end_of_a_stream_are_not_promised() {
    let mut net = net();
    let (client, server) = pair(&mut net);
    let mut buffer = [0; 16];
    client.send(&mut &b"abc"[..], SendFlags::OOB).unwrap();
    net.run(SECOND);
    assert_eq!(server.promise(&mut buffer).input, 0);
    let (other, end, _listener) = pair_at(&mut net, "10.0.0.2:81");
    send(&other, b"last").unwrap();
    other.shutdown(Shutdown::Write).unwrap();
    net.run(SECOND);
    assert_eq!(end.promise(&mut buffer).input, 4);
    end.keep_read(4);
    assert_eq!(end.promise(&mut buffer).input, 0);
    assert_eq!(recv(&end, 9), Ok(vec![]));
}
