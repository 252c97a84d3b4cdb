//! The guest's kernel: memory, tasks, signals, the virtual file system, sockets' common part, time, system calls.
//!
//! Everything hangs off one [`Kernel`] value; there is no global state. Code that can touch credentials, descriptors
//! or memory takes the current task as an argument. File systems and socket families implement the traits in
//! [`vfs`] and [`socket`] from crates above this one; the platform below runs guest code.
//!
//! Who may use whom: [`syscalls`] uses everything; of it others use its table alone, to make calls and to name them;
//! [`mm`], [`task`] and [`vfs`] know each other's public types; [`time`] and [`signal`] use neither files nor sockets.
#![forbid(unsafe_code)]

pub mod dmesg;
pub mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod host_events;
pub mod ipc;
pub mod kernel;
pub mod keys;
pub mod limits;
pub mod loader;
pub mod log;
pub mod mm;
pub mod random;
pub mod security;
pub mod signal;
pub mod socket;
pub mod syscalls;
pub mod task;
#[cfg(test)]
pub(crate) mod testing;
pub mod time;
pub mod version;
pub mod vfs;

pub use error::{Restart, SysError, SysResult};
pub use kernel::Kernel;
pub use log::DebugLog;
pub use task::{CurrentTask, Task};
