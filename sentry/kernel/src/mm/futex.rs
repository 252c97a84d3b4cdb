//! What a futex is, whatever address names it (`man 2 futex`).

use abi::{Errno, Result, UserAddr};

use super::manager::MemoryManager;

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

impl MemoryManager {
    /// What keys in this address space's own memory are known by.
    fn futex_space(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether the key names a word in this address space's own memory.
    pub(crate) fn owns_futex(&self, key: &FutexKey) -> bool {
        matches!(key, FutexKey::Private { space, .. } if *space == self.futex_space())
    }

    /// The key of the futex at `addr`. `shared` is what the guest says by leaving out `FUTEX_PRIVATE_FLAG`.
    ///
    /// # Errors
    /// `EINVAL` where `addr` is not a multiple of 4; `EFAULT` where nothing is mapped.
    pub fn futex_key(&self, addr: UserAddr, shared: bool) -> Result<FutexKey> {
        if !addr.0.is_multiple_of(4) {
            return Err(Errno::EINVAL);
        }
        if addr.0 >= self.bounds.end {
            return Err(Errno::EFAULT);
        }
        let private = FutexKey::Private { space: self.futex_space(), addr: addr.0 };
        if !shared {
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
