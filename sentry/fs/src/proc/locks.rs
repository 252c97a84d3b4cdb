//! `/proc/locks`: the advisory locks on files that processes of the reader's pid name space have open.

use std::collections::HashSet;

use abi::Result;
use kernel::Task;
use kernel::vfs::File;
use kernel::vfs::locks::{FileLocks, LockKind, LockOwner, RangeLock};

use super::system::put;

/// What follows the number of a lock.
struct Line {
    class: &'static str,
    kind: LockKind,
    pid: i32,
    range: (u64, u64),
}

pub(super) fn show(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let mut seen = HashSet::new();
    let mut number = 0;
    for (tgid, group) in task.pid_ns().thread_groups() {
        let Some(leader) = group.leader() else { continue };
        for entry in leader.fd_table().entries() {
            let inode = std::sync::Arc::as_ptr(entry.file.inode()).cast::<()>().addr();
            if !seen.insert(inode) {
                continue;
            }
            for line in lines(&entry.file, tgid) {
                number += 1;
                print(out, number, &line, &entry.file);
            }
        }
    }
    Ok(())
}

/// The locks on a file; those of open files are shown as those of a process that has it open.
fn lines(file: &File, holder: i32) -> Vec<Line> {
    let Some((ranges, whole)) = file.inode().common().locks_if_any().map(FileLocks::list) else {
        return Vec::new();
    };
    let of_range = |lock: RangeLock| {
        let is_posix = matches!(lock.owner, LockOwner::Table(_));
        let class = if is_posix { "POSIX " } else { "OFDLCK" };
        Line { class, kind: lock.kind, pid: lock.pid, range: (lock.start, lock.end) }
    };
    let of_whole = |kind| Line { class: "FLOCK ", kind, pid: holder, range: (0, RangeLock::TO_END) };
    ranges.into_iter().map(of_range).chain(whole.into_iter().map(of_whole)).collect()
}

fn print(out: &mut Vec<u8>, number: u32, line: &Line, file: &File) {
    let device = file.path().mount.fs().device();
    let ino = file.inode().attr().map_or(0, |attr| attr.ino);
    let kind = if line.kind == LockKind::Write { "WRITE" } else { "READ " };
    let (start, end) = line.range;
    let end = if end == RangeLock::TO_END { "EOF".to_owned() } else { end.to_string() };
    put!(
        out,
        "{number}: {} ADVISORY  {kind} {} {:02x}:{:02x}:{ino} {start} {end}\n",
        line.class,
        line.pid,
        device.major,
        device.minor
    );
}
