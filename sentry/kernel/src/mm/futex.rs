//! What a futex is, whatever address names it (`man 2 futex`), and how its word is looked at with a lock held that others
//! need: only where it is there already, since to bring it in may take a file's server as long as it likes.

use abi::{Errno, Result, UserAddr};
use host::memory::VolatileSlice;

use super::fault::Access;
use super::manager::MemoryManager;
use crate::task::is_current_killed;

/// A futex word as a caller names it.
#[derive(Clone, Copy, Debug)]
pub struct FutexWord {
    /// Where.
    pub addr: UserAddr,
    /// Whether other processes may use it: what the guest says by leaving out `FUTEX_PRIVATE_FLAG`.
    pub is_shared: bool,
}

/// Two futex words are the same exactly if their keys are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FutexKey {
    /// Private to one address space.
    Private {
        /// The address space.
        space: usize,
        /// The address in it.
        addr: u64,
    },
    /// In a shared mapping.
    Shared {
        /// The mapped file or object. Valid while it is mapped; a waiter's own mapping keeps it so.
        object: usize,
        /// Byte offset in it.
        offset: u64,
    },
}

/// Why a word could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WordError {
    /// Its page must be brought in first.
    Missing(UserAddr, Access),
    /// For good.
    Errno(Errno),
}

impl From<Errno> for WordError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// What a look at a word gives.
pub(crate) type WordResult<T> = std::result::Result<T, WordError>;

/// The words of an address space that are there now.
pub(crate) struct Words<'a>(&'a MemoryManager);

impl Words<'_> {
    /// Loads the aligned `u32` at `addr` atomically.
    pub(crate) fn load_u32(&self, addr: UserAddr) -> WordResult<u32> {
        let mut value = 0;
        self.atomic(addr, Access::READ, &mut |word| word.load_u32(0).map(|found| value = found))?;
        Ok(value)
    }

    /// Replaces the aligned `u32` at `addr` atomically by `new` if it is `old`; returns what was there.
    pub(crate) fn compare_exchange_u32(&self, addr: UserAddr, old: u32, new: u32) -> WordResult<u32> {
        let mut value = 0;
        self.atomic(addr, Access::WRITE, &mut |word| {
            word.compare_exchange_u32(0, old, new).map(|found| value = found)
        })?;
        Ok(value)
    }

    fn atomic(
        &self,
        addr: UserAddr,
        access: Access,
        f: &mut dyn FnMut(VolatileSlice<'_>) -> Result<()>,
    ) -> WordResult<()> {
        if !addr.0.is_multiple_of(4) {
            return Err(Errno::EINVAL.into());
        }
        if self.0.outside(addr.0) {
            return Err(Errno::EFAULT.into());
        }
        let pages = self.0.pages.read();
        match self.0.piece(&pages, addr.0, 4, access, 0, &mut |piece, _| f(piece)) {
            Some(Ok(4)) => Ok(()),
            Some(_) => Err(Errno::EFAULT.into()),
            None => Err(WordError::Missing(addr, access)),
        }
    }
}

impl MemoryManager {
    /// What keys in this address space's own memory are known by.
    fn futex_space(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Runs `f`, which may take locks and must have changed nothing where it says that a word is missing: then the word
    /// is brought in, without those locks, and `f` runs again.
    ///
    /// # Errors
    /// What `f` says; `EFAULT` where a word cannot be brought in.
    pub(crate) fn with_words<T>(&self, mut f: impl FnMut(&Words<'_>) -> WordResult<T>) -> Result<T> {
        /// What a task that ends tries: another thread may take the word away each time.
        const LAST_TRIES: u32 = 16;
        let mut tries = 0;
        loop {
            tries += 1;
            match f(&Words(self)) {
                Ok(value) => return Ok(value),
                Err(WordError::Errno(errno)) => return Err(errno),
                Err(WordError::Missing(..)) if tries > LAST_TRIES && is_current_killed() => {
                    return Err(Errno::EINTR);
                }
                Err(WordError::Missing(addr, access)) => {
                    self.fault_in(addr.0, access).map_err(|_| Errno::EFAULT)?;
                }
            }
        }
    }

    /// Loads the aligned `u32` at `addr` atomically.
    ///
    /// # Errors
    /// `EFAULT`; `EINVAL` where it is not aligned.
    pub fn load_u32(&self, addr: UserAddr) -> Result<u32> {
        self.with_words(|words| words.load_u32(addr))
    }

    /// Replaces the aligned `u32` at `addr` atomically by `new` if it is `old`; returns what was there.
    ///
    /// # Errors
    /// As [`Self::load_u32`].
    pub fn compare_exchange_u32(&self, addr: UserAddr, old: u32, new: u32) -> Result<u32> {
        self.with_words(|words| words.compare_exchange_u32(addr, old, new))
    }

    /// The key of the futex `word`.
    ///
    /// # Errors
    /// `EINVAL` where its address is not a multiple of 4; `EFAULT` where nothing is mapped.
    pub fn futex_key(&self, word: FutexWord) -> Result<FutexKey> {
        let addr = word.addr;
        if !addr.0.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if addr.0 >= self.bounds.end {
            return Err(Errno::EFAULT);
        }
        let private = FutexKey::Private { space: self.futex_space(), addr: addr.0 };
        if !word.is_shared {
            return Ok(private);
        }
        let mappings = self.read_mappings();
        let (range, vma) = mappings.vmas.get(addr.0).ok_or(Errno::EFAULT)?;
        match &vma.object {
            Some(object) if vma.is_shared() => Ok(FutexKey::Shared {
                object: object.identity(),
                offset: object.offset + (addr.0 - range.start),
            }),
            _ => Ok(private),
        }
    }
}
