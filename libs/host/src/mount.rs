//! Mounts, by descriptor where the kernel can: what is mounted is opened first and put in place afterwards, so that
//! no path is walked twice (`man 2 open_tree`, `man 2 move_mount`, `man 2 fsopen`, `man 2 mount_setattr`).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use abi::{Errno, Result};

use crate::{check, own};

const OPEN_TREE_CLONE: libc::c_uint = 1;
const AT_RECURSIVE: libc::c_uint = 0x8000;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
const FSOPEN_CLOEXEC: libc::c_uint = 1;
const FSCONFIG_SET_STRING: libc::c_uint = 1;
const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
const FSMOUNT_CLOEXEC: libc::c_uint = 1;

bitflags::bitflags! {
    /// Properties of a mount (`MOUNT_ATTR_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MountFlags: u64 {
        /// Read-only.
        const RDONLY = 1;
        /// Set-user-ID bits do nothing.
        const NOSUID = 2;
        /// Device nodes do nothing.
        const NODEV = 4;
        /// Nothing is executed from it.
        const NOEXEC = 8;
        /// Symbolic links are not followed.
        const NOSYMFOLLOW = 0x20_0000;
    }
}

/// How mount events travel (`man 7 mount_namespaces`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Neither in nor out.
    Private,
    /// In, not out.
    Slave,
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// Sets how mount events travel for every mount below and including `path`.
///
/// # Errors
/// What `mount(2)` says.
pub fn set_propagation(path: &Path, how: Propagation) -> Result<()> {
    let path = c_path(path)?;
    let how = match how {
        Propagation::Private => libc::MS_PRIVATE,
        Propagation::Slave => libc::MS_SLAVE,
    };
    let null = std::ptr::null();
    // SAFETY: `path` is a C string; a change of propagation reads nothing else.
    let done = unsafe { libc::mount(null, path.as_ptr(), null, libc::MS_REC | how, null.cast()) };
    check(i64::from(done)).map(|_| ())
}

/// Mounts by path, as `mount(2)` always could: `flags` are its `MS_*`, `data` what the file system reads.
///
/// # Errors
/// What `mount(2)` says; `EINVAL` for a NUL in a string.
pub fn mount(source: &Path, target: &Path, kind: &str, flags: u64, data: &str) -> Result<()> {
    let (source, target) = (c_path(source)?, c_path(target)?);
    let string = |text: &str| CString::new(text).map_err(|_| Errno::EINVAL);
    let (kind, data) = (string(kind)?, string(data)?);
    let data = if data.is_empty() { std::ptr::null() } else { data.as_ptr() };
    // SAFETY: all are C strings; file systems that read anything else as data are not mounted with strings.
    let done = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.cast()) };
    check(i64::from(done)).map(|_| ())
}

/// A detached copy of the mount tree at `path` (a bind mount not yet anywhere), with all mounts below it.
///
/// # Errors
/// What `open_tree(2)` says; `ENOSYS` before Linux 5.2.
pub fn clone_tree(path: &Path) -> Result<OwnedFd> {
    let path = c_path(path)?;
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC as libc::c_uint;
    // SAFETY: `path` is a C string.
    let tree = check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) })?;
    // SAFETY: the call just made this descriptor.
    Ok(unsafe { own(tree) })
}

/// A detached new file system of type `kind` with the given options.
///
/// # Errors
/// What `fsopen(2)`, `fsconfig(2)` and `fsmount(2)` say.
pub fn new_filesystem(kind: &CStr, options: &[(&CStr, &CStr)], flags: MountFlags) -> Result<OwnedFd> {
    // SAFETY: `kind` is a C string.
    let fs = check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?;
    // SAFETY: the call just made this descriptor.
    let fs = unsafe { own(fs) };
    let config = |command: libc::c_uint, key: *const libc::c_char, value: *const libc::c_char| {
        // SAFETY: key and value are C strings or null, as the command wants them.
        check(unsafe { libc::syscall(libc::SYS_fsconfig, fs.as_raw_fd(), command, key, value, 0) })
    };
    for (key, value) in options {
        config(FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr())?;
    }
    config(FSCONFIG_CMD_CREATE, std::ptr::null(), std::ptr::null())?;
    // SAFETY: a plain system call on a live descriptor.
    let mount = unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), FSMOUNT_CLOEXEC, flags.bits()) };
    let mount = check(mount)?;
    // SAFETY: the call just made this descriptor.
    Ok(unsafe { own(mount) })
}

/// Puts a detached mount at `path`, which the last symbolic link of is not followed.
///
/// # Errors
/// What `move_mount(2)` says.
pub fn attach(mount: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let path = c_path(path)?;
    let at = libc::AT_FDCWD;
    // SAFETY: both paths are C strings; the empty one names the descriptor.
    let done = unsafe {
        let empty = c"".as_ptr();
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            empty,
            at,
            path.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check(done).map(|_| ())
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets properties of a detached mount and of all mounts below it.
///
/// # Errors
/// What `mount_setattr(2)` says; `ENOSYS` before Linux 5.12.
pub fn set_flags(mount: BorrowedFd<'_>, flags: MountFlags) -> Result<()> {
    let attr = MountAttr { set: flags.bits(), clear: 0, propagation: 0, userns_fd: 0 };
    let how = libc::AT_EMPTY_PATH as libc::c_uint | AT_RECURSIVE;
    // SAFETY: the empty path names the descriptor; `attr` is a whole `mount_attr` of the size given.
    let done = unsafe {
        let (fd, path) = (mount.as_raw_fd(), c"".as_ptr());
        libc::syscall(libc::SYS_mount_setattr, fd, path, how, &raw const attr, size_of::<MountAttr>())
    };
    check(done).map(|_| ())
}

/// Makes `mount` (attached somewhere in this name space) the root of this process and lets go of the old one: nothing
/// of it can be reached by path afterwards. The working directory becomes the new root.
///
/// # Errors
/// What `fchdir(2)`, `pivot_root(2)` and `umount2(2)` say.
pub fn become_root(mount: BorrowedFd<'_>) -> Result<()> {
    let here = c".".as_ptr();
    // SAFETY: plain system calls with C strings. `pivot_root(".", ".")` puts the old root below the new one's
    // directory, where the detach takes it away (man 2 pivot_root).
    unsafe {
        check(i64::from(libc::fchdir(mount.as_raw_fd())))?;
        check(libc::syscall(libc::SYS_pivot_root, here, here))?;
        check(i64::from(libc::umount2(here, libc::MNT_DETACH)))?;
        check(i64::from(libc::chdir(c"/".as_ptr())))?;
    }
    Ok(())
}

/// Takes the mount at `path` away, at once for new users and for good when the last one is gone.
///
/// # Errors
/// What `umount2(2)` says.
pub fn detach(path: &Path) -> Result<()> {
    let path = c_path(path)?;
    // SAFETY: `path` is a C string.
    check(i64::from(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW) }))
        .map(|_| ())
}
