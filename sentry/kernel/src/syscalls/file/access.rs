//! access(2), faccessat(2), faccessat2(2).

use std::sync::Arc;

use abi::fcntl::AtFlags;
use abi::fs::AT_FDCWD;
use abi::mount::MountFlags;
use abi::{Errno, FileType};

use super::args::{Identity, at_flags, origin, path, vfs};
use crate::syscalls::table::Args;
use crate::task::{CapabilitySet, securebits};
use crate::vfs::Fd;
use crate::vfs::permission::{MAY_EXEC, MAY_WRITE, check_access, check_mount_writable};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn access(task: &mut CurrentTask, args: Args) -> SysResult {
    check(task, AT_FDCWD, args[0], args.uint(1), AtFlags::empty())
}

pub(super) fn faccessat(task: &mut CurrentTask, args: Args) -> SysResult {
    check(task, args.int(0), args[1], args.uint(2), AtFlags::empty())
}

pub(super) fn faccessat2(task: &mut CurrentTask, args: Args) -> SysResult {
    let known = AtFlags::EACCESS | AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
    let flags = at_flags(args.uint(3), known)?;
    check(task, args.int(0), args[1], args.uint(2), flags)
}

fn check(task: &Task, dirfd: Fd, path_addr: u64, mask: u32, flags: AtFlags) -> SysResult {
    if mask & !7 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let identity = if flags.contains(AtFlags::EACCESS) { Identity::of(task) } else { with_real_ids(task) };
    let caller = identity.caller();
    let path = path(task, path_addr)?;
    let place = vfs(task).lookup(&caller, &origin(task, dirfd, &path)?, &path, flags.into())?;
    if mask == 0 {
        return Ok(0);
    }
    let file_type = FileType::from_mode(place.inode().mode()?);
    if mask & MAY_EXEC != 0
        && file_type == Some(FileType::Regular)
        && place.mount.flags().contains(MountFlags::NOEXEC)
    {
        return Err(Errno::EACCES.into());
    }
    check_access(&caller, place.inode(), mask)?;
    // Special files may be written on a read-only file system: that changes nothing on it.
    let is_special = !matches!(file_type, Some(FileType::Regular | FileType::Directory | FileType::Symlink));
    if mask & MAY_WRITE != 0 && !is_special {
        check_mount_writable(&place)?;
    }
    Ok(0)
}

/// The caller as the user who started the program: without a set-user-ID program's rights.
fn with_real_ids(task: &Task) -> Identity<'_> {
    let mut creds = (*task.creds()).clone();
    creds.fsuid = creds.uid;
    creds.fsgid = creds.gid;
    if creds.securebits & securebits::NO_SETUID_FIXUP == 0 {
        let is_root = creds.user_ns.to_kernel_uid(0) == Some(creds.uid);
        creds.effective = if is_root { creds.permitted } else { CapabilitySet::EMPTY };
    }
    Identity::with(task, Arc::new(creds))
}
