//! Making, linking, removing and renaming names.
//!
//! The VFS holds the directories' locks meanwhile, so that in an exclusive mount what is cached stays true: it is
//! changed along with the host.

use std::sync::Arc;

use abi::{Errno, FileType, Result};
use gofer_protocol as wire;
use gofer_protocol::{EntryReply, Link, Mkdir, Mknod, Name, NodeOpenFlags, Rename, Symlink, Unlink};
use host::fs::WatchMask;
use kernel::mm::HostFile;
use kernel::vfs::{NewNode, Rename as VfsRename};

use super::attr::{Moment, Reach};
use super::dir::Heard;
use super::inode::GoferInode;

impl GoferInode {
    fn require_writable(&self) -> Result<()> {
        if self.volume.is_read_only() { Err(Errno::EROFS) } else { Ok(()) }
    }

    /// Makes a file of any kind.
    pub(super) fn make(&self, name: &[u8], node: &NewNode<'_>) -> Result<Arc<Self>> {
        self.require_writable()?;
        let wire_name = Name::new(name).ok_or(Errno::EINVAL)?;
        let dir = self.node()?;
        let connection = self.volume.connection();
        let NewNode { mode, uid, gid, .. } = *node;
        let mut file = None;
        let (asked, change) = (self.attrs.now(), self.attrs.change(Reach::Content));
        let mut call = || match node.file_type {
            FileType::Regular => {
                let flags = NodeOpenFlags::READ_WRITE;
                let request = wire::Create { dir, name: wire_name, mode, uid, gid, flags };
                let mut response = connection.call(&request)?;
                file = response.take_fd().ok();
                response.get()
            }
            FileType::Directory => connection.call(&Mkdir { dir, name: wire_name, mode, uid, gid })?.get(),
            FileType::Symlink => {
                let request = Symlink { dir, name: wire_name, link: node.target, uid, gid };
                connection.call(&request)?.get()
            }
            kind => {
                let (mode, rdev) = (kind as u32 | mode, node.rdev.encode());
                connection.call(&Mknod { dir, name: wire_name, mode, rdev, uid, gid })?.get()
            }
        };
        let reply = self.change(name, WatchMask::CREATE, || self.with_room(&mut call))?;
        change.answered(reply.dir);
        let link = (node.file_type == FileType::Symlink).then(|| node.target.into());
        let child = self.made(name, asked, &reply, link)?;
        if let Some(file) = file {
            child.handles.lock().set_writable(Arc::new(HostFile::new(file)));
            connection.keep_open(child.me());
        }
        Ok(child)
    }

    fn made(
        &self,
        name: &[u8],
        asked: Moment,
        reply: &EntryReply,
        link: Option<Box<[u8]>>,
    ) -> Result<Arc<Self>> {
        let name: Arc<[u8]> = name.into();
        let (attr, node) = (reply.attr, Some(reply.node));
        let child = self.child(Heard { name: name.clone(), attr, asked, true_at: asked, node, link })?;
        // What a new file could have inherited, it has not.
        if self.xattr_names.had_no_default_acl(asked) {
            child.xattr_names.set_empty(asked);
        }
        self.name_added(name, &child);
        Ok(child)
    }

    /// Gives `target` another name here.
    pub(super) fn make_link(&self, name: &[u8], target: &Self) -> Result<()> {
        self.require_writable()?;
        let wire_name = Name::new(name).ok_or(Errno::EINVAL)?;
        let dir = self.node()?;
        let (change, of_target) = (self.attrs.change(Reach::Content), target.attrs.change(Reach::Content));
        let call = || {
            target.with_target(|target| {
                self.volume.connection().call(&Link { target, dir, name: wire_name })?.get()
            })
        };
        let reply = self.change(name, WatchMask::CREATE, || self.with_room(call))?;
        change.answered(reply.dir);
        target.found_node(reply.node);
        of_target.answered(reply.attr);
        self.name_added(name.into(), &target.arc()?);
        Ok(())
    }

    /// Removes a name, which is `child`'s.
    pub(super) fn remove_name(&self, name: &[u8], child: &Self, is_dir: bool) -> Result<()> {
        self.require_writable()?;
        child.survive_without_name();
        if is_dir {
            self.volume.connection().forget_deleted();
        }
        let request = Unlink { dir: self.node()?, name: Name::new(name).ok_or(Errno::EINVAL)?, is_dir };
        let (change, leaving) = (self.attrs.change(Reach::Content), child.leave());
        // Some hosts need room for a name that covers it.
        let call = || self.with_room(|| self.volume.connection().call(&request)?.get());
        let reply = self.change(name, WatchMask::DELETE, call)?;
        change.answered(reply.dir);
        self.name_removed(name);
        leaving.left(reply.removed);
        Ok(())
    }

    /// Renames.
    pub(super) fn move_name(&self, rename: &VfsRename<'_>) -> Result<()> {
        self.require_writable()?;
        let new_dir = Self::of(rename.new_dir)?;
        if !Arc::ptr_eq(&self.volume, &new_dir.volume) {
            return Err(Errno::EXDEV);
        }
        // A whiteout takes a capability that a gofer does not have.
        let flags = wire::RenameFlags::from_bits(rename.flags.bits()).ok_or(Errno::EINVAL)?;
        let moved = Self::of(rename.source)?.arc()?;
        let replaced = rename.replaced.map(Self::of).transpose()?.map(Self::arc).transpose()?;
        let is_exchange = flags.contains(wire::RenameFlags::EXCHANGE);
        if let Some(replaced) = replaced.as_ref().filter(|_| !is_exchange) {
            replaced.survive_without_name();
            if replaced.dir.is_some() {
                self.volume.connection().forget_deleted();
            }
        }
        let request = Rename {
            old_dir: self.node()?,
            old_name: Name::new(rename.name).ok_or(Errno::EINVAL)?,
            new_dir: new_dir.node()?,
            new_name: Name::new(rename.new_name).ok_or(Errno::EINVAL)?,
            flags,
        };
        let of_old = self.attrs.change(Reach::Content);
        let is_within = std::ptr::eq(self, new_dir);
        let of_new = (!is_within).then(|| new_dir.attrs.change(Reach::Content));
        // Renaming changes its time.
        let of_moved = moved.attrs.change(Reach::Content);
        let is_same_file = replaced.as_ref().is_some_and(|replaced| Arc::ptr_eq(&moved, replaced));
        let swapped =
            replaced.as_ref().filter(|_| is_exchange).map(|other| other.attrs.change(Reach::Content));
        let leaving = replaced.as_ref().filter(|_| !is_exchange && !is_same_file).map(|other| other.leave());
        let call = || self.with_room(|| self.volume.connection().call(&request)?.get());
        let reply = if is_exchange {
            // Two more events than it is worth to foresee.
            call()
        } else {
            self.change(rename.name, WatchMask::MOVED_FROM, || {
                new_dir.change(rename.new_name, WatchMask::MOVED_TO, call)
            })
        }?;
        of_old.answered(reply.old_dir);
        if let Some(of_new) = of_new {
            of_new.answered(reply.new_dir);
        }
        if is_same_file {
            // Two names of one file stay both, says rename(2).
            return Ok(());
        }
        self.name_removed(rename.name);
        new_dir.name_removed(rename.new_name);
        moved.settle(new_dir, rename.new_name)?;
        if moved.is_key(&reply.moved) {
            of_moved.answered(reply.moved);
        }
        drop(swapped);
        if let Some(leaving) = leaving {
            leaving.left(reply.replaced);
        }
        match &replaced {
            Some(replaced) if is_exchange => replaced.settle(self, rename.name),
            _ => Ok(()),
        }
    }

    /// This file has moved to `name` in `dir`.
    fn settle(self: &Arc<Self>, dir: &Self, name: &[u8]) -> Result<()> {
        let name: Arc<[u8]> = name.into();
        self.set_place(dir.arc()?, name.clone());
        dir.name_added(name, self);
        Ok(())
    }
}
