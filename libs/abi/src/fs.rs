//! Files: modes, open flags, `struct stat` (`fcntl.h`, `sys/stat.h`; `man 2 open`, `man 2 stat`).
#![allow(missing_docs, reason = "Linux's names: man 2 open, man 2 stat, man 2 statfs")]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::time::Timespec;

/// Longest file name, bytes.
pub const NAME_MAX: usize = 255;
/// Longest path with its NUL, bytes.
pub const PATH_MAX: usize = 4096;
/// `AT_FDCWD`.
pub const AT_FDCWD: i32 = -100;

/// lseek(2): from the start.
pub const SEEK_SET: u32 = 0;
/// From the position.
pub const SEEK_CUR: u32 = 1;
/// From the end.
pub const SEEK_END: u32 = 2;
/// The next data from there.
pub const SEEK_DATA: u32 = 3;
/// The next hole from there.
pub const SEEK_HOLE: u32 = 4;

bitflags! {
    /// Flags of open(2), as x86-64 numbers them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct OpenFlags: u32 {
        const WRONLY = 0o1;
        const RDWR = 0o2;
        const ACCMODE = 0o3;
        const CREAT = 0o100;
        const EXCL = 0o200;
        const NOCTTY = 0o400;
        const TRUNC = 0o1000;
        const APPEND = 0o2000;
        const NONBLOCK = 0o4000;
        const DSYNC = 0o10000;
        const ASYNC = 0o20000;
        const DIRECT = 0o40000;
        const LARGEFILE = 0o100000;
        const DIRECTORY = 0o200000;
        const NOFOLLOW = 0o400000;
        const NOATIME = 0o1000000;
        const CLOEXEC = 0o2000000;
        const SYNC = 0o4010000;
        const PATH = 0o10000000;
        const TMPFILE = 0o20200000;
    }
}

impl OpenFlags {
    /// Whether the access mode allows reading.
    #[must_use]
    pub fn is_readable(self) -> bool {
        !self.contains(Self::PATH) && self.bits() & 3 != 1
    }

    /// Whether the access mode allows writing.
    #[must_use]
    pub fn is_writable(self) -> bool {
        !self.contains(Self::PATH) && matches!(self.bits() & 3, 1 | 2)
    }
}

/// What kind of file an inode is, as the high bits of `st_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum FileType {
    /// A FIFO.
    Fifo = 0o010000,
    /// A character device.
    Char = 0o020000,
    /// A directory.
    Directory = 0o040000,
    /// A block device.
    Block = 0o060000,
    /// A regular file.
    Regular = 0o100000,
    /// A symbolic link.
    Symlink = 0o120000,
    /// A socket.
    Socket = 0o140000,
}

impl FileType {
    /// The type in `mode`, `None` for a value that Linux has no name for.
    #[must_use]
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & 0o170000 {
            0o010000 => Self::Fifo,
            0o020000 => Self::Char,
            0o040000 => Self::Directory,
            0o060000 => Self::Block,
            0o100000 => Self::Regular,
            0o120000 => Self::Symlink,
            0o140000 => Self::Socket,
            _ => return None,
        })
    }

    /// `d_type` of getdents(2).
    #[must_use]
    pub fn dirent_type(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// Set-user-ID bit of a mode.
pub const S_ISUID: u32 = 0o4000;
/// Set-group-ID bit of a mode.
pub const S_ISGID: u32 = 0o2000;
/// Sticky bit of a mode.
pub const S_ISVTX: u32 = 0o1000;

/// A device number in the kernel's internal sense; [`DeviceId::encode`] gives what user space sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct DeviceId {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl DeviceId {
    /// The 64-bit `dev_t` of glibc's makedev(3).
    #[must_use]
    pub fn encode(self) -> u64 {
        let (major, minor) = (u64::from(self.major), u64::from(self.minor));
        (minor & 0xff) | ((major & 0xfff) << 8) | ((minor & !0xff) << 12) | ((major & !0xfff) << 32)
    }

    /// The inverse of [`Self::encode`].
    #[must_use]
    pub fn decode(dev: u64) -> Self {
        Self {
            major: (((dev >> 8) & 0xfff) | ((dev >> 32) & 0xffff_f000)) as u32,
            minor: ((dev & 0xff) | ((dev >> 12) & 0xffff_ff00)) as u32,
        }
    }
}

/// `struct stat` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stat {
    pub st_dev: u64,
    pub st_ino: u64,
    pub st_nlink: u64,
    pub st_mode: u32,
    pub st_uid: u32,
    pub st_gid: u32,
    pub pad0: u32,
    pub st_rdev: u64,
    pub st_size: i64,
    pub st_blksize: i64,
    pub st_blocks: i64,
    pub st_atim: Timespec,
    pub st_mtim: Timespec,
    pub st_ctim: Timespec,
    pub unused: [i64; 3],
}

/// `struct statfs` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Statfs {
    pub f_type: i64,
    pub f_bsize: i64,
    pub f_blocks: u64,
    pub f_bfree: u64,
    pub f_bavail: u64,
    pub f_files: u64,
    pub f_ffree: u64,
    pub f_fsid: [i32; 2],
    pub f_namelen: i64,
    pub f_frsize: i64,
    pub f_flags: i64,
    pub f_spare: [i64; 4],
}
