//! msync(2).

use abi::{Errno, PAGE_SIZE, mman, page_ceil};

use crate::syscalls::table::Args;
use crate::vfs::SyncScope;
use crate::{CurrentTask, SysResult};

/// msync(2).
pub(super) fn msync(task: &mut CurrentTask, args: Args) -> SysResult {
    let (addr, len, flags) = (args[0], args[1], args.uint(2));
    let both = mman::MS_ASYNC | mman::MS_SYNC;
    if flags & !(both | mman::MS_INVALIDATE) != 0 || flags & both == both || addr % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL.into());
    }
    let end = page_ceil(len).and_then(|len| addr.checked_add(len)).ok_or(Errno::ENOMEM)?;
    if addr == end {
        return Ok(0);
    }
    let (files, result) = task.mm().mapped_files(addr..end, flags & mman::MS_INVALIDATE != 0);
    if flags & mman::MS_SYNC != 0 {
        for mapped in files.into_iter().filter(|mapped| mapped.is_shared) {
            match mapped.file.ops().sync(SyncScope::Data) {
                // Nothing to write back to.
                Ok(()) | Err(Errno::EINVAL) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    result?;
    Ok(0)
}
