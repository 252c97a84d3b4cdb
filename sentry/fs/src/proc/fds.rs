//! `/proc/[pid]/fd` and `/proc/[pid]/fdinfo`.

use std::sync::{Arc, Weak};

use abi::{Errno, FileType, OpenFlags, Result};
use kernel::Task;
use kernel::vfs::{Attr, Caller, Fd, File, Inode, LinkTarget};

use super::root::parse_number;
use super::system::put;
use super::task_dir::alive;
use super::{Proc, access, links};
use crate::synth::{Content, DirContent, Entry, Link, Target, TextFile};

/// The directory of a task's descriptors: links, or texts about them.
pub(super) struct FdDir {
    pub(super) proc: Arc<Proc>,
    pub(super) task: Weak<Task>,
    pub(super) attr: Attr,
    pub(super) is_info: bool,
}

fn file_of(task: &Weak<Task>, fd: Fd) -> Result<Arc<File>> {
    alive(task)?.fd_table().get(fd).map_err(|_| Errno::ENOENT)
}

impl FdDir {
    fn ino(&self, fd: Fd) -> u64 {
        self.attr.ino.wrapping_add(4096 + u64::from(fd.unsigned_abs()) * 2 + u64::from(self.is_info))
    }
}

impl DirContent for FdDir {
    fn attr(&self) -> Result<Attr> {
        let open = alive(&self.task)?.fd_table().len();
        Ok(Attr { size: open as u64, ..self.attr })
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let fd = parse_number(name).ok_or(Errno::ENOENT)?;
        let file = file_of(&self.task, fd)?;
        let own = |file_type, mode| Attr {
            uid: self.attr.uid,
            gid: self.attr.gid,
            ..self.proc.inodes.attr_numbered(self.ino(fd), file_type, mode)
        };
        let target = Descriptor { task: self.task.clone(), fd };
        if self.is_info {
            return Ok(TextFile::new(own(FileType::Regular, 0o400), target));
        }
        let flags = file.flags();
        let is_path = flags.contains(OpenFlags::PATH);
        let readable = if flags.is_readable() { 0o500 } else { 0 };
        let writable = if flags.is_writable() { 0o300 } else { 0 };
        let mode = if is_path { 0o000 } else { readable | writable };
        Ok(Link::new(own(FileType::Symlink, mode), target))
    }

    fn next(&self, viewer: &Task, from: u64) -> Option<Entry> {
        let task = alive(&self.task).ok()?;
        access::check(viewer, &task).ok()?;
        let from = Fd::try_from(from).ok()?;
        let fd = task.fd_table().next_open(from)?;
        let file_type = if self.is_info { FileType::Regular } else { FileType::Symlink };
        let name = fd.to_string().into_bytes();
        Some(Entry { name, ino: self.ino(fd), file_type, next: u64::from(fd.unsigned_abs()) + 1 })
    }

    /// A task may always look at its own descriptors, whatever it has become; others must be able to trace it.
    fn permission(&self, caller: &Caller<'_>, _mask: u32) -> Option<Result<()>> {
        let task = alive(&self.task).ok()?;
        let is_own = caller.task.is_some_and(|viewer| viewer.thread_group().id() == task.thread_group().id());
        is_own.then_some(Ok(()))
    }
}

struct Descriptor {
    task: Weak<Task>,
    fd: Fd,
}

impl Descriptor {
    fn find(&self, caller: &Caller<'_>) -> Result<Arc<File>> {
        let file = file_of(&self.task, self.fd)?;
        if let (Some(viewer), Ok(target)) = (caller.task, alive(&self.task)) {
            access::check(viewer, &target)?;
        }
        Ok(file)
    }
}

impl Target for Descriptor {
    fn text(&self, caller: &Caller<'_>) -> Result<Vec<u8>> {
        links::text_for(caller, self.find(caller)?.path())
    }

    fn place(&self, caller: &Caller<'_>) -> Result<LinkTarget> {
        Ok(LinkTarget::Place(self.find(caller)?.path().clone()))
    }
}

impl Content for Descriptor {
    fn read(&self, viewer: &Task, out: &mut Vec<u8>) -> Result<()> {
        let task = alive(&self.task)?;
        access::check(viewer, &task)?;
        let table = task.fd_table();
        let file = table.get(self.fd).map_err(|_| Errno::ENOENT)?;
        let mut flags = file.flags() | OpenFlags::LARGEFILE;
        flags.set(OpenFlags::CLOEXEC, table.is_close_on_exec(self.fd).unwrap_or(false));
        let position = if file.ops().is_seekable() { *file.position() } else { 0 };
        let ino = file.inode().attr().map_or(0, |attr| attr.ino);
        put!(
            out,
            "pos:\t{position}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{ino}\n",
            flags.bits(),
            file.path().mount.id()
        );
        out.extend_from_slice(file.ops().fdinfo().as_bytes());
        Ok(())
    }
}
