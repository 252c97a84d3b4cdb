//! Futexes: sleeping on a word of guest memory (`man 2 futex`, `man 7 futex`).
//!
//! Waiters queue in buckets by [`crate::mm::FutexKey`]. The word is compared under the bucket's lock, and a waker takes
//! that lock after the guest has changed the word, so no wake-up is lost.
//!
//! Locks: one bucket, or two in the order of their numbers; then a waiter's key, or the address space's locks, under
//! which the word is brought in and read.

mod pi;
mod robust;
mod table;
mod wait;
mod wake;

pub use table::FutexTable;
pub use wait::{FutexWait, WaitTarget};
