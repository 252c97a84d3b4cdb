//! `/proc` itself: files about the system, and a directory per process.

use std::sync::Arc;

use abi::{Errno, FileType, Result};
use kernel::task::Tid;
use kernel::vfs::{Attr, Caller, Inode};
use kernel::{Kernel, Task};

use super::sysctl::Sysctl;
use super::{Proc, cpuinfo, system, task_dir};
use crate::synth::{Builder, Content, Dir, DirContent, Entry, Show, StaticEntries, Target};

/// Inode numbers of what is made here start here; a process's own begin at 2^32.
pub(super) const FIRST_INO: u64 = 2;

/// The root directory's content.
struct Root {
    proc: Arc<Proc>,
    fixed: StaticEntries,
}

/// Makes the root directory.
pub(super) fn make(proc: &Arc<Proc>, kernel: &Arc<Kernel>, sysctl: &Arc<Sysctl>) -> Arc<dyn Inode> {
    let fixed = system_files(Builder::new(&proc.inodes))
        .link("self", SelfLink { proc: proc.clone(), is_thread: false })
        .link("thread-self", SelfLink { proc: proc.clone(), is_thread: true })
        .link("mounts", "self/mounts")
        .link("net", "self/net")
        .node("sys", super::sysctl::make(sysctl, kernel, &proc.inodes))
        .file("filesystems", 0o444, Show(system::filesystems))
        .entries();
    Dir::new(Root { proc: proc.clone(), fixed })
}

fn system_files(builder: Builder) -> Builder {
    builder
        .dir("bus", |dir| dir)
        .file("cgroups", 0o444, Show(system::cgroups))
        .file("cmdline", 0o444, "console=hvc0\n")
        .file("consoles", 0o444, "")
        .file("cpuinfo", 0o444, Show(cpuinfo::show))
        .file("crypto", 0o444, "")
        .file("devices", 0o444, system::DEVICES)
        .file("diskstats", 0o444, "")
        .file("dma", 0o444, "")
        .dir("driver", |dir| dir)
        .file("execdomains", 0o444, "0-0\tLinux           \t[kernel]\n")
        .dir("fs", |dir| dir)
        .file("interrupts", 0o444, Show(system::interrupts))
        .file("iomem", 0o400, "")
        .file("ioports", 0o400, "")
        .dir("irq", |dir| dir)
        .file("kallsyms", 0o444, "")
        .file("key-users", 0o444, Show(system::key_users))
        .file("keys", 0o444, "")
        .file("kmsg", 0o400, system::Kmsg)
        .file("loadavg", 0o444, Show(system::loadavg))
        .file("locks", 0o444, Show(super::locks::show))
        .file("meminfo", 0o444, Show(system::meminfo))
        .file("misc", 0o444, " 229 fuse\n")
        .file("modules", 0o444, "")
        .file("partitions", 0o444, "major minor  #blocks  name\n\n")
        .file("schedstat", 0o444, "version 16\ntimestamp 0\n")
        .file("softirqs", 0o444, Show(system::softirqs))
        .file("stat", 0o444, Show(system::stat))
        .file("swaps", 0o444, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
        .file("sysrq-trigger", 0o200, "")
        .dir("sysvipc", super::sysvipc::build)
        .dir("tty", |dir| dir.file("drivers", 0o444, system::TTY_DRIVERS).dir("ldisc", |dir| dir))
        .file("uptime", 0o444, Show(system::uptime))
        .file("version", 0o444, kernel::version::version_line())
        .file("vmallocinfo", 0o400, "")
        .file("vmstat", 0o444, Show(system::vmstat))
        .file("zoneinfo", 0o444, "")
}

impl DirContent for Root {
    fn attr(&self) -> Result<Attr> {
        self.fixed.attr()
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if let Some(tid) = parse_number(name) {
            let viewer = caller.task.ok_or(Errno::ENOENT)?;
            let task = self.proc.task(viewer, tid)?;
            return Ok(task_dir::make(&self.proc, &task, false));
        }
        self.fixed.lookup(caller, name)
    }

    fn next(&self, task: &Task, from: u64) -> Option<Entry> {
        if let Some(entry) = self.fixed.next(task, from) {
            return Some(entry);
        }
        let first = Tid::try_from(from - self.fixed.len()).ok()?.max(1);
        let (tgid, group) = self.proc.pid_ns(task).next_thread_group(first)?;
        let ino = group.leader().map_or(u64::MAX, |leader| task_dir::ino_of(&leader, false));
        Some(Entry {
            name: tgid.to_string().into_bytes(),
            ino,
            file_type: FileType::Directory,
            next: self.fixed.len() + u64::from(tgid.unsigned_abs()) + 1,
        })
    }
}

/// A decimal number without sign or leading zeros.
pub(crate) fn parse_number(name: &[u8]) -> Option<i32> {
    if name.first().is_none_or(|&first| first == b'0' && name.len() > 1)
        || !name.iter().all(u8::is_ascii_digit)
    {
        return None;
    }
    std::str::from_utf8(name).ok()?.parse().ok()
}

/// `/proc/self` and `/proc/thread-self`.
struct SelfLink {
    proc: Arc<Proc>,
    is_thread: bool,
}

impl Target for SelfLink {
    fn text(&self, caller: &Caller<'_>) -> Result<Vec<u8>> {
        let viewer = caller.task.ok_or(Errno::ENOENT)?;
        let ns = self.proc.pid_ns(viewer);
        let tgid = viewer.thread_group().tgid_in(&ns);
        if tgid == 0 {
            return Err(Errno::ENOENT);
        }
        let text =
            if self.is_thread { format!("{tgid}/task/{}", viewer.tid_in(&ns)) } else { tgid.to_string() };
        Ok(text.into_bytes())
    }
}

impl Content for system::Kmsg {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        let log = &task.kernel().dmesg;
        let (mut at, end) = log.range();
        while at < end {
            let Some(record) = log.at(at) else { break };
            out.extend_from_slice(record.to_syslog().as_bytes());
            at = record.sequence + 1;
        }
        Ok(())
    }
}
