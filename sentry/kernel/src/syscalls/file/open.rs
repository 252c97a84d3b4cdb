//! open(2), openat(2), openat2(2), creat(2), close(2), close_range(2).

use std::sync::Arc;

use abi::fcntl::OpenHowRaw;
use abi::fs::AT_FDCWD;
use abi::resource::Resource;
use abi::{Errno, OpenFlags, Result};
use waiter::Events;

use super::args::{Identity, origin, path, vfs};
use crate::syscalls::table::Args;
use crate::vfs::{Fd, OpenHow, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

/// Flags that open(2) knows; it ignores others.
const KNOWN: OpenFlags = OpenFlags::from_bits_truncate(0o37_777_703);

pub(super) fn open(task: &mut CurrentTask, args: Args) -> SysResult {
    open_path(task, AT_FDCWD, args[0], &lenient_how(task, args.uint(1), args.uint(2))?)
}

pub(super) fn openat(task: &mut CurrentTask, args: Args) -> SysResult {
    open_path(task, args.int(0), args[1], &lenient_how(task, args.uint(2), args.uint(3))?)
}

pub(super) fn creat(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = OpenFlags::CREAT | OpenFlags::WRONLY | OpenFlags::TRUNC;
    open_path(task, AT_FDCWD, args[0], &lenient_how(task, flags.bits(), args.uint(1))?)
}

pub(super) fn openat2(task: &mut CurrentTask, args: Args) -> SysResult {
    let smallest = size_of::<OpenHowRaw>();
    let raw = task.mm().read_extensible(args.addr(2), args[3], smallest)?;
    let how = strict_how(task, &raw)?;
    open_path(task, args.int(0), args[1], &how)
}

fn open_path(task: &Task, dirfd: Fd, path_addr: u64, how: &OpenHow) -> SysResult {
    let path = path(task, path_addr)?;
    let limit = task.limit(Resource::Nofile);
    let fds = task.fd_table();
    fds.check_room(limit)?;
    let identity = Identity::of(task);
    // A walk that stays below its start begins there even where the path is absolute.
    let is_scoped = how.resolve.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
    let origin = origin(task, dirfd, if is_scoped { b"." } else { &path })?;
    let opened = vfs(task).open(&identity.caller(), &origin, &path, how)?;
    if let Some(fifo) = &opened.fifo {
        task.block_on(fifo.queue(), Events::IN, None, &mut || fifo.check())?;
    }
    let file = opened.file;
    let fd = fds.install(Arc::clone(&file), 0, limit, how.flags.contains(OpenFlags::CLOEXEC))?;
    task.expect_close_of(fd, &file);
    Ok(fd as u64)
}

/// open(2)'s way: unknown flags are dropped.
fn lenient_how(task: &Task, flags: u32, mode: u32) -> Result<OpenHow> {
    let mut flags = OpenFlags::from_bits_retain(flags) & KNOWN;
    if flags.contains(OpenFlags::PATH) {
        flags &= OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    }
    check_combination(flags)?;
    let creates = flags.intersects(OpenFlags::CREAT) || flags.contains(OpenFlags::TMPFILE);
    let mode = if creates { mode & 0o7777 } else { 0 };
    Ok(OpenHow { flags: with_largefile(flags), mode, umask: task.fs().umask(), resolve: WalkFlags::empty() })
}

/// openat2(2)'s way: unknown flags are errors.
fn strict_how(task: &Task, raw: &OpenHowRaw) -> Result<OpenHow> {
    let bits = u32::try_from(raw.flags).map_err(|_| Errno::EINVAL)?;
    let flags = OpenFlags::from_bits_retain(bits);
    if !KNOWN.contains(flags) || raw.mode & !0o7777 != 0 {
        return Err(Errno::EINVAL);
    }
    let creates = flags.intersects(OpenFlags::CREAT) || flags.contains(OpenFlags::TMPFILE);
    if !creates && raw.mode != 0 {
        return Err(Errno::EINVAL);
    }
    let path_flags = OpenFlags::PATH | OpenFlags::DIRECTORY | OpenFlags::NOFOLLOW | OpenFlags::CLOEXEC;
    if flags.contains(OpenFlags::PATH) && !path_flags.contains(flags) {
        return Err(Errno::EINVAL);
    }
    check_combination(flags)?;
    let resolve = resolve_flags(raw.resolve, flags)?;
    let flags = with_largefile(flags);
    Ok(OpenHow { flags, mode: raw.mode as u32, umask: task.fs().umask(), resolve })
}

/// On 64-bit systems all files are opened as large ones; an `O_PATH` file is not opened.
fn with_largefile(flags: OpenFlags) -> OpenFlags {
    if flags.contains(OpenFlags::PATH) { flags } else { flags | OpenFlags::LARGEFILE }
}

/// `O_TMPFILE` needs `O_DIRECTORY`, write access and no `O_CREAT`; `O_DIRECTORY` with `O_CREAT` makes no sense.
fn check_combination(flags: OpenFlags) -> Result<()> {
    const TMPFILE_BIT: OpenFlags = OpenFlags::from_bits_retain(0o20_000_000);
    if flags.intersects(TMPFILE_BIT) {
        let is_proper = flags.contains(OpenFlags::TMPFILE) && !flags.contains(OpenFlags::CREAT);
        if !is_proper || !flags.is_writable() {
            return Err(Errno::EINVAL);
        }
    } else if flags.contains(OpenFlags::CREAT | OpenFlags::DIRECTORY) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

fn resolve_flags(resolve: u64, flags: OpenFlags) -> Result<WalkFlags> {
    const NAMES: [(u64, WalkFlags); 6] = [
        (0x01, WalkFlags::NO_XDEV),
        (0x02, WalkFlags::NO_MAGICLINKS),
        (0x04, WalkFlags::NO_SYMLINKS),
        (0x08, WalkFlags::BENEATH),
        (0x10, WalkFlags::IN_ROOT),
        // RESOLVE_CACHED: everything that we look up is as good as cached, unless the file is to change.
        (0x20, WalkFlags::empty()),
    ];
    let mut walk = WalkFlags::empty();
    let mut left = resolve;
    for (bit, flag) in NAMES {
        if left & bit != 0 {
            walk |= flag;
            left &= !bit;
        }
    }
    if left != 0 || walk.contains(WalkFlags::BENEATH | WalkFlags::IN_ROOT) {
        return Err(Errno::EINVAL);
    }
    let changes = OpenFlags::TRUNC | OpenFlags::CREAT;
    if resolve & 0x20 != 0 && (flags.intersects(changes) || flags.contains(OpenFlags::TMPFILE)) {
        return Err(Errno::EAGAIN);
    }
    Ok(walk)
}

pub(super) fn close(task: &mut CurrentTask, args: Args) -> SysResult {
    task.fd_table().close(task, args.int(0))?;
    Ok(0)
}

pub(super) fn close_range(task: &mut CurrentTask, args: Args) -> SysResult {
    const UNSHARE: u32 = 2;
    const CLOEXEC: u32 = 4;
    let (first, last, flags) = (args.uint(0), args.uint(1), args.uint(2));
    if flags & !(UNSHARE | CLOEXEC) != 0 || first > last {
        return Err(Errno::EINVAL.into());
    }
    if flags & UNSHARE != 0 {
        task.own_fd_table();
    }
    let fds = task.fd_table();
    if flags & CLOEXEC != 0 {
        fds.set_close_on_exec_range(first, last);
    } else {
        fds.close_range(task, first, last);
    }
    Ok(0)
}
