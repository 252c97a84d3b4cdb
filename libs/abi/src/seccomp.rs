//! seccomp(2) (`linux/seccomp.h`). Its programs are in [`filter`](crate::filter).
#![allow(missing_docs, reason = "Linux's names: man 2 seccomp, man 2 seccomp_unotify")]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct seccomp_data`: what a filter sees.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SeccompData {
    pub nr: i32,
    pub arch: u32,
    pub instruction_pointer: u64,
    pub args: [u64; 6],
}

/// `AUDIT_ARCH_X86_64`.
pub const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

/// Modes of `PR_SET_SECCOMP`.
pub const SECCOMP_MODE_STRICT: u64 = 1;
/// See [`SECCOMP_MODE_STRICT`].
pub const SECCOMP_MODE_FILTER: u64 = 2;

/// Operations of seccomp(2).
pub mod op {
    pub const SET_MODE_STRICT: u32 = 0;
    pub const SET_MODE_FILTER: u32 = 1;
    pub const GET_ACTION_AVAIL: u32 = 2;
    pub const GET_NOTIF_SIZES: u32 = 3;
}

bitflags! {
    /// Flags of `SECCOMP_SET_MODE_FILTER`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct FilterFlags: u32 {
        const TSYNC = 1;
        const LOG = 2;
        const SPEC_ALLOW = 4;
        const NEW_LISTENER = 8;
        const TSYNC_ESRCH = 16;
        const WAIT_KILLABLE_RECV = 32;
    }
}

/// What a filter returns, without the data in the low 16 bits.
pub mod ret {
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    pub const KILL_THREAD: u32 = 0;
    pub const TRAP: u32 = 0x0003_0000;
    pub const ERRNO: u32 = 0x0005_0000;
    pub const USER_NOTIF: u32 = 0x7fc0_0000;
    pub const TRACE: u32 = 0x7ff0_0000;
    pub const LOG: u32 = 0x7ffc_0000;
    pub const ALLOW: u32 = 0x7fff_0000;
    pub const ACTION_FULL: u32 = 0xffff_0000;
    pub const DATA: u32 = 0x0000_ffff;
}

/// `struct seccomp_notif_sizes`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NotifSizes {
    pub notif: u16,
    pub notif_resp: u16,
    pub data: u16,
}

/// `struct seccomp_notif`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Notif {
    pub id: u64,
    pub pid: u32,
    pub flags: u32,
    pub data: SeccompData,
}

/// `struct seccomp_notif_resp`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NotifResp {
    pub id: u64,
    pub val: i64,
    pub error: i32,
    pub flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NotifAddfd {
    pub id: u64,
    pub flags: u32,
    pub srcfd: u32,
    pub newfd: u32,
    pub newfd_flags: u32,
}

/// `struct seccomp_metadata`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Metadata {
    pub filter_off: u64,
    pub flags: u64,
}

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`: the call is carried out after all.
pub const USER_NOTIF_FLAG_CONTINUE: u32 = 1;
/// `SECCOMP_ADDFD_FLAG_SETFD`: to this number.
pub const ADDFD_FLAG_SETFD: u32 = 1;
/// `SECCOMP_ADDFD_FLAG_SEND`: and answer with it.
pub const ADDFD_FLAG_SEND: u32 = 2;
/// `SECCOMP_IOCTL_NOTIF_RECV`.
pub const IOCTL_NOTIF_RECV: u32 = 0xc050_2100;
/// `SECCOMP_IOCTL_NOTIF_SEND`.
pub const IOCTL_NOTIF_SEND: u32 = 0xc018_2101;
/// `SECCOMP_IOCTL_NOTIF_ID_VALID`.
pub const IOCTL_NOTIF_ID_VALID: u32 = 0x4008_2102;
/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS`.
pub const IOCTL_NOTIF_SET_FLAGS: u32 = 0x4008_2104;
/// `SECCOMP_IOCTL_NOTIF_ADDFD` without the direction and the size of its argument, which may grow.
pub const IOCTL_NOTIF_ADDFD: u32 = 0x2103;
/// `si_code` of a `SIGSYS` that a filter causes.
pub const SYS_SECCOMP: i32 = 1;
