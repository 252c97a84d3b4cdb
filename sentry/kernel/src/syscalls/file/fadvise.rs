//! fadvise64(2), readahead(2).

use abi::{Errno, FileType};

use super::args::file;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

pub(super) fn fadvise64(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    if FileType::from_mode(file.inode().mode()?) == Some(FileType::Fifo) {
        return Err(Errno::ESPIPE.into());
    }
    // Advice is taken note of; the host's page cache knows better.
    if (args[2] as i64) < 0 || args.uint(3) > 5 {
        return Err(Errno::EINVAL.into());
    }
    Ok(0)
}

pub(super) fn readahead(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    file.check_readable()?;
    match FileType::from_mode(file.inode().mode()?) {
        Some(FileType::Regular | FileType::Block) => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}
