//! memfd_create(2).

use abi::Errno;
use abi::fcntl::MemfdFlags;

use super::args::{Identity, vfs};
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

/// The name with its NUL: 255 bytes less the prefix `memfd:`.
const NAME_MAX: usize = 250;
/// Where the flags of huge pages say how large these are (`MFD_HUGE_MASK << MFD_HUGE_SHIFT`).
const HUGE_PAGE_SIZE: u32 = 0x3f << 26;

pub(super) fn memfd_create(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = MemfdFlags::from_bits_retain(args.uint(1));
    let is_huge = flags.contains(MemfdFlags::HUGETLB);
    let is_known = flags.bits() & !(MemfdFlags::all().bits() | if is_huge { HUGE_PAGE_SIZE } else { 0 }) == 0;
    if !is_known || flags.contains(MemfdFlags::EXEC | MemfdFlags::NOEXEC_SEAL) {
        return Err(Errno::EINVAL.into());
    }
    if is_huge {
        // There are no huge pages to be had.
        return Err(Errno::ENODEV.into());
    }
    let name = match task.mm().read_cstring(args.addr(0), NAME_MAX) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL.into()),
        name => name?,
    };
    let identity = Identity::of(task);
    let file = vfs(task).create_memfd(&identity.caller(), &name, flags)?;
    Ok(task.install_fd(file, flags.contains(MemfdFlags::CLOEXEC))? as u64)
}
