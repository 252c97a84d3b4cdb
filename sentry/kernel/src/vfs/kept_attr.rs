//! Attributes that an inode keeps in memory, for file systems whose files are all made alike.
//!
//! Locks: the attributes' is a leaf.

use std::sync::Arc;

use abi::Timespec;
use parking_lot::Mutex;

use super::{Attr, SetAttr};
use crate::time::Timekeeper;

/// An inode's attributes, and the clock that stamps their changes.
#[derive(Debug)]
pub struct KeptAttr {
    attr: Mutex<Attr>,
    timekeeper: Arc<Timekeeper>,
}

impl KeptAttr {
    /// Begins with `attr`.
    #[must_use]
    pub fn new(attr: Attr, timekeeper: &Arc<Timekeeper>) -> Self {
        Self { attr: Mutex::new(attr), timekeeper: timekeeper.clone() }
    }

    /// As they are.
    #[must_use]
    pub fn get(&self) -> Attr {
        *self.attr.lock()
    }

    /// Carries out what `Inode::set_attr` is asked for; a new size is no business of such files.
    pub fn set(&self, change: &SetAttr) {
        self.update(|attr, now| attr.apply(change, now));
    }

    /// Changes them, given the time.
    pub fn update(&self, change: impl FnOnce(&mut Attr, Timespec)) {
        let now = self.timekeeper.now();
        change(&mut self.attr.lock(), now);
    }
}
