//! What the tests share: a stack with loopback, and short ways to use its sockets.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test code; not every test uses everything"
)]

pub(crate) mod net;
pub(crate) mod rules;
pub(crate) mod spaces;

use netstack::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub struct Host {
    pub clock: Arc<ManualClock>,
    pub stack: Stack,
}

pub fn host_with(config: Config) -> Host {
    host_within(&Budget::usual(), config)
}

pub fn host_within(budget: &Arc<Budget>, config: Config) -> Host {
    let clock = Arc::new(ManualClock::new(Instant::from_millis(1000)));
    let stack = Stack::sharing(budget, clock.clone(), [7; 16], config);
    let loopback = stack.add_loopback().unwrap();
    stack.set_up(&loopback, true);
    Host { clock, stack }
}

pub fn host() -> Host {
    host_with(Config::default())
}

impl Host {
    pub fn tcp(&self) -> TcpSocket {
        self.stack.tcp_socket(Family::V4)
    }

    pub fn udp(&self) -> UdpSocket {
        self.stack.udp_socket(Family::V4)
    }

    pub fn udp_at(&self, addr: &str) -> UdpSocket {
        let socket = self.stack.udp_socket(if addr.starts_with('[') { Family::V6 } else { Family::V4 });
        socket.bind(addr.parse().unwrap()).unwrap();
        socket
    }

    pub fn listener(&self, addr: &str) -> TcpSocket {
        let socket = self.stack.tcp_socket(if addr.starts_with('[') { Family::V6 } else { Family::V4 });
        socket.bind(addr.parse().unwrap()).unwrap();
        socket.listen(8).unwrap();
        socket
    }

    pub fn connect(&self, addr: &str) -> TcpSocket {
        let socket = self.stack.tcp_socket(if addr.starts_with('[') { Family::V6 } else { Family::V4 });
        assert_eq!(socket.connect(addr.parse().unwrap()), Err(Error::InProgress));
        socket.finish_connect().unwrap();
        socket
    }

    pub fn pair(&self) -> (TcpSocket, TcpSocket) {
        let listener = self.listener("127.0.0.1:0");
        let client = self.connect(&listener.local_addr().to_string());
        (client, listener.accept().unwrap())
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(std::time::Duration::from_secs(seconds));
        self.stack.advance();
    }
}

pub fn send(socket: &TcpSocket, data: &[u8]) -> Result<usize> {
    socket.send(&mut &data[..], SendFlags::empty())
}

pub fn recv(socket: &TcpSocket, max: usize) -> Result<Vec<u8>> {
    let mut data = vec![0; max];
    let got = socket.recv(&mut &mut data[..], RecvFlags::empty())?;
    data.truncate(got.copied);
    Ok(data)
}

pub fn send_to(socket: &UdpSocket, data: &[u8], to: &str) -> Result<usize> {
    let meta = SendMeta { to: Some(to.parse().unwrap()), ..SendMeta::default() };
    socket.send(&mut &data[..], &meta)
}

pub fn recv_from(socket: &UdpSocket, max: usize) -> Result<(Vec<u8>, Received)> {
    let mut data = vec![0; max];
    let got = socket.recv(&mut &mut data[..], RecvFlags::empty())?;
    data.truncate(got.copied);
    Ok((data, got))
}

/// Remembers what it heard.
#[derive(Default)]
pub struct Ear(AtomicU32);

impl Ear {
    pub fn heard(&self) -> Readiness {
        Readiness::from_bits_retain(self.0.swap(0, Ordering::SeqCst))
    }
}

impl Observer for Ear {
    fn ready(&self, bits: Readiness) {
        self.0.fetch_or(bits.bits(), Ordering::SeqCst);
    }
}
