//! Where a read puts its bytes and a write takes them from: guest memory or the sentry's own.

use abi::{Errno, Result, UserAddr};
use host::memory::VolatileSlice;
use smallvec::{SmallVec, smallvec};

use super::{Access, MemoryManager};

/// Ranges of guest memory, consumed front to back.
#[derive(Debug)]
struct UserRanges<'a> {
    mm: &'a MemoryManager,
    /// In reverse order: the one in use is the last.
    ranges: SmallVec<[(UserAddr, usize); 2]>,
    left: usize,
}

impl<'a> UserRanges<'a> {
    fn new(mm: &'a MemoryManager, ranges: &[(UserAddr, usize)]) -> Self {
        let ranges: SmallVec<_> = ranges.iter().rev().copied().filter(|(_, len)| *len > 0).collect();
        let left = ranges.iter().map(|(_, len)| *len).sum();
        Self { mm, ranges, left }
    }

    fn one(mm: &'a MemoryManager, addr: UserAddr, len: usize) -> Self {
        Self { mm, ranges: if len > 0 { smallvec![(addr, len)] } else { SmallVec::new() }, left: len }
    }

    fn advance(&mut self, count: usize) {
        let mut count = count.min(self.left);
        self.left -= count;
        while count > 0 {
            let Some((addr, len)) = self.ranges.last_mut() else { return };
            let step = count.min(*len);
            *addr = UserAddr(addr.0.wrapping_add(step as u64));
            *len -= step;
            count -= step;
            if *len == 0 {
                self.ranges.pop();
            }
        }
    }

    /// Moves up to `max` bytes with `copy`, which gets an address, a length, and how many bytes came before; it returns
    /// how many it moved. Stops at the first short count.
    fn transfer(
        &mut self,
        max: usize,
        copy: &mut dyn FnMut(UserAddr, usize, usize) -> usize,
    ) -> Result<usize> {
        let max = max.min(self.left);
        let mut done = 0;
        while done < max {
            let Some(&(addr, len)) = self.ranges.last() else { break };
            let len = len.min(max - done);
            let moved = copy(addr, len, done);
            self.advance(moved);
            done += moved;
            if moved < len {
                break;
            }
        }
        if done == 0 && max > 0 { Err(Errno::EFAULT) } else { Ok(done) }
    }

    /// Hands the memory of all ranges, at most `max` bytes, to `f` in one call: transfers of iovecs are not torn apart.
    /// Only where there are more pieces than a host call takes are there several calls, until one does not use up what
    /// it is given.
    fn slices(
        &mut self,
        max: usize,
        access: Access,
        f: &mut dyn FnMut(&[VolatileSlice<'_>]) -> Result<usize>,
    ) -> Result<usize> {
        let max = max.min(self.left);
        let mut done = 0;
        while done < max {
            let mut wanted = max - done;
            let mut batch = SmallVec::<[(UserAddr, usize); 8]>::new();
            for &(addr, len) in self.ranges.iter().rev() {
                batch.push((addr, len.min(wanted)));
                wanted = wanted.saturating_sub(len);
                if wanted == 0 {
                    break;
                }
            }
            let mut given = 0;
            let moved = self.mm.with_slices(&batch, access, &mut |slices| {
                given = slices.iter().map(VolatileSlice::len).sum();
                f(slices)
            });
            match moved.map(|moved| moved.min(given)) {
                Ok(moved) => {
                    self.advance(moved);
                    done += moved;
                    if moved < given {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }
}

#[derive(Debug)]
enum Dst<'a> {
    User(UserRanges<'a>),
    Kernel(&'a mut [u8], usize),
}

/// The target of a read: guest memory (one range or an iovec), or a buffer of ours. Filled front to back.
#[derive(Debug)]
pub struct IoDst<'a>(Dst<'a>);

impl<'a> IoDst<'a> {
    /// One range of guest memory.
    #[must_use]
    pub fn user(mm: &'a MemoryManager, addr: UserAddr, len: usize) -> Self {
        Self(Dst::User(UserRanges::one(mm, addr, len)))
    }

    /// Several ranges of guest memory.
    #[must_use]
    pub fn user_vec(mm: &'a MemoryManager, ranges: &[(UserAddr, usize)]) -> Self {
        Self(Dst::User(UserRanges::new(mm, ranges)))
    }

    /// A buffer of ours.
    #[must_use]
    pub fn kernel(bytes: &'a mut [u8]) -> Self {
        Self(Dst::Kernel(bytes, 0))
    }

    /// Bytes still to fill.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match &self.0 {
            Dst::User(ranges) => ranges.left,
            Dst::Kernel(bytes, filled) => bytes.len() - filled,
        }
    }

    /// Copies as much of `bytes` as fits and advances; returns how much. A fault after some bytes is a short count.
    ///
    /// # Errors
    /// `EFAULT` where not even one byte could be stored.
    pub fn put(&mut self, bytes: &[u8]) -> Result<usize> {
        match &mut self.0 {
            Dst::User(ranges) => {
                let mm = ranges.mm;
                ranges.transfer(bytes.len(), &mut |addr, len, done| {
                    mm.write_some(addr, &bytes[done..done + len])
                })
            }
            Dst::Kernel(target, filled) => {
                let count = bytes.len().min(target.len() - *filled);
                target[*filled..*filled + count].copy_from_slice(&bytes[..count]);
                *filled += count;
                Ok(count)
            }
        }
    }

    /// As [`Self::put`], from shared memory.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_slice(&mut self, from: VolatileSlice<'_>) -> Result<usize> {
        match &mut self.0 {
            Dst::User(ranges) => {
                let mm = ranges.mm;
                ranges.transfer(from.len(), &mut |addr, len, done| mm.copy_in_from(addr, &from, done, len))
            }
            Dst::Kernel(target, filled) => {
                let count = from.read(&mut target[*filled..])?;
                *filled += count;
                Ok(count)
            }
        }
    }

    /// Stores up to `len` zeros.
    ///
    /// # Errors
    /// As [`Self::put`].
    pub fn put_zeros(&mut self, len: usize) -> Result<usize> {
        match &mut self.0 {
            Dst::User(ranges) => {
                let mm = ranges.mm;
                ranges.transfer(len, &mut |addr, len, _| mm.zero_some(addr, len))
            }
            Dst::Kernel(target, filled) => {
                let count = len.min(target.len() - *filled);
                target[*filled..*filled + count].fill(0);
                *filled += count;
                Ok(count)
            }
        }
    }

    /// Hands at most `max` bytes of the target to `fill` as memory ranges (for `preadv` and the like), and advances
    /// by what it returns. Calls `fill` once, and again only where there are more ranges than one host call takes and it
    /// has filled all it was given; an error after some bytes is a short count.
    ///
    /// # Errors
    /// `EFAULT` where the first page cannot be reached, else what `fill` says.
    pub fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&[VolatileSlice<'_>]) -> Result<usize>,
    ) -> Result<usize> {
        match &mut self.0 {
            Dst::User(ranges) => ranges.slices(max, Access::WRITE, fill),
            Dst::Kernel(target, filled) => {
                let limit = max.min(target.len() - *filled);
                let count =
                    fill(&[VolatileSlice::from_mut(&mut target[*filled..*filled + limit])])?.min(limit);
                *filled += count;
                Ok(count)
            }
        }
    }
}

#[derive(Debug)]
enum Src<'a> {
    User(UserRanges<'a>),
    Kernel(&'a [u8]),
}

/// The source of a write: guest memory (one range or an iovec), or a buffer of ours. Consumed front to back.
#[derive(Debug)]
pub struct IoSrc<'a>(Src<'a>);

impl<'a> IoSrc<'a> {
    /// One range of guest memory.
    #[must_use]
    pub fn user(mm: &'a MemoryManager, addr: UserAddr, len: usize) -> Self {
        Self(Src::User(UserRanges::one(mm, addr, len)))
    }

    /// Several ranges of guest memory.
    #[must_use]
    pub fn user_vec(mm: &'a MemoryManager, ranges: &[(UserAddr, usize)]) -> Self {
        Self(Src::User(UserRanges::new(mm, ranges)))
    }

    /// A buffer of ours.
    #[must_use]
    pub fn kernel(bytes: &'a [u8]) -> Self {
        Self(Src::Kernel(bytes))
    }

    /// Bytes still to take.
    #[must_use]
    pub fn remaining(&self) -> usize {
        match &self.0 {
            Src::User(ranges) => ranges.left,
            Src::Kernel(bytes) => bytes.len(),
        }
    }

    /// Copies as much as fits into `bytes` and advances; returns how much.
    ///
    /// # Errors
    /// `EFAULT` where not even one byte could be loaded.
    pub fn take(&mut self, bytes: &mut [u8]) -> Result<usize> {
        match &mut self.0 {
            Src::User(ranges) => {
                let mm = ranges.mm;
                ranges.transfer(bytes.len(), &mut |addr, len, done| {
                    mm.read_some(addr, &mut bytes[done..done + len])
                })
            }
            Src::Kernel(source) => {
                let count = bytes.len().min(source.len());
                bytes[..count].copy_from_slice(&source[..count]);
                *source = &source[count..];
                Ok(count)
            }
        }
    }

    /// As [`Self::take`], into shared memory.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn take_slice(&mut self, to: VolatileSlice<'_>) -> Result<usize> {
        match &mut self.0 {
            Src::User(ranges) => {
                let mm = ranges.mm;
                ranges.transfer(to.len(), &mut |addr, len, done| mm.copy_out_to(addr, &to, done, len))
            }
            Src::Kernel(source) => {
                let count = to.write(source)?;
                *source = &source[count..];
                Ok(count)
            }
        }
    }

    /// Passes over up to `len` bytes without looking at them; returns how many.
    pub fn skip(&mut self, len: usize) -> usize {
        let count = len.min(self.remaining());
        match &mut self.0 {
            Src::User(ranges) => ranges.advance(count),
            Src::Kernel(source) => *source = &source[count..],
        }
        count
    }

    /// Hands at most `max` bytes of the source to `drain` as memory ranges, and advances by what it returns. May call
    /// `drain` several times, as [`IoDst::fill_with`] does.
    ///
    /// # Errors
    /// `EFAULT` where the first page cannot be reached, else what `drain` says.
    pub fn drain_with(
        &mut self,
        max: usize,
        drain: &mut dyn FnMut(&[VolatileSlice<'_>]) -> Result<usize>,
    ) -> Result<usize> {
        match &mut self.0 {
            Src::User(ranges) => ranges.slices(max, Access::READ, drain),
            Src::Kernel(source) => {
                let limit = max.min(source.len());
                // A drain only reads, but the type that names memory wants it writable.
                let mut copy = source[..limit].to_vec();
                let count = drain(&[VolatileSlice::from_mut(&mut copy)])?.min(limit);
                *source = &source[count..];
                Ok(count)
            }
        }
    }
}
