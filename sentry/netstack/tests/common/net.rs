#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "test code; not every test uses everything"
)]
//! A simulated network: hosts on one Ethernet segment with seeded loss, delay, reordering, duplication, corruption.

use netstack::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How badly frames fare. Chances are per 10 000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    pub loss: u32,
    pub duplicate: u32,
    pub reorder: u32,
    pub corrupt: u32,
    pub delay: Duration,
    pub jitter: Duration,
    /// Bytes per second, 0 for no limit.
    pub rate: u64,
    /// Bytes that wait for a limited link at most.
    pub queue: u64,
}

/// A small generator (xorshift), so that a seed gives the same run.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        if bound == 0 { 0 } else { self.0 % bound }
    }

    fn chance(&mut self, of_10_000: u32) -> bool {
        self.roll(10_000) < u64::from(of_10_000)
    }
}

/// Frames on their way: by arrival time and a running number; with receiver.
type Flight = BTreeMap<(Instant, u64), (usize, Vec<u8>, u16)>;

struct Segment {
    clock: Arc<ManualClock>,
    weather: Mutex<Weather>,
    dice: Mutex<Dice>,
    flight: Mutex<(Flight, u64)>,
    /// When each sender's side of the link is free again.
    free_at: Mutex<Vec<Instant>>,
    hosts: usize,
    offloads: Offloads,
}

struct Port {
    segment: Arc<Segment>,
    own: usize,
}

impl Device for Port {
    fn transmit(&self, frames: &[TxFrame]) -> usize {
        for frame in frames {
            self.segment.send(self.own, frame);
        }
        frames.len()
    }

    fn offloads(&self) -> Offloads {
        self.segment.offloads
    }
}

impl Segment {
    fn send(&self, from: usize, frame: &TxFrame) {
        let weather = *self.weather.lock().unwrap();
        let mut dice = self.dice.lock().unwrap();
        let mut data = frame.bytes().to_vec();
        complete(&mut data, &frame.meta);
        let now = self.clock.now();
        let mut free = self.free_at.lock().unwrap();
        let mut leaves = now;
        if weather.rate > 0 {
            leaves = free[from].max(now);
            let waiting = leaves.since(now).as_nanos() as u64 * weather.rate / 1_000_000_000;
            if weather.queue > 0 && waiting > weather.queue {
                return;
            }
            leaves += Duration::from_nanos(data.len() as u64 * 1_000_000_000 / weather.rate);
            free[from] = leaves;
        }
        if dice.chance(weather.loss) {
            return;
        }
        let copies = if dice.chance(weather.duplicate) { 2 } else { 1 };
        for to in (0..self.hosts).filter(|to| *to != from) {
            for _ in 0..copies {
                let mut data = data.clone();
                if dice.chance(weather.corrupt) {
                    let at = dice.roll(data.len() as u64) as usize;
                    data[at] ^= 1 << dice.roll(8);
                }
                let mut delay =
                    weather.delay + Duration::from_nanos(dice.roll(weather.jitter.as_nanos() as u64));
                if dice.chance(weather.reorder) {
                    delay += weather.delay + Duration::from_millis(1);
                }
                let mut flight = self.flight.lock().unwrap();
                flight.1 += 1;
                let number = flight.1;
                flight.0.insert((leaves + delay, number), (to, data, frame.meta.gso_size));
            }
        }
    }
}

/// Completes a checksum as a device does.
fn complete(data: &mut [u8], meta: &TxMeta) {
    let Some((start, offset)) = meta.checksum else { return };
    if meta.gso_size != 0 {
        return;
    }
    let (start, field) = (usize::from(start), usize::from(start + offset));
    let mut sum = 0u64;
    for word in data[start..].chunks(2) {
        sum += u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = !(sum as u16);
    data[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

pub struct Net {
    pub clock: Arc<ManualClock>,
    pub stacks: Vec<Stack>,
    pub nics: Vec<Arc<Nic>>,
    segment: Arc<Segment>,
    pub frames: u64,
}

impl Net {
    /// `count` hosts 10.0.0.1, 10.0.0.2, … and fd00::1, ….
    pub fn new(count: usize, seed: u64, weather: Weather, config: Config) -> Self {
        Self::with_offloads(count, seed, weather, config, Offloads::default())
    }

    pub fn with_offloads(
        count: usize,
        seed: u64,
        weather: Weather,
        config: Config,
        offloads: Offloads,
    ) -> Self {
        let budgets: Vec<_> = (0..count).map(|_| Budget::usual()).collect();
        Self::within(&budgets, seed, weather, config, offloads)
    }

    /// A host for each budget.
    pub fn within(
        budgets: &[Arc<Budget>],
        seed: u64,
        weather: Weather,
        config: Config,
        offloads: Offloads,
    ) -> Self {
        let count = budgets.len();
        let clock = Arc::new(ManualClock::new(Instant::from_millis(5_000_000)));
        let segment = Arc::new(Segment {
            clock: clock.clone(),
            weather: Mutex::new(weather),
            dice: Mutex::new(Dice(seed | 1)),
            flight: Mutex::new((Flight::new(), 0)),
            free_at: Mutex::new(vec![Instant::ZERO; count]),
            hosts: count,
            offloads,
        });
        let mut net = Self { clock: clock.clone(), stacks: Vec::new(), nics: Vec::new(), segment, frames: 0 };
        for (own, budget) in budgets.iter().enumerate() {
            let mut key = [own as u8; 16];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            let stack = Stack::sharing(budget, clock.clone(), key, config.clone());
            let loopback = stack.add_loopback().unwrap();
            stack.set_up(&loopback, true);
            let nic = stack
                .add_nic(NicConfig {
                    name: "eth0".into(),
                    kind: NicKind::Ethernet,
                    mac: Mac([2, 0, 0, 0, 0, own as u8 + 1]),
                    mtu: 1500,
                    device: Some(Arc::new(Port { segment: net.segment.clone(), own })),
                })
                .unwrap();
            let last = own as u8 + 1;
            stack.set_up(&nic, true);
            let four = Prefix::new([10, 0, 0, last].into(), 24).unwrap();
            let six = Prefix::new([0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into(), 64).unwrap();
            stack.add_addr(&nic, IfAddr::new(four)).unwrap();
            stack.add_addr(&nic, IfAddr::new(six)).unwrap();
            net.stacks.push(stack);
            net.nics.push(nic);
        }
        net
    }

    pub fn set_weather(&self, weather: Weather) {
        *self.segment.weather.lock().unwrap() = weather;
    }

    /// Goes to the next event; false where nothing happens before `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        let arrival = self.segment.flight.lock().unwrap().0.keys().next().map(|(at, _)| *at);
        let timer = self.stacks.iter().filter_map(Stack::next_deadline).min();
        let Some(next) = arrival.into_iter().chain(timer).min().filter(|at| *at <= until) else {
            self.clock.set(until);
            return false;
        };
        self.clock.set(next);
        let due = {
            let mut flight = self.segment.flight.lock().unwrap();
            let later = flight.0.split_off(&(next + Duration::from_nanos(1), 0));
            std::mem::replace(&mut flight.0, later)
        };
        for (to, data, gso_size) in due.into_values() {
            self.frames += 1;
            let buffer = Arc::new(data.into_boxed_slice());
            let checksum_ok = gso_size != 0;
            let meta = RxMeta { checksum_ok, gso_size, buffer: Some(&buffer), ..RxMeta::default() };
            self.stacks[to].receive(&self.nics[to], &buffer, meta);
        }
        for stack in &self.stacks {
            stack.advance();
        }
        true
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.clock.now() + time;
        while self.step(until) {}
    }

    /// Runs until `done`, or fails after `limit`.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let until = self.clock.now() + limit;
        while !done(self) {
            assert!(self.step(until), "not done after {limit:?}");
        }
    }
}
