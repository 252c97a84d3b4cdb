//! Opening, `statx`, reading links.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use abi::fs::OpenFlags;
use abi::{Errno, Result};

use super::{PATH_MAX, retry, with_name};
use crate::check;

/// What `statx(2)` says of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Device of the file system, as `makedev` packs it.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device file.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Allocated units of 512 bytes.
    pub blocks: u64,
    /// Preferred size of a transfer.
    pub block_size: u32,
    /// Last access: seconds and nanoseconds.
    pub atime: (i64, u32),
    /// Last change of the content.
    pub mtime: (i64, u32),
    /// Last change of the attributes.
    pub ctime: (i64, u32),
    /// Birth, where the file system knows it.
    pub btime: Option<(i64, u32)>,
}

impl Stat {
    /// The type bits of the mode (`S_IFMT`).
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.mode & libc::S_IFMT
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind() == libc::S_IFDIR
    }

    /// Whether it is a regular file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.kind() == libc::S_IFREG
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.kind() == libc::S_IFLNK
    }
}

/// What `fstatfs(2)` says of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileSystemStat {
    /// Magic number of the type.
    pub kind: u64,
    /// Unit of the counts, in bytes.
    pub block_size: u64,
    /// Units in all.
    pub blocks: u64,
    /// Units free.
    pub blocks_free: u64,
    /// Units free to ordinary users.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Inodes free.
    pub files_free: u64,
    /// The longest name.
    pub name_max: u64,
}

/// Opens a path of the host, for set-up code that is trusted to name one.
///
/// # Errors
/// What `open(2)` says.
pub fn open(path: &Path, flags: OpenFlags, mode: u32) -> Result<OwnedFd> {
    with_name(path.as_os_str().as_bytes(), |path| open_raw(libc::AT_FDCWD, path, flags, mode))
}

/// Opens `name` in `dir`, closed on exec and never as a controlling terminal.
///
/// # Errors
/// What `openat(2)` says.
pub fn open_at(dir: BorrowedFd<'_>, name: &[u8], flags: OpenFlags, mode: u32) -> Result<OwnedFd> {
    with_name(name, |name| open_raw(dir.as_raw_fd(), name, flags, mode))
}

fn open_raw(dir: i32, name: &std::ffi::CStr, flags: OpenFlags, mode: u32) -> Result<OwnedFd> {
    let flags = flags.bits().cast_signed() | libc::O_CLOEXEC | libc::O_NOCTTY;
    // SAFETY: `name` is a C string that the kernel only reads.
    let fd = retry(|| i64::from(unsafe { libc::openat(dir, name.as_ptr(), flags, mode) }))?;
    let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attributes of an open file, also one opened with [`OpenFlags::PATH`].
///
/// # Errors
/// What `statx(2)` says.
pub fn stat(file: BorrowedFd<'_>) -> Result<Stat> {
    stat_raw(file, c"", libc::AT_EMPTY_PATH)
}

/// Attributes of a really open file, by the one call that takes no path (`fstat(2)`): for processes whose filter lets
/// no other through. There is no time of birth.
///
/// # Errors
/// What `fstat(2)` says.
pub fn stat_open(file: BorrowedFd<'_>) -> Result<Stat> {
    // SAFETY: all zeros is a valid `stat`.
    let mut raw: libc::stat = unsafe { std::mem::zeroed() };
    // The library's `fstat` makes another call. SAFETY: `raw` has room for what the kernel writes.
    check(unsafe { libc::syscall(libc::SYS_fstat, file.as_raw_fd(), &raw mut raw) })?;
    let time = |seconds, nanoseconds| (seconds, u32::try_from(nanoseconds).unwrap_or(0));
    Ok(Stat {
        dev: raw.st_dev,
        ino: raw.st_ino,
        mode: raw.st_mode,
        nlink: u32::try_from(raw.st_nlink).unwrap_or(u32::MAX),
        uid: raw.st_uid,
        gid: raw.st_gid,
        rdev: raw.st_rdev,
        size: raw.st_size.cast_unsigned(),
        blocks: raw.st_blocks.cast_unsigned(),
        block_size: u32::try_from(raw.st_blksize).unwrap_or(4096),
        atime: time(raw.st_atime, raw.st_atime_nsec),
        mtime: time(raw.st_mtime, raw.st_mtime_nsec),
        ctime: time(raw.st_ctime, raw.st_ctime_nsec),
        btime: None,
    })
}

/// Where the next data (or hole) at or behind `offset` begins.
///
/// # Errors
/// What `lseek(2)` says: `ENXIO` behind the end.
pub fn seek_extent(file: BorrowedFd<'_>, offset: u64, data: bool) -> Result<u64> {
    let offset = i64::try_from(offset).map_err(|_| Errno::ENXIO)?;
    let whence = if data { libc::SEEK_DATA } else { libc::SEEK_HOLE };
    // SAFETY: a plain system call on a live descriptor.
    check(unsafe { libc::lseek(file.as_raw_fd(), offset, whence) }).map(|at| at as u64)
}

/// Attributes of `name` in `dir`, of the link itself where it is a symbolic link.
///
/// # Errors
/// What `statx(2)` says.
pub fn stat_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    with_name(name, |name| stat_raw(dir, name, 0))
}

fn stat_raw(dir: BorrowedFd<'_>, name: &std::ffi::CStr, flags: i32) -> Result<Stat> {
    // SAFETY: all zeros is a valid `statx`.
    let mut raw: libc::statx = unsafe { std::mem::zeroed() };
    let flags = flags | libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT;
    let mask = libc::STATX_BASIC_STATS | libc::STATX_BTIME;
    // SAFETY: `name` is a C string, and `raw` has room for what the kernel writes.
    let done = unsafe { libc::statx(dir.as_raw_fd(), name.as_ptr(), flags, mask, &raw mut raw) };
    check(i64::from(done))?;
    let time = |t: libc::statx_timestamp| (t.tv_sec, t.tv_nsec);
    Ok(Stat {
        dev: libc::makedev(raw.stx_dev_major, raw.stx_dev_minor),
        ino: raw.stx_ino,
        mode: u32::from(raw.stx_mode),
        nlink: raw.stx_nlink,
        uid: raw.stx_uid,
        gid: raw.stx_gid,
        rdev: libc::makedev(raw.stx_rdev_major, raw.stx_rdev_minor),
        size: raw.stx_size,
        blocks: raw.stx_blocks,
        block_size: raw.stx_blksize,
        atime: time(raw.stx_atime),
        mtime: time(raw.stx_mtime),
        ctime: time(raw.stx_ctime),
        btime: (raw.stx_mask & libc::STATX_BTIME != 0).then(|| time(raw.stx_btime)),
    })
}

/// Where the symbolic link `name` in `dir` points; with an empty name, the link that `dir` itself is a
/// [`OpenFlags::PATH`] descriptor of.
///
/// # Errors
/// What `readlinkat(2)` says; `EINVAL` where it is no link.
pub fn read_link_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let mut target = vec![0u8; PATH_MAX];
    let len = with_name(name, |name| {
        // SAFETY: `target` has the length that is passed, and `name` is a C string.
        let len = unsafe {
            libc::readlinkat(dir.as_raw_fd(), name.as_ptr(), target.as_mut_ptr().cast(), target.len())
        };
        // An empty name of something that is no link is ENOENT on the host.
        check(len as i64).map_err(|e| if name.is_empty() && e == Errno::ENOENT { Errno::EINVAL } else { e })
    })?;
    target.truncate(len);
    target.shrink_to_fit();
    Ok(target)
}

/// Figures of the file system that holds an open file.
///
/// # Errors
/// What `fstatfs(2)` says.
pub fn stat_file_system(file: BorrowedFd<'_>) -> Result<FileSystemStat> {
    // SAFETY: all zeros is a valid `statfs`.
    let mut raw: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: `raw` has room for what the kernel writes.
    retry(|| i64::from(unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut raw) }))?;
    Ok(FileSystemStat {
        kind: raw.f_type.cast_unsigned(),
        block_size: raw.f_bsize.cast_unsigned(),
        blocks: raw.f_blocks,
        blocks_free: raw.f_bfree,
        blocks_available: raw.f_bavail,
        files: raw.f_files,
        files_free: raw.f_ffree,
        name_max: raw.f_namelen.cast_unsigned(),
    })
}

/// The access mode and status flags that a descriptor was opened with (`F_GETFL`).
///
/// # Errors
/// What fcntl(2) says.
pub fn status_flags(file: BorrowedFd<'_>) -> Result<OpenFlags> {
    // SAFETY: a plain system call on a live descriptor.
    let flags = check(i64::from(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) }))?;
    Ok(OpenFlags::from_bits_truncate(flags as u32))
}
