//! capget(2) and capset(2) (`linux/capability.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct __user_cap_header_struct`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CapHeader {
    /// One of `LINUX_CAPABILITY_VERSION_*`.
    pub version: u32,
    /// The thread, 0 for the caller.
    pub pid: i32,
}

/// `struct __user_cap_data_struct`: 32 capabilities of each set.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct CapData {
    pub effective: u32,
    pub permitted: u32,
    pub inheritable: u32,
}

/// 32 capabilities, one data structure.
pub const LINUX_CAPABILITY_VERSION_1: u32 = 0x1998_0330;
/// 64 capabilities, two data structures.
pub const LINUX_CAPABILITY_VERSION_2: u32 = 0x2007_1026;
/// As version 2.
pub const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;
