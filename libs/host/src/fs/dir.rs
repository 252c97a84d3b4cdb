//! Listing a directory (`man 2 getdents64`).

use std::os::fd::{AsRawFd, BorrowedFd};

use abi::Result;

use crate::check;

/// One entry as the host lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Inode number; of the directory below, not of what is mounted there.
    pub ino: u64,
    /// Where the listing goes on after this entry.
    pub offset: i64,
    /// `DT_*`; 0 where the file system does not say.
    pub kind: u8,
    /// The name, without NUL.
    pub name: &'a [u8],
}

/// The entries of one filled buffer. `.` and `..` are among them.
#[derive(Clone, Debug)]
pub struct DirEntries<'a> {
    bytes: &'a [u8],
}

/// Fills `buffer` with the next entries of an open directory; an empty result is its end.
///
/// # Errors
/// What `getdents64(2)` says; `EINVAL` where the buffer is too small for one entry.
pub fn read_dir<'a>(dir: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Result<DirEntries<'a>> {
    // SAFETY: `buffer` has the length that is passed.
    let len =
        unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    let len = check(len)?;
    Ok(DirEntries { bytes: buffer.get(..len).unwrap_or_default() })
}

/// Sets an open directory back to `offset`, 0 or what an entry carried.
///
/// # Errors
/// What `lseek(2)` says.
pub fn rewind_dir(dir: BorrowedFd<'_>, offset: i64) -> Result<()> {
    // SAFETY: a plain system call on a live descriptor.
    check(unsafe { libc::lseek(dir.as_raw_fd(), offset, libc::SEEK_SET) }).map(|_| ())
}

impl DirEntries<'_> {
    /// Whether the directory has no more entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

impl<'a> Iterator for DirEntries<'a> {
    type Item = DirEntry<'a>;

    // struct linux_dirent64 { u64 ino; s64 off; u16 reclen; u8 type; char name[]; }
    fn next(&mut self) -> Option<DirEntry<'a>> {
        let (head, _) = self.bytes.split_at_checked(19)?;
        let ino = u64::from_ne_bytes(head.get(..8)?.try_into().ok()?);
        let offset = i64::from_ne_bytes(head.get(8..16)?.try_into().ok()?);
        let len = usize::from(u16::from_ne_bytes(head.get(16..18)?.try_into().ok()?));
        let kind = *head.get(18)?;
        let (entry, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        let name = entry.get(19..)?;
        let name = name.split(|&b| b == 0).next().unwrap_or(name);
        Some(DirEntry { ino, offset, kind, name })
    }
}
