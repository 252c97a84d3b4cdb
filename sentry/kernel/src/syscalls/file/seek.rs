//! lseek(2).

use abi::fs::{SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET};
use abi::{Errno, FileType, Result};

use super::args::file;
use crate::syscalls::table::Args;
use crate::vfs::{File, SeekExtent};
use crate::{CurrentTask, SysResult};

pub(super) fn lseek(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    let (offset, whence) = (args[1] as i64, args[2] as u32);
    if whence > SEEK_HOLE {
        return Err(Errno::EINVAL.into());
    }
    if !file.ops().is_seekable() {
        return Err(Errno::ESPIPE.into());
    }
    if !file.ops().keeps_position() {
        return Ok(0);
    }
    let mut position = file.position();
    let new = target(&file, *position, offset, whence)?;
    *position = new;
    Ok(new)
}

fn target(file: &File, position: u64, offset: i64, whence: u32) -> Result<u64> {
    let base = match whence {
        SEEK_SET => 0,
        SEEK_CUR => position,
        // A directory's end is the highest cookie there is; only its start is of use to anybody.
        SEEK_END if FileType::from_mode(file.inode().mode()?) == Some(FileType::Directory) => i64::MAX as u64,
        SEEK_END => file.ops().size()?,
        _ => {
            let offset = u64::try_from(offset).map_err(|_| Errno::ENXIO)?;
            let wanted = if whence == SEEK_DATA { SeekExtent::Data } else { SeekExtent::Hole };
            return file.ops().seek_extent(offset, wanted);
        }
    };
    let new = i64::try_from(base).ok().and_then(|base| base.checked_add(offset)).ok_or(Errno::EINVAL)?;
    u64::try_from(new).map_err(|_| Errno::EINVAL)
}
