//! System calls: one folder per family, one table row per call.
//!
//! A handler parses its arguments in order, checks them, makes one call into the subsystem, and encodes the result.
//! Unknown flag bits are `EINVAL`. User memory is read once. Each family's `mod.rs` exports its rows as `TABLE`;
//! [`table`] joins them, and dispatch, `--strace`, `help syscalls` and the statistics all read the same rows.

pub mod events;
pub mod file;
pub mod ipc;
pub mod keys;
pub mod memory;
pub mod misc;
pub mod process;
pub mod signal;
pub mod socket;
pub mod table;
pub mod time;
