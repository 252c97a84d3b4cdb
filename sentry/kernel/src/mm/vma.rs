//! What the guest asked for: one mapping, and the kinds of bookkeeping attached to it.

use std::sync::Arc;

use bitflags::bitflags;
use platform::Protection;
use segment::Segment;

use super::fault::Access;
use super::mappable::Attached;
use crate::vfs::File;

bitflags! {
    /// Properties of a mapping beside its rights.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct VmaFlags: u32 {
        /// Stores reach the object and other mappings of it.
        const SHARED = 1;
        /// Grows downwards on faults below it.
        const GROWSDOWN = 1 << 1;
        /// Not accounted.
        const NORESERVE = 1 << 2;
        /// Locked, as far as accounting goes.
        const LOCKED = 1 << 3;
        /// Locked as pages are touched.
        const LOCK_ON_FAULT = 1 << 4;
        /// Not inherited by fork(2).
        const DONTFORK = 1 << 5;
        /// Zero in the child of fork(2).
        const WIPEONFORK = 1 << 6;
        /// Not in core dumps.
        const DONTDUMP = 1 << 7;
        /// Huge pages wanted.
        const HUGEPAGE = 1 << 8;
        /// Huge pages not wanted.
        const NOHUGEPAGE = 1 << 9;
        /// May be deduplicated.
        const MERGEABLE = 1 << 10;
        /// Read in sequence.
        const SEQUENTIAL = 1 << 11;
        /// Read at random.
        const RANDOM = 1 << 12;
        /// Of fixed size and rights: `[vdso]`, `[vvar]`.
        const SPECIAL = 1 << 13;
        /// mprotect(2) may add write access.
        const MAY_WRITE = 1 << 14;
        /// mprotect(2) may add the right to execute.
        const MAY_EXEC = 1 << 15;
        /// Stays as it is: mseal(2).
        const SEALED = 1 << 16;
    }
}

/// The object behind a mapping.
#[derive(Clone)]
pub(crate) struct VmaObject {
    pub(crate) mappable: Attached,
    /// Byte offset of the mapping's start.
    pub(crate) offset: u64,
    /// The open file, where there is one.
    pub(crate) file: Option<Arc<File>>,
}

impl VmaObject {
    /// What tells the mapped file from others.
    pub(crate) fn identity(&self) -> usize {
        self.mappable.mappings().identity()
    }
}

/// A mapping: Linux's `vm_area_struct`.
#[derive(Clone)]
pub(crate) struct Vma {
    pub(crate) prot: Protection,
    pub(crate) flags: VmaFlags,
    pub(crate) object: Option<VmaObject>,
    /// `[heap]`, `[stack]`, `[vdso]`.
    pub(crate) name: Option<&'static str>,
    /// Given by prctl(PR_SET_VMA_ANON_NAME).
    pub(crate) anon_name: Option<Arc<str>>,
}

impl Vma {
    pub(crate) fn is_shared(&self) -> bool {
        self.flags.contains(VmaFlags::SHARED)
    }

    /// Private memory without a file behind it.
    pub(crate) fn is_private_anon(&self) -> bool {
        self.object.is_none()
    }

    pub(crate) fn is_accessible(&self) -> bool {
        self.prot != Protection::default()
    }

    /// What it may do to its object.
    pub(crate) fn object_access(&self) -> Access {
        let may_store = self.is_shared() && self.flags.contains(VmaFlags::MAY_WRITE);
        if may_store { Access::WRITE } else { Access::READ }
    }

    /// How its pages are brought in ahead: a private one is to have its own.
    pub(crate) fn fill_access(&self) -> Access {
        if self.prot.write && !self.is_shared() { Access::WRITE } else { Access::READ }
    }

    /// Counted against `RLIMIT_DATA`.
    pub(crate) fn is_data(&self) -> bool {
        self.prot.write && !self.flags.intersects(VmaFlags::SHARED | VmaFlags::GROWSDOWN)
    }
}

impl Segment for Vma {
    fn split_off(&mut self, at: u64) -> Self {
        let mut tail = self.clone();
        if let Some(object) = &mut tail.object {
            object.offset += at;
        }
        tail
    }

    fn continues(&self, len: u64, next: &Self) -> bool {
        let same_object = match (&self.object, &next.object) {
            (None, None) => true,
            (Some(a), Some(b)) => {
                let same_file = match (&a.file, &b.file) {
                    (None, None) => true,
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    _ => false,
                };
                same_file && a.identity() == b.identity() && a.offset.checked_add(len) == Some(b.offset)
            }
            _ => false,
        };
        same_object
            && self.prot == next.prot
            && self.flags == next.flags
            && self.name == next.name
            && self.anon_name == next.anon_name
    }
}

impl std::fmt::Debug for Vma {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vma")
            .field("prot", &self.prot)
            .field("flags", &self.flags)
            .field("offset", &self.object.as_ref().map(|object| object.offset))
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
