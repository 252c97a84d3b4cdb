//! The state directory of one `runsc do`: below the temporary directory, so that nothing of it shows in `runsc list`.
//!
//! Whoever made one holds `flock(2)` on it as long as he lives. One that nobody holds was left by a command that was
//! killed: the next one to end removes it.

use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use host::fs::OpenFlags;

use crate::error::{Error, Result};
use crate::flags::Flags;

/// What their names begin with.
const PREFIX: &str = "runsc-do-";

/// A state directory, removed on drop unless the caller named it.
#[derive(Debug)]
pub(super) enum StateDir {
    /// The caller's.
    Given(PathBuf),
    /// Our own.
    Own {
        path: PathBuf,
        /// Closing it lets go of the lock.
        _lock: File,
    },
}

impl StateDir {
    /// The directory that `--root` names, else a new one, which the flags then name.
    pub(super) fn new(flags: &mut Flags) -> Result<Self> {
        if !flags.get("root").is_empty() {
            return Ok(Self::Given(PathBuf::from(flags.get("root"))));
        }
        let base = std::env::temp_dir();
        for _ in 0..100 {
            // Not to be guessed: nobody can take the name before us.
            let mut nonce = [0; 8];
            host::random::fill(&mut nonce);
            let nonce = u64::from_le_bytes(nonce);
            let path = base.join(format!("{PREFIX}{}-{nonce:016x}", std::process::id()));
            let made = DirBuilder::new().mode(0o711).create(&path);
            match made.and_then(|()| lock(&path)) {
                Ok(Some(lock)) => {
                    let text = path.to_str().ok_or_else(|| Error::new("TMPDIR is not UTF-8"))?;
                    flags.set("root", text)?;
                    return Ok(Self::Own { path, _lock: lock });
                }
                // Somebody took it for one that was left, and may have removed it already.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound && base.is_dir() => {}
                Err(error) => {
                    let base = base.display();
                    return Err(Error::new(format!(
                        "cannot make a directory in {base}: {error}: set TMPDIR"
                    )));
                }
            }
        }
        Err(Error::new(format!(
            "cannot keep a directory in {}: others remove each one at once: set TMPDIR to a directory of your own",
            base.display()
        )))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Given(path) | Self::Own { path, .. } => path,
        }
    }
}

/// Locks a directory that is ours; `None` where another holds or has removed it.
fn lock(path: &Path) -> std::io::Result<Option<File>> {
    // What has such a name may be anybody's: a link is not followed, a named pipe not waited for.
    let flags = OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::NONBLOCK;
    let dir =
        host::fs::open(path, flags, 0).map_err(|errno| std::io::Error::from_raw_os_error(errno.raw()))?;
    let dir = File::from(dir);
    if dir.metadata()?.uid() != host::process::effective_ids().0 || dir.try_lock().is_err() {
        return Ok(None);
    }
    Ok((dir.metadata()?.nlink() > 0).then_some(dir))
}

impl Drop for StateDir {
    fn drop(&mut self) {
        let Self::Own { path, .. } = self else { return };
        let _ = std::fs::remove_dir_all(&path);
        if let Some(base) = path.parent() {
            remove_left(base);
        }
    }
}

/// Removes what commands left that were killed.
fn remove_left(base: &Path) {
    let entries = std::fs::read_dir(base).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes())) {
        if let Ok(Some(_lock)) = lock(&entry.path()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::{lock, remove_left};

    #[test]
    fn what_nobody_holds_is_removed() {
        let base = std::env::temp_dir().join(format!("runsc-state-dir-{}", std::process::id()));
        for name in ["runsc-do-1-0", "runsc-do-2-0", "other"] {
            std::fs::create_dir_all(base.join(name).join("x")).unwrap();
        }
        let held = lock(&base.join("runsc-do-2-0")).unwrap().unwrap();
        // Traps: a link to somebody's directory, and a named pipe, which nobody writes to.
        std::os::unix::fs::symlink(base.join("other"), base.join("runsc-do-3-0")).unwrap();
        let dir = File::open(&base).unwrap();
        host::fs::make_node_at(dir.as_fd(), b"runsc-do-4-0", 0o010_600, 0).unwrap();
        remove_left(&base);
        let mut left: Vec<_> =
            std::fs::read_dir(&base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["other", "runsc-do-2-0", "runsc-do-3-0", "runsc-do-4-0"]);
        assert!(base.join("other/x").is_dir());
        drop(held);
        remove_left(&base);
        assert!(!base.join("runsc-do-2-0").exists());
        std::fs::remove_dir_all(base).unwrap();
    }
}
