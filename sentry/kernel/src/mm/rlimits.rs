//! Resource limits on memory, as the address space enforces them (`man 2 getrlimit`).

use std::sync::atomic::{AtomicU64, Ordering};

/// The soft limits, in bytes. `u64::MAX` is `RLIM_INFINITY`. prlimit(2), fork(2) and execve(2) keep them up to date.
#[derive(Debug)]
pub struct MemoryLimits {
    address_space: AtomicU64,
    data: AtomicU64,
    stack: AtomicU64,
    locked: AtomicU64,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            address_space: AtomicU64::new(u64::MAX),
            data: AtomicU64::new(u64::MAX),
            stack: AtomicU64::new(8 << 20),
            locked: AtomicU64::new(u64::MAX),
        }
    }
}

impl Clone for MemoryLimits {
    fn clone(&self) -> Self {
        let copy = |value: &AtomicU64| AtomicU64::new(value.load(Ordering::Relaxed));
        Self {
            address_space: copy(&self.address_space),
            data: copy(&self.data),
            stack: copy(&self.stack),
            locked: copy(&self.locked),
        }
    }
}

impl MemoryLimits {
    /// `RLIMIT_AS`.
    #[must_use]
    pub fn address_space(&self) -> u64 {
        self.address_space.load(Ordering::Relaxed)
    }

    /// `RLIMIT_DATA`.
    #[must_use]
    pub fn data(&self) -> u64 {
        self.data.load(Ordering::Relaxed)
    }

    /// `RLIMIT_STACK`.
    #[must_use]
    pub fn stack(&self) -> u64 {
        self.stack.load(Ordering::Relaxed)
    }

    /// `RLIMIT_MEMLOCK`.
    #[must_use]
    pub fn locked(&self) -> u64 {
        self.locked.load(Ordering::Relaxed)
    }

    /// Sets `RLIMIT_AS`.
    pub fn set_address_space(&self, bytes: u64) {
        self.address_space.store(bytes, Ordering::Relaxed);
    }

    /// Sets `RLIMIT_DATA`.
    pub fn set_data(&self, bytes: u64) {
        self.data.store(bytes, Ordering::Relaxed);
    }

    /// Sets `RLIMIT_MEMLOCK`.
    pub fn set_locked(&self, bytes: u64) {
        self.locked.store(bytes, Ordering::Relaxed);
    }

    /// Sets `RLIMIT_STACK`.
    pub fn set_stack(&self, bytes: u64) {
        self.stack.store(bytes, Ordering::Relaxed);
    }
}
