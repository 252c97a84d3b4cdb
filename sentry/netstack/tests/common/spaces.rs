//! Stacks that share a clock, as name spaces of one sandbox do, with links between them.
#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test code; not every test uses everything"
)]

use super::{recv, send};
use netstack::*;
use std::sync::Arc;
use std::time::Duration;

pub struct Spaces {
    pub clock: Arc<ManualClock>,
    pub stacks: Vec<Stack>,
}

impl Spaces {
    pub fn new(count: u8) -> Self {
        let clock = Arc::new(ManualClock::new(Instant::from_millis(1000)));
        let budget = Budget::usual();
        let stack = |number| {
            let stack = Stack::sharing(&budget, clock.clone(), [number; 16], Config::default());
            let loopback = stack.add_loopback().unwrap();
            stack.set_up(&loopback, true);
            stack
        };
        Self { clock: clock.clone(), stacks: (1..=count).map(stack).collect() }
    }

    /// Lets time pass, a timer at a time.
    pub fn run(&self, time: Duration) {
        let until = self.clock.now() + time;
        while let Some(next) =
            self.stacks.iter().filter_map(Stack::next_deadline).min().filter(|at| *at <= until)
        {
            self.clock.set(next);
            self.stacks.iter().for_each(Stack::advance);
        }
        self.clock.set(until);
    }

    /// A bridge in the first stack at 10.0.0.254 with a pair to each of the others, at 10.0.0.1, 10.0.0.2, ….
    pub fn bridged(count: u8) -> (Self, Arc<Nic>, Vec<Arc<Nic>>) {
        let spaces = Self::new(count + 1);
        let host = &spaces.stacks[0];
        let bridge = host.add_bridge(&named("br0")).unwrap();
        host.set_up(&bridge, true);
        address(host, &bridge, 254);
        let join = |number: u8| {
            let guest = &spaces.stacks[usize::from(number)];
            let (port, inner) = host.add_veth(&named("veth%d"), guest, &named("eth0")).unwrap();
            host.set_bridge(&port, Some(&bridge)).unwrap();
            host.set_up(&port, true);
            guest.set_up(&inner, true);
            address(guest, &inner, number);
            port
        };
        let ports = (1..=count).map(join).collect();
        (spaces, bridge, ports)
    }
}

pub fn named(name: &str) -> LinkConfig {
    LinkConfig { name: name.into(), ..LinkConfig::default() }
}

/// Gives an interface 10.0.0.`last`/24.
pub fn address(stack: &Stack, nic: &Nic, last: u8) {
    address_in(stack, nic, &format!("10.0.0.{last}"));
}

/// Gives an interface an address in a network of 24 or 64 bits.
pub fn address_in(stack: &Stack, nic: &Nic, ip: &str) {
    let ip: std::net::IpAddr = ip.parse().unwrap();
    stack.add_addr(nic, IfAddr::new(Prefix::new(ip, if ip.is_ipv4() { 24 } else { 64 }).unwrap())).unwrap();
}

/// A connection from one stack to port 80 of another, with the accepted end.
pub fn connect(from: &Stack, to: &Stack, at: &str) -> (TcpSocket, TcpSocket) {
    let family = if at.starts_with('[') { Family::V6 } else { Family::V4 };
    let listener = to.tcp_socket(family);
    let any = if family == Family::V6 { "[::]:80" } else { "0.0.0.0:80" };
    listener.set_options(|options| options.base.reuse_addr = true);
    listener.bind(any.parse().unwrap()).unwrap();
    listener.listen(8).unwrap();
    let client = from.tcp_socket(family);
    assert_eq!(client.connect(at.parse().unwrap()), Err(Error::InProgress));
    client.finish_connect().unwrap();
    (client, listener.accept().unwrap())
}

/// Sends `len` bytes and checks that they arrive, without time passing.
pub fn transfer(from: &TcpSocket, to: &TcpSocket, len: usize) {
    let data: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    let (mut sent, mut got) = (0, Vec::new());
    while got.len() < len {
        match send(from, &data[sent..]) {
            Ok(count) => sent += count,
            Err(error) => assert!(error == Error::Again || sent == len, "{error:?}"),
        }
        let before = got.len();
        while let Ok(part) = recv(to, 1 << 20) {
            if part.is_empty() {
                break;
            }
            got.extend(part);
        }
        assert!(got.len() > before, "stuck at {before} of {len}");
    }
    assert!(got == data);
}
