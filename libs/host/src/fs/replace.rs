//! Files replaced in one step: readers see the old one or the new one, whole. Done by a descriptor of the directory, in
//! which others may have files too: no name is guessed, and no link followed.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};

use abi::{Errno, OpenFlags, Result};

use super::{RenameFlags, open_at, rename_at, set_mode, set_owner, unlink_at};

/// What a new file is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its permissions.
    pub mode: u32,
    /// Its owner and group; the caller's where absent.
    pub owner: Option<(u32, u32)>,
    /// Whether it must survive a crash of the host.
    pub durable: bool,
}

/// Replaces the file `name` in `dir`, or makes it.
///
/// # Errors
/// What `openat(2)`, `write(2)`, `fsync(2)` and `renameat(2)` say; the old file is as it was then.
pub fn replace_file(dir: BorrowedFd<'_>, name: &[u8], contents: &[u8], new: NewFile) -> Result<()> {
    let mut nonce = [0; 8];
    crate::random::fill(&mut nonce);
    let nonce = u64::from_le_bytes(nonce);
    let temporary = [b".", name, format!(".{nonce:016x}").as_bytes()].concat();
    let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::NOFOLLOW;
    let file = File::from(open_at(dir, &temporary, flags, 0o600)?);
    let replaced =
        fill(&file, contents, new).and_then(|()| rename_at(dir, &temporary, dir, name, RenameFlags::empty()));
    if replaced.is_err() {
        let _ = unlink_at(dir, &temporary, false);
    }
    replaced
}

fn fill(mut file: &File, contents: &[u8], new: NewFile) -> Result<()> {
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO.raw()));
    file.write_all(contents).map_err(errno)?;
    if let Some((uid, gid)) = new.owner {
        set_owner(file.as_fd(), Some(uid), Some(gid))?;
    }
    set_mode(file.as_fd(), new.mode)?;
    if new.durable {
        file.sync_all().map_err(errno)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt;

    use super::{NewFile, replace_file};

    #[test]
    fn files_are_replaced_whole_and_links_not_followed() {
        let path = std::env::temp_dir().join(format!("host-replace-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let dir = std::fs::File::open(&path).unwrap();
        let new = NewFile { mode: 0o640, owner: None, durable: true };
        let other = path.join("other");
        std::fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, path.join("x")).unwrap();
        for text in ["one", "two"] {
            replace_file(dir.as_fd(), b"x", text.as_bytes(), new).unwrap();
            assert_eq!(std::fs::read_to_string(path.join("x")).unwrap(), text);
        }
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "other");
        assert_eq!(std::fs::symlink_metadata(path.join("x")).unwrap().permissions().mode() & 0o7777, 0o640);
        // What cannot be replaced stays, and nothing else is left.
        std::fs::create_dir(path.join("dir")).unwrap();
        assert!(replace_file(dir.as_fd(), b"dir", b"", new).is_err());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 3);
        std::fs::remove_dir_all(path).unwrap();
    }
}
