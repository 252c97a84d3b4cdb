//! UDP between sockets of one stack.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::*;
use netstack::*;
use std::sync::Arc;

#[test]
fn datagrams_keep_their_borders_and_senders() {
    let host = host();
    let (a, b) = (host.udp_at("127.0.0.1:1000"), host.udp_at("0.0.0.0:2000"));
    let ear = Arc::new(Ear::default());
    b.set_observer(Arc::downgrade(&ear) as _);
    send_to(&a, b"one", "127.0.0.1:2000").unwrap();
    send_to(&a, b"", "127.0.0.1:2000").unwrap();
    send_to(&a, b"three", "127.0.0.1:2000").unwrap();
    assert!(ear.heard().contains(Readiness::IN));
    let (data, got) = recv_from(&b, 100).unwrap();
    assert_eq!((&data[..], got.from.unwrap().to_string()), (&b"one"[..], "127.0.0.1:1000".into()));
    assert_eq!(got.info.to.unwrap().to_string(), "127.0.0.1:2000");
    assert_eq!(recv_from(&b, 100).unwrap().0, b"");
    let (data, got) = recv_from(&b, 2).unwrap();
    assert_eq!((&data[..], got.full_len, got.is_truncated()), (&b"th"[..], 5, true));
    assert_eq!(recv_from(&b, 100).err(), Some(Error::Again));
}

#[test]
fn connected_socket_hears_of_refusal_and_only_from_its_peer() {
    let host = host();
    let a = host.udp_at("127.0.0.1:1000");
    a.connect("127.0.0.1:2000".parse().unwrap()).unwrap();
    a.send(&mut &b"x"[..], &SendMeta::default()).unwrap();
    assert!(a.readiness().contains(Readiness::ERR));
    assert_eq!(recv_from(&a, 1).err(), Some(Error::ConnRefused));
    let (b, c) = (host.udp_at("127.0.0.1:2000"), host.udp_at("127.0.0.1:3000"));
    send_to(&c, b"stranger", "127.0.0.1:1000").unwrap();
    assert_eq!(recv_from(&a, 100).err(), Some(Error::Again));
    assert_eq!(host.stack.counters().udp.no_ports.get(), 2);
    send_to(&b, b"peer", "127.0.0.1:1000").unwrap();
    assert_eq!(recv_from(&a, 100).unwrap().0, b"peer");
    a.disconnect();
    send_to(&c, b"stranger", "127.0.0.1:1000").unwrap();
    assert_eq!(recv_from(&a, 100).unwrap().0, b"stranger");
}

#[test]
fn error_queue_tells_who_and_what() {
    let host = host();
    let a = host.udp();
    a.set_options(|o| o.ip4.recv_err = true);
    send_to(&a, b"x", "127.0.0.1:2000").unwrap();
    let mut out = [0; 10];
    let got = a.recv(&mut &mut out[..], RecvFlags::ERRQUEUE).unwrap();
    let error = got.error.unwrap();
    assert_eq!((error.error, error.kind, error.code), (Error::ConnRefused, 3, 3));
    assert_eq!(got.from.unwrap().to_string(), "127.0.0.1:2000");
    assert_eq!(a.recv(&mut &mut out[..], RecvFlags::ERRQUEUE).err(), Some(Error::Again));
}

#[test]
fn dual_stack_and_v6_only() {
    let host = host();
    let dual = host.udp_at("[::]:53");
    let four = host.udp();
    send_to(&four, b"4", "127.0.0.1:53").unwrap();
    let got = recv_from(&dual, 9).unwrap().1;
    assert_eq!(got.from.unwrap().ip().to_string(), "::ffff:127.0.0.1");
    send_to(&dual, b"back", &got.from.unwrap().to_string()).unwrap();
    assert_eq!(recv_from(&four, 9).unwrap().0, b"back");
    let only = host.stack.udp_socket(Family::V6);
    only.set_options(|o| o.ip6.v6_only = true);
    only.bind("[::]:54".parse().unwrap()).unwrap();
    let again = host.udp_at("0.0.0.0:54");
    send_to(&four, b"x", "127.0.0.1:54").unwrap();
    assert_eq!(recv_from(&only, 9).err(), Some(Error::Again));
    assert_eq!(recv_from(&again, 9).unwrap().0, b"x");
    assert_eq!(send_to(&only, b"x", "[::ffff:127.0.0.1]:54").err(), Some(Error::NetUnreachable));
}

#[test]
fn the_receive_buffer_is_a_limit() {
    let host = host();
    let a = host.udp_at("127.0.0.1:1000");
    let b = host.udp();
    a.set_options(|o| o.base.force_rcv_buf(10_000));
    for _ in 0..50 {
        send_to(&b, &[0; 1000], "127.0.0.1:1000").unwrap();
    }
    let mut got = 0;
    while recv_from(&a, 2000).is_ok() {
        got += 1;
    }
    assert!((8..20).contains(&got), "{got}");
    assert_eq!(host.stack.counters().udp.rcvbuf_errors.get(), 50 - got);
    assert_eq!(host.stack.memory_used(), 0);
}

#[test]
fn cork_makes_one_datagram() {
    let host = host();
    let a = host.udp_at("127.0.0.1:1000");
    let b = host.udp();
    b.connect("127.0.0.1:1000".parse().unwrap()).unwrap();
    let more = SendMeta { flags: SendFlags::MORE, ..SendMeta::default() };
    b.send(&mut &b"ab"[..], &more).unwrap();
    b.send(&mut &b"cd"[..], &more).unwrap();
    assert_eq!(recv_from(&a, 9).err(), Some(Error::Again));
    b.send(&mut &b"ef"[..], &SendMeta::default()).unwrap();
    assert_eq!(recv_from(&a, 9).unwrap().0, b"abcdef");
}

#[test]
fn refusals_have_linux_errors() {
    let host = host();
    let a = host.udp();
    assert_eq!(a.send(&mut &b"x"[..], &SendMeta::default()), Err(Error::DestAddrRequired));
    assert_eq!(send_to(&a, b"x", "127.0.0.1:0"), Err(Error::Invalid));
    assert_eq!(send_to(&a, &vec![0; 66_000], "127.0.0.1:9"), Err(Error::MessageSize));
    assert_eq!(send_to(&a, b"x", "10.0.0.1:9"), Err(Error::NetUnreachable));
    assert_eq!(a.bind("127.0.0.1:0".parse().unwrap()), Err(Error::Invalid));
    assert_eq!(a.shutdown(Shutdown::Write), Err(Error::NotConnected));
    assert_eq!(send_to(&a, b"x", "127.0.0.1:9"), Err(Error::Pipe));
}
