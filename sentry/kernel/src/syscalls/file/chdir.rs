//! getcwd(2), chdir(2), fchdir(2), chroot(2).

use abi::fs::AT_FDCWD;
use abi::{Errno, Result};

use super::args::{Identity, any_file, find};
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::vfs::permission::{MAY_EXEC, check_access};
use crate::vfs::{Reach, VfsPath, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn getcwd(task: &mut CurrentTask, args: Args) -> SysResult {
    let (root, cwd) = task.fs().root_and_cwd();
    if cwd.dentry.is_unlinked() {
        return Err(Errno::ENOENT.into());
    }
    let (path, reach) = cwd.text_and_reach(&root);
    let mut text = match reach {
        Reach::Root => path,
        Reach::Elsewhere => [b"(unreachable)", &path[..]].concat(),
    };
    text.push(0);
    if text.len() > abi::fs::PATH_MAX {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if (text.len() as u64) > args[1] {
        return Err(Errno::ERANGE.into());
    }
    task.mm().write(args.addr(0), &text)?;
    Ok(text.len() as u64)
}

/// A directory that the task may search.
fn check_directory(task: &Task, place: &VfsPath) -> Result<()> {
    if !place.dentry.is_dir() {
        return Err(Errno::ENOTDIR);
    }
    check_access(&Identity::of(task).caller(), place.inode(), MAY_EXEC)
}

pub(super) fn chdir(task: &mut CurrentTask, args: Args) -> SysResult {
    let place = find(task, AT_FDCWD, args[0], WalkFlags::FOLLOW | WalkFlags::DIRECTORY)?;
    check_directory(task, &place)?;
    task.fs().set_cwd(place);
    Ok(0)
}

pub(super) fn fchdir(task: &mut CurrentTask, args: Args) -> SysResult {
    let place = any_file(task, args[0])?.path().clone();
    check_directory(task, &place)?;
    task.fs().set_cwd(place);
    Ok(0)
}

pub(super) fn chroot(task: &mut CurrentTask, args: Args) -> SysResult {
    let place = find(task, AT_FDCWD, args[0], WalkFlags::FOLLOW | WalkFlags::DIRECTORY)?;
    check_directory(task, &place)?;
    if !task.creds().has_in_own(Capability::SysChroot) {
        return Err(Errno::EPERM.into());
    }
    task.fs().set_root(place);
    Ok(0)
}
