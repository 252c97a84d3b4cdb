//! futex(2) (`linux/futex.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Operations, without flags.
#[allow(missing_docs, reason = "Linux's names; man 2 futex")]
pub mod op {
    pub const WAIT: u32 = 0;
    pub const WAKE: u32 = 1;
    pub const FD: u32 = 2;
    pub const REQUEUE: u32 = 3;
    pub const CMP_REQUEUE: u32 = 4;
    pub const WAKE_OP: u32 = 5;
    pub const LOCK_PI: u32 = 6;
    pub const UNLOCK_PI: u32 = 7;
    pub const TRYLOCK_PI: u32 = 8;
    pub const WAIT_BITSET: u32 = 9;
    pub const WAKE_BITSET: u32 = 10;
    pub const WAIT_REQUEUE_PI: u32 = 11;
    pub const CMP_REQUEUE_PI: u32 = 12;
    pub const LOCK_PI2: u32 = 13;
}

/// The futex is used by one process alone.
pub const FUTEX_PRIVATE_FLAG: u32 = 128;
/// The time-out is of CLOCK_REALTIME.
pub const FUTEX_CLOCK_REALTIME: u32 = 256;
/// Somebody waits in the kernel for the lock.
pub const FUTEX_WAITERS: u32 = 0x8000_0000;
/// The owner died.
pub const FUTEX_OWNER_DIED: u32 = 0x4000_0000;
/// The owner's thread number.
pub const FUTEX_TID_MASK: u32 = 0x3fff_ffff;
/// Matches every bit set.
pub const FUTEX_BITSET_MATCH_ANY: u32 = u32::MAX;

/// `struct robust_list_head`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names; man 2 set_robust_list")]
#[repr(C)]
pub struct RobustListHead {
    pub list: u64,
    pub futex_offset: i64,
    pub list_op_pending: u64,
}

/// A list longer than this is taken for a loop.
pub const ROBUST_LIST_LIMIT: usize = 2048;

/// `struct futex_waitv`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct FutexWaitv {
    pub val: u64,
    pub uaddr: u64,
    pub flags: u32,
    pub reserved: u32,
}

/// futex_waitv(2) takes so many.
pub const FUTEX_WAITV_MAX: u64 = 128;
/// A 32-bit futex, in futex_waitv(2).
pub const FUTEX2_SIZE_U32: u32 = 2;
/// [`FUTEX_PRIVATE_FLAG`] in futex_waitv(2).
pub const FUTEX2_PRIVATE: u32 = 128;
