//! inotify(7): who watches which inodes, and the events they get.

use std::sync::atomic::AtomicUsize;

use super::File;

/// How many watches there are in the sandbox: where there are none, no operation looks further.
#[derive(Debug, Default)]
pub(super) struct WatchCounter(AtomicUsize);

/// Tells watchers that `file` was closed.
pub(super) fn on_close(file: &File) {
    let _ = file;
}
