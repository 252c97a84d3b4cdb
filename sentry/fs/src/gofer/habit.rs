//! Whether who lists directories wants to know more of what is in them.
//!
//! Attributes cost the host a call for each name; what only wants names and types, as find(1) mostly does, walks through a
//! tree in half the time without them. So a listing comes with attributes until those of the files of some directories in
//! a row were of no use, and again as soon as one is missed: the directory is fetched once more then. Those of
//! directories always come, since who walks through a tree looks at them.

use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::inode::GoferInode;

/// Directories that were listed in vain before others are listed without attributes.
const ENOUGH: u32 = 2;

/// Of one mount. Lock: a leaf.
#[derive(Debug, Default)]
pub(super) struct Habit {
    /// The directory that was listed last.
    last: Mutex<Weak<GoferInode>>,
    /// Directories in a row whose files' attributes nobody wanted.
    in_vain: AtomicU32,
}

impl Habit {
    /// Whether `dir`, which is about to be listed, should be listed with all attributes.
    pub(super) fn wants_attributes(&self, dir: &GoferInode) -> bool {
        let last = std::mem::replace(&mut *self.last.lock(), dir.me().clone());
        match last.upgrade().and_then(|last| last.was_listing_useful()) {
            Some(true) => self.attributes_are_wanted(),
            Some(false) => _ = self.in_vain.fetch_add(1, Ordering::Relaxed),
            None => {}
        }
        self.in_vain.load(Ordering::Relaxed) < ENOUGH
    }

    /// Somebody looks at files.
    pub(super) fn attributes_are_wanted(&self) {
        self.in_vain.store(0, Ordering::Relaxed);
    }
}
