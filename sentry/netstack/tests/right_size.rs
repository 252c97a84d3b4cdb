//! Receive buffers grow to what a connection needs, and no further.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::net::*;
use common::*;
use netstack::*;
use std::time::Duration;

/// Two connected sockets, the first of which sends at most `window` bytes ahead.
fn connected(net: &mut Net, window: usize) -> (TcpSocket, TcpSocket) {
    let listener = net.stacks[1].tcp_socket(Family::V4);
    listener.bind("10.0.0.2:80".parse().unwrap()).unwrap();
    listener.listen(5).unwrap();
    let client = net.stacks[0].tcp_socket(Family::V4);
    client.set_options(|options| options.base.force_snd_buf(window / 2));
    assert_eq!(client.connect("10.0.0.2:80".parse().unwrap()), Err(Error::InProgress));
    let mut server = None;
    net.run_until(Duration::from_secs(5), |_| {
        server = server.take().or_else(|| listener.accept().ok());
        server.is_some() && client.finish_connect() != Err(Error::InProgress)
    });
    (client, server.unwrap())
}

/// Sends for ten seconds, over a link with a round trip of 20 ms, to a reader that looks every `pause`; gives the round
/// trip that the reader has measured and its buffer.
fn measured(pause: Duration, config: Config) -> (Duration, usize) {
    let weather = Weather { delay: Duration::from_millis(10), ..Weather::default() };
    let mut net = Net::new(2, 7, Weather::default(), config);
    net.run(Duration::from_secs(3));
    net.set_weather(weather);
    let (client, server) = connected(&mut net, 256 << 10);
    let data = vec![0; 64 << 10];
    let end = net.clock.now() + Duration::from_secs(10);
    let mut next_look = net.clock.now();
    while net.clock.now() < end {
        while send(&client, &data).is_ok() {}
        let until = next_look.min(net.clock.now() + Duration::from_millis(1));
        while net.step(until) {}
        if net.clock.now() >= next_look {
            while recv(&server, 32 << 10).is_ok() {}
            next_look = net.clock.now() + pause;
        }
    }
    (Duration::from_micros(server.info().rcv_rtt.into()), server.options(|options| options.base.rcv_buf()))
}

#[test]
fn readers_measure_the_round_trip() {
    for pause in [1, 7, 35] {
        for tcp_timestamps in [true, false] {
            let config = Config { tcp_timestamps, ..Config::default() };
            let (rtt, buffer) = measured(Duration::from_millis(pause), config.clone());
            assert!((20..22).contains(&rtt.as_millis()), "{rtt:?}, read each {pause} ms");
            assert!(buffer < config.tcp_rmem.max / 2, "{buffer} bytes, read each {pause} ms");
        }
    }
}
