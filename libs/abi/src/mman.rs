//! Memory mappings (`asm-generic/mman.h`, `linux/mman.h`; `man 2 mmap`, `man 2 madvise`, `man 2 membarrier`).
#![allow(missing_docs, reason = "Linux's names; man 2 mmap")]

use bitflags::bitflags;

/// Pages cannot be touched.
pub const PROT_NONE: u64 = 0;
/// Pages may be read.
pub const PROT_READ: u64 = 1;
/// Pages may be written.
pub const PROT_WRITE: u64 = 2;
/// Pages may be executed.
pub const PROT_EXEC: u64 = 4;
/// Pages may be used for atomic operations; without meaning.
pub const PROT_SEM: u64 = 8;
/// mprotect(2): down to the start of the mapping.
pub const PROT_GROWSDOWN: u64 = 0x0100_0000;
/// mprotect(2): up to the end of the mapping.
pub const PROT_GROWSUP: u64 = 0x0200_0000;

/// The bits of mmap(2)'s flags that tell how it is shared.
pub const MAP_TYPE: u64 = 0xf;
/// Shared.
pub const MAP_SHARED: u64 = 1;
/// Private.
pub const MAP_PRIVATE: u64 = 2;
/// Shared, and unknown flags are errors.
pub const MAP_SHARED_VALIDATE: u64 = 3;

bitflags! {
    /// Flags of mmap(2) beside the type.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MapFlags: u64 {
        const FIXED = 0x10;
        const ANONYMOUS = 0x20;
        const LOW_2_GIB = 0x40;
        const GROWSDOWN = 0x100;
        const DENYWRITE = 0x800;
        const EXECUTABLE = 0x1000;
        const LOCKED = 0x2000;
        const NORESERVE = 0x4000;
        const POPULATE = 0x8000;
        const NONBLOCK = 0x1_0000;
        const STACK = 0x2_0000;
        const HUGETLB = 0x4_0000;
        const SYNC = 0x8_0000;
        const FIXED_NOREPLACE = 0x10_0000;
        const UNINITIALIZED = 0x400_0000;
        /// What `MAP_SHARED_VALIDATE` accepts: everything that existed before it.
        const LEGACY = 0xf | 0x10 | 0x20 | 0x40 | 0x100 | 0x800 | 0x1000 | 0x2000 | 0x4000 | 0x8000 | 0x1_0000
            | 0x2_0000 | 0x4_0000 | (0x3f << 26);
    }
}

/// Advice of madvise(2).
#[allow(missing_docs, reason = "Linux's names; man 2 madvise")]
pub mod advice {
    pub const NORMAL: i32 = 0;
    pub const RANDOM: i32 = 1;
    pub const SEQUENTIAL: i32 = 2;
    pub const WILLNEED: i32 = 3;
    pub const DONTNEED: i32 = 4;
    pub const FREE: i32 = 8;
    pub const REMOVE: i32 = 9;
    pub const DONTFORK: i32 = 10;
    pub const DOFORK: i32 = 11;
    pub const MERGEABLE: i32 = 12;
    pub const UNMERGEABLE: i32 = 13;
    pub const HUGEPAGE: i32 = 14;
    pub const NOHUGEPAGE: i32 = 15;
    pub const DONTDUMP: i32 = 16;
    pub const DODUMP: i32 = 17;
    pub const WIPEONFORK: i32 = 18;
    pub const KEEPONFORK: i32 = 19;
    pub const COLD: i32 = 20;
    pub const PAGEOUT: i32 = 21;
    pub const POPULATE_READ: i32 = 22;
    pub const POPULATE_WRITE: i32 = 23;
    pub const DONTNEED_LOCKED: i32 = 24;
    pub const COLLAPSE: i32 = 25;
    pub const HWPOISON: i32 = 100;
    pub const SOFT_OFFLINE: i32 = 101;
}

/// msync(2): start writing.
pub const MS_ASYNC: u32 = 1;
/// msync(2): other mappings must see the file.
pub const MS_INVALIDATE: u32 = 2;
/// msync(2): write and wait.
pub const MS_SYNC: u32 = 4;

/// mlockall(2): what is mapped.
pub const MCL_CURRENT: u32 = 1;
/// mlockall(2): what will be.
pub const MCL_FUTURE: u32 = 2;
/// mlockall(2): as pages are touched.
pub const MCL_ONFAULT: u32 = 4;
/// mlock2(2): as pages are touched.
pub const MLOCK_ONFAULT: u32 = 1;

/// Commands of membarrier(2).
#[allow(missing_docs, reason = "Linux's names; man 2 membarrier")]
pub mod membarrier {
    pub const QUERY: i32 = 0;
    pub const GLOBAL: i32 = 1;
    pub const GLOBAL_EXPEDITED: i32 = 1 << 1;
    pub const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;
    pub const PRIVATE_EXPEDITED: i32 = 1 << 3;
    pub const REGISTER_PRIVATE_EXPEDITED: i32 = 1 << 4;
    pub const PRIVATE_EXPEDITED_SYNC_CORE: i32 = 1 << 5;
    pub const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: i32 = 1 << 6;
    pub const GET_REGISTRATIONS: i32 = 1 << 9;
}
