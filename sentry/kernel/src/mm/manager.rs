//! The [`MemoryManager`]: one guest address space.

use std::sync::Arc;

use abi::{Result, SigInfo, UserAddr};
use bitflags::bitflags;
use host::memory::VolatileSlice;
use platform::{AddressSpace, Platform, Protection};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Mappable, MemoryFile};
use crate::vfs::File;

bitflags! {
    /// What kind of mapping is asked for, beyond its protection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MmapFlags: u32 {
        /// Stores are visible to other mappings of the file and written back to it.
        const SHARED = 1;
        /// At the given address, replacing what is there.
        const FIXED = 2;
        /// At the given address, failing with EEXIST where something is there.
        const FIXED_NOREPLACE = 4;
        /// Grows downwards on faults below it (a stack).
        const GROWSDOWN = 8;
        /// Do not account for the memory.
        const NORESERVE = 16;
        /// Fill all pages now.
        const POPULATE = 32;
        /// Lock pages (accounted against RLIMIT_MEMLOCK).
        const LOCKED = 64;
        /// In the low 2 GiB.
        const LOW = 128;
    }
}

/// Arguments of [`MemoryManager::mmap`].
pub struct MmapArgs {
    /// Hint, or the exact address with a FIXED flag.
    pub addr: UserAddr,
    /// Bytes; rounded up to pages.
    pub len: u64,
    /// Initial rights.
    pub prot: Protection,
    /// The kind of mapping.
    pub flags: MmapFlags,
    /// The object mapped with the byte offset in it; anonymous memory where `None`.
    pub mappable: Option<(Arc<dyn Mappable>, u64)>,
    /// The open file it came from: for names in `/proc/[pid]/maps`, and to keep it open.
    pub file: Option<Arc<File>>,
    /// Whether mprotect(2) may later add write access (a shared mapping of a read-only file may not).
    pub may_write: bool,
    /// Name shown in maps for special areas: `[heap]`, `[stack]`, `[vdso]`.
    pub name: Option<&'static str>,
}

/// The signal that an unresolvable fault deserves.
pub type FaultSignal = SigInfo;

/// One guest address space.
///
/// Locks: `mappings` (the VMAs), then `pages` (the PMAs), then the memory file's. Copies to and from guest memory hold
/// `pages` for reading, so that no page is freed under them; they may run with file-system locks held, never with a
/// spin lock held.
#[derive(Debug)]
pub struct MemoryManager;

impl MemoryManager {
    /// An empty address space.
    ///
    /// # Errors
    /// `ENOMEM` or `EAGAIN` where the platform has none to give.
    pub fn new(platform: &Arc<dyn Platform>, memory: &Arc<MemoryFile>) -> Result<Arc<Self>> {
        let _ = (platform, memory);
        unimplemented!()
    }

    /// A copy-on-write copy for fork(2).
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn fork(&self) -> Result<Arc<Self>> {
        unimplemented!()
    }

    /// The platform's side.
    #[must_use]
    pub fn address_space(&self) -> &Arc<dyn AddressSpace> {
        unimplemented!()
    }

    /// mmap(2) after argument checks that need files.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn mmap(&self, args: MmapArgs) -> Result<UserAddr> {
        let _ = args;
        unimplemented!()
    }

    /// munmap(2).
    ///
    /// # Errors
    /// `EINVAL`, `ENOMEM`.
    pub fn munmap(&self, addr: UserAddr, len: u64) -> Result<()> {
        let _ = (addr, len);
        unimplemented!()
    }

    /// Resolves a page fault: brings the page in, copies it, or grows the stack.
    ///
    /// # Errors
    /// The signal to send, with `si_code` and address, where the access is not allowed.
    pub fn handle_fault(
        &self,
        addr: UserAddr,
        write: bool,
        execute: bool,
    ) -> core::result::Result<(), FaultSignal> {
        let _ = (addr, write, execute);
        unimplemented!()
    }

    /// Copies guest memory into `to`.
    ///
    /// # Errors
    /// `EFAULT` unless all of it could be copied.
    pub fn read(&self, addr: UserAddr, to: &mut [u8]) -> Result<()> {
        let _ = (addr, to);
        unimplemented!()
    }

    /// Copies `from` to guest memory.
    ///
    /// # Errors
    /// `EFAULT` unless all of it could be copied.
    pub fn write(&self, addr: UserAddr, from: &[u8]) -> Result<()> {
        let _ = (addr, from);
        unimplemented!()
    }

    /// Reads a structure.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn read_object<T: FromBytes + IntoBytes>(&self, addr: UserAddr) -> Result<T> {
        let mut value = T::new_zeroed();
        self.read(addr, value.as_mut_bytes())?;
        Ok(value)
    }

    /// Writes a structure.
    ///
    /// # Errors
    /// `EFAULT`.
    pub fn write_object<T: IntoBytes + Immutable>(&self, addr: UserAddr, value: &T) -> Result<()> {
        self.write(addr, value.as_bytes())
    }

    /// Reads a NUL-terminated string of at most `max` bytes with its NUL, which is not returned.
    ///
    /// # Errors
    /// `EFAULT`; `ENAMETOOLONG` where no NUL comes in time.
    pub fn read_cstring(&self, addr: UserAddr, max: usize) -> Result<Vec<u8>> {
        let _ = (addr, max);
        unimplemented!()
    }

    /// Hands the bytes behind `addr..addr + len` to `f` as ranges of the sentry's memory, faulting pages in first.
    /// Stops early at a page that cannot be reached; fails where that is the first.
    ///
    /// # Errors
    /// `EFAULT`, or what `f` says.
    pub fn with_slices<T>(
        &self,
        addr: UserAddr,
        len: usize,
        write: bool,
        f: &mut dyn FnMut(&[VolatileSlice<'_>]) -> Result<T>,
    ) -> Result<T> {
        let _ = (addr, len, write, f);
        unimplemented!()
    }
}
