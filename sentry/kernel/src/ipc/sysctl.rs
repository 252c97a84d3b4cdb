//! The limits of an IPC name space: `kernel.shmmax` and its kin, `fs.mqueue.*` (`man 5 proc_sys_kernel`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpcLimit {
    /// Bytes of a shared memory segment.
    ShmMax,
    /// Pages of all segments.
    ShmAll,
    /// Segments.
    ShmMni,
    /// Semaphores in a set.
    SemMsl,
    /// Semaphores in all sets.
    SemMns,
    /// Operations in a semop(2).
    SemOpm,
    /// Semaphore sets.
    SemMni,
    /// Bytes of a System V message.
    MsgMax,
    /// Bytes in a new System V queue.
    MsgMnb,
    /// System V queues.
    MsgMni,
    /// POSIX queues.
    Queues,
    /// Messages in a POSIX queue.
    QueueLen,
    /// Bytes of a POSIX message.
    QueueMessage,
    /// Messages in a POSIX queue whose maker does not say.
    DefaultQueueLen,
    /// Bytes of a POSIX message where the queue's maker does not say.
    DefaultQueueMessage,
}

/// (limit, its initial value): Linux's, in the order of [`IpcLimit`].
const INITIAL: [(IpcLimit, u64); 15] = [
    (IpcLimit::ShmMax, u64::MAX - (1 << 24)),
    (IpcLimit::ShmAll, u64::MAX - (1 << 24)),
    (IpcLimit::ShmMni, 4096),
    (IpcLimit::SemMsl, 32000),
    (IpcLimit::SemMns, 1_024_000_000),
    (IpcLimit::SemOpm, 500),
    (IpcLimit::SemMni, 32000),
    (IpcLimit::MsgMax, 8192),
    (IpcLimit::MsgMnb, 16384),
    (IpcLimit::MsgMni, 32000),
    (IpcLimit::Queues, 256),
    (IpcLimit::QueueLen, 10),
    (IpcLimit::QueueMessage, 8192),
    (IpcLimit::DefaultQueueLen, 10),
    (IpcLimit::DefaultQueueMessage, 8192),
];

/// The limits of one name space.
#[derive(Debug)]
pub struct IpcLimits([AtomicU64; INITIAL.len()]);

impl Default for IpcLimits {
    fn default() -> Self {
        Self(INITIAL.map(|(_, value)| AtomicU64::new(value)))
    }
}

impl IpcLimits {
    /// A limit as of now.
    #[must_use]
    pub fn get(&self, limit: IpcLimit) -> u64 {
        self.0[limit as usize].load(Ordering::Relaxed)
    }

    /// Changes a limit. What is there already stays.
    pub fn set(&self, limit: IpcLimit, value: u64) {
        self.0[limit as usize].store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::INITIAL;

    #[test]
    fn limits_stand_in_order() {
        assert!(INITIAL.iter().enumerate().all(|(index, (limit, _))| *limit as usize == index));
    }
}
