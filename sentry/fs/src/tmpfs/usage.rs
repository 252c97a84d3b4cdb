//! How much of a tmpfs is used: `size=`, `nr_blocks=` and `nr_inodes=`.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::{Errno, Result};

/// Counts pages and inodes against their limits.
#[derive(Debug)]
pub(super) struct Usage {
    pages: AtomicU64,
    inodes: AtomicU64,
    max_pages: AtomicU64,
    max_inodes: AtomicU64,
}

/// No limit.
pub(super) const UNLIMITED: u64 = u64::MAX;

impl Usage {
    pub(super) fn new(max_pages: u64, max_inodes: u64) -> Self {
        Self {
            pages: AtomicU64::new(0),
            inodes: AtomicU64::new(0),
            max_pages: AtomicU64::new(max_pages),
            max_inodes: AtomicU64::new(max_inodes),
        }
    }

    /// Takes up to `wanted` pages, at least one; returns how many.
    pub(super) fn charge_pages(&self, wanted: u64) -> Result<u64> {
        let max = self.max_pages.load(Ordering::Relaxed);
        let grant = |used: u64| wanted.min(max.saturating_sub(used));
        self.pages
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| match grant(used) {
                0 => None,
                pages => Some(used + pages),
            })
            .map(grant)
            .map_err(|_| Errno::ENOSPC)
    }

    pub(super) fn uncharge_pages(&self, pages: u64) {
        self.pages.fetch_sub(pages, Ordering::AcqRel);
    }

    pub(super) fn charge_inode(&self) -> Result<()> {
        let max = self.max_inodes.load(Ordering::Relaxed);
        self.inodes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| (used < max).then_some(used + 1))
            .map(|_| ())
            .map_err(|_| Errno::ENOSPC)
    }

    pub(super) fn uncharge_inode(&self) {
        self.inodes.fetch_sub(1, Ordering::AcqRel);
    }

    /// Pages used and allowed.
    pub(super) fn pages(&self) -> (u64, u64) {
        (self.pages.load(Ordering::Relaxed), self.max_pages.load(Ordering::Relaxed))
    }

    /// Inodes used and allowed.
    pub(super) fn inodes(&self) -> (u64, u64) {
        (self.inodes.load(Ordering::Relaxed), self.max_inodes.load(Ordering::Relaxed))
    }

    /// Changes the limits (remount).
    ///
    /// # Errors
    /// `EINVAL` below what is used.
    pub(super) fn set_limits(&self, max_pages: Option<u64>, max_inodes: Option<u64>) -> Result<()> {
        let too_small = max_pages.is_some_and(|max| max < self.pages().0)
            || max_inodes.is_some_and(|max| max < self.inodes().0);
        if too_small {
            return Err(Errno::EINVAL);
        }
        if let Some(max) = max_pages {
            self.max_pages.store(max, Ordering::Relaxed);
        }
        if let Some(max) = max_inodes {
            self.max_inodes.store(max, Ordering::Relaxed);
        }
        Ok(())
    }
}
