//! Attributes that can be changed, extended ones included, for made-up files that somebody may be given.
//!
//! Locks: `attr` and `extended`, leaves.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::{Errno, Result};
use host::heap::{self, Purpose};
use kernel::time::Timekeeper;
use kernel::vfs::{Attr, SetAttr, SetXattrFlags, Xattr};
use parking_lot::Mutex;

/// Extended attributes of one file at most, and their bytes, as in Linux's kernfs.
const MAX_EXTENDED: usize = 128;
const MAX_EXTENDED_BYTES: usize = 128 << 10;
/// About what one takes besides its name and its value.
const EXTENDED_COST: u64 = 100;

/// What stat(2) and getxattr(2) tell of a file.
pub struct Attributes {
    attr: Mutex<Attr>,
    extended: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
    timekeeper: Arc<Timekeeper>,
}

impl Attributes {
    /// These, for the time being.
    #[must_use]
    pub fn new(attr: Attr, timekeeper: &Arc<Timekeeper>) -> Self {
        Self { attr: Mutex::new(attr), extended: Mutex::default(), timekeeper: timekeeper.clone() }
    }

    /// What stat(2) tells.
    #[must_use]
    pub fn attr(&self) -> Attr {
        *self.attr.lock()
    }

    /// Changes that. There is no size to change.
    pub fn change(&self, change: &SetAttr) {
        self.attr.lock().apply(change, self.timekeeper.now());
    }
}

impl Xattr for Attributes {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.extended.lock().get(name).cloned().ok_or(Errno::ENODATA)
    }

    fn set(&self, name: &[u8], value: &[u8], flags: SetXattrFlags) -> Result<()> {
        if name.starts_with(b"system.") {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut extended = self.extended.lock();
        match extended.contains_key(name) {
            true if flags.contains(SetXattrFlags::CREATE) => return Err(Errno::EEXIST),
            false if flags.contains(SetXattrFlags::REPLACE) => return Err(Errno::ENODATA),
            false if extended.len() >= MAX_EXTENDED => return Err(Errno::ENOSPC),
            _ => {}
        }
        let others = extended.iter().filter(|(known, _)| *known != name);
        let bytes: usize = others.map(|(name, value)| name.len() + value.len()).sum();
        if bytes + name.len() + value.len() > MAX_EXTENDED_BYTES {
            return Err(Errno::ENOSPC);
        }
        heap::room_for(EXTENDED_COST + (name.len() + value.len()) as u64, Purpose::Lasting)?;
        extended.insert(name.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        self.extended.lock().remove(name).map(drop).ok_or(Errno::ENODATA)
    }

    fn list(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.extended.lock().keys().cloned().collect())
    }
}
