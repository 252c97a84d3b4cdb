//! Address spaces as a guest sees them, on the fake platform.

mod copies;
mod files;
mod model;
mod private;
mod texts;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use abi::{Result, UserAddr};
use platform::Protection;

use super::{Access, Backing, HostFile, Mappable, MappingSet, MmapArgs, MmapFlags};
use crate::testing::FakeGuest;

pub(super) const PAGE: u64 = 4096;
pub(super) const RW: Protection = Protection { read: true, write: true, execute: false };
pub(super) const R: Protection = Protection { read: true, write: false, execute: false };
pub(super) const NONE: Protection = Protection { read: false, write: false, execute: false };

/// A host file as a gofer would donate it.
pub(super) struct TestFile {
    host: Arc<HostFile>,
    mappings: MappingSet,
}

impl TestFile {
    pub(super) fn new(content: &[u8]) -> Arc<Self> {
        Self::with(content, HostFile::new)
    }

    /// One that nobody writes to.
    pub(super) fn constant(content: &[u8]) -> Arc<Self> {
        Self::with(content, HostFile::constant)
    }

    fn with(content: &[u8], host: fn(OwnedFd) -> HostFile) -> Arc<Self> {
        let fd = host::memory::memfd(c"test-file", content.len() as u64).unwrap();
        file_of(&fd).write_all_at(content, 0).unwrap();
        Arc::new(Self { host: Arc::new(host(fd)), mappings: MappingSet::new() })
    }

    pub(super) fn file(&self) -> std::fs::File {
        std::fs::File::from(self.host.fd().try_clone_to_owned().unwrap())
    }

    pub(super) fn truncate(&self, size: u64) {
        self.file().set_len(size).unwrap();
        self.mappings.invalidate(abi::page_ceil(size).unwrap(), u64::MAX, true);
    }
}

fn file_of(fd: &OwnedFd) -> std::fs::File {
    std::fs::File::from(fd.as_fd().try_clone_to_owned().unwrap())
}

impl Mappable for TestFile {
    fn backing(&self, offset: u64, len: u64, _access: Access) -> Result<Backing> {
        self.host.backing(offset, len)
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }
}

/// Private anonymous memory of the kernel's choosing.
pub(super) fn map_anon(guest: &FakeGuest, len: u64, flags: MmapFlags) -> u64 {
    guest.mm.mmap(MmapArgs::anonymous(UserAddr::NULL, len, flags)).unwrap().0
}

pub(super) fn map_file(
    guest: &FakeGuest,
    file: &Arc<TestFile>,
    len: u64,
    prot: Protection,
    flags: MmapFlags,
) -> u64 {
    let args = MmapArgs {
        prot,
        mappable: Some((file.clone(), 0)),
        ..MmapArgs::anonymous(UserAddr::NULL, len, flags)
    };
    guest.mm.mmap(args).unwrap().0
}
