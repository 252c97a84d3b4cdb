//! Making, removing and renaming names.

use std::os::fd::{AsFd, BorrowedFd};

use abi::fs::{FileType, OpenFlags};
use abi::{Errno, Result};
use gofer_protocol::{
    Attr, EntryReply, Link, Mkdir, Mknod, Name, NodeId, Readlink, Rename, RenameFlags, RenameReply, Symlink,
    Target, Unlink, UnlinkReply,
};
use host::fs::{self, Stat};

use crate::nodes::{PATH_ONLY, Pinned};
use crate::server::{Answer, Server};

/// Who a new file belongs to and what may be done with it.
#[derive(Clone, Copy)]
pub(crate) struct Ownership {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// `None` for symbolic links, which have no mode.
    pub(crate) mode: Option<u32>,
}

impl Ownership {
    fn has_mode_of(self, stat: &Stat) -> bool {
        self.mode.is_none_or(|mode| mode & 0o7777 == stat.mode & 0o7777)
    }

    fn is_of(self, stat: &Stat) -> bool {
        (stat.uid, stat.gid) == (self.uid, self.gid) && self.has_mode_of(stat)
    }

    /// Makes it that of `file`, which is `name` in `dir`; returns what the file is then.
    fn give(self, file: BorrowedFd<'_>, dir: BorrowedFd<'_>, name: &[u8]) -> Result<Stat> {
        let mut seen = fs::stat(file)?;
        if (seen.uid, seen.gid) != (self.uid, self.gid) {
            fs::set_owner(file, Some(self.uid), Some(self.gid))?;
            seen = fs::stat(file)?;
        }
        match self.mode {
            Some(mode) if !self.has_mode_of(&seen) => {
                set_mode_of(file, &seen, dir, name, mode)?;
                fs::stat(file)
            }
            _ => Ok(seen),
        }
    }
}

impl Server {
    pub(crate) fn make_dir(&mut self, request: &Mkdir<'_>) -> Result<Answer> {
        self.require_writable(request.dir)?;
        let dir = self.nodes.fd(request.dir)?;
        fs::make_dir_at(dir.as_fd(), request.name.as_bytes(), request.mode & 0o777)?;
        let owner = Ownership { uid: request.uid, gid: request.gid, mode: Some(request.mode) };
        self.own_new(request.dir, request.name, owner)
    }

    pub(crate) fn symlink(&mut self, request: &Symlink<'_>) -> Result<Answer> {
        self.require_writable(request.dir)?;
        let dir = self.nodes.fd(request.dir)?;
        fs::symlink_at(request.link, dir.as_fd(), request.name.as_bytes())?;
        let owner = Ownership { uid: request.uid, gid: request.gid, mode: None };
        self.own_new(request.dir, request.name, owner)
    }

    pub(crate) fn make_node(&mut self, request: &Mknod<'_>) -> Result<Answer> {
        self.require_writable(request.dir)?;
        match FileType::from_mode(request.mode) {
            Some(FileType::Fifo | FileType::Socket) => {}
            // An overlay's whiteout is no device.
            Some(FileType::Char) if request.rdev == 0 => {}
            Some(FileType::Char | FileType::Block) => return Err(Errno::EPERM),
            _ => return Err(Errno::EINVAL),
        }
        let dir = self.nodes.fd(request.dir)?;
        fs::make_node_at(dir.as_fd(), request.name.as_bytes(), request.mode & !0o7000, request.rdev)?;
        // Where the host cannot change the mode of such a file later, the one given above stands.
        let mode = Some(request.mode).filter(|mode| mode & 0o7000 != 0);
        let owner = Ownership { uid: request.uid, gid: request.gid, mode };
        self.own_new(request.dir, request.name, owner)
    }

    pub(crate) fn link(&mut self, request: &Link<'_>) -> Result<Answer> {
        self.require_writable(request.dir)?;
        if self.nodes.get(request.dir)?.mount != self.nodes.get(request.target.node)?.mount {
            return Err(Errno::EXDEV);
        }
        let (from, old, seen) = match self.locate(&request.target) {
            // As linkat(2) says of a file that has lost its last name.
            Err(Errno::ESTALE) => return Err(Errno::ENOENT),
            other => other?,
        };
        if seen.is_dir() {
            return Err(Errno::EPERM);
        }
        let dir = self.nodes.fd(request.dir)?;
        let name = request.name.as_bytes();
        fs::link_at(from.as_fd(), &old, dir.as_fd(), name)?;
        let stat = fs::stat_at(dir.as_fd(), name)?;
        let node = self.nodes.enter(request.dir, name, &stat, None)?;
        Ok(Answer::new(&EntryReply {
            node,
            attr: Attr::from(&stat),
            dir: Attr::from(&fs::stat(dir.as_fd())?),
        }))
    }

    pub(crate) fn unlink(&mut self, request: &Unlink<'_>) -> Result<Answer> {
        self.require_writable(request.dir)?;
        let dir = self.nodes.fd(request.dir)?;
        let name = request.name.as_bytes();
        let victim = self.nodes.pin(request.dir, name);
        fs::unlink_at(dir.as_fd(), name, request.is_dir)?;
        let removed = victim.as_ref().and_then(Pinned::attr);
        if let Some(victim) = victim {
            self.nodes.detach(victim.id);
        }
        Ok(Answer::new(&UnlinkReply { dir: Attr::from(&fs::stat(dir.as_fd())?), removed }))
    }

    pub(crate) fn rename(&mut self, request: &Rename<'_>) -> Result<Answer> {
        self.require_writable(request.old_dir)?;
        self.require_writable(request.new_dir)?;
        if self.nodes.get(request.old_dir)?.mount != self.nodes.get(request.new_dir)?.mount {
            return Err(Errno::EXDEV);
        }
        let (from, to) = (self.nodes.fd(request.old_dir)?, self.nodes.fd(request.new_dir)?);
        let (old, new) = (request.old_name.as_bytes(), request.new_name.as_bytes());
        let victim = self.nodes.pin(request.new_dir, new);
        let flags = fs::RenameFlags::from_bits_truncate(request.flags.bits());
        fs::rename_at(from.as_fd(), old, to.as_fd(), new, flags)?;
        let replaced = victim.as_ref().and_then(Pinned::attr);
        let moved = fs::stat_at(to.as_fd(), new)?;
        // Two names of one file stay both, says rename(2).
        let is_same_file = || {
            let left = if moved.nlink > 1 { fs::stat_at(from.as_fd(), old).ok() } else { None };
            left.is_some_and(|left| (left.dev, left.ino) == (moved.dev, moved.ino))
        };
        if request.flags.contains(RenameFlags::EXCHANGE) {
            self.nodes.exchanged(request.old_dir, old, request.new_dir, new);
        } else if !is_same_file() {
            self.nodes.moved(request.old_dir, old, request.new_dir, new);
        }
        let old_dir = Attr::from(&fs::stat(from.as_fd())?);
        let is_within = request.old_dir == request.new_dir;
        let new_dir = if is_within { old_dir } else { Attr::from(&fs::stat(to.as_fd())?) };
        Ok(Answer::new(&RenameReply { old_dir, new_dir, moved: Attr::from(&moved), replaced }))
    }

    pub(crate) fn read_link(&mut self, request: &Readlink<'_>) -> Result<Answer> {
        let link = self.read_link_of(&request.target)?;
        Ok(Answer::new(&link.as_slice()))
    }

    pub(crate) fn read_link_of(&mut self, target: &Target<'_>) -> Result<Vec<u8>> {
        let fd = self.nodes.fd(target.node)?;
        fs::read_link_at(fd.as_fd(), target.name.map_or(b"", |name| name.as_bytes()))
    }

    /// Gives a file that was just made its owner and mode, and enters it.
    pub(crate) fn own_new(&mut self, parent: NodeId, name: Name<'_>, owner: Ownership) -> Result<Answer> {
        let dir = self.nodes.fd(parent)?;
        let name = name.as_bytes();
        let made = fs::stat_at(dir.as_fd(), name)?;
        // Mostly all is right already, and there is nothing that others would be told of.
        let stat = if owner.is_of(&made) {
            made
        } else {
            let fd = fs::open_at(dir.as_fd(), name, PATH_ONLY, 0)?;
            let is_dir = made.is_dir();
            self.finish_new(dir.as_fd(), name, is_dir, || owner.give(fd.as_fd(), dir.as_fd(), name))?
        };
        let node = self.nodes.enter(parent, name, &stat, None)?;
        Ok(Answer::new(&EntryReply {
            node,
            attr: Attr::from(&stat),
            dir: Attr::from(&fs::stat(dir.as_fd())?),
        }))
    }

    /// Runs the second half of making a file; where it fails, the file is removed again.
    pub(crate) fn finish_new<T>(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        is_dir: bool,
        rest: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        rest().inspect_err(|_| {
            let _ = fs::unlink_at(dir, name, is_dir);
        })
    }
}

/// Changes the mode of a file of any kind but a symbolic link.
pub(crate) fn set_mode_of(
    file: BorrowedFd<'_>,
    seen: &Stat,
    dir: BorrowedFd<'_>,
    name: &[u8],
    mode: u32,
) -> Result<()> {
    if seen.is_symlink() {
        return Err(Errno::EOPNOTSUPP);
    }
    match fs::set_mode_path_only(file, mode) {
        Err(Errno::ENOSYS | Errno::EINVAL) => {}
        other => return other,
    }
    // Before Linux 6.6, a mode is changed through a descriptor that is really open.
    if !seen.is_dir() && !seen.is_file() {
        return Err(Errno::EOPNOTSUPP);
    }
    let (dir, name) = if seen.is_dir() { (file, &b"."[..]) } else { (dir, name) };
    let open = fs::open_at(dir, name, OpenFlags::NOFOLLOW | OpenFlags::NONBLOCK, 0)?;
    let stat = fs::stat(open.as_fd())?;
    if (stat.dev, stat.ino) != (seen.dev, seen.ino) {
        return Err(Errno::ESTALE);
    }
    fs::set_mode(open.as_fd(), mode)
}
