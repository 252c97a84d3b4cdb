//! Files of the host, always reached from a directory descriptor and one name, never following a symbolic link.
//!
//! `open.rs` opens and stats, `change.rs` makes, removes and renames names and sets attributes, `dir.rs` lists,
//! `replace.rs` replaces whole files, `xattr.rs` and `inotify.rs` are what they say. A name is bytes without NUL and slash; who calls with a name
//! from a guest has checked it (the functions here refuse NUL and over-long names, not slashes).
//! `man 2 openat`, `man 2 statx`, `man 7 inotify`.

mod change;
mod dir;
mod inotify;
mod open;
mod replace;
mod xattr;

pub use abi::fs::{NAME_MAX, OpenFlags, PATH_MAX};
pub use change::{
    RenameFlags, SetTime, allocate, change_dir, link_at, make_dir_at, make_node_at, own_working_dir,
    rename_at, seek, set_mode, set_mode_path_only, set_owner, set_times, symlink_at, sync, truncate,
    unlink_at,
};
pub use dir::{DirEntries, DirEntry, read_dir, rewind_dir};
pub use inotify::{Inotify, InotifyEvent, InotifyEvents, WatchMask};
pub use open::{
    FileSystemStat, Stat, open, open_at, read_link_at, seek_extent, stat, stat_at, stat_file_system,
    stat_open, status_flags,
};
pub use replace::{NewFile, replace_file};
pub use xattr::{get_xattr, list_xattr, remove_xattr, set_xattr};

use std::ffi::CStr;

use abi::{Errno, Result};

/// Runs `call` with `name` as a C string, without allocating for names of ordinary length.
fn with_name<T>(name: &[u8], call: impl FnOnce(&CStr) -> Result<T>) -> Result<T> {
    let mut short = [0u8; NAME_MAX + 1];
    if let Some(room) = short.get_mut(..name.len()).filter(|_| name.len() <= NAME_MAX) {
        room.copy_from_slice(name);
        let text = CStr::from_bytes_until_nul(&short).map_err(|_| Errno::ENAMETOOLONG)?;
        return if text.count_bytes() == name.len() { call(text) } else { Err(Errno::EINVAL) };
    }
    if name.len() >= PATH_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    call(&std::ffi::CString::new(name).map_err(|_| Errno::EINVAL)?)
}

/// Repeats a call that a signal interrupted.
fn retry(mut call: impl FnMut() -> i64) -> Result<usize> {
    loop {
        match crate::check(call()) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
