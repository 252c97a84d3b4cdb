//! Vectors of buffers (`struct iovec`; `man 2 readv`).

use abi::{Errno, Result, UserAddr};
use smallvec::{SmallVec, smallvec};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::MemoryManager;

/// The most buffers in one vector (`UIO_MAXIOV`).
const IOV_MAX: usize = 1024;
/// The most bytes that one call moves (`MAX_RW_COUNT`).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

/// `struct iovec`.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
struct IoVec {
    base: u64,
    len: u64,
}

/// Ranges of guest memory; few calls bring more than would fit without an allocation.
pub type IoRanges = SmallVec<[(UserAddr, usize); 8]>;

impl MemoryManager {
    /// Reads `count` entries at `addr`. The lengths add up to at most [`MAX_RW_COUNT`]: later ones are shortened.
    ///
    /// # Errors
    /// `EINVAL` for more than 1024 entries or a negative length; `EFAULT`.
    pub fn read_iovec(&self, addr: UserAddr, count: u64) -> Result<IoRanges> {
        let count = usize::try_from(count).ok().filter(|&count| count <= IOV_MAX).ok_or(Errno::EINVAL)?;
        let mut raw: SmallVec<[IoVec; 8]> = smallvec![IoVec { base: 0, len: 0 }; count];
        self.read(addr, raw.as_mut_bytes())?;
        let mut left = MAX_RW_COUNT;
        let shortened = raw.iter().map(|entry| {
            let len = i64::try_from(entry.len).map_err(|_| Errno::EINVAL)?;
            let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?.min(left);
            left -= len;
            Ok((UserAddr(entry.base), len))
        });
        shortened.collect()
    }
}
