//! Keys that the kernel keeps for programs: Kerberos tickets, passwords of mounts, keys of file systems
//! (`man 7 keyrings`, `security/keys` in Linux's tree).
//!
//! A key lives as long as a keyring links to it, or a task or user has it as a keyring of its own. There is no helper
//! program that could be asked for keys that nobody has put there: request_key(2) finds what is there.
//!
//! Locks: `KeyTable::links`, then one key's state at a time, or the table's.

mod key;
mod search;
mod task;
mod usage;
mod users;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::Result;
use host::heap::{self, Purpose};
use parking_lot::{Mutex, MutexGuard};

pub use key::{Key, KeyType};
pub use search::{KeyRef, Searcher};
pub(crate) use task::Missing;
pub use task::TaskKeyrings;
pub use usage::UserUsage;

use key::{Content, NewKey};
use usage::{KEY_COST, KeyUsage, UsageTable};
use users::UsersTable;

/// All keys of a sandbox.
#[derive(Debug, Default)]
pub struct KeyTable {
    table: Mutex<Table>,
    links: Mutex<()>,
}

#[derive(Debug, Default)]
struct Table {
    keys: HashMap<i32, Weak<Key>>,
    usage: UsageTable,
    users: UsersTable,
    last_serial: i32,
}

impl KeyTable {
    /// Held while links are made.
    pub fn links(&self) -> MutexGuard<'_, ()> {
        self.links.lock()
    }

    /// The key with this number.
    #[must_use]
    pub fn get(&self, serial: i32) -> Option<Arc<Key>> {
        let found = self.table.lock().keys.get(&serial).and_then(Weak::upgrade);
        found.filter(|key| !key.state().is_invalid)
    }

    /// What the keys of each user take.
    #[must_use]
    pub fn usage(&self) -> Vec<UserUsage> {
        self.table.lock().usage.list()
    }

    /// Gives a key to another user or group.
    ///
    /// # Errors
    /// `EDQUOT`.
    pub fn change_owner(&self, key: &Key, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        if let Some(uid) = uid.filter(|uid| *uid != key.owner().0) {
            let usage = self.table.lock().usage.of(uid);
            key.give_to(uid, usage)?;
        }
        if let Some(gid) = gid {
            key.state().gid = gid;
        }
        Ok(())
    }

    fn make(&self, new: &NewKey<'_>) -> Result<Arc<Key>> {
        self.table.lock().make(new)
    }

    /// As [`Self::make`], of nobody's quota: what guests have made cannot be in the way.
    fn make_uncharged(&self, new: &NewKey<'_>) -> Result<Arc<Key>> {
        self.table.lock().insert(new, Arc::default())
    }

    /// All keyrings that are called so.
    fn keyrings_called(&self, name: &[u8]) -> Vec<Arc<Key>> {
        let keys: Vec<Arc<Key>> = self.table.lock().keys.values().filter_map(Weak::upgrade).collect();
        keys.into_iter().filter(|key| key.is_called(KeyType::Keyring, name)).collect()
    }
}

impl Table {
    fn make(&mut self, new: &NewKey<'_>) -> Result<Arc<Key>> {
        let size = KEY_COST + new.description.len() + new.payload.len();
        heap::room_for(size as u64, Purpose::Lasting)?;
        let usage = self.usage.of(new.owner.0);
        self.insert(new, usage)
    }

    fn insert(&mut self, new: &NewKey<'_>, usage: Arc<KeyUsage>) -> Result<Arc<Key>> {
        let serial = self.free_serial();
        let key = Key::new(serial, new, usage)?;
        self.keys.insert(serial, Arc::downgrade(&key));
        Ok(key)
    }

    /// A number that no key has. Where they run out of order, what is left of dead keys is cleared away.
    fn free_serial(&mut self) -> i32 {
        const FIRST: i32 = 3;
        const SWEEP_EVERY: i32 = 1024;
        loop {
            self.last_serial = self.last_serial.checked_add(1).unwrap_or(FIRST).max(FIRST);
            if self.last_serial % SWEEP_EVERY == 0 {
                self.keys.retain(|_, key| key.strong_count() > 0);
            }
            if self.keys.get(&self.last_serial).is_none_or(|key| key.strong_count() == 0) {
                return self.last_serial;
            }
        }
    }
}
