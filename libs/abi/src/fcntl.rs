//! Operations on descriptors and paths (`linux/fcntl.h`, `linux/stat.h`; `man 2 fcntl`, `man 2 openat`, `man 2 statx`).
#![allow(
    missing_docs,
    reason = "Linux's names: man 2 openat, man 2 fcntl, man 2 openat2, man 2 statx, man 2 preadv2, man 2 fallocate, man 2 ioctl_list"
)]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// Flags of the `*at` calls. Some bits mean different things to different calls.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct AtFlags: u32 {
        const SYMLINK_NOFOLLOW = 0x100;
        /// `AT_REMOVEDIR` of unlinkat(2), `AT_EACCESS` of faccessat2(2).
        const REMOVEDIR = 0x200;
        const EACCESS = 0x200;
        const SYMLINK_FOLLOW = 0x400;
        const NO_AUTOMOUNT = 0x800;
        const EMPTY_PATH = 0x1000;
        const STATX_FORCE_SYNC = 0x2000;
        const STATX_DONT_SYNC = 0x4000;
        const RECURSIVE = 0x8000;
    }
}

/// Commands of fcntl(2).
pub mod cmd {
    pub const F_DUPFD: u32 = 0;
    pub const F_GETFD: u32 = 1;
    pub const F_SETFD: u32 = 2;
    pub const F_GETFL: u32 = 3;
    pub const F_SETFL: u32 = 4;
    pub const F_GETLK: u32 = 5;
    pub const F_SETLK: u32 = 6;
    pub const F_SETLKW: u32 = 7;
    pub const F_SETOWN: u32 = 8;
    pub const F_GETOWN: u32 = 9;
    pub const F_SETSIG: u32 = 10;
    pub const F_GETSIG: u32 = 11;
    pub const F_SETOWN_EX: u32 = 15;
    pub const F_GETOWN_EX: u32 = 16;
    pub const F_GETOWNER_UIDS: u32 = 17;
    pub const F_OFD_GETLK: u32 = 36;
    pub const F_OFD_SETLK: u32 = 37;
    pub const F_OFD_SETLKW: u32 = 38;
    pub const F_SETLEASE: u32 = 1024;
    pub const F_GETLEASE: u32 = 1025;
    pub const F_NOTIFY: u32 = 1026;
    pub const F_DUPFD_QUERY: u32 = 1027;
    pub const F_CREATED_QUERY: u32 = 1028;
    pub const F_DUPFD_CLOEXEC: u32 = 1030;
    pub const F_SETPIPE_SZ: u32 = 1031;
    pub const F_GETPIPE_SZ: u32 = 1032;
    pub const F_ADD_SEALS: u32 = 1033;
    pub const F_GET_SEALS: u32 = 1034;
    pub const F_GET_RW_HINT: u32 = 1035;
    pub const F_SET_RW_HINT: u32 = 1036;
}

/// `F_OWNER_TID`.
pub const F_OWNER_TID: i32 = 0;
/// `F_OWNER_PID`.
pub const F_OWNER_PID: i32 = 1;
/// `F_OWNER_PGRP`.
pub const F_OWNER_PGRP: i32 = 2;

/// `F_RDLCK`.
pub const F_RDLCK: i16 = 0;
/// `F_WRLCK`.
pub const F_WRLCK: i16 = 1;
/// `F_UNLCK`.
pub const F_UNLCK: i16 = 2;

bitflags! {
    /// Flags of memfd_create(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MemfdFlags: u32 {
        const CLOEXEC = 1;
        const ALLOW_SEALING = 2;
        const HUGETLB = 4;
        const NOEXEC_SEAL = 8;
        const EXEC = 16;
    }
}

bitflags! {
    /// Seals of a memfd (`F_ADD_SEALS`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Seals: u32 {
        const SEAL = 1;
        const SHRINK = 2;
        const GROW = 4;
        const WRITE = 8;
        const FUTURE_WRITE = 16;
        const EXEC = 32;
    }
}

/// `struct flock` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Flock {
    pub l_type: i16,
    pub l_whence: i16,
    pub pad0: u32,
    pub l_start: i64,
    pub l_len: i64,
    pub l_pid: i32,
    pub pad1: u32,
}

/// `struct f_owner_ex`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FOwnerEx {
    pub kind: i32,
    pub pid: i32,
}

/// `struct open_how` of openat2(2).
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct OpenHowRaw {
    pub flags: u64,
    pub mode: u64,
    pub resolve: u64,
}

/// `struct statx_timestamp`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatxTimestamp {
    pub tv_sec: i64,
    pub tv_nsec: u32,
    pub pad: i32,
}

/// `struct statx`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statx {
    pub stx_mask: u32,
    pub stx_blksize: u32,
    pub stx_attributes: u64,
    pub stx_nlink: u32,
    pub stx_uid: u32,
    pub stx_gid: u32,
    pub stx_mode: u16,
    pub pad1: u16,
    pub stx_ino: u64,
    pub stx_size: u64,
    pub stx_blocks: u64,
    pub stx_attributes_mask: u64,
    pub stx_atime: StatxTimestamp,
    pub stx_btime: StatxTimestamp,
    pub stx_ctime: StatxTimestamp,
    pub stx_mtime: StatxTimestamp,
    pub stx_rdev_major: u32,
    pub stx_rdev_minor: u32,
    pub stx_dev_major: u32,
    pub stx_dev_minor: u32,
    pub stx_mnt_id: u64,
    pub stx_dio_mem_align: u32,
    pub stx_dio_offset_align: u32,
    pub spare: [u64; 12],
}

/// `STATX_BASIC_STATS`.
pub const STATX_BASIC_STATS: u32 = 0x7ff;
/// `STATX_BTIME`.
pub const STATX_BTIME: u32 = 0x800;
/// `STATX_MNT_ID`.
pub const STATX_MNT_ID: u32 = 0x1000;
/// `STATX_MNT_ID_UNIQUE`.
pub const STATX_MNT_ID_UNIQUE: u32 = 0x4000;
/// The bit that no caller may set.
pub const STATX_RESERVED: u32 = 0x8000_0000;
/// `STATX_ATTR_MOUNT_ROOT`.
pub const STATX_ATTR_MOUNT_ROOT: u64 = 0x2000;

/// `UTIME_NOW`.
pub const UTIME_NOW: i64 = (1 << 30) - 1;
/// `UTIME_OMIT`.
pub const UTIME_OMIT: i64 = (1 << 30) - 2;

bitflags! {
    /// Flags of preadv2(2) and pwritev2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct RwFlags: u32 {
        const HIPRI = 1;
        const DSYNC = 2;
        const SYNC = 4;
        const NOWAIT = 8;
        const APPEND = 16;
        const NOAPPEND = 32;
    }
}

/// Modes of fallocate(2).
pub mod falloc {
    pub const KEEP_SIZE: u32 = 1;
    pub const PUNCH_HOLE: u32 = 2;
    pub const COLLAPSE_RANGE: u32 = 8;
    pub const ZERO_RANGE: u32 = 16;
    pub const INSERT_RANGE: u32 = 32;
    pub const UNSHARE_RANGE: u32 = 64;
}

/// ioctl(2) commands that any file may get.
pub mod ioctl {
    pub const FIGETBSZ: u32 = 2;
    pub const FIBMAP: u32 = 1;
    pub const FIONREAD: u32 = 0x541B;
    pub const SIOCOUTQ: u32 = 0x5411;
    pub const SIOCATMARK: u32 = 0x8905;
    pub const FIONBIO: u32 = 0x5421;
    pub const FIONCLEX: u32 = 0x5450;
    pub const FIOCLEX: u32 = 0x5451;
    pub const FIOASYNC: u32 = 0x5452;
    pub const FIOQSIZE: u32 = 0x5460;
    pub const FIOSETOWN: u32 = 0x8901;
    pub const SIOCSPGRP: u32 = 0x8902;
    pub const FIOGETOWN: u32 = 0x8903;
    pub const SIOCGPGRP: u32 = 0x8904;
    pub const FS_IOC_FIEMAP: u32 = 0xc020_660b;
    pub const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
    pub const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
    pub const FICLONE: u32 = 0x4004_9409;
    pub const FICLONERANGE: u32 = 0x4020_940D;
    pub const FIDEDUPERANGE: u32 = 0xC018_9436;
}
