//! `man 2 execve`, `man 2 execveat`.

use abi::fcntl::AtFlags;
use abi::fs::{AT_FDCWD, PATH_MAX};
use abi::resource::Resource;
use abi::{Errno, Result, UserAddr};

use crate::loader::stack::{MAX_STRING, strings_limit};
use crate::syscalls::file::args as file_args;
use crate::syscalls::table::Args;
use crate::task::{ExecRequest, exec};
use crate::vfs::WalkFlags;
use crate::{CurrentTask, SysResult};

/// What is left for strings and the pointers to them.
struct Room(u64);

impl Room {
    fn take(&mut self, bytes: u64) -> Result<()> {
        self.0 = self.0.checked_sub(bytes).ok_or(Errno::E2BIG)?;
        Ok(())
    }
}

fn read_strings(task: &CurrentTask, addr: u64, room: &mut Room) -> Result<Vec<Vec<u8>>> {
    let mut strings = Vec::new();
    if addr == 0 {
        return Ok(strings);
    }
    let mm = task.mm();
    loop {
        let slot = (strings.len() as u64).checked_mul(8).and_then(|at| addr.checked_add(at));
        let pointer: u64 = mm.read_object(UserAddr(slot.ok_or(Errno::EFAULT)?))?;
        if pointer == 0 {
            return Ok(strings);
        }
        let string = mm.read_cstring(UserAddr(pointer), MAX_STRING).map_err(|error| match error {
            Errno::ENAMETOOLONG => Errno::E2BIG,
            other => other,
        })?;
        room.take(string.len() as u64 + 1 + 8)?;
        strings.push(string);
    }
}

fn execute(task: &mut CurrentTask, dirfd: i32, [path, argv, envp]: [u64; 3], flags: u64) -> SysResult {
    let flags = file_args::at_flags(flags as u32, AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW)?;
    let path = task.mm().read_cstring(UserAddr(path), PATH_MAX)?;
    let is_empty = path.is_empty();
    if is_empty && !flags.contains(AtFlags::EMPTY_PATH) {
        return Err(Errno::ENOENT.into());
    }
    let mut room = Room(strings_limit(task.limit(Resource::Stack)));
    let file = if is_empty {
        let place = file_args::any_file(task, dirfd as u64)?.path().clone();
        exec::open_place(task, &place)?
    } else {
        let origin = file_args::origin(task, dirfd, &path)?;
        let follow =
            if flags.contains(AtFlags::SYMLINK_NOFOLLOW) { WalkFlags::empty() } else { WalkFlags::FOLLOW };
        exec::open_executable(task, &origin, &path, follow)?
    };
    let mut argv = read_strings(task, argv, &mut room)?;
    let envp = read_strings(task, envp, &mut room)?;
    if argv.is_empty() {
        // As Linux since 5.18: programs may rely on a name.
        argv.push(Vec::new());
    }
    let shown = match (is_empty, dirfd == AT_FDCWD || path.starts_with(b"/")) {
        (true, _) => format!("/dev/fd/{dirfd}").into_bytes(),
        (false, true) => path,
        (false, false) => [format!("/dev/fd/{dirfd}/").as_bytes(), &path].concat(),
    };
    let is_by_fd = shown.starts_with(b"/dev/fd/") && dirfd != AT_FDCWD;
    let path_vanishes = is_by_fd && task.fd_table().is_close_on_exec(dirfd).unwrap_or(false);
    task.execute(ExecRequest { file, path: shown, argv, envp, path_vanishes })?;
    Ok(0)
}

pub(super) fn execve(task: &mut CurrentTask, args: Args) -> SysResult {
    let [path, argv, envp, ..] = args.0;
    execute(task, AT_FDCWD, [path, argv, envp], 0)
}

pub(super) fn execveat(task: &mut CurrentTask, args: Args) -> SysResult {
    let [dirfd, path, argv, envp, flags, _] = args.0;
    execute(task, dirfd as i32, [path, argv, envp], flags & 0xffff_ffff)
}
