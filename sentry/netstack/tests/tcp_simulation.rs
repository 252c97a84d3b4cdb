//! Two stacks over a lossy, reordering, duplicating, corrupting, delaying link: whatever happens, the streams are
//! equal, memory comes back and timers end. Each seed gives the same run.
#![allow(clippy::unwrap_used, reason = "test code")]

mod common;

use common::net::*;
use common::*;
use netstack::*;
use std::time::Duration;

fn byte(at: usize) -> u8 {
    (at % 251) as u8 ^ (at / 251 % 256) as u8
}

/// Moves `bytes` each way; gives the seconds it took and the sending stack's retransmissions.
fn transfer(
    seed: u64,
    weather: Weather,
    config: Config,
    offloads: Offloads,
    bytes: [usize; 2],
) -> (f64, u64) {
    let mut net = Net::with_offloads(2, seed, Weather::default(), config, offloads);
    net.run(Duration::from_secs(3));
    net.set_weather(weather);
    let listener = net.stacks[1].tcp_socket(Family::V4);
    listener.bind("10.0.0.2:80".parse().unwrap()).unwrap();
    listener.listen(5).unwrap();
    let client = net.stacks[0].tcp_socket(Family::V4);
    assert_eq!(client.connect("10.0.0.2:80".parse().unwrap()), Err(Error::InProgress));
    net.run_until(Duration::from_secs(60), |_| client.finish_connect() != Err(Error::InProgress));
    client.finish_connect().unwrap();
    send(&client, &[byte(0)]).unwrap();
    let mut server = None;
    net.run_until(Duration::from_secs(60), |_| {
        server = listener.accept().ok();
        server.is_some()
    });
    let server = server.unwrap();
    let mut dice = Dice(seed | 1);
    let began = net.clock.now();
    // Two handles are needed for two flows; a reader and a writer share each socket.
    let (client, server) = (std::rc::Rc::new(client), std::rc::Rc::new(server));
    let mut out = Direction {
        flow: [client.clone(), server.clone()],
        total: bytes[0].max(1),
        sent: 1,
        got: 0,
        state: (false, false),
    };
    let mut back = Direction {
        flow: [server.clone(), client.clone()],
        total: bytes[1],
        sent: 0,
        got: 0,
        state: (false, false),
    };
    let limit = began + Duration::from_secs(3600);
    while !(out.state.1 && back.state.1) {
        out.step(&mut dice);
        back.step(&mut dice);
        assert!(net.step(limit), "stuck: {:?} {:?}", client.info(), server.info());
    }
    let seconds = net.clock.now().since(began).as_secs_f64();
    let retransmits = net.stacks[0].counters().tcp.retrans_segs.get();
    if std::env::var_os("VERBOSE").is_some() {
        let rows = net.stacks[0].counters().tcp_ext.rows();
        println!("{:?}", rows.iter().filter(|row| row.1 > 0).collect::<Vec<_>>());
        println!("{:?}", client.info());
    }
    drop((out, back, client, server, listener));
    net.run(Duration::from_secs(1000));
    for stack in &net.stacks {
        assert!(stack.tcp_sockets().is_empty(), "{:?}", stack.tcp_sockets());
        assert_eq!((stack.memory_used(), stack.counters().tcp.curr_estab.get()), (0, 0));
        assert_eq!(stack.next_deadline(), None, "timers must end");
    }
    (seconds, retransmits)
}

/// A transfer in one direction; `state`: the writer has shut, the reader has seen the end.
struct Direction {
    flow: [std::rc::Rc<TcpSocket>; 2],
    total: usize,
    sent: usize,
    got: usize,
    state: (bool, bool),
}

impl Direction {
    fn step(&mut self, dice: &mut Dice) {
        if self.sent < self.total {
            let want = (1 + dice.roll(60_000) as usize).min(self.total - self.sent);
            let data: Vec<u8> = (self.sent..self.sent + want).map(byte).collect();
            match send(&self.flow[0], &data) {
                Ok(n) => self.sent += n,
                Err(error) => assert_eq!(error, Error::Again),
            }
        } else if !self.state.0 {
            self.flow[0].shutdown(Shutdown::Write).unwrap();
            self.state.0 = true;
        }
        while !self.state.1 {
            match recv(&self.flow[1], 1 + dice.roll(50_000) as usize) {
                Ok(data) if data.is_empty() => {
                    assert_eq!(self.got, self.total);
                    self.state.1 = true;
                }
                Ok(data) => {
                    let wrong = data.iter().enumerate().find(|(i, b)| **b != byte(self.got + i));
                    assert_eq!(wrong, None, "from {}", self.got);
                    self.got += data.len();
                }
                Err(error) => return assert_eq!(error, Error::Again),
            }
        }
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn bad_weather_of_every_kind() {
    let all = Weather {
        loss: 300,
        duplicate: 200,
        reorder: 500,
        corrupt: 100,
        delay: ms(10),
        jitter: ms(5),
        ..Weather::default()
    };
    let kinds = [
        Weather { loss: 500, delay: ms(10), ..Weather::default() },
        Weather { duplicate: 2000, delay: ms(10), ..Weather::default() },
        Weather { reorder: 2000, delay: ms(10), jitter: ms(30), ..Weather::default() },
        Weather { corrupt: 500, delay: ms(10), ..Weather::default() },
        Weather { loss: 2000, delay: ms(1), ..Weather::default() },
        all,
    ];
    for (index, weather) in kinds.into_iter().enumerate() {
        for seed in 1..=2 {
            transfer(
                seed * 77 + index as u64,
                weather,
                Config::default(),
                Offloads::default(),
                [400_000, 150_000],
            );
        }
    }
}

#[test]
fn every_combination_of_features() {
    let weather = Weather {
        loss: 200,
        reorder: 200,
        duplicate: 100,
        delay: ms(8),
        jitter: ms(2),
        ..Weather::default()
    };
    for bits in 0..32u32 {
        let config = Config {
            tcp_sack: bits & 1 != 0,
            tcp_timestamps: bits & 2 != 0,
            tcp_window_scaling: bits & 4 != 0,
            tcp_congestion_control: if bits & 8 != 0 { Congestion::Cubic } else { Congestion::Reno },
            tcp_ecn: if bits & 16 != 0 { Ecn::On } else { Ecn::Off },
            ..Config::default()
        };
        let offloads = Offloads { tx_checksum: bits & 1 != 0, segmentation: bits & 2 != 0 };
        transfer(u64::from(bits) + 9, weather, config, offloads, [120_000, 30_000]);
    }
}

#[test]
fn small_buffers_and_tiny_windows() {
    let weather = Weather { loss: 100, delay: ms(5), ..Weather::default() };
    let small = BufferSizes { min: 4096, default: 4096, max: 8192 };
    let config = Config { tcp_rmem: small, tcp_wmem: small, ..Config::default() };
    for seed in 1..5 {
        transfer(seed, weather, config.clone(), Offloads::default(), [60_000, 60_000]);
    }
}

#[test]
fn clean_link_is_filled() {
    // 10 MB/s with 20 ms round trip; two bandwidth-delay products of queue.
    let weather = Weather { delay: ms(10), rate: 10_000_000, queue: 400_000, ..Weather::default() };
    let (seconds, _) = transfer(5, weather, Config::default(), Offloads::default(), [20_000_000, 0]);
    let rate = 20.0 / seconds;
    assert!(rate > 8.5, "{rate} MB/s");
}

#[test]
fn one_percent_loss_with_20_ms_keeps_going() {
    let weather = Weather { loss: 100, delay: ms(10), ..Weather::default() };
    let (seconds, retransmits) = transfer(6, weather, Config::default(), Offloads::default(), [4_000_000, 0]);
    // Reno's law gives about 1.22 * MSS / (RTT * sqrt(p)) = 0.88 MB/s.
    let rate = 4.0 / seconds;
    assert!(rate > 0.6, "{rate} MB/s, {retransmits} retransmissions");
}
