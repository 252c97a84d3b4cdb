//! Changing attributes: chmod(2), chown(2), utimensat(2), truncate(2), with who may do it
//! (`setattr_prepare` in Linux's tree).

use abi::fs::S_ISGID;
use abi::{Errno, FileType, Result};

use super::open::without_set_ids;
use super::permission::{MAY_WRITE, capable_over, check_access, check_mount_writable, is_owner_or_capable};
use super::{Attr, Caller, File, Inode, SetAttr, SetTime, SetXattrFlags, Vfs, VfsPath, acl, inotify};
use crate::task::{Capability, FileCapabilities};

/// The new times of utimensat(2); `None` leaves one alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewTimes {
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change.
    pub mtime: Option<SetTime>,
}

impl Vfs {
    /// chmod(2) on a place found.
    ///
    /// # Errors
    /// As chmod(2).
    pub fn chmod(&self, caller: &Caller<'_>, place: &VfsPath, mode: u32) -> Result<()> {
        check_mount_writable(place)?;
        let inode = place.inode();
        let attr = inode.attr()?;
        if !is_owner_or_capable(caller.creds, &attr) {
            return Err(Errno::EPERM);
        }
        if attr.file_type() == FileType::Symlink {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut mode = mode & 0o7777;
        if !caller.creds.in_group(attr.gid) && !capable_over(caller.creds, &attr, Capability::Fsetid) {
            mode &= !S_ISGID;
        }
        let old_acl = inode.access_acl()?;
        inode.set_attr(caller, &SetAttr { mode: Some(mode), ..SetAttr::default() })?;
        if let (Some(old), Some(xattr)) = (old_acl, inode.xattr()) {
            xattr.set(acl::ACCESS, &acl::with_mode(&old, mode), SetXattrFlags::empty())?;
        }
        inotify::on_attrib(&place.dentry);
        Ok(())
    }

    /// chown(2) on a place found. `None` leaves an id alone.
    ///
    /// # Errors
    /// As chown(2).
    pub fn chown(
        &self,
        caller: &Caller<'_>,
        place: &VfsPath,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        check_mount_writable(place)?;
        let inode = place.inode();
        let attr = inode.attr()?;
        check_chown(caller, &attr, uid, gid)?;
        let strips = attr.file_type() != FileType::Directory && attr.mode & 0o6000 != 0;
        let mode = strips.then(|| without_set_ids(attr.mode));
        inode.set_attr(caller, &SetAttr { uid, gid, mode, ..SetAttr::default() })?;
        if attr.file_type() != FileType::Directory {
            drop_file_capabilities(&**inode)?;
        }
        inotify::on_attrib(&place.dentry);
        Ok(())
    }

    /// utimensat(2) on a place found.
    ///
    /// # Errors
    /// As utimensat(2).
    pub fn set_times(&self, caller: &Caller<'_>, place: &VfsPath, times: NewTimes) -> Result<()> {
        if times.atime.is_none() && times.mtime.is_none() {
            return Ok(());
        }
        check_mount_writable(place)?;
        let inode = place.inode();
        let attr = inode.attr()?;
        if !is_owner_or_capable(caller.creds, &attr) {
            if !matches!((times.atime, times.mtime), (Some(SetTime::Now), Some(SetTime::Now))) {
                return Err(Errno::EPERM);
            }
            check_access(caller, inode, MAY_WRITE)?;
        }
        inode.set_attr(caller, &SetAttr { atime: times.atime, mtime: times.mtime, ..SetAttr::default() })?;
        inotify::on_attrib(&place.dentry);
        Ok(())
    }

    /// truncate(2) on a place found.
    ///
    /// # Errors
    /// As truncate(2).
    pub fn truncate(&self, caller: &Caller<'_>, place: &VfsPath, size: u64) -> Result<()> {
        let inode = place.inode();
        match inode.attr()?.file_type() {
            FileType::Regular => {}
            FileType::Directory => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        }
        check_mount_writable(place)?;
        check_access(caller, inode, MAY_WRITE)?;
        let common = inode.common();
        common.begin_write()?;
        let result = resize(caller, place, size);
        common.end_write();
        result
    }

    /// ftruncate(2).
    ///
    /// # Errors
    /// As ftruncate(2).
    pub fn truncate_file(&self, caller: &Caller<'_>, file: &File, size: u64) -> Result<()> {
        if !file.flags().is_writable() || file.inode().attr()?.file_type() != FileType::Regular {
            return Err(Errno::EINVAL);
        }
        resize(caller, file.path(), size)
    }
}

fn resize(caller: &Caller<'_>, place: &VfsPath, size: u64) -> Result<()> {
    if i64::try_from(size).is_err() {
        return Err(Errno::EINVAL);
    }
    let inode = place.inode();
    if let Some(task) = caller.task
        && size > inode.attr()?.size
    {
        task.check_file_size(size)?;
    }
    drop_file_capabilities(&**inode)?;
    let mode = set_ids_to_drop(caller, &**inode)?;
    let change = SetAttr { size: Some(size), mtime: Some(SetTime::Now), mode, ..SetAttr::default() };
    inode.set_attr(caller, &change)?;
    inotify::on_modify(&place.dentry);
    Ok(())
}

/// The mode that a file gets when somebody without privilege changes its content: no set-ID bits. `None` where nothing
/// changes.
fn set_ids_to_drop(caller: &Caller<'_>, inode: &dyn Inode) -> Result<Option<u32>> {
    let mode = inode.mode()?;
    if mode & 0o6000 == 0 || without_set_ids(mode) == mode & 0o7777 {
        return Ok(None);
    }
    let attr = inode.attr()?;
    Ok((!capable_over(caller.creds, &attr, Capability::Fsetid)).then(|| without_set_ids(attr.mode)))
}

/// Takes set-ID bits and file capabilities away from a file that is about to be written.
///
/// # Errors
/// What the file system says.
pub fn drop_privileges_on_write(caller: &Caller<'_>, inode: &dyn Inode) -> Result<()> {
    drop_file_capabilities(inode)?;
    match set_ids_to_drop(caller, inode)? {
        None => Ok(()),
        Some(mode) => inode.set_attr(caller, &SetAttr { mode: Some(mode), ..SetAttr::default() }),
    }
}

/// Takes file capabilities away: they were given to the content as it was, or by its owner as that was.
pub(super) fn drop_file_capabilities(inode: &dyn Inode) -> Result<()> {
    let common = inode.common();
    if common.lacks_capabilities() {
        return Ok(());
    }
    match inode.xattr().map(|xattr| xattr.remove(FileCapabilities::XATTR)) {
        Some(Err(errno)) if errno != Errno::ENODATA && errno != Errno::EOPNOTSUPP => return Err(errno),
        _ => common.set_lacks_capabilities(true),
    }
    Ok(())
}

fn check_chown(caller: &Caller<'_>, attr: &Attr, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let creds = caller.creds;
    let is_owner = creds.fsuid == attr.uid;
    let keeps_uid = uid.is_none_or(|uid| is_owner && uid == attr.uid);
    let keeps_gid = gid.is_none_or(|gid| is_owner && (creds.in_group(gid) || gid == attr.gid));
    if (keeps_uid && keeps_gid) || capable_over(creds, attr, Capability::Chown) {
        return Ok(());
    }
    Err(Errno::EPERM)
}
