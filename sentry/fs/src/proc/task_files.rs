//! The smaller files about a task.

use std::sync::Arc;

use abi::resource::{RLIM_INFINITY, Resource};
use abi::{Errno, Result, UserAddr};
use kernel::mm::MemoryManager;
use kernel::task::Capability;
use kernel::task::cgroup::{CgroupNamespace, Controllers};
use kernel::vfs::{Attr, Inode};

use super::stat::cpu_times;
use super::system::put;
use super::task_dir::View;
use super::{Proc, access};
use crate::synth::{Builder, Dir, DirContent};

/// Longest text that is read out of a process's memory.
const MAX_TEXT: u64 = 4 << 20;

pub(super) fn nothing(_view: &View<'_>, _out: &mut Vec<u8>) -> Result<()> {
    Ok(())
}

pub(super) fn ignore(_view: &View<'_>, _text: &[u8]) -> Result<()> {
    Ok(())
}

pub(super) fn refuse(_view: &View<'_>, _text: &[u8]) -> Result<()> {
    Err(Errno::EPERM)
}

/// The number that a knob was given, white space around it.
pub(super) fn parse<T: std::str::FromStr>(text: &[u8]) -> Result<T> {
    // A string in C ends at its zero, which runc writes too.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()).ok_or(Errno::EINVAL)
}

/// Copies `start..end` of guest memory, as far as that can be read.
fn copy_memory(mm: &MemoryManager, start: u64, end: u64, out: &mut Vec<u8>) {
    let len = end.saturating_sub(start).min(MAX_TEXT);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let count = mm.read_forced(UserAddr(start), &mut bytes);
    out.extend_from_slice(&bytes[..count.min(bytes.len())]);
}

/// The arguments. A program that has written over their end has named itself: the name then runs on into where the
/// environment was (setproctitle(3)).
pub(super) fn cmdline(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let Some(mm) = view.target.try_mm() else { return Ok(()) };
    let image = mm.image();
    copy_memory(&mm, image.arg_start, image.arg_end, out);
    if out.last().is_some_and(|&last| last != 0) && image.arg_end == image.env_start {
        copy_memory(&mm, image.env_start, image.env_end, out);
        if let Some(end) = out.iter().position(|&byte| byte == 0) {
            out.truncate(end);
        }
    }
    Ok(())
}

pub(super) fn environ(_view: &View<'_>, mm: &MemoryManager, out: &mut Vec<u8>) -> Result<()> {
    let image = mm.image();
    copy_memory(mm, image.env_start, image.env_end, out);
    Ok(())
}

pub(super) fn auxv(_view: &View<'_>, mm: &MemoryManager, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&mm.image().auxv);
    Ok(())
}

pub(super) fn comm(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(&view.target.comm());
    out.push(b'\n');
    Ok(())
}

pub(super) fn set_comm(view: &View<'_>, text: &[u8]) -> Result<()> {
    if view.target.thread_group().id() != view.viewer.thread_group().id() {
        return Err(Errno::EINVAL);
    }
    // Linux keeps a line end as well.
    view.target.set_comm(text);
    Ok(())
}

pub(super) fn autogroup(_view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(b"/autogroup-1 nice 0\n");
    Ok(())
}

/// The control groups that the task is in, by hierarchy, as they are seen from the reader's cgroup name space.
pub(super) fn cgroup(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let ns = CgroupNamespace::inside(&view.viewer.namespaces().cgroup);
    for hierarchy in view.viewer.kernel().tasks.cgroups.all() {
        let group = hierarchy.group_of(view.target.thread_group());
        out.extend_from_slice(
            format!("{}:{}:{}\n", hierarchy.id(), hierarchy.label(), ns.path_of(&group)).as_bytes(),
        );
    }
    let own = view.target.cgroup();
    put!(out, "0::{}{}\n", ns.path_of(&own), if own.is_removed() { " (deleted)" } else { "" });
    Ok(())
}

/// The group that decides about processors.
pub(super) fn cpuset(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let all = &view.viewer.kernel().tasks.cgroups;
    let hierarchy = all.all().into_iter().find(|hierarchy| hierarchy.controllers().contains(&"cpuset"));
    let group = match hierarchy {
        Some(hierarchy) => hierarchy.group_of(view.target.thread_group()),
        None => view.target.cgroup().effective(all, Controllers::CPUSET),
    };
    put!(out, "{}\n", CgroupNamespace::inside(&view.viewer.namespaces().cgroup).path_of(&group));
    Ok(())
}

pub(super) fn coredump_filter(_view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(b"00000033\n");
    Ok(())
}

/// What calls have moved. Nothing is said of what came from a disk: the host keeps that to itself.
pub(super) fn io(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let counts =
        if view.is_process { view.target.thread_group().io_counts() } else { view.target.io_counts() };
    let ((read, reads), (written, writes)) = (counts.reads, counts.writes);
    put!(out, "rchar: {read}\nwchar: {written}\nsyscr: {reads}\nsyscw: {writes}\n");
    put!(out, "read_bytes: 0\nwrite_bytes: 0\ncancelled_write_bytes: 0\n");
    Ok(())
}

const LIMITS: [(&str, Resource, &str); 16] = [
    ("Max cpu time", Resource::Cpu, "seconds"),
    ("Max file size", Resource::Fsize, "bytes"),
    ("Max data size", Resource::Data, "bytes"),
    ("Max stack size", Resource::Stack, "bytes"),
    ("Max core file size", Resource::Core, "bytes"),
    ("Max resident set", Resource::Rss, "bytes"),
    ("Max processes", Resource::Nproc, "processes"),
    ("Max open files", Resource::Nofile, "files"),
    ("Max locked memory", Resource::Memlock, "bytes"),
    ("Max address space", Resource::As, "bytes"),
    ("Max file locks", Resource::Locks, "locks"),
    ("Max pending signals", Resource::Sigpending, "signals"),
    ("Max msgqueue size", Resource::Msgqueue, "bytes"),
    ("Max nice priority", Resource::Nice, ""),
    ("Max realtime priority", Resource::Rtprio, ""),
    ("Max realtime timeout", Resource::Rttime, "us"),
];

pub(super) fn limits(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let all = view.target.thread_group().limits();
    let shown = |value: u64| if value == RLIM_INFINITY { "unlimited".to_owned() } else { value.to_string() };
    put!(out, "{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (name, resource, unit) in LIMITS {
        let limit = all.get(resource);
        put!(out, "{name:<25} {:<20} {:<20} {unit:<10}\n", shown(limit.cur), shown(limit.max));
    }
    Ok(())
}

/// What stands for no login.
const NO_LOGIN: u32 = u32::MAX;

pub(super) fn loginuid(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let shown = view.target.details().login.uid.map(|uid| view.opener.user_ns.from_kernel_uid(uid));
    put!(out, "{}", shown.unwrap_or(NO_LOGIN));
    Ok(())
}

pub(super) fn set_loginuid(view: &View<'_>, text: &[u8]) -> Result<()> {
    if view.target.id() != view.viewer.id() {
        return Err(Errno::EPERM);
    }
    let uid = match parse(text)? {
        NO_LOGIN => None,
        uid => Some(view.opener.user_ns.to_kernel_uid(uid).ok_or(Errno::EINVAL)?),
    };
    view.target.set_login(uid)
}

pub(super) fn sessionid(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{}", view.target.details().login.session.unwrap_or(NO_LOGIN));
    Ok(())
}

pub(super) fn oom_score(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{}\n", view.target.thread_group().oom_score());
    Ok(())
}

pub(super) fn oom_score_adj(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{}\n", view.target.thread_group().oom_score_adj());
    Ok(())
}

pub(super) fn set_oom_score_adj(view: &View<'_>, text: &[u8]) -> Result<()> {
    let value: i32 = parse(text)?;
    if !(-1000..=1000).contains(&value) {
        return Err(Errno::EINVAL);
    }
    set_oom(view, value)
}

fn set_oom(view: &View<'_>, value: i32) -> Result<()> {
    let group = view.target.thread_group();
    if value < group.oom_score_adj() && !view.viewer.creds().capable(Capability::SysResource) {
        return Err(Errno::EACCES);
    }
    group.set_oom_score_adj(value);
    Ok(())
}

/// The old scale: -17 to 15.
pub(super) fn oom_adj(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let value = view.target.thread_group().oom_score_adj();
    put!(out, "{}\n", if value == 1000 { 15 } else { value * 17 / 1000 });
    Ok(())
}

pub(super) fn set_oom_adj(view: &View<'_>, text: &[u8]) -> Result<()> {
    match parse::<i32>(text)? {
        15 => set_oom(view, 1000),
        value @ -17..15 => set_oom(view, value * 1000 / 17),
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn personality(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{:08x}\n", view.target.thread_group().personality());
    Ok(())
}

pub(super) fn sched(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let details = view.target.details();
    let runtime = view.target.clock().times().total_ns();
    let (voluntary, forced) = view.target.clock().switches();
    out.extend_from_slice(&view.target.comm());
    put!(
        out,
        " ({}, #threads: {})\n",
        view.target.tid_in(&view.ns),
        view.target.thread_group().thread_count()
    );
    put!(out, "{}\n", "-".repeat(67));
    let millis = |ns: u64| format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000);
    put!(out, "{:<45}:{:>21}\n", "se.sum_exec_runtime", millis(runtime));
    put!(out, "{:<45}:{:>21}\n", "nr_switches", voluntary + forced);
    put!(out, "{:<45}:{:>21}\n", "nr_voluntary_switches", voluntary);
    put!(out, "{:<45}:{:>21}\n", "nr_involuntary_switches", forced);
    put!(out, "{:<45}:{:>21}\n", "policy", details.scheduling.policy);
    put!(out, "{:<45}:{:>21}\n", "prio", 120 + details.scheduling.nice);
    Ok(())
}

pub(super) fn schedstat(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let (voluntary, forced) = view.target.clock().switches();
    put!(out, "{} 0 {}\n", cpu_times(view).total_ns(), voluntary + forced);
    Ok(())
}

pub(super) fn syscall(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let is_asleep = view.target.clock().is_asleep();
    out.extend_from_slice(if is_asleep { b"-1 0x0 0x0\n" } else { b"running\n" });
    Ok(())
}

pub(super) fn timens_offsets(_view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(b"monotonic           0         0\nboottime            0         0\n");
    Ok(())
}

pub(super) fn timers(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    use kernel::time::Notification;
    for (id, timer) in view.target.thread_group().timers().all_posix() {
        let (notification, value) = timer.notification();
        let (signal, kind) = match notification {
            Notification::None => (0, "none"),
            Notification::Process(signal) => (signal.number(), "signal/pid"),
            Notification::Thread(signal, _) => (signal.number(), "signal/tid"),
        };
        let tid = match notification {
            Notification::Thread(_, task) => task.upgrade().map_or(0, |task| task.tid_in(&view.ns)),
            _ => view.target.thread_group().tgid_in(&view.ns),
        };
        put!(out, "ID: {id}\nsignal: {signal}/{value:016x}\nnotify: {kind}.{tid}\nClockID: 0\n");
    }
    Ok(())
}

pub(super) fn timerslack(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    check_slack(view)?;
    put!(out, "{}\n", view.target.details().timer_slack_ns);
    Ok(())
}

pub(super) fn set_timerslack(view: &View<'_>, text: &[u8]) -> Result<()> {
    check_slack(view)?;
    let value: u64 = parse(text)?;
    view.target.update_details(|details| {
        details.timer_slack_ns = if value == 0 { details.default_timer_slack_ns } else { value };
    });
    Ok(())
}

fn check_slack(view: &View<'_>) -> Result<()> {
    let is_own = view.viewer.id() == view.target.id();
    let owner = &view.target.creds().user_ns;
    if is_own || view.viewer.creds().has_in(owner, Capability::SysNice) { Ok(()) } else { Err(Errno::EPERM) }
}

pub(super) fn wchan(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    // Without the right to look, and for a task that runs, Linux says 0.
    let _ = access::check(view.viewer, view.target);
    out.push(b'0');
    Ok(())
}

pub(super) fn children(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    // Children belong to the process; they are listed with its first thread.
    if view.target.is_leader() {
        for child in view.target.thread_group().children() {
            match child.tgid_in(&view.ns) {
                0 => {}
                tgid => {
                    put!(out, "{tgid} ");
                }
            }
        }
    }
    Ok(())
}

/// `attr/`: no security module is there.
pub(super) fn attr_dir(proc: &Proc, attr: Attr) -> Arc<dyn Inode> {
    let mut builder = Builder::new(&proc.inodes);
    for name in ["current", "prev", "exec", "fscreate", "keycreate", "sockcreate"] {
        builder = builder.file(name, if name == "prev" { 0o444 } else { 0o666 }, NoLabel);
    }
    let entries = builder.entries();
    let content = AttrDir { attr, entries };
    Dir::new(content)
}

struct NoLabel;

impl crate::synth::Content for NoLabel {
    fn read(&self, _task: &kernel::Task, _out: &mut Vec<u8>) -> Result<()> {
        Err(Errno::EINVAL)
    }

    fn write(&self, _task: &kernel::Task, _text: &[u8]) -> Result<()> {
        Err(Errno::EINVAL)
    }
}

struct AttrDir {
    attr: Attr,
    entries: crate::synth::StaticEntries,
}

impl DirContent for AttrDir {
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn lookup(&self, caller: &kernel::vfs::Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.entries.lookup(caller, name)
    }

    fn next(&self, task: &kernel::Task, from: u64) -> Option<crate::synth::Entry> {
        self.entries.next(task, from)
    }
}
