//! Vectors of buffers (`struct iovec`; `man 2 readv`).

use abi::{Errno, Result, UserAddr};

use super::MemoryManager;

/// The most buffers in one vector (`UIO_MAXIOV`).
pub const IOV_MAX: usize = 1024;

/// The most bytes that one call moves (`MAX_RW_COUNT`).
pub const MAX_RW_COUNT: usize = 0x7fff_f000;

impl MemoryManager {
    /// Reads `count` entries at `addr`. The lengths add up to at most [`MAX_RW_COUNT`]: later ones are shortened.
    ///
    /// # Errors
    /// `EINVAL` for more than [`IOV_MAX`] entries or a negative length; `EFAULT`.
    pub fn read_iovec(&self, addr: UserAddr, count: usize) -> Result<Vec<(UserAddr, usize)>> {
        if count > IOV_MAX {
            return Err(Errno::EINVAL);
        }
        let mut raw = vec![0; count * 16];
        self.read(addr, &mut raw)?;
        let mut room = MAX_RW_COUNT;
        raw.chunks_exact(16)
            .map(|entry| {
                let (base, len) = entry.split_at(8);
                let word = |bytes: &[u8]| bytes.try_into().map(u64::from_ne_bytes).map_err(|_| Errno::EFAULT);
                let len = i64::try_from(word(len)?).map_err(|_| Errno::EINVAL)?;
                let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?.min(room);
                room -= len;
                Ok((UserAddr(word(base)?), len))
            })
            .collect()
    }
}
