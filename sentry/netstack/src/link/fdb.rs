//! A bridge's forwarding table: behind which port a station is.

use super::nic::Mac;
use crate::base::hash::Key;
use crate::base::time::Instant;
use crate::buf::budget::Account;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Stations that are remembered at most: whoever sends from made-up addresses makes the bridge flood, no more.
const MAX_STATIONS: usize = 16_384;
/// How often a table that is full is searched for stations to forget.
const SWEEP: Duration = Duration::from_secs(1);

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
    /// The stations of all bridges of the sandbox.
    account: Arc<Account>,
    /// When it was full and last searched.
    swept: Option<Instant>,
}

impl Fdb {
    pub(super) fn new(key: Key, account: Arc<Account>) -> Self {
        Self { stations: HashMap::with_hasher(key), account, swept: None }
    }

    /// A station has sent a frame through a port.
    pub(super) fn learn(&mut self, mac: Mac, port: u32, now: Instant, ageing: Duration) {
        let station = Station { port, seen: Some(now) };
        match self.stations.get_mut(&mac) {
            Some(known) if known.seen.is_none() => {}
            Some(known) => *known = station,
            None => {
                let _full = self.insert(mac, station, now, ageing);
            }
        }
    }

    /// Takes a new station. False where there is no room.
    fn insert(&mut self, mac: Mac, station: Station, now: Instant, ageing: Duration) -> bool {
        let has_room = self.claim()
            || self.swept.is_none_or(|swept| now.since(swept) >= SWEEP) && {
                self.swept = Some(now);
                self.retain(|_, station| !is_old(station, now, ageing));
                self.claim()
            };
        if has_room {
            self.stations.insert(mac, station);
        }
        has_room
    }

    /// Charges one station more.
    fn claim(&self) -> bool {
        self.stations.len() < MAX_STATIONS && self.account.charge(1)
    }

    fn retain(&mut self, mut keep: impl FnMut(&Mac, &Station) -> bool) {
        let before = self.stations.len();
        self.stations.retain(|mac, station| keep(mac, station));
        self.account.uncharge(before - self.stations.len());
    }

    /// The port that leads to a station.
    pub(super) fn find(&self, mac: Mac, now: Instant, ageing: Duration) -> Option<u32> {
        self.stations.get(&mac).filter(|station| !is_old(station, now, ageing)).map(|station| station.port)
    }

    /// Makes an entry that stays. False where there is no room.
    pub(super) fn set(&mut self, mac: Mac, port: u32, now: Instant, ageing: Duration) -> bool {
        let station = Station { port, seen: None };
        match self.stations.get_mut(&mac) {
            Some(known) => {
                *known = station;
                true
            }
            None => self.insert(mac, station, now, ageing),
        }
    }

    /// Forgets a station; whether it was known.
    pub(super) fn remove(&mut self, mac: Mac, port: u32) -> bool {
        let is_there = self.stations.get(&mac).is_some_and(|station| station.port == port);
        if is_there && self.stations.remove(&mac).is_some() {
            self.account.uncharge(1);
        }
        is_there
    }

    /// Forgets all stations behind a port.
    pub(super) fn forget_port(&mut self, port: u32) {
        self.retain(|_, station| station.port != port);
    }

    /// Forgets what was learnt.
    pub(super) fn flush(&mut self) {
        self.retain(|_, station| station.seen.is_none());
    }

    /// The stations that are not forgotten, in order.
    pub(super) fn all(&self, now: Instant, ageing: Duration) -> Vec<(Mac, Station)> {
        let fresh = self.stations.iter().filter(|(_, station)| !is_old(station, now, ageing));
        let mut all: Vec<_> = fresh.map(|(mac, station)| (*mac, *station)).collect();
        all.sort_by_key(|(mac, _)| mac.0);
        all
    }
}

impl Drop for Fdb {
    fn drop(&mut self) {
        self.account.uncharge(self.stations.len());
    }
}

fn is_old(station: &Station, now: Instant, ageing: Duration) -> bool {
    station.seen.is_some_and(|seen| now.since(seen) >= ageing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGEING: Duration = Duration::from_secs(300);

    fn fdb(limit: usize) -> Fdb {
        Fdb::new(Key(1, 2), Arc::new(Account::new(limit)))
    }

    fn mac(number: u32) -> Mac {
        let [a, b, c, d] = number.to_be_bytes();
        Mac([2, 0, a, b, c, d])
    }

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn stations_move_and_are_forgotten() {
        let mut fdb = fdb(MAX_STATIONS * 2);
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
        let mut fdb = fdb(MAX_STATIONS * 2);
        assert!(fdb.set(mac(1), 3, at(0), AGEING));
        fdb.learn(mac(1), 4, at(1), AGEING);
        fdb.flush();
        assert_eq!(fdb.find(mac(1), at(9999), AGEING), Some(3));
        assert!(!fdb.remove(mac(1), 4) && fdb.remove(mac(1), 3) && !fdb.remove(mac(1), 3));
    }

    #[test]
    fn a_full_table_takes_new_stations_once_old_ones_are_forgotten() {
        let mut fdb = fdb(MAX_STATIONS * 2);
        for number in 0..=MAX_STATIONS as u32 {
            fdb.learn(mac(number), 3, at(0), AGEING);
        }
        assert_eq!(fdb.all(at(1), AGEING).len(), MAX_STATIONS);
        assert_eq!(fdb.find(mac(MAX_STATIONS as u32), at(1), AGEING), None);
        fdb.learn(mac(MAX_STATIONS as u32), 3, at(300), AGEING);
        assert_eq!(fdb.find(mac(MAX_STATIONS as u32), at(300), AGEING), Some(3));
    }

    #[test]
    fn a_full_table_is_searched_now_and_then() {
        let mut fdb = fdb(MAX_STATIONS * 2);
        for number in 0..=MAX_STATIONS as u32 {
            fdb.learn(mac(number), 3, at(0), AGEING);
        }
        fdb.learn(mac(100_000), 3, at(0), Duration::ZERO);
        assert_eq!(fdb.stations.len(), MAX_STATIONS, "searched in this second");
        fdb.learn(mac(100_000), 3, at(1), Duration::ZERO);
        assert_eq!(fdb.stations.len(), 1, "searched again");
    }

    #[test]
    fn tables_share_what_there_is() {
        let account = Arc::new(Account::new(10));
        let mut tables = [0, 1].map(|_| Fdb::new(Key(1, 2), Arc::clone(&account)));
        for number in 0..8 {
            tables[0].learn(mac(number), 3, at(0), AGEING);
            tables[1].learn(mac(number), 3, at(0), AGEING);
        }
        assert_eq!((tables[0].stations.len(), tables[1].stations.len()), (5, 5));
        assert!(tables[0].remove(mac(0), 3));
        assert!(tables[1].set(mac(9), 3, at(0), AGEING));
        drop(tables);
        assert_eq!(account.used(), 0);
    }
}
