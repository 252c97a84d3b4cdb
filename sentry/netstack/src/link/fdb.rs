//! A bridge's forwarding table: behind which port a station is.

use super::nic::Mac;
use crate::base::hash::Key;
use crate::base::time::Instant;
use std::collections::HashMap;
use std::time::Duration;

/// Stations that are remembered at most: whoever sends from made-up addresses makes the bridge flood, no more.
const MAX_STATIONS: usize = 16_384;

/// What is known of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Station {
    /// Index of the port's interface.
    pub(super) port: u32,
    /// When it last sent; `None` for an entry that was made by hand and stays.
    pub(super) seen: Option<Instant>,
}

/// The table.
#[derive(Debug)]
pub(super) struct Fdb {
    stations: HashMap<Mac, Station, Key>,
}

impl Fdb {
    pub(super) fn new(key: Key) -> Self {
        Self { stations: HashMap::with_hasher(key) }
    }

    /// A station has sent a frame through a port.
    pub(super) fn learn(&mut self, mac: Mac, port: u32, now: Instant, ageing: Duration) {
        let may = match self.stations.get(&mac) {
            Some(station) => station.seen.is_some(),
            None => self.has_room(now, ageing),
        };
        if may {
            self.stations.insert(mac, Station { port, seen: Some(now) });
        }
    }

    fn has_room(&mut self, now: Instant, ageing: Duration) -> bool {
        if self.stations.len() >= MAX_STATIONS {
            self.stations.retain(|_, station| !is_old(station, now, ageing));
        }
        self.stations.len() < MAX_STATIONS
    }

    /// The port that leads to a station.
    pub(super) fn find(&self, mac: Mac, now: Instant, ageing: Duration) -> Option<u32> {
        self.stations.get(&mac).filter(|station| !is_old(station, now, ageing)).map(|station| station.port)
    }

    /// Makes an entry that stays. False where there is no room.
    pub(super) fn set(&mut self, mac: Mac, port: u32, now: Instant, ageing: Duration) -> bool {
        let fits = self.stations.contains_key(&mac) || self.has_room(now, ageing);
        if fits {
            self.stations.insert(mac, Station { port, seen: None });
        }
        fits
    }

    /// Forgets a station; whether it was known.
    pub(super) fn remove(&mut self, mac: Mac, port: u32) -> bool {
        let is_there = self.stations.get(&mac).is_some_and(|station| station.port == port);
        is_there && self.stations.remove(&mac).is_some()
    }

    /// Forgets all stations behind a port.
    pub(super) fn forget_port(&mut self, port: u32) {
        self.stations.retain(|_, station| station.port != port);
    }

    /// Forgets what was learnt.
    pub(super) fn flush(&mut self) {
        self.stations.retain(|_, station| station.seen.is_none());
    }

    /// The stations that are not forgotten, in order.
    pub(super) fn all(&self, now: Instant, ageing: Duration) -> Vec<(Mac, Station)> {
        let fresh = self.stations.iter().filter(|(_, station)| !is_old(station, now, ageing));
        let mut all: Vec<_> = fresh.map(|(mac, station)| (*mac, *station)).collect();
        all.sort_by_key(|(mac, _)| mac.0);
        all
    }
}

fn is_old(station: &Station, now: Instant, ageing: Duration) -> bool {
    station.seen.is_some_and(|seen| now.since(seen) >= ageing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGEING: Duration = Duration::from_secs(300);

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn stations_move_and_are_forgotten() {
        let mut fdb = Fdb::new(Key(1, 2));
        fdb.learn(mac(1), 3, at(0), AGEING);
        assert_eq!(fdb.find(mac(1), at(299), AGEING), Some(3));
        assert_eq!(fdb.find(mac(1), at(300), AGEING), None);
        fdb.learn(mac(1), 4, at(300), AGEING);
        assert_eq!(fdb.find(mac(1), at(301), AGEING), Some(4));
        fdb.forget_port(4);
        assert!(fdb.all(at(301), AGEING).is_empty());
    }

    #[test]
    fn what_was_set_by_hand_stays() {
        let mut fdb = Fdb::new(Key(1, 2));
        assert!(fdb.set(mac(1), 3, at(0), AGEING));
        fdb.learn(mac(1), 4, at(1), AGEING);
        fdb.flush();
        assert_eq!(fdb.find(mac(1), at(9999), AGEING), Some(3));
        assert!(!fdb.remove(mac(1), 4) && fdb.remove(mac(1), 3) && !fdb.remove(mac(1), 3));
    }

    #[test]
    fn a_full_table_takes_new_stations_once_old_ones_are_forgotten() {
        let mut fdb = Fdb::new(Key(1, 2));
        for number in 0..=MAX_STATIONS as u32 {
            fdb.learn(mac(number), 3, at(0), AGEING);
        }
        assert_eq!(fdb.all(at(1), AGEING).len(), MAX_STATIONS);
        assert_eq!(fdb.find(mac(MAX_STATIONS as u32), at(1), AGEING), None);
        fdb.learn(mac(MAX_STATIONS as u32), 3, at(300), AGEING);
        assert_eq!(fdb.find(mac(MAX_STATIONS as u32), at(300), AGEING), Some(3));
    }
}
