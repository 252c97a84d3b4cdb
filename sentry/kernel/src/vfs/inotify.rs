//! inotify(7): who watches which inodes, and the events they get.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use super::{Dentry, File};

/// How many watches there are in the sandbox: where there are none, no operation looks further.
#[derive(Debug, Default)]
pub(super) struct WatchCounter(AtomicUsize);

/// Tells watchers that `file` was opened.
pub(super) fn on_open(file: &File) {
    let _ = file;
}

/// Tells watchers that `file` was closed.
pub(super) fn on_close(file: &File) {
    let _ = file;
}

/// Tells watchers of `dir` that it has a new name.
pub(super) fn on_create(dir: &Arc<Dentry>, name: &[u8], is_dir: bool) {
    let _ = (dir, name, is_dir);
}

/// Tells watchers that attributes changed.
pub(super) fn on_attrib(dentry: &Arc<Dentry>) {
    let _ = dentry;
}

/// Tells watchers that content changed.
pub(super) fn on_modify(dentry: &Arc<Dentry>) {
    let _ = dentry;
}

/// Tells watchers that a name is gone.
pub(super) fn on_delete(dir: &Arc<Dentry>, name: &[u8], victim: &Arc<Dentry>) {
    let _ = (dir, name, victim);
}

/// Tells watchers that a name moved.
pub(super) fn on_move(
    from: &Arc<Dentry>,
    name: &[u8],
    to: &Arc<Dentry>,
    new_name: &[u8],
    moved: &Arc<Dentry>,
) {
    let _ = (from, name, to, new_name, moved);
}

/// Tells watchers that a file lost its name to another.
pub(super) fn on_replaced(victim: &Arc<Dentry>) {
    let _ = victim;
}

/// Tells watchers that an open file was read.
pub(crate) fn note_access(file: &File) {
    let _ = file;
}

/// Tells watchers that an open file was written.
pub(crate) fn note_modify(file: &File) {
    on_modify(&file.path().dentry);
}
