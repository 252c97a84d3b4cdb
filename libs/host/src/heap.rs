//! How much of the process's heap is in use, and how much guests may make it use.
//!
//! Whatever a guest makes (files, pipes, sockets, mappings, locks, names that are remembered) takes heap of the
//! sentry. [`CountingHeap`] counts it as it is allocated, so nothing can be forgotten; those who make such things ask
//! [`room_for`] first, and a sandbox at its budget says `ENOMEM` instead of being killed by its host.
//!
//! There is one heap in a process, hence the statics. Counts are kept per thread and added up in steps of [`STEP`], so
//! that counting costs an allocation no shared cache line.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use abi::{Errno, Result};

/// What a thread counts for itself before it tells the others, bytes.
const STEP: i64 = 16 << 10;
/// What an allocation costs beyond its size.
const OVERHEAD: i64 = 16;

static IN_USE: AtomicI64 = AtomicI64::new(0);
static BUDGET: AtomicU64 = AtomicU64::new(u64::MAX);

thread_local! {
    static UNTOLD: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, counted.
#[derive(Debug)]
pub struct CountingHeap;

fn count(bytes: i64) {
    // A thread that is ending has no cell any more.
    let told = UNTOLD.try_with(|untold| {
        let sum = untold.get() + bytes;
        let tells = sum.abs() >= STEP;
        untold.set(if tells { 0 } else { sum });
        if tells { sum } else { 0 }
    });
    let told = told.unwrap_or(bytes);
    if told != 0 {
        IN_USE.fetch_add(told, Ordering::Relaxed);
    }
}

fn cost(size: usize) -> i64 {
    (size as i64).saturating_add(OVERHEAD)
}

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing and does not unwind.
unsafe impl GlobalAlloc for CountingHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(cost(layout.size()));
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(cost(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-cost(layout.size()));
        // SAFETY: as above: it came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(cost(new_size) - cost(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, new_size) }
    }
}

/// Adds what the calling thread has counted to the sum: a thread does so before it ends.
pub fn settle() {
    let untold = UNTOLD.try_with(|untold| untold.replace(0)).unwrap_or(0);
    IN_USE.fetch_add(untold, Ordering::Relaxed);
}

/// Bytes in use, give or take [`STEP`] for each thread. 0 in a program that does not use [`CountingHeap`].
#[must_use]
pub fn in_use() -> u64 {
    IN_USE.load(Ordering::Relaxed).max(0).unsigned_abs()
}

/// The most bytes that guests may make the process use; unlimited until [`set_budget`].
#[must_use]
pub fn budget() -> u64 {
    BUDGET.load(Ordering::Relaxed)
}

/// Sets [`budget`].
pub fn set_budget(bytes: u64) {
    BUDGET.store(bytes, Ordering::Relaxed);
}

/// What an object is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A cache, which is worth half of the budget.
    Cache,
    /// It stays when whoever made it is gone: files in memory, messages, semaphores. Has the budget.
    Lasting,
    /// It goes with its process: descriptors, mappings, buffers. May take a quarter more, so that somebody can still
    /// run and remove what fills the budget.
    Process,
}

/// Whether `bytes` more may be used.
///
/// # Errors
/// `ENOMEM`.
pub fn room_for(bytes: u64, purpose: Purpose) -> Result<()> {
    let budget = budget();
    let limit = match purpose {
        Purpose::Cache => budget / 2,
        Purpose::Lasting => budget,
        Purpose::Process => budget.saturating_add(budget / 4),
    };
    if in_use().saturating_add(bytes) > limit { Err(Errno::ENOMEM) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::alloc::{GlobalAlloc, Layout};

    use super::{CountingHeap, OVERHEAD, in_use, settle};

    #[test]
    fn what_is_allocated_is_counted_until_it_is_freed() {
        // Sizes that dwarf what other tests' threads may not have told yet: only this one uses the counting heap.
        let layout = Layout::from_size_align(1 << 20, 8).unwrap();
        let larger = Layout::from_size_align(3 << 20, 8).unwrap();
        // SAFETY: the layouts are not empty, and each pointer is used with the layout it was made with.
        unsafe {
            let at = CountingHeap.alloc(layout);
            assert_eq!(in_use(), (1 << 20) + OVERHEAD.unsigned_abs());
            let at = CountingHeap.realloc(at, layout, larger.size());
            settle();
            assert_eq!(in_use(), (3 << 20) + OVERHEAD.unsigned_abs());
            CountingHeap.dealloc(at, larger);
        }
        settle();
        assert_eq!(in_use(), 0);
    }
}
