//! sync(2), syncfs(2), fsync(2), fdatasync(2), sync_file_range(2).

use abi::{Errno, FileType};

use super::args::{file, vfs};
use crate::syscalls::table::Args;
use crate::vfs::SyncScope;
use crate::{CurrentTask, SysResult};

pub(super) fn sync(task: &mut CurrentTask, _args: Args) -> SysResult {
    for sb in vfs(task).superblocks() {
        // sync(2) has no way to tell of an error.
        let _ = sb.fs().sync();
    }
    Ok(0)
}

pub(super) fn syncfs(task: &mut CurrentTask, args: Args) -> SysResult {
    file(task, args[0])?.path().mount.fs().sync()?;
    Ok(0)
}

pub(super) fn fsync(task: &mut CurrentTask, args: Args) -> SysResult {
    file(task, args[0])?.ops().sync(SyncScope::All)?;
    Ok(0)
}

pub(super) fn fdatasync(task: &mut CurrentTask, args: Args) -> SysResult {
    file(task, args[0])?.ops().sync(SyncScope::Data)?;
    Ok(0)
}

pub(super) fn sync_file_range(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    let (offset, len, flags) = (args[1] as i64, args[2] as i64, args.uint(3));
    if offset < 0 || len < 0 || offset.checked_add(len).is_none() || flags & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    match FileType::from_mode(file.inode().mode()?) {
        Some(FileType::Regular | FileType::Directory | FileType::Block | FileType::Symlink) => {}
        _ => return Err(Errno::ESPIPE.into()),
    }
    file.ops().sync(SyncScope::Data)?;
    Ok(0)
}
