//! mincore(2).

use abi::{Errno, PAGE_SIZE, UserAddr, page_ceil};

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

/// Pages reported by one pass.
const MINCORE_PAGES: u64 = 1 << 16;

/// mincore(2).
pub(super) fn mincore(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, len, vector, ..] = args.0;
    if addr % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL.into());
    }
    let end = page_ceil(len).and_then(|len| addr.checked_add(len)).ok_or(Errno::ENOMEM)?;
    let mm = task.mm();
    if end > mm.bounds().1.0 {
        return Err(Errno::ENOMEM.into());
    }
    let (mut at, mut to) = (addr, UserAddr(vector));
    while at < end {
        let next = end.min(at + MINCORE_PAGES * PAGE_SIZE);
        let present = mm.mincore(at..next)?;
        mm.write(to, &present)?;
        to = to.checked_add(present.len() as u64).ok_or(Errno::EFAULT)?;
        at = next;
    }
    Ok(0)
}
