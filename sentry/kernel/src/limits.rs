//! Limits of the whole sandbox that guests see below `/proc/sys`, each at the value that is enforced.
//!
//! They follow from the sandbox's memory as Linux's follow from the machine's.

/// Bytes of a pipe without `CAP_SYS_RESOURCE` (`fs.pipe-max-size`).
pub const PIPE_MAX_SIZE: usize = 1 << 20;
/// Pages of pipes that a user may have before new ones are small (`fs.pipe-user-pages-soft`).
pub const PIPE_USER_PAGES_SOFT: u64 = 16384;
/// inotify instances of a user (`fs.inotify.max_user_instances`).
pub const INOTIFY_INSTANCES: u64 = 128;
/// Files watched by a user's inotify instances (`fs.inotify.max_user_watches`).
pub const INOTIFY_WATCHES: u64 = 65536;
/// Events kept for an inotify instance (`fs.inotify.max_queued_events`).
pub const INOTIFY_EVENTS: usize = 16384;

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
