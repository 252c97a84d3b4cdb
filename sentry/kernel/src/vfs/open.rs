//! Opening files by path (`man 2 open`, `man 2 openat2`; `do_open` and `may_open` in Linux's tree).

use std::sync::Arc;

use abi::fs::{S_ISGID, S_ISUID, S_ISVTX};
use abi::{Errno, FileType, OpenFlags, Result};

use super::attr::drop_file_capabilities;
use super::path_walk::{Component, Last, Walk};
use super::permission::{
    MAY_READ, MAY_WRITE, capable_over, check_access, check_create, check_device_group, check_devices,
    check_mount_writable, check_open_in_sticky, is_owner_or_capable,
};
use super::pipe::{FifoOpening, Pipe, PipeOwner};
use super::{
    Attr, Caller, Dentry, DeviceKind, File, FileOps, NewNode, Origin, SetAttr, SetTime, SetXattrFlags, Vfs,
    VfsPath, WalkFlags, acl, inotify,
};
use crate::task::Capability;
use crate::task::cgroup::DeviceAccess;

/// So often a call is made again. Linux does so once, for network file systems; here it happens with those of the host,
/// where others may rename as fast as we look.
const STALE_TRIES: usize = 16;

/// Makes a call again while its file system says that what a name led to is gone: another file has got the name since
/// (Linux's `retry_estale`).
pub(super) fn while_stale<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 0..STALE_TRIES {
        match call() {
            Err(Errno::ESTALE) => {}
            other => return other,
        }
    }
    call()
}

/// Whoever has given the name of a stale file to another one may not have told the cache yet: waits for that.
fn await_change(place: &VfsPath) {
    if let Some(dir) = place.dentry.parent() {
        drop(dir.lock_names());
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenHow {
    /// Access mode, creation and status flags.
    pub flags: OpenFlags,
    /// Permission bits of a file that is created, before the umask.
    pub mode: u32,
    /// The caller's umask.
    pub umask: u32,
    /// Restrictions of openat2(2).
    pub resolve: WalkFlags,
}

/// A file that has been opened.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub file: Arc<File>,
    /// For a FIFO: what the call has to wait for before it returns.
    pub fifo: Option<FifoOpening>,
}

/// The behaviour of a file opened with `O_PATH`: none.
struct PathOnly;

impl FileOps for PathOnly {}

impl Vfs {
    /// Opens what `path` names.
    ///
    /// # Errors
    /// As open(2).
    pub fn open(&self, caller: &Caller<'_>, origin: &Origin, path: &[u8], how: &OpenHow) -> Result<Opened> {
        while_stale(|| self.open_once(caller, origin, path, how))
    }

    fn open_once(&self, caller: &Caller<'_>, origin: &Origin, path: &[u8], how: &OpenHow) -> Result<Opened> {
        let mut walk = Walk::new(*caller, origin, path, how.walk_flags())?;
        let (place, is_new) = if how.flags.contains(OpenFlags::TMPFILE) {
            (Self::unnamed_file(caller, &walk.finish()?, how)?, true)
        } else {
            find_or_create(&mut walk, caller, how)?
        };
        let opened = self.open_found(caller, &place, how, is_new);
        if matches!(opened, Err(Errno::ESTALE)) {
            await_change(&place);
        }
        opened
    }

    /// Finds what `path` names and has `act` done with it; with what is called so then, where that is another file by then.
    ///
    /// # Errors
    /// As path_resolution(7), and what `act` says.
    pub fn with_place<T>(
        &self,
        caller: &Caller<'_>,
        origin: &Origin,
        path: &[u8],
        flags: WalkFlags,
        mut act: impl FnMut(&VfsPath) -> Result<T>,
    ) -> Result<T> {
        while_stale(|| {
            let place = self.lookup(caller, origin, path, flags)?;
            let done = act(&place);
            if matches!(done, Err(Errno::ESTALE)) {
                await_change(&place);
            }
            done
        })
    }

    /// Opens a file that has been found already (`/proc/self/fd/N`, open_by_handle_at(2), a program's interpreter).
    ///
    /// # Errors
    /// As open(2).
    pub fn open_place(&self, caller: &Caller<'_>, place: &VfsPath, flags: OpenFlags) -> Result<Opened> {
        self.open_found(caller, place, &OpenHow { flags, ..OpenHow::default() }, false)
    }

    fn open_found(
        &self,
        caller: &Caller<'_>,
        place: &VfsPath,
        how: &OpenHow,
        is_new: bool,
    ) -> Result<Opened> {
        let flags = how.flags;
        if flags.contains(OpenFlags::PATH) {
            let file = File::new(place.clone(), Arc::new(PathOnly), flags, caller.creds.clone());
            return Ok(Opened { file, fifo: None });
        }
        let attr = place.inode().ownership()?;
        let file_type = attr.file_type();
        if !is_new {
            check_open(caller, place, &attr, flags)?;
        }
        let counts_writer = flags.is_writable() && file_type == FileType::Regular;
        if counts_writer {
            place.inode().common().begin_write()?;
        }
        let opened = self.make_file(caller, place, &attr, flags, counts_writer);
        if counts_writer && opened.is_err() {
            place.inode().common().end_write();
        }
        let opened = opened?;
        inotify::on_open(&opened.file);
        if is_new && !flags.contains(OpenFlags::TMPFILE) {
            opened.file.note_created();
        }
        // Last, when nothing can fail any more: an open that fails leaves the content as it was.
        if flags.contains(OpenFlags::TRUNC) && file_type == FileType::Regular && !is_new {
            truncate_at_open(caller, place, &attr)?;
        }
        Ok(opened)
    }

    fn make_file(
        &self,
        caller: &Caller<'_>,
        place: &VfsPath,
        attr: &Attr,
        flags: OpenFlags,
        counts_writer: bool,
    ) -> Result<Opened> {
        let mut fifo = None;
        let is_special = !matches!(attr.file_type(), FileType::Regular | FileType::Directory);
        let special = if is_special { place.inode().clone().open_special(caller, flags) } else { None };
        let ops = match attr.file_type() {
            _ if special.is_some() => special.unwrap_or(Err(Errno::ENXIO))?,
            FileType::Regular | FileType::Directory => place.inode().clone().open(caller, flags)?,
            FileType::Symlink => return Err(Errno::ELOOP),
            FileType::Socket => return Err(Errno::ENXIO),
            FileType::Char => self.open_device(caller, DeviceKind::Char, attr, flags)?,
            FileType::Block => self.open_device(caller, DeviceKind::Block, attr, flags)?,
            FileType::Fifo => {
                // An anonymous pipe reached through /proc has been open already: nobody waits for its other side.
                let is_anonymous = place.mount.fs().type_name() == "pipefs";
                let mode = if is_anonymous { flags & !OpenFlags::NONBLOCK } else { flags };
                let owner = || caller.task.map_or_else(PipeOwner::sentry, PipeOwner::of);
                let opening = place.inode().common().fifo(|| Pipe::new(&owner())).open_fifo(mode)?;
                let end: Arc<dyn FileOps> = opening.end.clone();
                fifo = (!is_anonymous).then_some(opening);
                end
            }
        };
        let creds = caller.creds.clone();
        let file = if counts_writer {
            File::new_writer(place.clone(), ops, flags, creds)
        } else {
            File::new(place.clone(), ops, flags, creds)
        };
        Ok(Opened { file, fifo })
    }

    fn open_device(
        &self,
        caller: &Caller<'_>,
        kind: DeviceKind,
        attr: &Attr,
        flags: OpenFlags,
    ) -> Result<Arc<dyn FileOps>> {
        let driver = self.device(kind, attr.rdev)?;
        driver.open(caller.task.ok_or(Errno::ENXIO)?, attr.rdev, flags)
    }

    /// `O_TMPFILE`.
    fn unnamed_file(caller: &Caller<'_>, dir: &VfsPath, how: &OpenHow) -> Result<VfsPath> {
        check_mount_writable(dir)?;
        check_create(caller, dir)?;
        let shape = NewShape::new(caller, &dir.dentry, FileType::Regular, how.mode, how.umask)?;
        let inode = dir.inode().create_unnamed(caller, &shape.node(FileType::Regular))?;
        shape.finish(&*inode)?;
        inode.common().set_linkable(!how.flags.contains(OpenFlags::EXCL));
        let name = format!("#{}", inode.attr()?.ino);
        let dentry = dir.dentry.unnamed_child(inode, name.as_bytes());
        Ok(VfsPath { mount: dir.mount.clone(), dentry })
    }
}

impl OpenHow {
    /// Opens an existing file with `flags`.
    #[must_use]
    pub fn flags(flags: OpenFlags) -> Self {
        Self { flags, ..Self::default() }
    }

    fn walk_flags(&self) -> WalkFlags {
        let is_exclusive = self.flags.contains(OpenFlags::CREAT | OpenFlags::EXCL);
        let mut walk = self.resolve;
        walk.set(WalkFlags::FOLLOW, !self.flags.contains(OpenFlags::NOFOLLOW) && !is_exclusive);
        walk.set(WalkFlags::DIRECTORY, self.flags.contains(OpenFlags::DIRECTORY));
        walk
    }
}

/// Walks to the file, creating it where the flags ask for that. Says whether it is new.
fn find_or_create(walk: &mut Walk<'_>, caller: &Caller<'_>, how: &OpenHow) -> Result<(VfsPath, bool)> {
    let creates = how.flags.contains(OpenFlags::CREAT);
    loop {
        match walk.advance()? {
            Last::Here => break,
            Last::Up => {
                walk.go_up()?;
                break;
            }
            Last::Name(component) => {
                if creates && walk.has_trailing_slash {
                    return Err(Errno::EISDIR);
                }
                let (child, is_new) = last_component(walk, caller, &component, how)?;
                if is_new {
                    return Ok((child, true));
                }
                let is_link = child.dentry.is_symlink();
                if creates && how.flags.contains(OpenFlags::EXCL) {
                    return Err(Errno::EEXIST);
                }
                if is_link && walk.follows_last() {
                    walk.follow(&child, true)?;
                    continue;
                }
                let dir = walk.at.dentry.clone();
                walk.at = child;
                walk.check_arrival()?;
                if creates {
                    check_existing(caller, &dir, &walk.at)?;
                }
                return Ok((walk.at.clone(), false));
            }
        }
    }
    // A magic link may have led to any kind of file; every other way here ends at a directory.
    if creates && walk.at.dentry.is_dir() {
        return Err(if how.flags.contains(OpenFlags::EXCL) { Errno::EEXIST } else { Errno::EISDIR });
    }
    walk.check_arrival()?;
    Ok((walk.at.clone(), false))
}

/// Finds the last component, or creates it. Says whether it is new.
fn last_component(
    walk: &Walk<'_>,
    caller: &Caller<'_>,
    component: &Component,
    how: &OpenHow,
) -> Result<(VfsPath, bool)> {
    if let Some(child) = walk.find(component)? {
        return Ok((child, false));
    }
    if !how.flags.contains(OpenFlags::CREAT) {
        return Err(Errno::ENOENT);
    }
    let (dir, name) = (&walk.at, walk.name(component));
    let _names = dir.dentry.lock_names()?;
    let found = |dentry| walk.cross(VfsPath { mount: dir.mount.clone(), dentry }).map(|path| (path, false));
    if let Some(dentry) = dir.dentry.child_locked(caller, name)? {
        return found(dentry);
    }
    check_mount_writable(dir)?;
    check_create(caller, dir)?;
    match create_named(caller, dir, name, how) {
        Ok(dentry) => Ok((VfsPath { mount: dir.mount.clone(), dentry }, true)),
        // Where the file system can be changed behind our back, somebody else was first, who may have it then.
        Err(Errno::EEXIST) if !how.flags.contains(OpenFlags::EXCL) => {
            found(dir.dentry.child_locked(caller, name)?.ok_or(Errno::EEXIST)?)
        }
        Err(error) => Err(error),
    }
}

fn create_named(caller: &Caller<'_>, dir: &VfsPath, name: &[u8], how: &OpenHow) -> Result<Arc<Dentry>> {
    let shape = NewShape::new(caller, &dir.dentry, FileType::Regular, how.mode, how.umask)?;
    let dentry = shape.create_in(caller, &dir.dentry, name, &shape.node(FileType::Regular))?;
    inotify::on_create(&dir.dentry, name, false);
    Ok(dentry)
}

/// What a new file will be: owner, mode, inherited ACL.
pub(super) struct NewShape {
    pub(super) mode: u32,
    uid: u32,
    gid: u32,
    access: Option<Vec<u8>>,
    default: Option<Arc<[u8]>>,
}

impl NewShape {
    /// Follows the directory's set-group-ID bit and default ACL; without one, the umask.
    pub(super) fn new(
        caller: &Caller<'_>,
        dir: &Dentry,
        file_type: FileType,
        mode: u32,
        umask: u32,
    ) -> Result<Self> {
        let mut mode = mode & 0o7777;
        let mut gid = caller.creds.fsgid;
        if dir.inode().mode()? & S_ISGID != 0 {
            let dir_attr = dir.inode().attr()?;
            gid = dir_attr.gid;
            if file_type == FileType::Directory {
                mode |= S_ISGID;
            } else if mode & (S_ISGID | 0o010) == S_ISGID | 0o010
                && !caller.creds.in_group(gid)
                && !capable_over(caller.creds, &dir_attr, Capability::Fsetid)
            {
                mode &= !S_ISGID;
            }
        }
        let inherited = if file_type == FileType::Symlink { None } else { dir.inode().default_acl()? };
        let (access, mode) = match &inherited {
            Some(default) => {
                let (access, mode) = acl::inherit(default, mode);
                (acl::is_extended(&access).then_some(access), mode)
            }
            None => (None, mode & !umask),
        };
        let default = inherited.filter(|_| file_type == FileType::Directory);
        Ok(Self { mode, uid: caller.creds.fsuid, gid, access, default })
    }

    pub(super) fn node(&self, file_type: FileType) -> NewNode<'static> {
        NewNode {
            file_type,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            rdev: abi::DeviceId::default(),
            target: b"",
        }
    }

    /// Makes a file of this shape under a name in `dir`, whose names are locked. Where it cannot have the ACLs that it
    /// inherits, there is none.
    pub(super) fn create_in(
        &self,
        caller: &Caller<'_>,
        dir: &Arc<Dentry>,
        name: &[u8],
        node: &NewNode<'_>,
    ) -> Result<Arc<Dentry>> {
        let inode = dir.inode().create(caller, name, node)?;
        let finished = self.finish(&*inode);
        let dentry = dir.adopt(name, inode);
        if finished.is_err() {
            let removed = match node.file_type {
                FileType::Directory => dir.inode().rmdir(caller, name, dentry.inode()),
                _ => dir.inode().unlink(caller, name, dentry.inode()),
            };
            if removed.is_ok() {
                dentry.unlink_from(dir);
            }
        }
        finished.map(|()| dentry)
    }

    /// Gives the new file the ACLs that it inherits.
    fn finish(&self, inode: &dyn super::Inode) -> Result<()> {
        let Some(xattr) = inode.xattr() else { return Ok(()) };
        if let Some(access) = &self.access {
            xattr.set(acl::ACCESS, access, SetXattrFlags::empty())?;
        }
        if let Some(default) = &self.default {
            xattr.set(acl::DEFAULT, default, SetXattrFlags::empty())?;
        }
        Ok(())
    }
}

/// Who else may write to a directory: its group, everybody.
const OTHERS_WRITE: u32 = 0o022;

fn check_existing(caller: &Caller<'_>, dir: &Dentry, place: &VfsPath) -> Result<()> {
    if place.dentry.is_dir() {
        return Err(Errno::EISDIR);
    }
    let mode = dir.inode().mode()?;
    if mode & S_ISVTX == 0 || mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    check_open_in_sticky(caller, &dir.inode().ownership()?, &place.inode().ownership()?)
}

/// Whether an existing file may be opened with these flags (`may_open`).
fn check_open(caller: &Caller<'_>, place: &VfsPath, attr: &Attr, flags: OpenFlags) -> Result<()> {
    let writes = flags.is_writable() || flags.contains(OpenFlags::TRUNC);
    match attr.file_type() {
        FileType::Symlink => return Err(Errno::ELOOP),
        FileType::Directory if writes => return Err(Errno::EISDIR),
        FileType::Char | FileType::Block => check_devices(place)?,
        FileType::Regular if writes => check_mount_writable(place)?,
        _ => {}
    }
    let mut mask = if flags.is_readable() { MAY_READ } else { 0 };
    // Access mode 3 needs both and grants neither (ioctl only).
    if writes || flags.bits() & 3 == 3 {
        mask |= MAY_WRITE;
    }
    check_access(caller, place.inode(), mask)?;
    let mut access = DeviceAccess::empty();
    access.set(DeviceAccess::READ, mask & MAY_READ != 0);
    access.set(DeviceAccess::WRITE, mask & MAY_WRITE != 0);
    check_device_group(caller, attr.file_type(), attr.rdev, access)?;
    if flags.contains(OpenFlags::NOATIME) && !is_owner_or_capable(caller.creds, attr) {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// `O_TRUNC` on an existing file: empties it and takes its set-ID bits away.
fn truncate_at_open(caller: &Caller<'_>, place: &VfsPath, attr: &Attr) -> Result<()> {
    let keeps = capable_over(caller.creds, attr, Capability::Fsetid) || attr.mode & (S_ISUID | S_ISGID) == 0;
    let mode = if keeps { None } else { Some(without_set_ids(attr.mode)) };
    let change = SetAttr { size: Some(0), mtime: Some(SetTime::Now), mode, ..SetAttr::default() };
    let inode = place.inode();
    // Also of a file opened for reading only: a running program stays as it is.
    inode.common().begin_write()?;
    let result = drop_file_capabilities(&**inode).and_then(|()| inode.set_attr(caller, &change));
    inode.common().end_write();
    result?;
    inotify::on_modify(&place.dentry);
    Ok(())
}

/// The permission bits of `mode` without the set-user-ID bit, and without the set-group-ID bit of a program.
pub(super) fn without_set_ids(mode: u32) -> u32 {
    let gone = if mode & 0o010 != 0 { S_ISUID | S_ISGID } else { S_ISUID };
    mode & 0o7777 & !gone
}
