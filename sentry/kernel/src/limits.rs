//! Limits of the whole sandbox that guests see below `/proc/sys`, each at the value that is enforced, and those settings
//! there that a guest's root can change.
//!
//! Limits follow from the sandbox's memory as Linux's follow from the machine's.

use std::sync::atomic::{AtomicI64, Ordering};

/// Bytes of a pipe without `CAP_SYS_RESOURCE` (`fs.pipe-max-size`).
pub const PIPE_MAX_SIZE: usize = 1 << 20;
/// Pages of pipes that a user may have before new ones are small (`fs.pipe-user-pages-soft`).
pub const PIPE_USER_PAGES_SOFT: u64 = 16384;

/// A number that a file below `/proc/sys` shows and changes.
#[derive(Debug)]
pub struct Knob(AtomicI64);

impl Knob {
    const fn new(value: i64) -> Self {
        Self(AtomicI64::new(value))
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Changes it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value, where it is how many there may be of something.
    #[must_use]
    pub fn limit(&self) -> u64 {
        u64::try_from(self.get()).unwrap_or(0)
    }

    /// Whether it is not 0.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.get() != 0
    }
}

/// What the kernel looks up whenever it matters. Each is one sandbox's.
#[derive(Debug)]
pub struct Knobs {
    /// Who may read the log (`kernel.dmesg_restrict`).
    pub dmesg_restrict: Knob,
    /// Pipes with names in sticky directories (`fs.protected_fifos`).
    pub protected_fifos: Knob,
    /// Links to other users' files (`fs.protected_hardlinks`).
    pub protected_hardlinks: Knob,
    /// Files in sticky directories (`fs.protected_regular`).
    pub protected_regular: Knob,
    /// Links in sticky directories (`fs.protected_symlinks`).
    pub protected_symlinks: Knob,
    /// inotify instances of a user (`fs.inotify.max_user_instances`).
    pub inotify_instances: Knob,
    /// Files watched by a user's inotify instances (`fs.inotify.max_user_watches`).
    pub inotify_watches: Knob,
    /// Events kept for an inotify instance (`fs.inotify.max_queued_events`).
    pub inotify_events: Knob,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            dmesg_restrict: Knob::new(0),
            protected_fifos: Knob::new(1),
            protected_hardlinks: Knob::new(1),
            protected_regular: Knob::new(1),
            protected_symlinks: Knob::new(1),
            inotify_instances: Knob::new(128),
            inotify_watches: Knob::new(65536),
            inotify_events: Knob::new(16384),
        }
    }
}

/// What a watch of epoll is taken to cost, bytes; all of a user's may take a 25th of the memory.
const EPOLL_WATCH: u64 = 192;
/// What a thread costs the sandbox's memory: its stub's, the sentry's stack for it and the host's kernel's for both.
const THREAD: u64 = 128 << 10;
/// What a process costs on top: page tables, the stub's image.
const PROCESS: u64 = 256 << 10;

/// Files that a user's epoll instances may watch (`fs.epoll.max_user_watches`).
#[must_use]
pub fn epoll_watches(total_memory: u64) -> u64 {
    total_memory / 25 / EPOLL_WATCH
}

/// Threads that the sandbox may have (`kernel.threads-max`), if all are of one process.
#[must_use]
pub fn threads(total_memory: u64) -> u64 {
    task_memory(total_memory) / THREAD
}

/// Whether this many tasks in this many processes are too many.
#[must_use]
pub fn is_beyond_tasks(total_memory: u64, tasks: u64, processes: u64) -> bool {
    let cost = tasks.saturating_mul(THREAD).saturating_add(processes.saturating_mul(PROCESS));
    cost > task_memory(total_memory)
}

/// The share of the memory that tasks may take, before they do anything.
fn task_memory(total_memory: u64) -> u64 {
    (total_memory / 8 * 5).max(32 << 20)
}

#[cfg(test)]
mod tests {
    use super::{is_beyond_tasks, threads};

    #[test]
    fn tasks_leave_memory_for_what_they_do() {
        assert_eq!(threads(256 << 20), 1280);
        assert!(!is_beyond_tasks(256 << 20, 400, 400));
        assert!(is_beyond_tasks(256 << 20, 430, 430));
        assert!(!is_beyond_tasks(256 << 20, 1200, 2));
    }
}
