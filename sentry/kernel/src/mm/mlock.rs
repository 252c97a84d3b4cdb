//! Memory locks, as far as they are accounted (`man 2 mlock`). Guest memory is never paged out by us; what is locked is
//! counted, and brought in.

use std::ops::Range;

use abi::{Errno, Result};

use super::manager::{Mappings, MemoryManager};
use super::vma::VmaFlags;
use crate::task::{Capability, with_current};

/// What a memory lock sets.
const LOCKS: VmaFlags = VmaFlags::LOCKED.union(VmaFlags::LOCK_ON_FAULT);

/// When the pages of what is locked are brought in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// At once.
    Now,
    /// When they are touched (`MLOCK_ONFAULT`).
    OnFault,
}

impl LockKind {
    /// The flags of a mapping that is locked so.
    #[must_use]
    pub fn flags(self) -> VmaFlags {
        match self {
            Self::Now => VmaFlags::LOCKED,
            Self::OnFault => LOCKS,
        }
    }
}

/// What is locked, and to be brought in.
pub(super) fn is_filled(flags: VmaFlags) -> bool {
    flags & LOCKS == VmaFlags::LOCKED
}

impl Mappings {
    /// Bytes in locked mappings, counting all of `adding` as if it were locked.
    fn locked_bytes(&self, adding: &Range<u64>) -> u64 {
        let counted = |range: Range<u64>, flags: VmaFlags| {
            if flags.contains(VmaFlags::LOCKED) {
                return range.end - range.start;
            }
            range.end.min(adding.end).saturating_sub(range.start.max(adding.start))
        };
        self.vmas.iter().map(|(range, vma)| counted(range, vma.flags)).sum()
    }
}

impl MemoryManager {
    /// Whether `RLIMIT_MEMLOCK` leaves room for `more` bytes that are locked as they are mapped.
    ///
    /// # Errors
    /// `EAGAIN` where it does not.
    pub(super) fn check_locks(&self, mappings: &Mappings, more: u64) -> Result<()> {
        if self.may_lock(|| mappings.locked_bytes(&(0..0)).saturating_add(more)) {
            Ok(())
        } else {
            Err(Errno::EAGAIN)
        }
    }

    /// Whether so much may be locked: who has the capability, which is looked for last, may lock anything.
    fn may_lock(&self, bytes: impl FnOnce() -> u64) -> bool {
        let limit = self.limits.locked();
        limit == u64::MAX
            || bytes() <= limit
            || with_current(|task| task.creds().capable(Capability::IpcLock)).unwrap_or(false)
    }

    /// Brings in what has been added to a mapping, where that is locked. As in Linux, failing to is no failure to add it.
    pub(super) fn fill_added(&self, range: Range<u64>) {
        let flags = self.read_mappings().vmas.get(range.start).map(|(_, vma)| vma.flags);
        if flags.is_some_and(is_filled) {
            let _ = self.populate_locked(range);
        }
    }

    /// mlock2(2), of whole pages.
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped, or `RLIMIT_MEMLOCK` leaves no room; `EINTR` where the calling task
    /// has been killed.
    pub fn lock(&self, range: Range<u64>, kind: LockKind) -> Result<()> {
        let add = kind.flags();
        {
            let mut mappings = self.write_mappings();
            if !self.may_lock(|| mappings.locked_bytes(&range)) {
                return Err(Errno::ENOMEM);
            }
            self.set_flags(&mut mappings, range.clone(), add, LOCKS.difference(add))?;
        }
        if kind == LockKind::OnFault {
            return Ok(());
        }
        // Linux: pages that cannot be had make the call fail, though the range is locked.
        self.populate_locked(range)
            .map_err(|error| if error == Errno::EFAULT { Errno::ENOMEM } else { error })
    }

    /// munlock(2), of whole pages.
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped.
    pub fn unlock(&self, range: Range<u64>) -> Result<()> {
        self.set_flags(&mut self.write_mappings(), range, VmaFlags::empty(), LOCKS)
    }

    /// mlockall(2) and munlockall(2): what present mappings get, unless they are left alone, and future ones.
    ///
    /// # Errors
    /// `ENOMEM` where the present ones are more than `RLIMIT_MEMLOCK`.
    pub fn lock_all(&self, current: Option<VmaFlags>, future: VmaFlags) -> Result<()> {
        let mut mappings = self.write_mappings();
        if current.is_some_and(|locks| !locks.is_empty())
            && !self.may_lock(|| mappings.locked_bytes(&(0..u64::MAX)))
        {
            return Err(Errno::ENOMEM);
        }
        mappings.lock_future = future;
        if let Some(current) = current {
            mappings.vmas.update(0..u64::MAX, |_, vma| {
                if !vma.flags.contains(VmaFlags::SPECIAL) {
                    vma.flags.remove(LOCKS);
                    vma.flags.insert(current);
                }
            });
        }
        Ok(())
    }
}
