//! Making and removing names: mkdir(2), mknod(2), symlink(2), link(2), unlink(2), rmdir(2).

use std::sync::Arc;

use abi::fs::NAME_MAX;
use abi::{DeviceId, Errno, FileType, Result};

use super::open::NewShape;
use super::path_walk::{Last, Walk};
use super::permission::{
    Victim, check_create, check_delete, check_device_group, check_hard_link, check_mount_writable,
};
use super::{Caller, Dentry, NewNode, Origin, Vfs, VfsPath, WalkFlags, inotify};
use crate::task::Capability;
use crate::task::cgroup::DeviceAccess;

/// Where a name is to be made or removed.
pub(super) struct Target {
    pub(super) dir: VfsPath,
    pub(super) name: Vec<u8>,
    pub(super) has_trailing_slash: bool,
}

/// Walks to the directory that holds the last component of `path`. Where that is not a name (`.`, `..`, `/`), fails
/// with what `other` says of it.
pub(super) fn walk_to_name(
    caller: &Caller<'_>,
    origin: &Origin,
    path: &[u8],
    other: impl Fn(&Last) -> Errno,
) -> Result<Target> {
    let mut walk = Walk::new(*caller, origin, path, WalkFlags::empty())?;
    match walk.advance()? {
        Last::Name(component) => {
            let name = walk.name(&component).to_vec();
            if name.len() > NAME_MAX {
                return Err(Errno::ENAMETOOLONG);
            }
            Ok(Target { name, has_trailing_slash: walk.has_trailing_slash, dir: walk.at })
        }
        last => Err(other(&last)),
    }
}

/// What mknod(2) makes.
#[derive(Clone, Copy, Debug)]
pub struct NodeSpec {
    /// Anything but a directory or a symbolic link.
    pub file_type: FileType,
    /// Permission bits, before the umask.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// For device nodes.
    pub rdev: DeviceId,
}

impl Vfs {
    /// mkdir(2). Returns the new directory.
    ///
    /// # Errors
    /// As mkdir(2).
    pub fn mkdir(
        &self,
        caller: &Caller<'_>,
        origin: &Origin,
        path: &[u8],
        mode: u32,
        umask: u32,
    ) -> Result<VfsPath> {
        let target = walk_to_name(caller, origin, path, |_| Errno::EEXIST)?;
        let mode = mode & 0o1777;
        make(caller, &target, |dir| {
            let shape = NewShape::new(caller, dir, FileType::Directory, mode, umask)?;
            Ok((shape.node(FileType::Directory), Some(shape)))
        })
    }

    /// mknod(2). Returns the new file.
    ///
    /// # Errors
    /// As mknod(2).
    pub fn mknod(
        &self,
        caller: &Caller<'_>,
        origin: &Origin,
        path: &[u8],
        spec: &NodeSpec,
    ) -> Result<VfsPath> {
        let target = walk_to_name(caller, origin, path, |_| Errno::EEXIST)?;
        if target.has_trailing_slash {
            return Err(refuse_slash(caller, &target));
        }
        let is_whiteout = spec.file_type == FileType::Char && spec.rdev == DeviceId::default();
        let is_device = matches!(spec.file_type, FileType::Char | FileType::Block) && !is_whiteout;
        make(caller, &target, |dir| {
            if is_device && !caller.creds.capable(Capability::Mknod) {
                return Err(Errno::EPERM);
            }
            if !is_whiteout {
                check_device_group(caller, spec.file_type, spec.rdev, DeviceAccess::MKNOD)?;
            }
            let shape = NewShape::new(caller, dir, spec.file_type, spec.mode, spec.umask)?;
            Ok((NewNode { rdev: spec.rdev, ..shape.node(spec.file_type) }, Some(shape)))
        })
    }

    /// symlink(2).
    ///
    /// # Errors
    /// As symlink(2).
    pub fn symlink(&self, caller: &Caller<'_>, text: &[u8], origin: &Origin, path: &[u8]) -> Result<()> {
        if text.is_empty() {
            return Err(Errno::ENOENT);
        }
        let target = walk_to_name(caller, origin, path, |_| Errno::EEXIST)?;
        if target.has_trailing_slash {
            return Err(refuse_slash(caller, &target));
        }
        make(caller, &target, |dir| {
            let shape = NewShape::new(caller, dir, FileType::Symlink, 0o777, 0)?;
            Ok((NewNode { target: text, mode: 0o777, ..shape.node(FileType::Symlink) }, None))
        })
        .map(|_| ())
    }

    /// link(2): gives the file at `old` the name `path`.
    ///
    /// # Errors
    /// As link(2).
    pub fn link(&self, caller: &Caller<'_>, old: &VfsPath, origin: &Origin, path: &[u8]) -> Result<()> {
        let target = walk_to_name(caller, origin, path, |_| Errno::EEXIST)?;
        if target.has_trailing_slash {
            return Err(refuse_slash(caller, &target));
        }
        let dir = &target.dir;
        let _names = dir.dentry.lock_names()?;
        if dir.dentry.child_locked(caller, &target.name)?.is_some() {
            return Err(Errno::EEXIST);
        }
        check_mount_writable(dir)?;
        if !Arc::ptr_eq(&old.mount, &dir.mount) {
            return Err(Errno::EXDEV);
        }
        check_hard_link(caller, old.inode())?;
        check_create(caller, dir)?;
        if old.dentry.is_dir() {
            return Err(Errno::EPERM);
        }
        // What was unlinked stays unlinked; a file that never had a name (O_TMPFILE) may get one.
        if old.inode().attr()?.nlink == 0 && !old.inode().common().is_linkable() {
            return Err(Errno::ENOENT);
        }
        dir.inode().link(caller, &target.name, old.inode())?;
        old.inode().common().set_linkable(false);
        dir.dentry.adopt(&target.name, old.inode().clone());
        inotify::on_link(&old.dentry);
        inotify::on_create(&dir.dentry, &target.name, false);
        Ok(())
    }

    /// unlink(2).
    ///
    /// # Errors
    /// As unlink(2).
    pub fn unlink(&self, caller: &Caller<'_>, origin: &Origin, path: &[u8]) -> Result<()> {
        let target = walk_to_name(caller, origin, path, |_| Errno::EISDIR)?;
        let dir = &target.dir;
        check_mount_writable(dir)?;
        let names = dir.dentry.lock_names()?;
        let victim = dir.dentry.child_locked(caller, &target.name)?.ok_or(Errno::ENOENT)?;
        if target.has_trailing_slash {
            return Err(if victim.is_dir() { Errno::EISDIR } else { Errno::ENOTDIR });
        }
        check_delete(caller, dir, &victim, Victim::Other)?;
        check_not_mounted(&dir.mount, &victim)?;
        dir.inode().unlink(caller, &target.name, victim.inode())?;
        victim.unlink_from(&dir.dentry);
        drop(names);
        inotify::on_delete(&dir.dentry, &target.name, &victim);
        Ok(())
    }

    /// rmdir(2).
    ///
    /// # Errors
    /// As rmdir(2).
    pub fn rmdir(&self, caller: &Caller<'_>, origin: &Origin, path: &[u8]) -> Result<()> {
        let target = walk_to_name(caller, origin, path, |last| match last {
            Last::Up => Errno::ENOTEMPTY,
            _ if path.iter().all(|&byte| byte == b'/') => Errno::EBUSY,
            _ => Errno::EINVAL,
        })?;
        let dir = &target.dir;
        check_mount_writable(dir)?;
        let names = dir.dentry.lock_names()?;
        let victim = dir.dentry.child_locked(caller, &target.name)?.ok_or(Errno::ENOENT)?;
        check_delete(caller, dir, &victim, Victim::Directory)?;
        check_not_mounted(&dir.mount, &victim)?;
        {
            let _inside = victim.lock_names()?;
            dir.inode().rmdir(caller, &target.name, victim.inode())?;
            victim.unlink_from(&dir.dentry);
        }
        drop(names);
        inotify::on_delete(&dir.dentry, &target.name, &victim);
        Ok(())
    }
}

/// Makes `target`. `shape` says what, once the caller may.
fn make<'a>(
    caller: &Caller<'_>,
    target: &Target,
    shape: impl FnOnce(&Dentry) -> Result<(NewNode<'a>, Option<NewShape>)>,
) -> Result<VfsPath> {
    let dir = &target.dir;
    let names = dir.dentry.lock_names()?;
    if dir.dentry.child_locked(caller, &target.name)?.is_some() {
        return Err(Errno::EEXIST);
    }
    check_mount_writable(dir)?;
    check_create(caller, dir)?;
    let (node, shape) = shape(&dir.dentry)?;
    let dentry = match shape {
        Some(shape) => shape.create_in(caller, &dir.dentry, &target.name, &node)?,
        None => dir.dentry.adopt(&target.name, dir.inode().create(caller, &target.name, &node)?),
    };
    drop(names);
    inotify::on_create(&dir.dentry, &target.name, node.file_type == FileType::Directory);
    Ok(VfsPath { mount: dir.mount.clone(), dentry })
}

/// Why a name with a slash behind it cannot be made by anything but mkdir(2).
fn refuse_slash(caller: &Caller<'_>, target: &Target) -> Errno {
    match target.dir.dentry.child(caller, &target.name) {
        Ok(Some(_)) => Errno::EEXIST,
        Ok(None) => Errno::ENOENT,
        Err(errno) => errno,
    }
}

/// A mount point stays while something is mounted on it in the caller's name space. Elsewhere, the mounts stay behind,
/// out of reach, until they are taken off or their name space ends (Linux takes them off: `detach_mounts`).
pub(super) fn check_not_mounted(mount: &Arc<super::Mount>, victim: &Arc<Dentry>) -> Result<()> {
    if mount.mounted_on(victim).is_some() { Err(Errno::EBUSY) } else { Ok(()) }
}
