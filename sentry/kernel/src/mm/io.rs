//! Where a read puts its bytes and a write takes them from: guest memory or the sentry's own.

use abi::{Result, UserAddr};
use host::memory::VolatileSlice;

use super::MemoryManager;

/// The target of a read: guest memory (one range or an iovec), or a buffer of ours. Filled front to back.
#[derive(Debug)]
pub struct IoDst<'a> {
    _mm: Option<&'a MemoryManager>,
}

impl<'a> IoDst<'a> {
    /// One range of guest memory.
    #[must_use]
    pub fn user(mm: &'a MemoryManager, addr: UserAddr, len: usize) -> Self {
        let _ = (addr, len);
        Self { _mm: Some(mm) }
    }

    /// Several ranges of guest memory.
    #[must_use]
    pub fn user_vec(mm: &'a MemoryManager, ranges: &[(UserAddr, usize)]) -> Self {
        let _ = ranges;
        Self { _mm: Some(mm) }
    }

    /// A buffer of ours.
    #[must_use]
    pub fn kernel(bytes: &'a mut [u8]) -> Self {
        let _ = bytes;
        unimplemented!()
    }

    /// Bytes still to fill.
    #[must_use]
    pub fn remaining(&self) -> usize {
        unimplemented!()
    }

    /// Copies as much of `bytes` as fits and advances; returns how much. A fault after some bytes is a short count.
    ///
    /// # Errors
    /// `EFAULT` where not even one byte could be stored.
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        let _ = bytes;
        unimplemented!()
    }

    /// As [`Self::put`], from shared memory.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_slice(&mut self, from: VolatileSlice<'_>) -> Result<usize> {
        let _ = from;
        unimplemented!()
    }

    /// Stores up to `len` zeros.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_zeros(&mut self, len: usize) -> Result<usize> {
        let _ = len;
        unimplemented!()
    }

    /// Hands at most `max` bytes of the target to `fill` as memory ranges (for `preadv` and the like), and advances
    /// by what it returns.
    ///
    /// # Errors
    /// `EFAULT` where the first page cannot be reached, else what `fill` says.
    pub fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[VolatileSlice<'_>]) -> Result<usize>,
    ) -> Result<usize> {
        let _ = (max, fill);
        unimplemented!()
    }
}

/// The source of a write: guest memory (one range or an iovec), or a buffer of ours. Consumed front to back.
#[derive(Debug)]
pub struct IoSrc<'a> {
    _mm: Option<&'a MemoryManager>,
}

impl<'a> IoSrc<'a> {
    /// One range of guest memory.
    #[must_use]
    pub fn user(mm: &'a MemoryManager, addr: UserAddr, len: usize) -> Self {
        let _ = (addr, len);
        Self { _mm: Some(mm) }
    }

    /// Several ranges of guest memory.
    #[must_use]
    pub fn user_vec(mm: &'a MemoryManager, ranges: &[(UserAddr, usize)]) -> Self {
        let _ = ranges;
        Self { _mm: Some(mm) }
    }

    /// A buffer of ours.
    #[must_use]
    pub fn kernel(bytes: &'a [u8]) -> Self {
        let _ = bytes;
        unimplemented!()
    }

    /// Bytes still to take.
    #[must_use]
    pub fn remaining(&self) -> usize {
        unimplemented!()
    }

    /// Copies as much as fits into `bytes` and advances; returns how much.
    ///
    /// # Errors
    /// `EFAULT` where not even one byte could be loaded.
    pub fn take(&mut self, bytes: &mut [u8]) -> Result<usize> {
        let _ = bytes;
        unimplemented!()
    }

    /// As [`Self::take`], into shared memory.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_slice(&mut self, to: VolatileSlice<'_>) -> Result<usize> {
        let _ = to;
        unimplemented!()
    }

    /// Hands at most `max` bytes of the source to `drain` as memory ranges, and advances by what it returns.
    ///
    /// # Errors
    /// `EFAULT` where the first page cannot be reached, else what `drain` says.
    pub fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[VolatileSlice<'_>]) -> Result<usize>,
    ) -> Result<usize> {
        let _ = (max, drain);
        unimplemented!()
    }
}
