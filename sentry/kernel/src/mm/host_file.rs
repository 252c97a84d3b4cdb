//! Host files as memory: descriptors that stubs map, with the sentry's own lazily mapped view for copies.
//!
//! Locks: `windows` is a leaf.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::{Errno, PAGE_SIZE, Result, page_ceil};
use host::memory::{Mapping, VolatileSlice};
use parking_lot::Mutex;

use super::Access;

/// Bytes of a file that the sentry maps at a time, where it must touch them itself.
const WINDOW: u64 = 2 << 20;

/// Most pieces of one file that stay mapped.
const MAX_WINDOWS: usize = 64;

/// A host file that can be mapped into stubs, with the sentry's own view of it for copies.
#[derive(Debug)]
pub struct HostFile {
    fd: OwnedFd,
    /// Its bytes stay what they are.
    is_constant: bool,
    windows: Mutex<HashMap<u64, Window>>,
}

/// A mapped piece of the file.
#[derive(Clone, Debug)]
struct Window {
    mapping: Arc<Mapping>,
    writable: bool,
}

impl HostFile {
    /// Wraps a descriptor donated by a gofer.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, is_constant: false, windows: Mutex::default() }
    }

    /// As [`Self::new`], for a file that nobody writes to while we have it.
    #[must_use]
    pub fn constant(fd: OwnedFd) -> Self {
        Self { is_constant: true, ..Self::new(fd) }
    }

    /// Whether nobody writes to it.
    pub(crate) const fn is_constant(&self) -> bool {
        self.is_constant
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The [`super::Backing`] of a range of this file: what lies before its end, in whole pages.
    ///
    /// # Errors
    /// `ENXIO` where the range begins behind the last page; what `fstat(2)` says.
    pub fn backing(self: &Arc<Self>, offset: u64, len: u64) -> Result<super::Backing> {
        let end = page_ceil(host::memory::file_size(self.fd())?).ok_or(Errno::EFBIG)?;
        let len = len.min(end.saturating_sub(offset));
        if len == 0 {
            Err(Errno::ENXIO)
        } else {
            Ok(super::Backing::Host { file: self.clone(), offset, len })
        }
    }

    /// The part of the sentry's view that begins at `offset` and has at most `len` bytes (it ends with the window).
    ///
    /// # Errors
    /// `EFAULT` where the descriptor does not allow the access; what `mmap(2)` says.
    pub(crate) fn view(&self, offset: u64, len: usize, access: Access) -> Result<View> {
        let index = offset / WINDOW;
        let window = self.window(index)?;
        if access.write && !window.writable {
            return Err(Errno::EFAULT);
        }
        let start = offset % WINDOW;
        let len = len.min((WINDOW - start) as usize);
        Ok(View { mapping: window.mapping, start, len })
    }

    fn window(&self, index: u64) -> Result<Window> {
        let mut windows = self.windows.lock();
        if let Some(window) = windows.get(&index) {
            return Ok(window.clone());
        }
        let map = |writable| Mapping::shared(self.fd(), index * WINDOW, WINDOW as usize, writable);
        let window = match map(true) {
            Ok(mapping) => Window { mapping: Arc::new(mapping), writable: true },
            Err(Errno::EACCES | Errno::EPERM) => Window { mapping: Arc::new(map(false)?), writable: false },
            Err(error) => return Err(error),
        };
        if windows.len() >= MAX_WINDOWS {
            // Those in use stay mapped until their users are done.
            windows.clear();
        }
        windows.insert(index, window.clone());
        Ok(window)
    }

    /// Reads a range into frames (which are zero already); the end of the file leaves the rest zero.
    pub(crate) fn read_into(&self, offset: u64, to: &VolatileSlice<'_>) -> Result<()> {
        let mut done = 0;
        while done < to.len() {
            let rest = to.sub(done, to.len() - done)?;
            match host::memory::preadv(self.fd(), &[rest], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A piece of a host file in the sentry's memory, kept mapped while this value lives.
#[derive(Debug)]
pub(crate) struct View {
    mapping: Arc<Mapping>,
    start: u64,
    len: usize,
}

impl View {
    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The bytes themselves.
    pub(crate) fn slice(&self) -> Result<VolatileSlice<'_>> {
        self.mapping.slice(self.start, self.len)
    }
}

const _: () = assert!(WINDOW.is_multiple_of(PAGE_SIZE));
