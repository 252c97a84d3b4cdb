//! Extended attributes: who may read and change which (`man 7 xattr`), and what ACLs mean for the mode.

use abi::fs::{S_ISGID, S_ISVTX};
use abi::{Errno, FileType, Result};
use bitflags::bitflags;

use super::anon::SOCKET_PROTOCOL;
use super::permission::{
    MAY_READ, MAY_WRITE, capable_over, check_access, check_mount_writable, is_owner_or_capable,
};
use super::{Attr, Caller, SetAttr, Vfs, VfsPath, Xattr, acl, inotify};
use crate::task::{Capability, FileCapabilities};

bitflags! {
    /// Flags of setxattr(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct SetXattrFlags: u32 {
        /// Fail with EEXIST where it exists.
        const CREATE = 1;
        /// Fail with ENODATA where it does not.
        const REPLACE = 2;
    }
}

/// What a name's prefix says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    User,
    Trusted,
    Security,
    AccessAcl,
    DefaultAcl,
    SocketProtocol,
}

impl Space {
    fn of(name: &[u8]) -> Result<Self> {
        match name {
            acl::ACCESS => Ok(Self::AccessAcl),
            acl::DEFAULT => Ok(Self::DefaultAcl),
            SOCKET_PROTOCOL => Ok(Self::SocketProtocol),
            _ if name.strip_prefix(b"user.").is_some_and(|rest| !rest.is_empty()) => Ok(Self::User),
            _ if name.strip_prefix(b"trusted.").is_some_and(|rest| !rest.is_empty()) => Ok(Self::Trusted),
            _ if name.strip_prefix(b"security.").is_some_and(|rest| !rest.is_empty()) => Ok(Self::Security),
            b"user." | b"trusted." | b"security." => Err(Errno::EINVAL),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn is_acl(self) -> bool {
        matches!(self, Self::AccessAcl | Self::DefaultAcl)
    }
}

impl Vfs {
    /// getxattr(2) on a place found.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP`, `EACCES`.
    pub fn get_xattr(&self, caller: &Caller<'_>, place: &VfsPath, name: &[u8]) -> Result<Vec<u8>> {
        let space = Space::of(name)?;
        let inode = place.inode();
        match space {
            Space::Trusted if !caller.creds.capable(Capability::SysAdmin) => return Err(Errno::ENODATA),
            Space::User => {
                check_user_file(&inode.attr()?, Errno::ENODATA)?;
                check_access(caller, inode, MAY_READ)?;
            }
            _ => {}
        }
        let value = inode.xattr().ok_or(Errno::EOPNOTSUPP)?.get(name)?;
        let ns = &caller.creds.user_ns;
        match space {
            Space::AccessAcl | Space::DefaultAcl => Ok(acl::from_stored(&value, ns)),
            _ if name == FileCapabilities::XATTR => FileCapabilities::from_stored(value, ns),
            _ => Ok(value),
        }
    }

    /// listxattr(2) on a place found: names, each with a NUL behind it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn list_xattrs(&self, caller: &Caller<'_>, place: &VfsPath) -> Result<Vec<u8>> {
        let Some(xattr) = place.inode().xattr() else { return Ok(Vec::new()) };
        let sees_trusted = caller.creds.capable(Capability::SysAdmin);
        let mut names = xattr.list()?;
        names.retain(|name| sees_trusted || !name.starts_with(b"trusted."));
        Ok(names.iter().flat_map(|name| name.iter().copied().chain([0])).collect())
    }

    /// setxattr(2) on a place found.
    ///
    /// # Errors
    /// As setxattr(2).
    pub fn set_xattr(
        &self,
        caller: &Caller<'_>,
        place: &VfsPath,
        name: &[u8],
        value: &[u8],
        flags: SetXattrFlags,
    ) -> Result<()> {
        let (space, attr) = prepare_change(caller, place, name)?;
        let xattr = place.inode().xattr().ok_or(Errno::EOPNOTSUPP)?;
        let inode_common = place.inode().common();
        if space.is_acl() {
            set_acl(caller, place, &attr, space, value)?;
        } else {
            if name == FileCapabilities::XATTR {
                let value = FileCapabilities::to_stored(value, &caller.creds.user_ns)?;
                // Before and after: a writer that comes in between must neither miss them nor note their absence.
                inode_common.set_lacks_capabilities(false);
                xattr.set(name, &value, flags)?;
                inode_common.set_lacks_capabilities(false);
            } else {
                xattr.set(name, value, flags)?;
            }
        }
        inotify::on_attrib(&place.dentry);
        Ok(())
    }

    /// removexattr(2) on a place found.
    ///
    /// # Errors
    /// As removexattr(2).
    pub fn remove_xattr(&self, caller: &Caller<'_>, place: &VfsPath, name: &[u8]) -> Result<()> {
        prepare_change(caller, place, name)?;
        let xattr = place.inode().xattr().ok_or(Errno::EOPNOTSUPP)?;
        xattr.remove(name)?;
        inotify::on_attrib(&place.dentry);
        Ok(())
    }
}

/// `user.` attributes are for files and directories only: elsewhere mode bits mean something else.
fn check_user_file(attr: &Attr, refusal: Errno) -> Result<()> {
    match attr.file_type() {
        FileType::Regular | FileType::Directory => Ok(()),
        _ => Err(refusal),
    }
}

/// Whether the caller may change attribute `name`.
fn prepare_change(caller: &Caller<'_>, place: &VfsPath, name: &[u8]) -> Result<(Space, Attr)> {
    let space = Space::of(name)?;
    check_mount_writable(place)?;
    let inode = place.inode();
    let attr = inode.attr()?;
    let creds = caller.creds;
    let is_allowed = match space {
        Space::Trusted => creds.capable(Capability::SysAdmin),
        Space::Security if name == FileCapabilities::XATTR => capable_over(creds, &attr, Capability::Setfcap),
        Space::Security => place.mount.superblock().is_capable(creds, Capability::SysAdmin),
        Space::AccessAcl | Space::DefaultAcl => {
            if attr.file_type() == FileType::Symlink {
                return Err(Errno::EOPNOTSUPP);
            }
            is_owner_or_capable(creds, &attr)
        }
        Space::SocketProtocol => true,
        Space::User => {
            check_user_file(&attr, Errno::EPERM)?;
            let is_sticky_dir = attr.file_type() == FileType::Directory && attr.mode & S_ISVTX != 0;
            if is_sticky_dir && !is_owner_or_capable(creds, &attr) {
                return Err(Errno::EPERM);
            }
            check_access(caller, inode, MAY_WRITE)?;
            true
        }
    };
    if is_allowed { Ok((space, attr)) } else { Err(Errno::EPERM) }
}

/// Sets an ACL, with the mode bits that go with it. One that says no more than mode bits is not kept.
fn set_acl(caller: &Caller<'_>, place: &VfsPath, attr: &Attr, space: Space, value: &[u8]) -> Result<()> {
    let inode = place.inode();
    let xattr = inode.xattr().ok_or(Errno::EOPNOTSUPP)?;
    let shape = acl::validate(value)?;
    let value = &acl::to_stored(value, &caller.creds.user_ns)?;
    if space == Space::DefaultAcl {
        if attr.file_type() != FileType::Directory {
            return Err(Errno::EACCES);
        }
        return match shape {
            acl::AclShape::Empty => remove_if_there(xattr, acl::DEFAULT),
            _ => xattr.set(acl::DEFAULT, value, SetXattrFlags::empty()),
        };
    }
    if shape != acl::AclShape::Empty {
        let mut mode = attr.mode & 0o7000 | acl::mode_bits(value);
        if !caller.creds.in_group(attr.gid) && !capable_over(caller.creds, attr, Capability::Fsetid) {
            mode &= !S_ISGID;
        }
        inode.set_attr(caller, &SetAttr { mode: Some(mode), ..SetAttr::default() })?;
    }
    match shape {
        acl::AclShape::Extended => xattr.set(acl::ACCESS, value, SetXattrFlags::empty()),
        _ => remove_if_there(xattr, acl::ACCESS),
    }
}

fn remove_if_there(xattr: &dyn Xattr, name: &[u8]) -> Result<()> {
    match xattr.remove(name) {
        Err(Errno::ENODATA) => Ok(()),
        other => other,
    }
}
