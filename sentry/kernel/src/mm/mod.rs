//! Guest memory: the memory file, address spaces, faults, copies.
//!
//! A [`MemoryManager`] is what Linux calls an `mm_struct`. It holds two interval maps over guest addresses: *VMAs*,
//! what the guest asked for, and *PMAs*, which bytes of the [`MemoryFile`] (or of a host file) stand behind them now.
//! What is mapped in the stub is always a subset of the PMAs.

mod io;
mod iovec;
mod manager;
mod mappable;
mod memory_file;

pub use io::{IoDst, IoSrc};
pub use iovec::{IOV_MAX, MAX_RW_COUNT};
pub use manager::{FaultSignal, MemoryManager, MmapArgs, MmapFlags};
pub use mappable::{Backing, HostFile, Mappable, MappingSet};
pub use memory_file::MemoryFile;
