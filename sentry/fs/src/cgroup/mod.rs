//! cgroup2 as a container sees it (`man 7 cgroups`): one group, its own, that shows limits and use and cannot be
//! changed. Limits are the container manager's, which sets them on the host. Those that a container makes for its own
//! containers are version 1's: [`v1`].

mod devices;
mod files;
pub mod v1;

use std::sync::Arc;

use abi::Result;
use kernel::task::{CpuTimes, NamespaceKind};
use kernel::vfs::{Caller, FileSystem, FileSystemType, Inode, MountOwner};
use kernel::{Kernel, Task};

use crate::synth::{Builder, Inodes, Show, SynthFs};

const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// The type `cgroup2`.
#[derive(Debug)]
pub struct Cgroup2Type;

impl FileSystemType for Cgroup2Type {
    fn name(&self) -> &'static str {
        "cgroup2"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        _caller: &Caller<'_>,
        _source: &[u8],
        _options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let inodes = Inodes::new(1, kernel.timekeeper.now());
        Ok(Arc::new(SynthFs::fixed(kernel, "cgroup2", CGROUP2_MAGIC, tree(&inodes))))
    }

    fn mount_owner(&self) -> MountOwner {
        MountOwner::Of(NamespaceKind::Cgroup)
    }
}

fn tree(inodes: &Inodes) -> Arc<dyn Inode> {
    let group = Builder::new(inodes)
        .file("cgroup.controllers", 0o444, "cpu memory pids\n")
        .file("cgroup.events", 0o444, "populated 1\nfrozen 0\n")
        .file("cgroup.max.depth", 0o444, "max\n")
        .file("cgroup.max.descendants", 0o444, "max\n")
        .file("cgroup.procs", 0o444, Show(processes))
        .file("cgroup.stat", 0o444, "nr_descendants 0\nnr_dying_descendants 0\n")
        .file("cgroup.subtree_control", 0o444, "")
        .file("cgroup.threads", 0o444, Show(threads))
        .file("cgroup.type", 0o444, "domain\n");
    let group = group
        .file("cpu.max", 0o444, Show(cpu_max))
        .file("cpu.max.burst", 0o444, "0\n")
        .file("cpu.stat", 0o444, Show(cpu_stat))
        .file("cpu.weight", 0o444, "100\n")
        .file("cpu.weight.nice", 0o444, "0\n");
    group
        .file("memory.current", 0o444, Show(memory_current))
        .file("memory.events", 0o444, "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n")
        .file("memory.high", 0o444, "max\n")
        .file("memory.low", 0o444, "0\n")
        .file("memory.max", 0o444, Show(memory_max))
        .file("memory.min", 0o444, "0\n")
        .file("memory.stat", 0o444, Show(memory_stat))
        .file("memory.swap.current", 0o444, "0\n")
        .file("memory.swap.max", 0o444, "0\n")
        .file("pids.current", 0o444, Show(pids_current))
        .file("pids.events", 0o444, "max 0\n")
        .file("pids.max", 0o444, Show(pids_max))
        .build()
}

fn line(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// The processes of the reader's container, by their numbers in its pid name space.
fn processes(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let ns = task.pid_ns();
    for group in task.container().thread_groups(&task.kernel().tasks) {
        line(out, &group.tgid_in(&ns).to_string());
    }
    Ok(())
}

fn threads(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let ns = task.pid_ns();
    for thread in task.container().thread_groups(&task.kernel().tasks).iter().flat_map(|group| group.tasks())
    {
        line(out, &thread.tid_in(&ns).to_string());
    }
    Ok(())
}

fn cpu_max(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let bandwidth = task.container().bandwidth();
    let quota = bandwidth.quota_us.map_or("max".into(), |quota| quota.to_string());
    line(out, &format!("{quota} {}", bandwidth.period_us));
    Ok(())
}

fn cpu_stat(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let groups = task.container().thread_groups(&task.kernel().tasks);
    let spent = groups
        .iter()
        .fold(CpuTimes::default(), |sum, group| sum + group.cpu_times() + group.children_cpu_times());
    let (user, system) = (spent.user_ns / 1000, spent.system_ns / 1000);
    line(out, &format!("usage_usec {}\nuser_usec {user}\nsystem_usec {system}", user + system));
    line(out, "nr_periods 0\nnr_throttled 0\nthrottled_usec 0");
    Ok(())
}

/// Memory in use, as `/proc/meminfo` has it.
fn used(kernel: &Kernel) -> u64 {
    kernel.memory.used().min(kernel.total_memory())
}

fn memory_current(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    line(out, &used(task.kernel()).to_string());
    Ok(())
}

fn memory_max(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    line(out, &task.kernel().total_memory().to_string());
    Ok(())
}

fn memory_stat(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let anon = used(task.kernel());
    line(out, &format!("anon {anon}\nfile 0\nkernel 0\nshmem 0\ninactive_anon 0\nactive_anon {anon}"));
    line(out, "inactive_file 0\nactive_file 0\nunevictable 0\nslab 0\npgfault 0\npgmajfault 0");
    Ok(())
}

fn pids_current(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    line(out, &task.container().task_count().to_string());
    Ok(())
}

fn pids_max(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    match task.container().max_tasks() {
        u64::MAX => line(out, "max"),
        max => line(out, &max.to_string()),
    }
    Ok(())
}
