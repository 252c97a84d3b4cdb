//! TCP between two sockets of one stack behaves like TCP over Linux's loopback.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::*;
use netstack::*;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn data_goes_both_ways() {
    let host = host();
    let (client, server) = host.pair();
    assert_eq!(send(&client, b"hello"), Ok(5));
    assert_eq!(recv(&server, 100), Ok(b"hello".to_vec()));
    assert_eq!(recv(&server, 100), Err(Error::Again));
    assert_eq!(send(&server, b"world"), Ok(5));
    assert_eq!(recv(&client, 3), Ok(b"wor".to_vec()));
    assert_eq!(recv(&client, 3), Ok(b"ld".to_vec()));
    assert_eq!(client.local_addr(), server.peer_addr().unwrap());
    assert_eq!(server.local_addr(), client.peer_addr().unwrap());
    assert_eq!(client.state(), TcpState::Established);
}

#[test]
fn nobody_listens_is_refused() {
    let host = host();
    let socket = host.tcp();
    let to = "127.0.0.1:9".parse().unwrap();
    assert_eq!(socket.connect(to), Err(Error::InProgress));
    assert!(socket.readiness().contains(Readiness::ERR | Readiness::HUP | Readiness::OUT));
    assert_eq!(socket.finish_connect(), Err(Error::ConnRefused));
    assert_eq!(socket.connect(to), Err(Error::InProgress));
    assert_eq!(socket.take_error(), Some(Error::ConnRefused));
    assert_eq!(socket.connect(to), Err(Error::ConnAborted));
    assert_eq!(host.stack.counters().tcp.attempt_fails.get(), 2);
}

#[test]
fn dual_stack_listener_shows_mapped_addresses() {
    let host = host();
    let listener = host.listener("[::]:80");
    let client = host.connect("127.0.0.1:80");
    let server = listener.accept().unwrap();
    assert_eq!(server.peer_addr().unwrap().ip().to_string(), "::ffff:127.0.0.1");
    assert_eq!(client.peer_addr().unwrap().to_string(), "127.0.0.1:80");
    let six = host.connect("[::1]:80");
    assert_eq!(listener.accept().unwrap().peer_addr().unwrap(), six.local_addr());
}

#[test]
fn half_close_and_states() {
    let host = host();
    let (client, server) = host.pair();
    send(&client, b"last").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!((client.state(), server.state()), (TcpState::FinWait2, TcpState::CloseWait));
    assert_eq!(send(&client, b"x"), Err(Error::Pipe));
    assert_eq!(recv(&server, 10), Ok(b"last".to_vec()));
    assert_eq!(recv(&server, 10), Ok(vec![]));
    assert!(server.readiness().contains(Readiness::IN | Readiness::RDHUP | Readiness::OUT));
    assert!(!server.readiness().contains(Readiness::HUP));
    assert_eq!(send(&server, b"answer"), Ok(6));
    assert_eq!(recv(&client, 10), Ok(b"answer".to_vec()));
    server.shutdown(Shutdown::Write).unwrap();
    assert!(client.readiness().contains(Readiness::HUP));
    assert_eq!(recv(&client, 10), Ok(vec![]));
    assert_eq!(client.shutdown(Shutdown::Read), Err(Error::NotConnected));
}

#[test]
fn first_closer_waits_second_does_not() {
    let host = host();
    let (client, server) = host.pair();
    let at = client.local_addr();
    drop(client);
    drop(server);
    let list = host.stack.tcp_sockets();
    let waits: Vec<_> = list.iter().filter(|s| s.state == TcpState::TimeWait as u8).collect();
    assert_eq!(waits.len(), 1);
    assert_eq!(waits[0].local, at);
    assert_eq!(list.len(), 1);
    host.advance(61);
    assert!(host.stack.tcp_sockets().is_empty());
    assert_eq!(host.stack.counters().tcp.curr_estab.get(), 0);
    assert_eq!(host.stack.memory_used(), 0);
}

#[test]
fn close_with_unread_data_resets() {
    let host = host();
    let (client, server) = host.pair();
    send(&client, b"unread").unwrap();
    drop(server);
    assert!(client.readiness().contains(Readiness::ERR | Readiness::HUP));
    assert_eq!(recv(&client, 10), Err(Error::ConnReset));
    assert_eq!(recv(&client, 10), Ok(vec![]));
    assert_eq!(send(&client, b"x"), Err(Error::Pipe));
    assert_eq!(host.stack.counters().tcp_ext.abort_on_close.get(), 1);
}

#[test]
fn writing_to_a_closed_peer_gives_epipe_the_second_time() {
    let host = host();
    let (client, server) = host.pair();
    drop(server);
    assert_eq!(send(&client, b"goes nowhere"), Ok(12));
    assert_eq!(client.take_error(), Some(Error::Pipe));
    assert_eq!(send(&client, b"x"), Err(Error::Pipe));
    assert_eq!(recv(&client, 10), Ok(vec![]));
}

#[test]
fn linger_zero_resets() {
    let host = host();
    let (client, server) = host.pair();
    send(&client, b"data").unwrap();
    client.set_options(|o| o.base.linger = Some(Duration::ZERO));
    drop(client);
    assert_eq!(recv(&server, 10), Ok(b"data".to_vec()));
    assert_eq!(recv(&server, 10), Err(Error::ConnReset));
    assert!(host.stack.tcp_sockets().is_empty());
}

#[test]
fn buffers_fill_and_drain_with_notice() {
    let host = host();
    let (client, server) = host.pair();
    let (ear, server_ear) = (Arc::new(Ear::default()), Arc::new(Ear::default()));
    client.set_observer(Arc::downgrade(&ear) as _);
    server.set_observer(Arc::downgrade(&server_ear) as _);
    let data: Vec<u8> = (0..4_000_000u32).map(|n| (n % 253) as u8).collect();
    let mut sent = 0;
    loop {
        match send(&client, &data[sent..]) {
            Ok(n) => sent += n,
            Err(error) => break assert_eq!(error, Error::Again),
        }
    }
    assert!(sent > 100_000 && sent < data.len());
    assert!(!client.readiness().contains(Readiness::OUT));
    assert!(server_ear.heard().contains(Readiness::IN));
    ear.heard();
    let mut got = Vec::new();
    while let Ok(part) = recv(&server, 50_000) {
        got.extend(part);
    }
    assert!(ear.heard().contains(Readiness::OUT));
    assert!(got == data[..sent]);
    assert_eq!(server.queues().0, 0);
}

#[test]
fn backlog_is_a_limit_and_waiters_get_in_later() {
    let host = host();
    let listener = host.tcp();
    listener.bind("127.0.0.1:80".parse().unwrap()).unwrap();
    listener.listen(1).unwrap();
    let in_queue: Vec<_> = (0..2).map(|_| host.connect("127.0.0.1:80")).collect();
    let waiting = host.tcp();
    let to = "127.0.0.1:80".parse().unwrap();
    assert_eq!(waiting.connect(to), Err(Error::InProgress));
    assert_eq!(waiting.finish_connect(), Err(Error::InProgress));
    assert_eq!(waiting.connect(to), Err(Error::Already));
    assert_eq!(waiting.readiness(), Readiness::empty());
    assert_eq!(host.stack.counters().tcp_ext.listen_overflows.get(), 1);
    assert_eq!(listener.accept().unwrap().peer_addr().unwrap(), in_queue[0].local_addr());
    assert_eq!(waiting.finish_connect(), Ok(()));
    let late = host.tcp();
    assert_eq!(late.connect(to), Err(Error::InProgress));
    host.advance(200);
    assert_eq!(late.finish_connect(), Err(Error::TimedOut));
}

#[test]
fn closing_a_listener_resets_what_nobody_accepted() {
    let host = host();
    let listener = host.listener("127.0.0.1:80");
    let client = host.connect("127.0.0.1:80");
    drop(listener);
    assert_eq!(recv(&client, 1), Err(Error::ConnReset));
    let again = host.tcp();
    assert_eq!(again.connect("127.0.0.1:80".parse().unwrap()), Err(Error::InProgress));
    assert_eq!(again.finish_connect(), Err(Error::ConnRefused));
}

#[test]
fn shutdown_wakes_accept() {
    let host = host();
    let listener = host.listener("127.0.0.1:80");
    assert_eq!(listener.accept().err(), Some(Error::Again));
    listener.shutdown(Shutdown::Both).unwrap();
    assert_eq!(listener.accept().err(), Some(Error::Invalid));
    assert!(listener.readiness().contains(Readiness::HUP));
    listener.listen(3).unwrap();
    host.connect("127.0.0.1:80");
}

#[test]
fn peek_trunc_and_waiting_count() {
    let host = host();
    let (client, server) = host.pair();
    send(&client, b"abcdef").unwrap();
    let mut out = [0; 4];
    let got = server.recv(&mut &mut out[..], RecvFlags::PEEK).unwrap();
    assert_eq!((&out[..got.copied], server.queues().0), (&b"abcd"[..], 6));
    let got = server.recv(&mut &mut out[..], RecvFlags::TRUNC).unwrap();
    assert_eq!((got.copied, got.left), (4, 2));
    assert_eq!(recv(&server, 9), Ok(b"ef".to_vec()));
}

#[test]
fn urgent_byte_beside_the_stream() {
    let host = host();
    let (client, server) = host.pair();
    send(&client, b"ab").unwrap();
    client.send(&mut &b"X"[..], SendFlags::OOB).unwrap();
    send(&client, b"cd").unwrap();
    assert!(server.readiness().contains(Readiness::PRI));
    assert_eq!(recv(&server, 10), Ok(b"ab".to_vec()));
    assert!(server.is_at_mark());
    let mut out = [0; 4];
    let got = server.recv(&mut &mut out[..], RecvFlags::OOB).unwrap();
    assert_eq!((got.copied, out[0], got.is_oob), (1, b'X', true));
    assert!(!server.readiness().contains(Readiness::PRI));
    assert_eq!(recv(&server, 10), Ok(b"cd".to_vec()));
}

#[test]
fn a_socket_can_talk_to_itself() {
    let host = host();
    let socket = host.tcp();
    socket.bind("127.0.0.1:5000".parse().unwrap()).unwrap();
    assert_eq!(socket.connect("127.0.0.1:5000".parse().unwrap()), Err(Error::InProgress));
    socket.finish_connect().unwrap();
    send(&socket, b"echo").unwrap();
    assert_eq!(recv(&socket, 10), Ok(b"echo".to_vec()));
    socket.shutdown(Shutdown::Write).unwrap();
    assert_eq!(recv(&socket, 10), Ok(vec![]));
}

#[test]
fn ports_are_reused_as_linux_does() {
    let host = host();
    let (to, any) = ("127.0.0.1:80", "0.0.0.0:80".parse().unwrap());
    let listener = host.listener(to);
    let client = host.connect(to);
    let server = listener.accept().unwrap();
    drop(listener);
    let second = host.tcp();
    assert_eq!(second.bind(any), Err(Error::AddrInUse));
    // The connection was made without SO_REUSEADDR, so that does not help.
    second.set_options(|o| o.base.reuse_addr = true);
    assert_eq!(second.bind(any), Err(Error::AddrInUse));
    drop(client);
    drop(server);
    assert_eq!(second.bind(any), Ok(()));
}

#[test]
fn server_that_closes_first_blocks_rebinding_without_reuse() {
    let host = host();
    let listener = host.tcp();
    listener.set_options(|o| o.base.reuse_addr = true);
    listener.bind("127.0.0.1:80".parse().unwrap()).unwrap();
    listener.listen(5).unwrap();
    let client = host.connect("127.0.0.1:80");
    drop(listener.accept().unwrap());
    drop(client);
    drop(listener);
    let next = host.tcp();
    assert_eq!(next.bind("127.0.0.1:80".parse().unwrap()), Err(Error::AddrInUse));
    next.set_options(|o| o.base.reuse_addr = true);
    assert_eq!(next.bind("127.0.0.1:80".parse().unwrap()), Ok(()));
    next.listen(1).unwrap();
    host.advance(61);
    assert_eq!(host.stack.tcp_sockets().len(), 1);
}

#[test]
fn many_short_connections_reuse_their_ports_after_a_second() {
    let host = host_with(Config { ip_local_port_range: (50_000, 50_019), ..Config::default() });
    let listener = host.listener("127.0.0.1:80");
    for round in 0..5 {
        for _ in 0..20 {
            drop(host.connect("127.0.0.1:80"));
            drop(listener.accept().unwrap());
        }
        let more = host.tcp();
        assert_eq!(
            more.connect("127.0.0.1:80".parse().unwrap()),
            Err(Error::AddrNotAvailable),
            "round {round}"
        );
        host.advance(2);
    }
    assert!(host.stack.counters().tcp_ext.tw_recycled.get() >= 80);
}

#[test]
fn disconnect_makes_a_socket_fresh() {
    let host = host();
    let (client, server) = host.pair();
    client.disconnect();
    assert_eq!(client.state(), TcpState::Closed);
    assert_eq!(recv(&server, 1), Err(Error::ConnReset));
    let listener = host.listener("127.0.0.1:80");
    assert_eq!(client.connect("127.0.0.1:80".parse().unwrap()), Err(Error::InProgress));
    client.finish_connect().unwrap();
    send(&client, b"again").unwrap();
    assert_eq!(recv(&listener.accept().unwrap(), 9), Ok(b"again".to_vec()));
}

#[test]
fn fresh_sockets_answer_like_linux() {
    let host = host();
    let socket = host.tcp();
    assert_eq!(socket.readiness(), Readiness::OUT | Readiness::HUP);
    assert_eq!(recv(&socket, 1), Err(Error::NotConnected));
    assert_eq!(send(&socket, b"x"), Err(Error::Pipe));
    assert_eq!(socket.peer_addr(), Err(Error::NotConnected));
    assert_eq!(socket.shutdown(Shutdown::Both), Err(Error::NotConnected));
    assert_eq!(socket.accept().err(), Some(Error::Invalid));
    assert_eq!(socket.bind("10.9.9.9:1".parse().unwrap()), Err(Error::AddrNotAvailable));
    assert_eq!(socket.bind("[::1]:1".parse().unwrap()), Err(Error::FamilyNotSupported));
    assert_eq!(socket.connect("10.9.9.9:1".parse().unwrap()), Err(Error::NetUnreachable));
    assert_eq!(socket.local_addr().to_string(), "0.0.0.0:0");
}

#[test]
fn a_faulting_source_sends_what_it_had() {
    let host = host();
    let (client, server) = host.pair();
    let mut calls = 0;
    let mut source = SourceFn::new(100, |out: &mut [u8]| {
        calls += 1;
        let n = if calls > 1 { 0 } else { 40 };
        out[..n].fill(7);
        n
    });
    assert_eq!(client.send(&mut source, SendFlags::empty()), Ok(40));
    assert_eq!(recv(&server, 100).unwrap(), vec![7; 40]);
    assert_eq!(client.send(&mut SourceFn::new(10, |_: &mut [u8]| 0), SendFlags::empty()), Err(Error::Fault));
    send(&client, b"kept").unwrap();
    assert_eq!(server.recv(&mut SinkFn::new(10, |_: &[u8]| 0), RecvFlags::empty()).err(), Some(Error::Fault));
    assert_eq!(recv(&server, 100), Ok(b"kept".to_vec()));
}

#[test]
fn threads_stream_without_loss() {
    let host = host();
    let (client, server) = host.pair();
    const TOTAL: usize = 32 << 20;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let data: Vec<u8> = (0..251u32 * 400).map(|n| (n % 251) as u8).collect();
            let mut sent = 0;
            while sent < TOTAL {
                let from = sent % 251;
                let want = (TOTAL - sent).min(data.len() - from);
                match send(&client, &data[from..from + want]) {
                    Ok(n) => sent += n,
                    Err(error) => {
                        assert_eq!(error, Error::Again);
                        std::thread::yield_now();
                    }
                }
            }
            client.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = 0;
        loop {
            match recv(&server, 60_000) {
                Ok(data) if data.is_empty() => break,
                Ok(data) => {
                    assert!(data.iter().enumerate().all(|(i, b)| usize::from(*b) == (got + i) % 251));
                    got += data.len();
                }
                Err(error) => {
                    assert_eq!(error, Error::Again);
                    std::thread::yield_now();
                }
            }
        }
        assert_eq!(got, TOTAL);
    });
}

#[test]
fn whoever_stops_waiting_holds_nobody_up() {
    let host = host();
    let listener = host.tcp();
    listener.bind("127.0.0.1:80".parse().unwrap()).unwrap();
    listener.listen(0).unwrap();
    let in_queue = host.connect("127.0.0.1:80");
    let begin = || {
        let socket = host.tcp();
        assert_eq!(socket.connect("127.0.0.1:80".parse().unwrap()), Err(Error::InProgress));
        assert_eq!(socket.finish_connect(), Err(Error::InProgress));
        socket
    };
    for _ in 0..100 {
        drop(begin());
    }
    let changed_its_mind = begin();
    changed_its_mind.disconnect();
    let waiting = [begin(), begin()];
    assert_eq!(listener.accept().unwrap().peer_addr().unwrap(), in_queue.local_addr());
    assert_eq!(waiting.each_ref().map(|socket| socket.finish_connect()), [Ok(()), Err(Error::InProgress)]);
    // A longer queue lets in more.
    listener.listen(1).unwrap();
    assert_eq!(waiting[1].finish_connect(), Ok(()));
}

#[test]
fn promises_are_made_where_the_ends_have_different_owners() {
    let host = host();
    let (client, server) = host.pair();
    let mut buffer = [0; 16];
    send(&client, b"hello").unwrap();
    for owners in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        client.set_owner(owners.0);
        server.set_owner(owners.1);
        assert_eq!(server.promise(&mut buffer), Promise::default(), "{owners:?}");
    }
    server.set_owner(2);
    let promise = server.promise(&mut buffer);
    assert_eq!((promise.input, &buffer[..5]), (5, &b"hello"[..]));
    assert!(promise.credit > 4096, "{promise:?}");
    assert_eq!(server.promise(&mut buffer[..4]), Promise::default(), "what does not fit is not promised");
    send(&client, b"!").unwrap();
    server.keep_read(2);
    assert_eq!(recv(&server, 9), Ok(b"llo!".to_vec()));
    server.keep_sent(b"an answer, ", SendFlags::empty());
    server.keep_sent(&[b'x'; 5000], SendFlags::empty());
    let answer = recv(&client, 10_000).unwrap();
    assert_eq!((answer.len(), &answer[..12]), (5011, &b"an answer, x"[..]));
}

#[test]
fn what_was_promised_to_a_pair_is_lost_with_it() {
    let host = host();
    let (client, server) = host.pair();
    client.set_owner(1);
    server.set_owner(2);
    client.send(&mut &b"abc"[..], SendFlags::OOB).unwrap();
    assert_eq!(server.promise(&mut [0; 16]), Promise::default(), "urgent data wants care");
    assert_eq!(recv(&server, 9).unwrap(), b"ab");
    server.keep_sent(b"unread", SendFlags::empty());
    drop(client);
    server.keep_sent(b"too late", SendFlags::empty());
    server.keep_read(5);
    assert_eq!(server.promise(&mut [0; 16]), Promise::default());
    assert!(server.take_error().is_some());
    drop(server);
    let (client, server) = host.pair();
    client.set_owner(1);
    server.set_owner(2);
    server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.promise(&mut [0; 16]).credit, 0);
    server.keep_sent(b"behind the end", SendFlags::empty());
    assert_eq!(recv(&client, 9), Ok(vec![]));
    drop((client, server));
    assert_eq!(host.stack.memory_used(), 0);
}
