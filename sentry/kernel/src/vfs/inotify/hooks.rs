//! Where the VFS tells watchers what happened.

use std::sync::Arc;

use abi::OpenFlags;
use abi::inotify::InotifyMask;

use super::{Event, Watch};
use crate::vfs::{Dentry, File, Inode, Superblock};

fn is_idle(dentry: &Dentry) -> bool {
    dentry.superblock().watches.is_idle()
}

/// An event in the life of a file: the watchers of its directory hear of it, with its name, then its own.
fn tell(dentry: &Arc<Dentry>, mask: InotifyMask) {
    if is_idle(dentry) {
        return;
    }
    let mask = mask | dir_bit(dentry.is_dir());
    if let (Some(parent), name) = dentry.parent_and_name() {
        deliver(&**parent.inode(), mask, 0, &name, dentry.is_unlinked());
    }
    deliver(&**dentry.inode(), mask, 0, b"", false);
}

fn dir_bit(is_dir: bool) -> InotifyMask {
    if is_dir { InotifyMask::ISDIR } else { InotifyMask::empty() }
}

/// Queues an event with all who watch `inode` for it. `is_unlinked` leaves out those who asked not to hear of names
/// that are gone.
fn deliver(inode: &dyn Inode, mask: InotifyMask, cookie: u32, name: &[u8], is_unlinked: bool) {
    let Some(list) = inode.common().watches_if_any() else { return };
    for watch in list.matching(mask & !InotifyMask::ISDIR) {
        if !(is_unlinked && watch.mask().contains(InotifyMask::EXCL_UNLINK)) {
            give(&watch, mask, cookie, name);
        }
    }
}

fn give(watch: &Watch, mask: InotifyMask, cookie: u32, name: &[u8]) {
    let Some(instance) = watch.instance.upgrade() else { return };
    instance.push(Event { wd: watch.wd, mask, cookie, name: name.into() });
    if watch.mask().contains(InotifyMask::ONESHOT) {
        // Somebody else may have ended it first.
        let _ = instance.remove_watch(watch.wd);
    }
}

/// The last word on an inode: `mask`, and the end of its watches.
fn finish(inode: &dyn Inode, mask: InotifyMask) {
    let Some(list) = inode.common().watches_if_any() else { return };
    for watch in list.all() {
        let Some(instance) = watch.instance.upgrade() else { continue };
        if watch.mask().intersects(mask) || mask == InotifyMask::UNMOUNT {
            instance.push(Event { wd: watch.wd, mask, cookie: 0, name: Box::default() });
        }
        let _ = instance.remove_watch(watch.wd);
    }
}

/// `file` was opened.
pub(in crate::vfs) fn on_open(file: &File) {
    if !file.is_path_only() {
        tell(&file.path().dentry, InotifyMask::OPEN);
    }
}

/// `file` was closed for good.
pub(in crate::vfs) fn on_close(file: &File) {
    if file.is_path_only() {
        return;
    }
    let writes = file.flags().is_writable();
    tell(&file.path().dentry, if writes { InotifyMask::CLOSE_WRITE } else { InotifyMask::CLOSE_NOWRITE });
}

/// Whether anybody watches anything in the file system of an open file.
pub(in crate::vfs) fn is_watched(file: &File) -> bool {
    !is_idle(&file.path().dentry)
}

/// An open file was read.
pub(crate) fn note_access(file: &File) {
    if !file.flags().contains(OpenFlags::PATH) {
        tell(&file.path().dentry, InotifyMask::ACCESS);
    }
}

/// An open file was written.
pub(crate) fn note_modify(file: &File) {
    on_modify(&file.path().dentry);
}

/// Content changed.
pub(in crate::vfs) fn on_modify(dentry: &Arc<Dentry>) {
    tell(dentry, InotifyMask::MODIFY);
}

/// Attributes changed.
pub(in crate::vfs) fn on_attrib(dentry: &Arc<Dentry>) {
    tell(dentry, InotifyMask::ATTRIB);
}

/// A file has one more name: only its own watchers hear of the change of its link count.
pub(in crate::vfs) fn on_link(dentry: &Arc<Dentry>) {
    if !is_idle(dentry) {
        deliver(&**dentry.inode(), InotifyMask::ATTRIB, 0, b"", false);
    }
}

/// `dir` has a new name.
pub(in crate::vfs) fn on_create(dir: &Arc<Dentry>, name: &[u8], is_dir: bool) {
    if !is_idle(dir) {
        deliver(&**dir.inode(), InotifyMask::CREATE | dir_bit(is_dir), 0, name, false);
    }
}

/// A name is gone from `dir`.
pub(in crate::vfs) fn on_delete(dir: &Arc<Dentry>, name: &[u8], victim: &Arc<Dentry>) {
    if is_idle(dir) {
        return;
    }
    if !victim.is_dir() {
        deliver(&**victim.inode(), InotifyMask::ATTRIB, 0, b"", false);
    }
    finish_if_gone(victim);
    deliver(&**dir.inode(), InotifyMask::DELETE | dir_bit(victim.is_dir()), 0, name, false);
}

/// A name moved.
pub(in crate::vfs) fn on_move(
    from: &Arc<Dentry>,
    name: &[u8],
    to: &Arc<Dentry>,
    new_name: &[u8],
    moved: &Arc<Dentry>,
) {
    if is_idle(from) {
        return;
    }
    let (cookie, is_dir) = (from.superblock().watches.cookie(), dir_bit(moved.is_dir()));
    deliver(&**from.inode(), InotifyMask::MOVED_FROM | is_dir, cookie, name, false);
    deliver(&**to.inode(), InotifyMask::MOVED_TO | is_dir, cookie, new_name, false);
    deliver(&**moved.inode(), InotifyMask::MOVE_SELF | is_dir, 0, b"", false);
}

/// A file lost its name to another.
pub(in crate::vfs) fn on_replaced(victim: &Arc<Dentry>) {
    if is_idle(victim) {
        return;
    }
    deliver(&**victim.inode(), InotifyMask::ATTRIB, 0, b"", false);
    finish_if_gone(victim);
}

/// The end of watches on a file whose last name went. Linux waits until it is closed, too.
fn finish_if_gone(victim: &Dentry) {
    let inode = victim.inode();
    if victim.is_dir() || inode.attr().is_ok_and(|attr| attr.nlink == 0) {
        finish(&**inode, InotifyMask::DELETE_SELF);
    }
}

/// A file system was unmounted for good.
pub(in crate::vfs) fn on_unmount(sb: &Arc<Superblock>) {
    if !sb.watches.is_idle() {
        finish(&*sb.fs().root(), InotifyMask::UNMOUNT);
    }
}

/// Tells those who watch `inode` of a change that did not come through the VFS: a file system that hears of changes on
/// the host calls this. `name` is the name in it where it is a directory, else empty.
pub fn notify_inode(inode: &dyn Inode, mask: InotifyMask, cookie: u32, name: &[u8]) {
    deliver(inode, mask, cookie, name, false);
    if mask.contains(InotifyMask::DELETE_SELF) {
        finish(inode, InotifyMask::DELETE_SELF);
    }
}
