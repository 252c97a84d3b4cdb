//! mmap(2), munmap(2), mprotect(2), mremap(2), brk(2), remap_file_pages(2), mseal(2).

use std::sync::Arc;

use abi::fcntl::Seals;
use abi::mman::{self, MapFlags};
use abi::mount::MountFlags;
use abi::{Errno, PAGE_SIZE, Result, UserAddr, page_ceil};
use platform::Protection;

use super::mlock::check_may_lock;
use crate::mm::{MmapArgs, MmapFlags, ProtectRange, RemapFlags};
use crate::syscalls::table::Args;
use crate::vfs::{Fd, File};
use crate::{CurrentTask, SysResult, Task};

/// `PROT_*` as rights; other bits mean nothing to mmap(2).
pub(super) fn protection(bits: u64) -> Protection {
    Protection {
        read: bits & mman::PROT_READ != 0,
        write: bits & mman::PROT_WRITE != 0,
        execute: bits & mman::PROT_EXEC != 0,
    }
}

/// mmap(2).
pub(super) fn mmap(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, len, prot, flags, fd, offset] = args.0;
    if offset % PAGE_SIZE != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = flags & mman::MAP_TYPE;
    let flags = MapFlags::from_bits_retain(flags & !mman::MAP_TYPE);
    let prot = protection(prot);
    let mut request = MmapArgs {
        prot,
        may_write: true,
        ..MmapArgs::anonymous(UserAddr(addr), len, mmap_flags(task, flags)?)
    };
    request.flags.set(MmapFlags::SHARED, matches!(kind, mman::MAP_SHARED | mman::MAP_SHARED_VALIDATE));
    if !flags.contains(MapFlags::ANONYMOUS) {
        let file = task.fd_table().get(fd as Fd)?;
        check_file(&file, kind, flags, prot)?;
        if len == 0 {
            return Err(Errno::EINVAL.into());
        }
        return map_file(task, request, file, offset);
    } else if !matches!(kind, mman::MAP_SHARED | mman::MAP_PRIVATE) || is_shared_stack(kind, flags) {
        return Err(Errno::EINVAL.into());
    }
    Ok(task.mm().mmap(request)?.0)
}

/// The part of mmap(2) that concerns the file, which may be mapped in this way.
fn map_file(task: &Task, mut request: MmapArgs, file: Arc<File>, offset: u64) -> SysResult {
    let mappable = file.ops().mappable(&file)?;
    let is_writable = request.flags.contains(MmapFlags::SHARED) && file.flags().is_writable();
    // From before the look at the seals until the mapping stands, so that no seal comes in between.
    let intent = if is_writable { Some(mappable.mappings().begin_writable()?) } else { None };
    let is_sealed = intent.is_some()
        && file.inode().seals().is_ok_and(|seals| seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE));
    if is_sealed && request.prot.write {
        return Err(Errno::EPERM.into());
    }
    request.may_write = !request.flags.contains(MmapFlags::SHARED) || (is_writable && !is_sealed);
    request.may_exec = !file.path().mount.flags().contains(MountFlags::NOEXEC);
    request.mappable = Some((mappable.clone(), offset));
    request.file = Some(file);
    let addr = task.mm().mmap(request)?;
    drop(intent);
    Ok(addr.0)
}

fn is_shared_stack(kind: u64, flags: MapFlags) -> bool {
    kind == mman::MAP_SHARED && flags.contains(MapFlags::GROWSDOWN)
}

/// The flags that do not depend on a file.
fn mmap_flags(task: &Task, flags: MapFlags) -> Result<MmapFlags> {
    if flags.contains(MapFlags::HUGETLB) {
        // There are no huge pages set aside.
        return Err(Errno::ENOMEM);
    }
    let mut result = MmapFlags::empty();
    for (bit, flag) in [
        (MapFlags::FIXED, MmapFlags::FIXED),
        (MapFlags::FIXED_NOREPLACE, MmapFlags::FIXED_NOREPLACE),
        (MapFlags::GROWSDOWN, MmapFlags::GROWSDOWN),
        (MapFlags::NORESERVE, MmapFlags::NORESERVE),
        (MapFlags::LOCKED, MmapFlags::LOCKED),
        (MapFlags::LOW_2_GIB, MmapFlags::LOW),
        (MapFlags::DENYWRITE, MmapFlags::MORE_COME),
    ] {
        result.set(flag, flags.contains(bit));
    }
    let populate = flags.contains(MapFlags::POPULATE) && !flags.contains(MapFlags::NONBLOCK);
    result.set(MmapFlags::POPULATE, populate);
    if flags.contains(MapFlags::LOCKED) {
        check_may_lock(task)?;
    }
    Ok(result)
}

/// Whether a file may be mapped in this way.
fn check_file(file: &File, kind: u64, flags: MapFlags, prot: Protection) -> Result<()> {
    if file.is_path_only() {
        return Err(Errno::EBADF);
    }
    let open = file.flags();
    match kind {
        mman::MAP_SHARED | mman::MAP_SHARED_VALIDATE => {
            if kind == mman::MAP_SHARED_VALIDATE && !MapFlags::LEGACY.contains(flags) {
                return Err(Errno::EOPNOTSUPP);
            }
            if prot.write && !open.is_writable() {
                return Err(Errno::EACCES);
            }
        }
        mman::MAP_PRIVATE => {}
        _ => return Err(Errno::EINVAL),
    }
    if !open.is_readable() {
        return Err(Errno::EACCES);
    }
    if prot.execute && file.path().mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EPERM);
    }
    if flags.contains(MapFlags::GROWSDOWN) { Err(Errno::EINVAL) } else { Ok(()) }
}

/// munmap(2).
pub(super) fn munmap(task: &mut CurrentTask, args: Args) -> SysResult {
    task.mm().munmap(args.addr(0), args[1])?;
    Ok(0)
}

/// mprotect(2), and pkey_mprotect(2) with key -1.
pub(super) fn mprotect(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, len, prot, ..] = args.0;
    let grows = prot & (mman::PROT_GROWSDOWN | mman::PROT_GROWSUP);
    let known = mman::PROT_READ | mman::PROT_WRITE | mman::PROT_EXEC | mman::PROT_SEM;
    if prot & !(known | grows) != 0 || grows & mman::PROT_GROWSUP != 0 {
        // No stack grows upwards here, so `PROT_GROWSUP` never finds one.
        return Err(Errno::EINVAL.into());
    }
    let reach = if grows == 0 { ProtectRange::Exact } else { ProtectRange::ToStart };
    task.mm().mprotect(UserAddr(addr), len, protection(prot), reach)?;
    Ok(0)
}

/// pkey_mprotect(2): there are no keys but the default.
pub(super) fn pkey_mprotect(task: &mut CurrentTask, args: Args) -> SysResult {
    if args.int(3) != -1 {
        return Err(Errno::EINVAL.into());
    }
    mprotect(task, args)
}

/// mremap(2).
pub(super) fn mremap(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, old_len, new_len, flags, new_addr, _] = args.0;
    let flags = u32::try_from(flags).ok().and_then(RemapFlags::from_bits).ok_or(Errno::EINVAL)?;
    Ok(task.mm().mremap(UserAddr(addr), old_len, new_len, flags, UserAddr(new_addr))?.0)
}

/// remap_file_pages(2), as Linux emulates it: another part of a shared file in the same place.
pub(super) fn remap_file_pages(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, len, prot, page, flags, _] = args.0;
    let _ = flags;
    if prot != 0 {
        return Err(Errno::EINVAL.into());
    }
    let start = UserAddr(addr).page_floor();
    let len = abi::page_floor(len);
    let offset = page.checked_mul(PAGE_SIZE).ok_or(Errno::EINVAL)?;
    let fits = start.checked_add(len).is_some_and(|end| end.0 > start.0) && offset.checked_add(len).is_some();
    if !fits {
        return Err(Errno::EINVAL.into());
    }
    task.mm().remap_file_pages(start, len, offset)?;
    Ok(0)
}

/// brk(2).
pub(super) fn brk(task: &mut CurrentTask, args: Args) -> SysResult {
    let (mm, wanted) = (task.mm(), args.addr(0));
    let mut end = mm.brk(wanted);
    if end < wanted && task.is_alone_in(&mm) && mm.remove_thunks(end..wanted) {
        end = mm.brk(wanted);
    }
    Ok(end.0)
}

/// mseal(2).
pub(super) fn mseal(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, len, flags, ..] = args.0;
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
    if flags != 0 || !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL.into());
    }
    if len > 0 {
        task.mm().seal(addr..end)?;
    }
    Ok(0)
}
