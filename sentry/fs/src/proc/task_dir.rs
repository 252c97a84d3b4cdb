//! `/proc/[pid]` and `/proc/[pid]/task/[tid]`: the table of what is in them.

use std::sync::{Arc, Weak};

use abi::{Errno, FileType, OpenFlags, Result};
use kernel::Task;
use kernel::mm::MemoryManager;
use kernel::task::{Credentials, Dumpability, Pid, PidNamespace, Tid};
use kernel::vfs::{Attr, Caller, Inode, MountNamespace};

use super::root::parse_number;
use super::{Proc, access, fds, id_maps, links, maps, mem, mounts, net, stat, status, task_files};
use crate::synth::{Changes, Content, Dir, DirContent, Entry, Link, TextFile, Until};

/// Who looks at whom.
pub(super) struct View<'a> {
    pub(super) viewer: &'a Task,
    pub(super) target: &'a Arc<Task>,
    /// With whose rights the file was opened, where it is written to.
    pub(super) opener: Arc<Credentials>,
    /// Whose numbers the viewer sees.
    pub(super) ns: Arc<PidNamespace>,
    /// Whether the file is the whole process's, not one thread's.
    pub(super) is_process: bool,
}

/// Who may open a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// Whom the mode bits allow.
    Mode,
    /// Who may trace the task as well.
    Trace,
}

type ShowFn = fn(&View<'_>, &mut Vec<u8>) -> Result<()>;
type ShowMemoryFn = fn(&View<'_>, &MemoryManager, &mut Vec<u8>) -> Result<()>;
type StoreFn = fn(&View<'_>, &[u8]) -> Result<()>;

/// What a name in the directory stands for.
pub(super) enum Kind {
    Text(Guard, ShowFn),
    Knob(Guard, ShowFn, StoreFn),
    /// About the memory that the task has when the file is opened, for whom may trace it then.
    Memory(ShowMemoryFn),
    /// About the mounts that the task sees, which poll(2) waits for.
    Mounts(ShowFn),
    Link(links::PlaceOf),
    Fd,
    FdInfo,
    Ns,
    Threads,
    Attr,
    Net,
    Mem,
}

/// A name in the directory.
pub(super) struct TaskEntry {
    pub(super) name: &'static str,
    pub(super) mode: u32,
    /// Only in the process's directory, not in its threads'.
    pub(super) process_only: bool,
    pub(super) kind: Kind,
}

const fn text(name: &'static str, mode: u32, show: ShowFn) -> TaskEntry {
    TaskEntry { name, mode, process_only: false, kind: Kind::Text(Guard::Mode, show) }
}

const fn guarded(name: &'static str, mode: u32, show: ShowFn) -> TaskEntry {
    TaskEntry { name, mode, process_only: false, kind: Kind::Text(Guard::Trace, show) }
}

const fn knob(name: &'static str, mode: u32, show: ShowFn, store: StoreFn) -> TaskEntry {
    TaskEntry { name, mode, process_only: false, kind: Kind::Knob(Guard::Mode, show, store) }
}

const fn memory(name: &'static str, mode: u32, show: ShowMemoryFn) -> TaskEntry {
    TaskEntry { name, mode, process_only: false, kind: Kind::Memory(show) }
}

const fn special(name: &'static str, mode: u32, kind: Kind) -> TaskEntry {
    TaskEntry { name, mode, process_only: false, kind }
}

const fn process_only(entry: TaskEntry) -> TaskEntry {
    TaskEntry { process_only: true, ..entry }
}

const ENTRIES: &[TaskEntry] = &[
    special("attr", 0o555, Kind::Attr),
    process_only(text("autogroup", 0o644, task_files::autogroup)),
    memory("auxv", 0o400, task_files::auxv),
    text("cgroup", 0o444, task_files::cgroup),
    special("clear_refs", 0o200, Kind::Knob(Guard::Trace, task_files::nothing, task_files::ignore)),
    text("cmdline", 0o444, task_files::cmdline),
    knob("comm", 0o644, task_files::comm, task_files::set_comm),
    process_only(knob("coredump_filter", 0o644, task_files::coredump_filter, task_files::ignore)),
    text("cpuset", 0o444, task_files::cpuset),
    special("cwd", 0o777, Kind::Link(links::PlaceOf::Cwd)),
    memory("environ", 0o400, task_files::environ),
    special("exe", 0o777, Kind::Link(links::PlaceOf::Exe)),
    special("fd", 0o500, Kind::Fd),
    special("fdinfo", 0o555, Kind::FdInfo),
    knob("gid_map", 0o644, id_maps::show_gid, id_maps::store_gid),
    guarded("io", 0o400, task_files::io),
    text("limits", 0o444, task_files::limits),
    knob("loginuid", 0o644, task_files::loginuid, task_files::set_loginuid),
    memory("maps", 0o444, maps::maps),
    special("mem", 0o600, Kind::Mem),
    special("mountinfo", 0o444, Kind::Mounts(mounts::mountinfo)),
    special("mounts", 0o444, Kind::Mounts(mounts::mounts)),
    process_only(guarded("mountstats", 0o400, mounts::mountstats)),
    special("net", 0o555, Kind::Net),
    special("ns", 0o511, Kind::Ns),
    memory("numa_maps", 0o444, maps::numa_maps),
    knob("oom_adj", 0o644, task_files::oom_adj, task_files::set_oom_adj),
    text("oom_score", 0o444, task_files::oom_score),
    knob("oom_score_adj", 0o644, task_files::oom_score_adj, task_files::set_oom_score_adj),
    guarded("personality", 0o400, task_files::personality),
    knob("projid_map", 0o644, id_maps::show_projid, task_files::refuse),
    special("root", 0o777, Kind::Link(links::PlaceOf::Root)),
    text("sched", 0o644, task_files::sched),
    text("schedstat", 0o444, task_files::schedstat),
    text("sessionid", 0o444, task_files::sessionid),
    knob("setgroups", 0o644, id_maps::show_setgroups, id_maps::store_setgroups),
    memory("smaps", 0o444, maps::smaps),
    memory("smaps_rollup", 0o444, maps::smaps_rollup),
    guarded("stack", 0o400, task_files::nothing),
    text("stat", 0o444, stat::stat),
    text("statm", 0o444, stat::statm),
    text("status", 0o444, status::status),
    guarded("syscall", 0o400, task_files::syscall),
    process_only(special("task", 0o555, Kind::Threads)),
    text("timens_offsets", 0o644, task_files::timens_offsets),
    process_only(text("timers", 0o444, task_files::timers)),
    knob("timerslack_ns", 0o666, task_files::timerslack, task_files::set_timerslack),
    knob("uid_map", 0o644, id_maps::show_uid, id_maps::store_uid),
    text("wchan", 0o444, task_files::wchan),
];

/// A task's directory.
struct TaskDir {
    proc: Arc<Proc>,
    task: Weak<Task>,
    is_process: bool,
}

/// Inode numbers of a task's files lie 2^20 apart; a process's directory is not the one of its first thread.
fn base_ino(task: &Task, is_thread: bool) -> u64 {
    (task.id() << 21) | (1 << 62) | (u64::from(is_thread) << 20)
}

/// The inode number of a task's directory.
pub(super) fn ino_of(task: &Task, is_thread: bool) -> u64 {
    base_ino(task, is_thread)
}

/// The directory of `task`: a process's, or one of its threads'.
pub(super) fn make(proc: &Arc<Proc>, task: &Arc<Task>, is_thread: bool) -> Arc<dyn Inode> {
    Dir::new(TaskDir { proc: proc.clone(), task: Arc::downgrade(task), is_process: !is_thread })
}

/// The task, while it has not been reaped.
pub(super) fn alive(task: &Weak<Task>) -> Result<Arc<Task>> {
    // A reaped task may still be held by somebody, but it has no number any more.
    task.upgrade().filter(|task| task.pid().task().is_some()).ok_or(Errno::ESRCH)
}

/// Owner of a task's files: its effective ids, or those of the root above its memory where it is not dumpable and the file
/// is not public.
pub(super) fn owned(proc: &Proc, task: &Task, ino: u64, file_type: FileType, mode: u32) -> Attr {
    let creds = task.creds();
    let is_public = file_type == FileType::Directory && mode == 0o555;
    let Dumpability { is_dumpable, guardian } = task.thread_group().dumpability();
    let (uid, gid) = if is_dumpable || is_public {
        (creds.euid, creds.egid)
    } else {
        (guardian.to_kernel_uid(0).unwrap_or(0), guardian.to_kernel_gid(0).unwrap_or(0))
    };
    Attr { uid, gid, ..proc.inodes.attr_numbered(ino, file_type, mode) }
}

impl TaskDir {
    fn entry_type(kind: &Kind) -> FileType {
        match kind {
            Kind::Text(..) | Kind::Knob(..) | Kind::Memory(_) | Kind::Mounts(_) | Kind::Mem => {
                FileType::Regular
            }
            Kind::Link(_) => FileType::Symlink,
            _ => FileType::Directory,
        }
    }

    fn ino(&self, task: &Task, index: usize) -> u64 {
        base_ino(task, !self.is_process) + 1 + index as u64
    }

    fn open_entry(&self, task: &Arc<Task>, index: usize, entry: &'static TaskEntry) -> Arc<dyn Inode> {
        let file_type = Self::entry_type(&entry.kind);
        let attr = owned(&self.proc, task, self.ino(task, index), file_type, entry.mode);
        let (proc, weak) = (self.proc.clone(), Arc::downgrade(task));
        match &entry.kind {
            Kind::Text(..) | Kind::Knob(..) | Kind::Memory(_) | Kind::Mounts(_) => {
                TextFile::new(attr, TaskFile { proc, task: weak, entry, is_process: self.is_process })
            }
            Kind::Link(place) => Link::new(attr, links::PlaceLink { task: weak, place: *place }),
            Kind::Fd => Dir::new(fds::FdDir { proc, task: weak, attr, is_info: false }),
            Kind::FdInfo => Dir::new(fds::FdDir { proc, task: weak, attr, is_info: true }),
            Kind::Ns => Dir::new(links::NsDir { proc, task: weak, attr }),
            Kind::Threads => Dir::new(ThreadsDir { proc, task: weak, attr }),
            Kind::Attr => task_files::attr_dir(&self.proc, attr),
            Kind::Net => net::make(&self.proc, attr),
            Kind::Mem => mem::MemFile::new(attr, weak),
        }
    }

    fn entries(&self) -> impl Iterator<Item = (usize, &'static TaskEntry)> {
        let is_process = self.is_process;
        ENTRIES.iter().enumerate().filter(move |(_, entry)| is_process || !entry.process_only)
    }
}

impl DirContent for TaskDir {
    fn process(&self) -> Option<Result<Arc<Pid>>> {
        self.is_process.then(|| alive(&self.task).map(|task| task.pid()))
    }

    fn attr(&self) -> Result<Attr> {
        let task = alive(&self.task)?;
        let attr = owned(&self.proc, &task, base_ino(&task, !self.is_process), FileType::Directory, 0o555);
        Ok(Attr { nlink: 9, ..attr })
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let task = alive(&self.task).map_err(|_| Errno::ENOENT)?;
        if name == b"children" && !self.is_process {
            let attr = owned(&self.proc, &task, self.ino(&task, ENTRIES.len()), FileType::Regular, 0o444);
            let content = TaskFile {
                proc: self.proc.clone(),
                task: self.task.clone(),
                entry: &CHILDREN,
                is_process: false,
            };
            return Ok(TextFile::new(attr, content));
        }
        let (index, entry) =
            self.entries().find(|(_, entry)| entry.name.as_bytes() == name).ok_or(Errno::ENOENT)?;
        Ok(self.open_entry(&task, index, entry))
    }

    fn next(&self, _task: &Task, from: u64) -> Option<Entry> {
        let task = alive(&self.task).ok()?;
        let from = usize::try_from(from).ok()?;
        let children = (ENTRIES.len(), &CHILDREN);
        let more = (!self.is_process).then_some(children);
        let (index, entry) = self.entries().chain(more).find(|(index, _)| *index >= from)?;
        Some(Entry {
            name: entry.name.as_bytes().to_vec(),
            ino: self.ino(&task, index),
            file_type: Self::entry_type(&entry.kind),
            next: index as u64 + 1,
        })
    }
}

const CHILDREN: TaskEntry = text("children", 0o444, task_files::children);

/// A text about a task.
struct TaskFile {
    proc: Arc<Proc>,
    task: Weak<Task>,
    entry: &'static TaskEntry,
    is_process: bool,
}

impl TaskFile {
    fn again(&self) -> Self {
        Self { proc: self.proc.clone(), task: self.task.clone(), ..*self }
    }

    fn with_view<T>(
        &self,
        viewer: &Task,
        opener: Arc<Credentials>,
        f: impl FnOnce(&View<'_>) -> Result<T>,
    ) -> Result<T> {
        let target = alive(&self.task)?;
        let ns = self.proc.pid_ns(viewer);
        f(&View { viewer, target: &target, opener, ns, is_process: self.is_process })
    }
}

impl Content for TaskFile {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        let (Kind::Text(guard, show) | Kind::Knob(guard, show, _)) = &self.entry.kind else {
            return Err(Errno::EINVAL);
        };
        self.with_view(task, task.creds(), |view| {
            if *guard == Guard::Trace {
                access::check(task, view.target)?;
            }
            show(view, out)
        })
    }

    fn write_opened(&self, task: &Task, opener: &Arc<Credentials>, text: &[u8]) -> Result<()> {
        let Kind::Knob(_, _, store) = &self.entry.kind else { return Err(Errno::EIO) };
        self.with_view(task, opener.clone(), |view| store(view, text))
    }

    fn open(&self, caller: &Caller<'_>, _flags: OpenFlags) -> Result<Option<Arc<dyn Content>>> {
        let target = alive(&self.task)?;
        match (&self.entry.kind, caller.task) {
            (Kind::Text(Guard::Trace, _) | Kind::Knob(Guard::Trace, ..), Some(viewer)) => {
                access::check(viewer, &target)?;
                Ok(None)
            }
            (Kind::Memory(show), viewer) => {
                let content = MemoryText { file: self.again(), mm: mem::of(viewer, &target)?, show: *show };
                Ok(Some(Arc::new(content)))
            }
            (Kind::Mounts(show), _) => {
                let ns = target.namespaces().mnt.clone();
                Ok(Some(Arc::new(MountsText { file: self.again(), ns, show: *show })))
            }
            _ => Ok(None),
        }
    }
}

/// A text about the memory that a task had when the file was opened. The program that it executes afterwards may be one
/// that the opener may not look into. The text ends with the memory.
struct MemoryText {
    file: TaskFile,
    mm: Weak<MemoryManager>,
    show: ShowMemoryFn,
}

impl Content for MemoryText {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        let Some(mm) = self.mm.upgrade() else { return Ok(()) };
        self.file.with_view(task, task.creds(), |view| (self.show)(view, &mm, out))
    }
}

/// A text about mounts. What is announced are the changes of the name space that the task had when the file was opened.
struct MountsText {
    file: TaskFile,
    ns: Arc<MountNamespace>,
    show: ShowFn,
}

impl Content for MountsText {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        self.file.with_view(task, task.creds(), |view| (self.show)(view, out))
    }

    fn changes(&self) -> Option<Changes<'_>> {
        Some(Changes { queue: self.ns.changes(), count: self.ns.generation(), until: Until::Told })
    }
}

/// `/proc/[pid]/task`.
struct ThreadsDir {
    proc: Arc<Proc>,
    task: Weak<Task>,
    attr: Attr,
}

impl DirContent for ThreadsDir {
    fn attr(&self) -> Result<Attr> {
        let task = alive(&self.task)?;
        let threads = u32::try_from(task.thread_group().thread_count()).unwrap_or(0);
        Ok(Attr { nlink: 2 + threads, ..self.attr })
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let viewer = caller.task.ok_or(Errno::ENOENT)?;
        let tid = parse_number(name).ok_or(Errno::ENOENT)?;
        let leader = alive(&self.task).map_err(|_| Errno::ENOENT)?;
        let task = self.proc.task(viewer, tid)?;
        if task.thread_group().id() != leader.thread_group().id() {
            return Err(Errno::ENOENT);
        }
        Ok(make(&self.proc, &task, true))
    }

    fn next(&self, task: &Task, from: u64) -> Option<Entry> {
        let ns = self.proc.pid_ns(task);
        let from = Tid::try_from(from).ok()?;
        let threads = alive(&self.task).ok()?.thread_group().tasks();
        let numbered = threads.iter().map(|thread| (thread.tid_in(&ns), thread));
        let (tid, thread) =
            numbered.filter(|(tid, _)| *tid > 0 && *tid >= from).min_by_key(|(tid, _)| *tid)?;
        Some(Entry {
            name: tid.to_string().into_bytes(),
            ino: ino_of(thread, true),
            file_type: FileType::Directory,
            next: u64::from(tid.unsigned_abs()) + 1,
        })
    }
}
