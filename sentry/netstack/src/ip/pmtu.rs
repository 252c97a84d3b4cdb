//! What was learnt about path MTUs (RFC 1191, RFC 8201). Entries age, and their number is bounded.

use crate::base::hash::Key;
use crate::base::time::Instant;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// How long a path MTU is believed (`mtu_expires`).
const LIFETIME: Duration = Duration::from_secs(600);
const MAX_ENTRIES: usize = 1024;
/// Smallest path MTU that is believed over IPv4 (`min_pmtu`).
pub(crate) const MIN_V4: u32 = 552;
/// Every IPv6 link carries this much.
pub(crate) const MIN_V6: u32 = 1280;

/// Path MTUs by destination.
#[derive(Debug)]
pub(crate) struct PmtuCache {
    entries: HashMap<IpAddr, (u32, Instant), Key>,
}

impl PmtuCache {
    pub(crate) fn new(key: Key) -> Self {
        Self { entries: HashMap::with_hasher(key) }
    }

    pub(crate) fn get(&self, to: IpAddr, now: Instant) -> Option<u32> {
        self.entries.get(&to).filter(|(_, until)| *until > now).map(|(mtu, _)| *mtu)
    }

    /// Notes a smaller MTU; true where that is news.
    pub(crate) fn lower(&mut self, to: IpAddr, mtu: u32, now: Instant) -> bool {
        let floor = if to.is_ipv4() { MIN_V4 } else { MIN_V6 };
        let mtu = mtu.max(floor);
        if self.get(to, now).is_some_and(|known| known <= mtu) {
            return false;
        }
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.retain(|_, (_, until)| *until > now);
        }
        if self.entries.len() >= MAX_ENTRIES {
            return false;
        }
        self.entries.insert(to, (mtu, now + LIFETIME));
        true
    }
}
