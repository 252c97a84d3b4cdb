//! getdents(2), getdents64(2).

use abi::Errno;
use abi::fs::FileType;

use super::args::file;
use crate::syscalls::table::Args;
use crate::vfs::{DirEntry, note_access};
use crate::{CurrentTask, SysResult, Task};

/// No guest buffer is filled beyond this in one call: bounds our own copy of it.
const MAX_BUFFER: usize = 256 << 10;

/// Appends an entry to the buffer.
type Encode = fn(&mut Vec<u8>, &DirEntry<'_>, u64);

pub(super) fn getdents64(task: &mut CurrentTask, args: Args) -> SysResult {
    // ino, off, reclen, type, name, NUL, padded to 8.
    list(
        task,
        args,
        |name| (19 + name + 1).next_multiple_of(8),
        |buffer, entry, len| {
            let start = buffer.len();
            buffer.extend(entry.ino.to_le_bytes());
            buffer.extend(entry.next.to_le_bytes());
            buffer.extend((len as u16).to_le_bytes());
            buffer.push(entry.file_type.dirent_type());
            buffer.extend(entry.name);
            buffer.resize(start + len as usize, 0);
        },
    )
}

pub(super) fn getdents(task: &mut CurrentTask, args: Args) -> SysResult {
    // ino, off, reclen, name, NUL, padded to 8 with the type in the last byte.
    list(
        task,
        args,
        |name| (18 + name + 2).next_multiple_of(8),
        |buffer, entry, len| {
            let start = buffer.len();
            buffer.extend(entry.ino.to_le_bytes());
            buffer.extend(entry.next.to_le_bytes());
            buffer.extend((len as u16).to_le_bytes());
            buffer.extend(entry.name);
            buffer.resize(start + len as usize - 1, 0);
            buffer.push(entry.file_type.dirent_type());
        },
    )
}

fn list(task: &Task, args: Args, entry_len: fn(usize) -> usize, encode: Encode) -> SysResult {
    let file = file(task, args[0])?;
    if FileType::from_mode(file.inode().mode()?) != Some(FileType::Directory) {
        return Err(Errno::ENOTDIR.into());
    }
    file.check_readable()?;
    let room = (args.uint(2) as usize).min(MAX_BUFFER);
    if file.path().dentry.is_unlinked() {
        return Err(Errno::ENOENT.into());
    }
    let mut buffer = Vec::with_capacity(room.min(32 << 10));
    let mut is_too_small = false;
    let mut position = file.position();
    let next = file.ops().readdir(task, &file, *position, &mut |entry| {
        let len = entry_len(entry.name.len());
        if buffer.len() + len > room {
            is_too_small = buffer.is_empty();
            return false;
        }
        encode(&mut buffer, entry, len as u64);
        true
    })?;
    if is_too_small {
        return Err(Errno::EINVAL.into());
    }
    task.mm().write(args.addr(1), &buffer)?;
    *position = next;
    note_access(&file);
    Ok(buffer.len() as u64)
}
