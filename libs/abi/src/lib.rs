//! Types, numbers and layouts of the Linux user interface, as a guest sees them. No behaviour and no host calls.
//!
//! One file per header: what Linux defines in `fcntl.h` is in [`fcntl`], and so on. Structures that cross the
//! guest boundary are `repr(C)` and derive zerocopy's traits, so that reading one is a bounds check and a copy.
#![forbid(unsafe_code)]

pub mod addr;
pub mod aio;
pub mod auxv;
pub mod capability;
pub mod elf;
pub mod errno;
pub mod fcntl;
pub mod filter;
pub mod fs;
pub mod futex;
pub mod inet;
pub mod inotify;
pub mod ipc;
pub mod keyctl;
pub mod mman;
pub mod mount;
pub mod mqueue;
pub mod netlink;
pub mod poll;
pub mod prctl;
pub mod ptrace;
pub mod regs_x86_64;
pub mod resource;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod tcp_info;
pub mod termios;
pub mod time;
pub mod ucontext_x86_64;
pub mod wait;

pub use addr::{PAGE_SIZE, UserAddr, page_ceil, page_floor};
pub use errno::{Errno, Result};
pub use fs::{DeviceId, FileType, OpenFlags};
pub use regs_x86_64::Regs;
pub use signal::{SigInfo, SigSet, Signal};
pub use time::Timespec;
