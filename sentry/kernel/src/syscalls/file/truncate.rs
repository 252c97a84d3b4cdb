//! truncate(2), ftruncate(2), fallocate(2).

use abi::fcntl::falloc;
use abi::fs::AT_FDCWD;
use abi::{Errno, FileType, Result};

use super::args::{Identity, file, vfs, with_place};
use crate::syscalls::table::Args;
use crate::vfs::{WalkFlags, drop_privileges_on_write, note_modify};
use crate::{CurrentTask, SysResult};

pub(super) fn truncate(task: &mut CurrentTask, args: Args) -> SysResult {
    let size = new_size(args[1])?;
    with_place(task, AT_FDCWD, args[0], WalkFlags::FOLLOW, |caller, place| {
        vfs(task).truncate(caller, place, size)
    })?;
    Ok(0)
}

pub(super) fn ftruncate(task: &mut CurrentTask, args: Args) -> SysResult {
    let size = new_size(args[1])?;
    let file = file(task, args[0])?;
    vfs(task).truncate_file(&Identity::of(task).caller(), &file, size)?;
    Ok(0)
}

fn new_size(arg: u64) -> Result<u64> {
    if i64::try_from(arg).is_err() { Err(Errno::EINVAL) } else { Ok(arg) }
}

pub(super) fn fallocate(task: &mut CurrentTask, args: Args) -> SysResult {
    let (mode, offset, len) = (args.uint(1), args[2], args[3]);
    let file = file(task, args[0])?;
    let end = i64::try_from(offset).ok().zip(i64::try_from(len).ok()).filter(|&(_, len)| len > 0);
    let (offset_i, len_i) = end.ok_or(Errno::EINVAL)?;
    check_fallocate_mode(mode)?;
    file.check_writable()?;
    match FileType::from_mode(file.inode().mode()?) {
        Some(FileType::Regular) => {}
        Some(FileType::Fifo) => return Err(Errno::ESPIPE.into()),
        Some(FileType::Directory) => return Err(Errno::EISDIR.into()),
        _ => return Err(Errno::ENODEV.into()),
    }
    let end = offset_i.checked_add(len_i).ok_or(Errno::EFBIG)? as u64;
    if mode & falloc::KEEP_SIZE == 0 && end > file.ops().size()? {
        task.check_file_size(end)?;
    }
    drop_privileges_on_write(&Identity::of(task).caller(), &**file.inode())?;
    file.inode().fallocate(mode, offset, len)?;
    note_modify(&file);
    Ok(0)
}

fn check_fallocate_mode(mode: u32) -> Result<()> {
    use falloc::{COLLAPSE_RANGE, INSERT_RANGE, KEEP_SIZE, PUNCH_HOLE, UNSHARE_RANGE, ZERO_RANGE};
    match mode & !KEEP_SIZE {
        0 | ZERO_RANGE | UNSHARE_RANGE => Ok(()),
        PUNCH_HOLE if mode & KEEP_SIZE != 0 => Ok(()),
        COLLAPSE_RANGE | INSERT_RANGE if mode & KEEP_SIZE == 0 => Ok(()),
        _ => Err(Errno::EOPNOTSUPP),
    }
}
