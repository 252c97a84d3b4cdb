//! System calls on memory.

mod madvise;
mod membarrier;
mod mempolicy;
mod mincore;
mod mlock;
mod mmap;
mod msync;
mod process_mrelease;
mod process_vm;

use abi::Errno;

use super::table::{Arg, Row};

const PROT: Arg = Arg::Flags(&[(1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC")]);
const MAP: Arg = Arg::Flags(&[
    (1, "MAP_SHARED"),
    (2, "MAP_PRIVATE"),
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x20000, "MAP_STACK"),
    (0x40000, "MAP_HUGETLB"),
    (0x10_0000, "MAP_FIXED_NOREPLACE"),
]);
const REMAP: Arg = Arg::Flags(&[(1, "MREMAP_MAYMOVE"), (2, "MREMAP_FIXED"), (4, "MREMAP_DONTUNMAP")]);
const MSYNC: Arg = Arg::Flags(&[(1, "MS_ASYNC"), (2, "MS_INVALIDATE"), (4, "MS_SYNC")]);
const MCL: Arg = Arg::Flags(&[(1, "MCL_CURRENT"), (2, "MCL_FUTURE"), (4, "MCL_ONFAULT")]);
const ADVICE: Arg = Arg::Enum(&[
    (0, "MADV_NORMAL"),
    (1, "MADV_RANDOM"),
    (2, "MADV_SEQUENTIAL"),
    (3, "MADV_WILLNEED"),
    (4, "MADV_DONTNEED"),
    (8, "MADV_FREE"),
    (9, "MADV_REMOVE"),
    (10, "MADV_DONTFORK"),
    (11, "MADV_DOFORK"),
    (14, "MADV_HUGEPAGE"),
    (15, "MADV_NOHUGEPAGE"),
    (16, "MADV_DONTDUMP"),
    (17, "MADV_DODUMP"),
    (18, "MADV_WIPEONFORK"),
    (19, "MADV_KEEPONFORK"),
    (20, "MADV_COLD"),
    (21, "MADV_PAGEOUT"),
    (22, "MADV_POPULATE_READ"),
    (23, "MADV_POPULATE_WRITE"),
]);

const NO_KEYS: &str = "protection keys are not given to guests";
const NO_NUMA: &str = "there is one node; policies are checked and change nothing";

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::partial(
        9,
        "mmap",
        &[Arg::Hex, Arg::Size, PROT, MAP, Arg::Fd, Arg::Hex],
        mmap::mmap,
        "no huge pages (MAP_HUGETLB), no MAP_SYNC, no MAP_DROPPABLE",
    )
    .takes_memory(),
    Row::full(10, "mprotect", &[Arg::Hex, Arg::Size, PROT], mmap::mprotect).takes_memory(),
    Row::full(11, "munmap", &[Arg::Hex, Arg::Size], mmap::munmap),
    Row::full(12, "brk", &[Arg::Hex], mmap::brk),
    Row::full(25, "mremap", &[Arg::Hex, Arg::Size, Arg::Size, REMAP, Arg::Hex], mmap::mremap).takes_memory(),
    Row::full(26, "msync", &[Arg::Hex, Arg::Size, MSYNC], msync::msync),
    Row::full(27, "mincore", &[Arg::Hex, Arg::Size, Arg::Hex], mincore::mincore),
    Row::full(28, "madvise", &[Arg::Hex, Arg::Size, ADVICE], madvise::madvise),
    Row::full(149, "mlock", &[Arg::Hex, Arg::Size], mlock::mlock),
    Row::full(150, "munlock", &[Arg::Hex, Arg::Size], mlock::munlock),
    Row::full(151, "mlockall", &[MCL], mlock::mlockall),
    Row::full(152, "munlockall", &[], mlock::munlockall),
    Row::full(
        216,
        "remap_file_pages",
        &[Arg::Hex, Arg::Size, Arg::Int, Arg::Size, Arg::Hex],
        mmap::remap_file_pages,
    ),
    Row::partial(
        237,
        "mbind",
        &[Arg::Hex, Arg::Size, Arg::Int, Arg::Hex, Arg::Size, Arg::Hex],
        mempolicy::mbind,
        NO_NUMA,
    ),
    Row::partial(238, "set_mempolicy", &[Arg::Int, Arg::Hex, Arg::Size], mempolicy::set_mempolicy, NO_NUMA),
    Row::partial(
        239,
        "get_mempolicy",
        &[Arg::Hex, Arg::Hex, Arg::Size, Arg::Hex, Arg::Hex],
        mempolicy::get_mempolicy,
        NO_NUMA,
    ),
    Row::full(256, "migrate_pages", &[Arg::Int, Arg::Size, Arg::Hex, Arg::Hex], mempolicy::migrate_pages),
    Row::full(
        279,
        "move_pages",
        &[Arg::Int, Arg::Size, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex],
        mempolicy::move_pages,
    ),
    Row::full(
        310,
        "process_vm_readv",
        &[Arg::Int, Arg::Hex, Arg::Size, Arg::Hex, Arg::Size, Arg::Hex],
        process_vm::process_vm_readv,
    ),
    Row::full(
        311,
        "process_vm_writev",
        &[Arg::Int, Arg::Hex, Arg::Size, Arg::Hex, Arg::Size, Arg::Hex],
        process_vm::process_vm_writev,
    ),
    Row::partial(324, "membarrier", &[Arg::Int, Arg::Hex], membarrier::membarrier, "the commands for rseq"),
    Row::full(325, "mlock2", &[Arg::Hex, Arg::Size, Arg::Hex], mlock::mlock2),
    Row::partial(329, "pkey_mprotect", &[Arg::Hex, Arg::Size, PROT, Arg::Int], mmap::pkey_mprotect, NO_KEYS),
    Row::absent(330, "pkey_alloc", Errno::ENOSPC, NO_KEYS),
    Row::absent(331, "pkey_free", Errno::EINVAL, NO_KEYS),
    Row::full(
        440,
        "process_madvise",
        &[Arg::Fd, Arg::Hex, Arg::Size, ADVICE, Arg::Hex],
        madvise::process_madvise,
    ),
    Row::absent(447, "memfd_secret", Errno::ENOSYS, "guest memory is always visible to the sentry"),
    Row::full(448, "process_mrelease", &[Arg::Fd, Arg::Hex], process_mrelease::process_mrelease),
    Row::absent(450, "set_mempolicy_home_node", Errno::ENOSYS, "there is one node"),
    Row::absent(451, "cachestat", Errno::ENOSYS, "the page cache is the host's"),
    Row::absent(453, "map_shadow_stack", Errno::EOPNOTSUPP, "there are no shadow stacks"),
    Row::full(462, "mseal", &[Arg::Hex, Arg::Size, Arg::Hex], mmap::mseal),
];
