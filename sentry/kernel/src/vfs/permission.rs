//! Who may do what to a file: mode bits, ACLs, capabilities, sticky directories (`man 7 path_resolution`,
//! `fs/namei.c` and `fs/attr.c` in Linux's tree).

use std::sync::Arc;

use abi::fs::{S_ISGID, S_ISVTX};
use abi::mount::MountFlags;
use abi::{DeviceId, Errno, FileType, Result};

use super::{Attr, Caller, Dentry, DeviceKind, Inode, VfsPath, acl};
use crate::limits::{Knob, Knobs};
use crate::task::cgroup::DeviceAccess;
use crate::task::{Capability, Credentials};

/// Search a directory, run a program.
pub const MAY_EXEC: u32 = 1;
/// Change content.
pub const MAY_WRITE: u32 = 2;
/// Read content, list a directory.
pub const MAY_READ: u32 = 4;

/// Checks access to an inode by mode, ACL and capabilities.
///
/// # Errors
/// `EACCES`.
pub fn check_access(caller: &Caller<'_>, inode: &Arc<dyn Inode>, mask: u32) -> Result<()> {
    if let Some(verdict) = inode.permission(caller, mask) {
        return verdict;
    }
    let attr = inode.ownership()?;
    if is_granted(caller.creds, inode, &attr, mask)? {
        return Ok(());
    }
    if is_overridden(caller.creds, &attr, mask) { Ok(()) } else { Err(Errno::EACCES) }
}

/// Checks that a directory may be searched: the path walk's question, answered from the mode alone where possible.
pub(super) fn check_search(caller: &Caller<'_>, dir: &Dentry) -> Result<()> {
    if !dir.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    let inode = dir.inode();
    if let Some(verdict) = inode.permission(caller, MAY_EXEC) {
        return verdict;
    }
    if inode.mode()? & 0o111 == 0o111 && inode.access_acl()?.is_none() {
        return Ok(());
    }
    check_access(caller, inode, MAY_EXEC)
}

/// Whether mode bits and ACL alone grant `mask`.
fn is_granted(creds: &Credentials, inode: &Arc<dyn Inode>, attr: &Attr, mask: u32) -> Result<bool> {
    if creds.fsuid == attr.uid {
        return Ok(attr.mode >> 6 & mask == mask);
    }
    if attr.mode & 0o070 != 0
        && let Some(acl) = inode.access_acl()?
        && let Some(verdict) = acl::check(&acl, creds, attr, mask)
    {
        return Ok(verdict);
    }
    let bits = if creds.in_group(attr.gid) { attr.mode >> 3 } else { attr.mode };
    Ok(bits & mask == mask)
}

/// Whether a capability makes up for missing bits (`generic_permission`).
fn is_overridden(creds: &Credentials, attr: &Attr, mask: u32) -> bool {
    let is_dir = attr.file_type() == FileType::Directory;
    let can_read_all = if is_dir { mask & MAY_WRITE == 0 } else { mask == MAY_READ };
    if can_read_all && capable_over(creds, attr, Capability::DacReadSearch) {
        return true;
    }
    let can_run = is_dir || mask & MAY_EXEC == 0 || attr.mode & 0o111 != 0;
    can_run && capable_over(creds, attr, Capability::DacOverride)
}

/// Whether the caller has `capability` with regard to a file: in a user name space, only over files of ids that are
/// mapped there (`capable_wrt_inode_uidgid`).
#[must_use]
pub fn capable_over(creds: &Credentials, attr: &Attr, capability: Capability) -> bool {
    creds.has_in_own(capability) && creds.user_ns.maps_uid(attr.uid) && creds.user_ns.maps_gid(attr.gid)
}

/// Whether the caller owns the file or may act as if (`inode_owner_or_capable`).
#[must_use]
pub fn is_owner_or_capable(creds: &Credentials, attr: &Attr) -> bool {
    creds.fsuid == attr.uid || capable_over(creds, attr, Capability::Fowner)
}

/// Whether anything may be changed through the mount that `path` goes by.
///
/// # Errors
/// `EROFS`.
pub fn check_mount_writable(path: &VfsPath) -> Result<()> {
    if path.mount.is_read_only() || path.mount.superblock().is_read_only() {
        Err(Errno::EROFS)
    } else {
        Ok(())
    }
}

/// Whether device nodes may be opened through the mount.
pub(super) fn check_devices(path: &VfsPath) -> Result<()> {
    if path.mount.flags().contains(MountFlags::NODEV) { Err(Errno::EACCES) } else { Ok(()) }
}

/// Whether the caller's control group lets it use a device so: `EPERM`.
pub(super) fn check_device_group(
    caller: &Caller<'_>,
    file_type: FileType,
    device: DeviceId,
    access: DeviceAccess,
) -> Result<()> {
    let kind = match file_type {
        FileType::Char => DeviceKind::Char,
        FileType::Block => DeviceKind::Block,
        _ => return Ok(()),
    };
    caller.task.map_or(Ok(()), |task| task.cgroup().check_device(kind, access, device))
}

/// Whether a name may be added to `dir` (`may_create`).
pub(super) fn check_create(caller: &Caller<'_>, dir: &VfsPath) -> Result<()> {
    if dir.dentry.is_unlinked() {
        return Err(Errno::ENOENT);
    }
    check_access(caller, dir.inode(), MAY_WRITE | MAY_EXEC)
}

/// What a name that is to go must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Directory,
    Other,
    Any,
}

/// Whether `victim` may be taken out of `dir` (`may_delete`).
pub(super) fn check_delete(caller: &Caller<'_>, dir: &VfsPath, victim: &Dentry, kind: Victim) -> Result<()> {
    check_access(caller, dir.inode(), MAY_WRITE | MAY_EXEC)?;
    let (dir_attr, attr) = (dir.inode().ownership()?, victim.inode().ownership()?);
    if is_kept_by_sticky(caller.creds, &dir_attr, &attr) {
        return Err(Errno::EPERM);
    }
    match kind {
        Victim::Directory if !victim.is_dir() => Err(Errno::ENOTDIR),
        Victim::Other if victim.is_dir() => Err(Errno::EISDIR),
        _ => Ok(()),
    }
}

/// In a sticky directory only the owners of file and directory may take a name away.
fn is_kept_by_sticky(creds: &Credentials, dir: &Attr, victim: &Attr) -> bool {
    dir.mode & S_ISVTX != 0
        && creds.fsuid != victim.uid
        && creds.fsuid != dir.uid
        && !capable_over(creds, victim, Capability::Fowner)
}

/// The value of one of the `fs.protected_*` settings. Where no task asks, it is as by default.
fn protection(caller: &Caller<'_>, knob: impl FnOnce(&Knobs) -> &Knob) -> i64 {
    caller.task.map_or(1, |task| knob(&task.kernel().knobs).get())
}

/// Whether a link found as the last component in `dir` may be followed (`fs.protected_symlinks`).
pub(super) fn check_follow(caller: &Caller<'_>, dir: &Dentry, link: &Dentry) -> Result<()> {
    const STICKY_AND_OPEN: u32 = S_ISVTX | 0o002;
    if protection(caller, |knobs| &knobs.protected_symlinks) == 0 {
        return Ok(());
    }
    if dir.inode().mode()? & STICKY_AND_OPEN != STICKY_AND_OPEN {
        return Ok(());
    }
    let (dir, link) = (dir.inode().attr()?, link.inode().attr()?);
    if caller.creds.fsuid == link.uid || dir.uid == link.uid { Ok(()) } else { Err(Errno::EACCES) }
}

/// Whether a hard link to `inode` may be made (`fs.protected_hardlinks`).
pub(super) fn check_hard_link(caller: &Caller<'_>, inode: &Arc<dyn Inode>) -> Result<()> {
    let attr = inode.attr()?;
    let is_free = protection(caller, |knobs| &knobs.protected_hardlinks) == 0;
    if is_free || is_owner_or_capable(caller.creds, &attr) {
        return Ok(());
    }
    let is_special = attr.mode & 0o4000 != 0 || attr.mode & (S_ISGID | 0o010) == S_ISGID | 0o010;
    if attr.file_type() != FileType::Regular
        || is_special
        || check_access(caller, inode, MAY_READ | MAY_WRITE).is_err()
    {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// Whether an existing file in a sticky directory may be opened with `O_CREAT` (`fs.protected_regular`,
/// `fs.protected_fifos`): with 1 not in directories that all can write to, with 2 neither in those of a group.
pub(super) fn check_open_in_sticky(caller: &Caller<'_>, dir: &Attr, file: &Attr) -> Result<()> {
    let level = match file.file_type() {
        FileType::Regular => protection(caller, |knobs| &knobs.protected_regular),
        FileType::Fifo => protection(caller, |knobs| &knobs.protected_fifos),
        _ => 0,
    };
    let guarded = match level {
        0 => 0,
        1 => 0o002,
        _ => 0o022,
    };
    let is_foreign = file.uid != dir.uid && file.uid != caller.creds.fsuid;
    if dir.mode & S_ISVTX != 0 && is_foreign && dir.mode & guarded != 0 { Err(Errno::EACCES) } else { Ok(()) }
}
