//! The dentry cache: which unused names stay in memory.
//!
//! A directory's map refers to its children weakly; what keeps a child alive while nobody uses it is a slot here.
//! A cached look-up takes no lock of this cache: it sets the dentry's *referenced* bit, and the clock hand, which
//! moves only when a name is added to a full cache, passes over such dentries once (the second-chance algorithm).
//!
//! Locks: `ring` is a leaf. Dentries are dropped after it is released, because dropping one locks its parent's map.

use std::sync::Arc;

use host::heap::{self, Purpose};
use parking_lot::Mutex;

use super::{Dentry, Superblock};

/// Most names kept though unused. With their inodes a few hundred bytes each.
const DEFAULT_LIMIT: usize = 64 * 1024;

/// How far the hand moves for one new name.
const HAND_STEPS: usize = 16;

/// Keeps recently used dentries alive.
#[derive(Debug)]
pub(super) struct DentryCache {
    ring: Mutex<Ring>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Ring {
    slots: Vec<Option<Arc<Dentry>>>,
    free: Vec<u32>,
    hand: usize,
}

impl DentryCache {
    pub(super) fn new() -> Self {
        Self { ring: Mutex::default(), limit: DEFAULT_LIMIT }
    }

    /// Keeps `dentry`, making room where the cache is full.
    pub(super) fn insert(&self, dentry: &Arc<Dentry>) {
        let mut evicted = [const { None }; 2];
        {
            let mut ring = self.ring.lock();
            let is_full = ring.slots.len() - ring.free.len() >= self.limit;
            if is_full || heap::room_for(0, Purpose::Cache).is_err() {
                for slot in &mut evicted {
                    *slot = ring.evict();
                }
            }
            let slot = match ring.free.pop() {
                Some(slot) => slot,
                None => {
                    ring.slots.push(None);
                    (ring.slots.len() - 1) as u32
                }
            };
            ring.slots[slot as usize] = Some(dentry.clone());
            dentry.set_cache_slot(Some(slot));
        }
        drop(evicted);
    }

    /// Lets go of `dentry`: it was unlinked, or turned out stale.
    pub(super) fn remove(&self, dentry: &Dentry) {
        let removed = {
            let mut ring = self.ring.lock();
            dentry.take_cache_slot().and_then(|slot| ring.take(slot))
        };
        drop(removed);
    }

    /// Lets go of all names of a file system.
    pub(super) fn forget_superblock(&self, sb: &Arc<Superblock>) {
        let removed: Vec<_> = {
            let mut ring = self.ring.lock();
            let of_sb =
                |slot: &Option<Arc<Dentry>>| slot.as_ref().is_some_and(|d| Arc::ptr_eq(d.superblock(), sb));
            let slots: Vec<u32> =
                (0u32..).zip(&ring.slots).filter(|(_, slot)| of_sb(slot)).map(|(index, _)| index).collect();
            let removed: Vec<_> = slots.into_iter().filter_map(|slot| ring.take(slot)).collect();
            for dentry in &removed {
                dentry.set_cache_slot(None);
            }
            removed
        };
        drop(removed);
    }
}

impl Ring {
    fn take(&mut self, slot: u32) -> Option<Arc<Dentry>> {
        let dentry = self.slots.get_mut(slot as usize)?.take()?;
        self.free.push(slot);
        Some(dentry)
    }

    /// Moves the hand to a name that nobody uses and takes it out.
    fn evict(&mut self) -> Option<Arc<Dentry>> {
        for _ in 0..HAND_STEPS {
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            let Some(dentry) = self.slots.get(self.hand).and_then(Option::as_ref) else { continue };
            if !dentry.take_referenced() && Arc::strong_count(dentry) == 1 {
                dentry.set_cache_slot(None);
                return self.take(self.hand as u32);
            }
        }
        None
    }
}
