//! Guest memory: the memory file, address spaces, faults, copies.
//!
//! A [`MemoryManager`] is what Linux calls an `mm_struct`. It holds two interval maps over guest addresses: *VMAs*,
//! what the guest asked for, and *PMAs*, which bytes of the [`MemoryFile`] (or of a host file) stand behind them now.
//! What is mapped in the stub is always a subset of the PMAs.
//!
//! One file per operation, each an `impl` of the manager; the locks and their order stand at the type.

mod advise;
mod aio;
mod barrier;
mod batch;
mod brk;
mod call_counts;
mod call_sites;
mod child_needs;
mod copy;
mod cow;
mod exec_gain;
mod fault;
mod fork;
mod fork_copy;
mod frames;
mod free_space;
mod futex;
mod host_file;
mod image;
mod info;
mod invalidate;
mod io;
mod iovec;
mod layout;
mod lazy;
mod manager;
mod mappable;
mod memory_file;
mod mlock;
mod mmap;
mod peak;
mod pma;
mod protect;
mod query;
mod remap;
mod rlimits;
mod seal;
mod shared_anon;
mod shared_text;
mod shm;
mod stack;
#[cfg(test)]
mod tests;
mod vma;

pub use advise::DiscardFlags;
pub use aio::AioContext;
pub use exec_gain::ExecGain;
pub use fault::Access;
pub use futex::{FutexKey, FutexWord};
pub(crate) use futex::{WordResult, Words};
pub use host_file::HostFile;
pub use image::{ProgramImage, RunningFile};
pub use info::{Totals, Usage, VmaInfo};
pub use invalidate::{FileRange, SharedRange};
pub use io::{IoDst, IoSrc};
pub use iovec::{IoRanges, MAX_RW_COUNT};
pub use layout::Layout;
pub use manager::{FaultSignal, MemoryManager};
pub use mappable::{Backing, Mappable, MappingSet};
pub use memory_file::MemoryFile;
pub use mlock::LockKind;
pub use mmap::{MmapArgs, MmapFlags};
pub use protect::ProtectRange;
pub use remap::RemapFlags;
pub use rlimits::MemoryLimits;
pub use shared_anon::SharedAnon;
pub(crate) use shared_text::{Place, SharedTexts};
pub use vma::VmaFlags;
