//! What keys take: of each user's quota, and of what all keys of the sandbox may take together.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::{Errno, Result};
use host::heap;

/// What a key takes besides its name and payload, bytes: itself, and its place among others.
pub(super) const KEY_COST: usize = 512;
/// The share of the heap that all keys may take: keys of users whom nobody is any more stay.
const HEAP_SHARE: u64 = 8;

/// What a user's keys take.
#[derive(Debug, Default)]
pub(super) struct KeyUsage {
    keys: AtomicUsize,
    bytes: AtomicUsize,
    /// What all take; none for that itself.
    all: Option<Arc<Self>>,
}

impl KeyUsage {
    /// Counts `keys` more keys that take `bytes`, unless that is too much.
    ///
    /// # Errors
    /// `EDQUOT`.
    pub(super) fn charge(
        &self,
        keys: usize,
        bytes: usize,
        (max_keys, max_bytes): (usize, usize),
    ) -> Result<()> {
        if let Some(all) = &self.all {
            let max = usize::try_from(heap::budget() / HEAP_SHARE).unwrap_or(usize::MAX);
            all.charge(keys, bytes + keys * KEY_COST, (usize::MAX, max))?;
        }
        let (had_keys, had_bytes) =
            (self.keys.fetch_add(keys, Ordering::Relaxed), self.bytes.fetch_add(bytes, Ordering::Relaxed));
        if had_keys + keys > max_keys || had_bytes + bytes > max_bytes {
            self.uncharge(keys, bytes);
            return Err(Errno::EDQUOT);
        }
        Ok(())
    }

    pub(super) fn uncharge(&self, keys: usize, bytes: usize) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(all) = &self.all {
            all.uncharge(keys, bytes + keys * KEY_COST);
        }
    }
}

/// Most keys and bytes of a user (`kernel.keys.maxkeys`, `maxbytes`), and of root.
pub(super) fn quota(uid: u32) -> (usize, usize) {
    if uid == 0 { (1_000_000, 25_000_000) } else { (200, 20_000) }
}

/// What each user's keys take.
#[derive(Debug, Default)]
pub(super) struct UsageTable {
    of_users: HashMap<u32, Arc<KeyUsage>>,
    all: Arc<KeyUsage>,
    /// How many users had keys when it was last looked whether they still have.
    kept: usize,
}

/// What a user's keys take, and may take: a line of `/proc/key-users`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserUsage {
    /// Kernel id.
    pub uid: u32,
    /// Keys that there are.
    pub keys: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Most keys and bytes.
    pub quota: (usize, usize),
}

impl UsageTable {
    /// All users who have keys, by number.
    pub(super) fn list(&self) -> Vec<UserUsage> {
        let usage = |(uid, usage): (&u32, &Arc<KeyUsage>)| UserUsage {
            uid: *uid,
            keys: usage.keys.load(Ordering::Relaxed),
            bytes: usage.bytes.load(Ordering::Relaxed),
            quota: quota(*uid),
        };
        let mut all: Vec<UserUsage> = self.of_users.iter().map(usage).filter(|user| user.keys > 0).collect();
        all.sort_unstable_by_key(|user| user.uid);
        all
    }

    /// What the keys of user `uid` take.
    pub(super) fn of(&mut self, uid: u32) -> Arc<KeyUsage> {
        if self.of_users.len() >= 2 * self.kept + 64 {
            self.of_users.retain(|_, usage| Arc::strong_count(usage) > 1);
            self.kept = self.of_users.len();
        }
        let make = || Arc::new(KeyUsage { all: Some(self.all.clone()), ..KeyUsage::default() });
        self.of_users.entry(uid).or_insert_with(make).clone()
    }
}
