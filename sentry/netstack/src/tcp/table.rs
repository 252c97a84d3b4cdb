//! Connections by address pair, in shards, and what is left of closed ones (TIME-WAIT).
//!
//! Locks: a shard, or the expiry list; never both.

use super::socket::TcpCore;
use crate::base::hash::Key;
use crate::base::time::Instant;
use crate::core::{Core, Timer, Tuple};
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const SHARDS: usize = 16;
/// How long a closed connection is remembered (2 MSL; Linux's `TCP_TIMEWAIT_LEN`).
pub(crate) const TIME_WAIT: Duration = Duration::from_secs(60);
/// Age from which a new connection may take over a remembered one's addresses.
const REUSE_AGE: Duration = Duration::from_secs(1);

/// A connection's use of a port beyond what is bound (see `Ports::add_user`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PortUser {
    pub(crate) port: u16,
    pub(crate) ip: IpAddr,
    pub(crate) reuse: bool,
}

impl PortUser {
    pub(crate) fn release(self, core: &Core) {
        core.tcp_ports.remove_user(self.port, self.ip, self.reuse);
    }
}

/// What must be known to answer late segments of a closed connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimeWait {
    pub(crate) since: Instant,
    pub(crate) user: Option<PortUser>,
    pub(crate) uid: u32,
    /// `None` for a connection within the stack, which has no segments.
    pub(crate) segments: Option<LateSegments>,
}

/// Sequence space of a closed connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LateSegments {
    pub(crate) snd_nxt: u32,
    pub(crate) rcv_nxt: u32,
    pub(crate) window: u32,
    /// Last time stamp of the peer, and the offset of our own, where time stamps are in use.
    pub(crate) ts_recent: Option<u32>,
    pub(crate) ts_offset: u32,
}

/// What a pair of addresses stands for.
#[derive(Debug, Clone)]
pub(crate) enum Conn {
    Socket(Arc<TcpCore>),
    TimeWait(TimeWait),
}

/// The table.
#[derive(Debug)]
pub(crate) struct ConnTable {
    shards: [RwLock<HashMap<Tuple, Conn, Key>>; SHARDS],
    key: Key,
    /// TIME-WAIT entries by the time they began, which is the order in which they end.
    waiting: Mutex<VecDeque<(Instant, Tuple)>>,
    waiting_count: AtomicU32,
}

impl ConnTable {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::new(HashMap::with_hasher(key))),
            key,
            waiting: Mutex::new(VecDeque::new()),
            waiting_count: AtomicU32::new(0),
        }
    }

    fn shard(&self, tuple: &Tuple) -> &RwLock<HashMap<Tuple, Conn, Key>> {
        &self.shards[(self.key.hash_one(tuple) >> 32) as usize % SHARDS]
    }

    pub(crate) fn get(&self, tuple: &Tuple) -> Option<Conn> {
        self.shard(tuple).read().get(tuple).cloned()
    }

    /// Whether a new connection may use these addresses: nobody does, or only a remembered one that is old enough.
    pub(crate) fn is_free(&self, tuple: &Tuple, now: Instant, may_reuse: bool) -> bool {
        match self.shard(tuple).read().get(tuple) {
            None => true,
            Some(Conn::Socket(_)) => false,
            Some(Conn::TimeWait(wait)) => may_reuse && now.since(wait.since) >= REUSE_AGE,
        }
    }

    /// Registers a connection. What was remembered under the addresses is returned: its port is to be released.
    /// `Err` where a live connection has them.
    pub(crate) fn insert(&self, tuple: Tuple, socket: &Arc<TcpCore>) -> Result<Option<TimeWait>, ()> {
        let mut shard = self.shard(&tuple).write();
        if let Some(Conn::Socket(_)) = shard.get(&tuple) {
            return Err(());
        }
        match shard.insert(tuple, Conn::Socket(Arc::clone(socket))) {
            Some(Conn::TimeWait(old)) => {
                self.waiting_count.fetch_sub(1, Ordering::Relaxed);
                Ok(Some(old))
            }
            _ => Ok(None),
        }
    }

    /// Removes a socket's connection; false where it was not there.
    pub(crate) fn remove(&self, tuple: &Tuple, id: u64) -> bool {
        let mut shard = self.shard(tuple).write();
        let found = matches!(shard.get(tuple), Some(Conn::Socket(socket)) if socket.id == id);
        let removed = if found { shard.remove(tuple) } else { None };
        drop(shard);
        // The socket may be dropped here, outside the lock.
        drop(removed);
        found
    }

    pub(crate) fn waiting(&self) -> u32 {
        self.waiting_count.load(Ordering::Relaxed)
    }

    /// Every entry.
    pub(crate) fn all(&self) -> Vec<(Tuple, Conn)> {
        let copy = |shard: &RwLock<HashMap<Tuple, Conn, Key>>| {
            shard.read().iter().map(|(tuple, conn)| (*tuple, conn.clone())).collect::<Vec<_>>()
        };
        self.shards.iter().flat_map(copy).collect()
    }

    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let taken = std::mem::replace(&mut *shard.write(), HashMap::with_hasher(self.key));
            drop(taken);
        }
    }
}

impl Core {
    /// Remembers a closed connection for a while. `id` is the socket that is registered under the addresses, if one
    /// still is.
    pub(crate) fn enter_time_wait(&self, tuple: Tuple, id: Option<u64>, wait: TimeWait) {
        let table = &self.tcp;
        let full = table.waiting() >= self.config().tcp_max_tw_buckets;
        let mut shard = table.shard(&tuple).write();
        let is_ours = match shard.get(&tuple) {
            None => true,
            Some(Conn::Socket(socket)) => Some(socket.id) == id,
            Some(Conn::TimeWait(_)) => false,
        };
        if full || !is_ours {
            let removed = if is_ours { shard.remove(&tuple) } else { None };
            drop(shard);
            drop(removed);
            if full {
                self.counters.tcp_ext.time_wait_overflow.inc();
            }
            if let Some(user) = wait.user {
                user.release(self);
            }
            return;
        }
        let old = shard.insert(tuple, Conn::TimeWait(wait));
        drop(shard);
        drop(old);
        table.waiting_count.fetch_add(1, Ordering::Relaxed);
        self.counters.tcp_ext.tw.inc();
        let mut waiting = table.waiting.lock();
        let is_first = waiting.is_empty();
        waiting.push_back((wait.since, tuple));
        drop(waiting);
        if is_first {
            self.arm(wait.since + TIME_WAIT, Timer::TimeWait);
        }
    }

    /// Begins the waiting time of a remembered connection anew, or ends it.
    pub(crate) fn touch_time_wait(&self, tuple: &Tuple, now: Instant, ends: bool) {
        let mut shard = self.tcp.shard(tuple).write();
        let user = match shard.get_mut(tuple) {
            Some(Conn::TimeWait(wait)) if ends => {
                let user = wait.user;
                shard.remove(tuple);
                self.tcp.waiting_count.fetch_sub(1, Ordering::Relaxed);
                user
            }
            Some(Conn::TimeWait(wait)) => {
                wait.since = now;
                None
            }
            _ => None,
        };
        drop(shard);
        if let Some(user) = user {
            user.release(self);
        }
    }

    /// Forgets connections whose time is over.
    pub(crate) fn expire_time_wait(&self, now: Instant) {
        loop {
            let mut waiting = self.tcp.waiting.lock();
            let Some((since, tuple)) = waiting.front().copied() else { return };
            if since + TIME_WAIT > now {
                drop(waiting);
                return self.arm(since + TIME_WAIT, Timer::TimeWait);
            }
            waiting.pop_front();
            drop(waiting);
            self.expire_one(&tuple, since, now);
        }
    }

    fn expire_one(&self, tuple: &Tuple, since: Instant, now: Instant) {
        let mut shard = self.tcp.shard(tuple).write();
        let user = match shard.get(tuple) {
            Some(Conn::TimeWait(wait)) if wait.since == since => {
                let user = wait.user;
                shard.remove(tuple);
                self.tcp.waiting_count.fetch_sub(1, Ordering::Relaxed);
                user
            }
            // A late segment has begun the waiting time anew.
            Some(Conn::TimeWait(wait)) if wait.since > since && wait.since <= now => {
                let since = wait.since;
                drop(shard);
                self.tcp.waiting.lock().push_back((since, *tuple));
                return;
            }
            _ => None,
        };
        drop(shard);
        if let Some(user) = user {
            user.release(self);
        }
    }
}
