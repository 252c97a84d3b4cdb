//! The files of a control group of version 1.
//!
//! Limits are kept and told. `pids.max` holds; processor time, memory and devices are the sandbox's, whose limits the host
//! enforces for all of its containers together.

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::Task;
use kernel::task::cgroup::Cgroup;
use kernel::task::{CpuTimes, Tid};

use super::devices::{self, List, Verdict};
use super::file::{Definition, Kind, Writer, lines};
use super::usage::{cpu_times_v1, processors};

const NS_PER_TICK: u64 = 10_000_000;

const fn file(controller: &'static str, name: &'static str, kind: Kind) -> Definition {
    Definition::new(controller, name, kind)
}

pub(super) const FILES: &[Definition] = &[
    file("", "cgroup.clone_children", Kind::Number(0, 0)),
    file("", "cgroup.event_control", Kind::Order(|_, _, _| Ok(()))),
    file("", "cgroup.procs", Kind::Control(|group, task| Ok(processes(group, task)), take)),
    file("", "notify_on_release", Kind::Number(0, 0)),
    file("", "tasks", Kind::Control(|group, task| Ok(threads(group, task)), take)),
    file("cpu", "cpu.cfs_burst_us", Kind::Number(0, 0)),
    file("cpu", "cpu.cfs_period_us", Kind::Number(100_000, 1000)),
    file("cpu", "cpu.cfs_quota_us", Kind::Number(-1, -1)),
    file("cpu", "cpu.shares", Kind::Number(1024, 0)),
    file("cpu", "cpu.stat", Kind::Show(|_, _| "nr_periods 0\nnr_throttled 0\nthrottled_time 0".into())),
    file("cpuacct", "cpuacct.stat", Kind::Show(cpu_stat)),
    file(
        "cpuacct",
        "cpuacct.usage",
        Kind::Show(|group, task| total_ns(cpu_times_v1(group, task)).to_string()),
    ),
    file("cpuset", "cpuset.cpu_exclusive", Kind::Number(0, 0)),
    file("cpuset", "cpuset.cpus", Kind::Set(processors)),
    file("cpuset", "cpuset.mem_exclusive", Kind::Number(0, 0)),
    file("cpuset", "cpuset.memory_migrate", Kind::Number(0, 0)),
    file("cpuset", "cpuset.mems", Kind::Set(|_| "0".into())),
    file("cpuset", "cpuset.sched_load_balance", Kind::Number(1, 0)),
    file(
        "devices",
        "devices.allow",
        Kind::Order(|group, _, text| change_devices(group, text, Verdict::Allow)),
    ),
    file("devices", "devices.deny", Kind::Order(|group, _, text| change_devices(group, text, Verdict::Deny))),
    file("devices", "devices.list", Kind::Show(|group, _| device_list(group).shown())),
    file("memory", "memory.failcnt", Kind::Number(0, 0)),
    file("memory", "memory.limit_in_bytes", Kind::Bytes),
    file(
        "memory",
        "memory.max_usage_in_bytes",
        Kind::Show(|group, task| group.memory_use(task.kernel()).peak.to_string()),
    ),
    file(
        "memory",
        "memory.oom_control",
        Kind::Show(|_, _| "oom_kill_disable 0\nunder_oom 0\noom_kill 0".into()),
    ),
    file("memory", "memory.soft_limit_in_bytes", Kind::Bytes),
    file("memory", "memory.stat", Kind::Show(memory_stat)),
    file("memory", "memory.swappiness", Kind::Number(60, 0)),
    file(
        "memory",
        "memory.usage_in_bytes",
        Kind::Show(|group, task| group.memory_use(task.kernel()).now.to_string()),
    ),
    file("memory", "memory.use_hierarchy", Kind::Number(1, 0)),
    file(
        "pids",
        "pids.current",
        Kind::Show(|group, task| group.task_count(&task.kernel().tasks).to_string()),
    ),
    file("pids", "pids.events", Kind::Show(|_, _| "max 0".into())),
    file("pids", "pids.max", Kind::Maximum),
];

/// Whether groups with these controllers have that file.
pub(super) fn is_of(file: &Definition, controllers: &[&'static str]) -> bool {
    file.controller.is_empty() || controllers.contains(&file.controller)
}

fn processes(group: &Arc<Cgroup>, task: &Task) -> String {
    let ns = task.pid_ns();
    lines(group.members(&task.kernel().tasks).iter().map(|process| process.tgid_in(&ns)))
}

fn threads(group: &Arc<Cgroup>, task: &Task) -> String {
    let ns = task.pid_ns();
    let members = group.members(&task.kernel().tasks);
    lines(members.iter().flat_map(|process| process.tasks()).map(|thread| thread.tid_in(&ns)))
}

fn total_ns(times: CpuTimes) -> u64 {
    times.user_ns + times.system_ns
}

fn cpu_stat(group: &Arc<Cgroup>, task: &Task) -> String {
    let times = cpu_times_v1(group, task);
    format!("user {}\nsystem {}", times.user_ns / NS_PER_TICK, times.system_ns / NS_PER_TICK)
}

fn memory_stat(group: &Arc<Cgroup>, task: &Task) -> String {
    let rss = group.memory_use(task.kernel()).now;
    format!(
        "cache 0\nrss {rss}\nmapped_file 0\npgfault 0\npgmajfault 0\ntotal_cache 0\ntotal_rss {rss}\ntotal_inactive_file 0"
    )
}

fn device_list(group: &Arc<Cgroup>) -> List {
    List::parse(group.inherited_value("devices.list").as_deref().unwrap_or(devices::ALL))
}

fn change_devices(group: &Arc<Cgroup>, text: &str, verdict: Verdict) -> Result<()> {
    let list = device_list(group).change(text, verdict)?;
    group.set_value("devices.list", &list.text())
}

/// Moves a process here, by the number of it or of one of its threads; 0 stands for the writer. Who opened the file
/// and is not root moves their own.
fn take(group: &Arc<Cgroup>, writer: Writer<'_>, text: &str) -> Result<()> {
    let task = writer.task;
    let number: Tid = text.parse().map_err(|_| Errno::EINVAL)?;
    if number == 0 {
        return group.take(&task.kernel().tasks, task.thread_group());
    }
    let member = task.pid_ns().task(number).ok_or(Errno::ESRCH)?;
    let (own, other) = (writer.opener, member.creds());
    if own.euid != 0 && own.euid != other.uid && own.euid != other.suid {
        return Err(Errno::EACCES);
    }
    group.take(&task.kernel().tasks, member.thread_group())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_the_files_of_their_controllers() {
        let own = FILES.iter().filter(|file| is_of(file, &["pids"]));
        let names: Vec<_> = own.map(|file| file.name).collect();
        assert!(names.contains(&"pids.max") && names.contains(&"tasks") && !names.contains(&"cpu.shares"));
    }
}
