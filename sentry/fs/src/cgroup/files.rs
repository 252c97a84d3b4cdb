//! The files of a control group of version 1.
//!
//! Limits are kept and told. `pids.max` holds; processor time, memory and devices are the sandbox's, whose limits the host
//! enforces for all of its containers together.

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::Task;
use kernel::task::cgroup::Cgroup;
use kernel::task::{CpuTimes, Tid};
use kernel::vfs::{Attr, Inode};

use super::devices::{self, List};
use crate::synth::{Content, TextFile};

/// "No limit" of a number of bytes: whole pages in 63 bits.
const UNLIMITED: i64 = i64::MAX / 4096 * 4096;
const NS_PER_TICK: u64 = 10_000_000;

/// What a file is.
#[derive(Clone, Copy)]
enum Kind {
    /// A number that is kept, of this lowest value.
    Number(i64, i64),
    /// Bytes that are kept; less than none is no limit.
    Bytes,
    /// A number or `max`.
    Maximum,
    /// A list of numbers, taken from above where none was written; the default is that of the processors or of memory nodes.
    Set(fn(&Task) -> String),
    /// Made up when it is read.
    Show(fn(&Arc<Cgroup>, &Task) -> String),
    /// The processes, or threads, which are moved here by writing their number.
    Members(fn(&Arc<Cgroup>, &Task) -> String),
    /// Devices that are allowed, or denied.
    Devices(bool),
    /// Where an eventfd is registered: nothing of what it waits for ever happens.
    Events,
}

/// A file: of which controller, its name, permissions.
pub(super) struct Definition {
    controller: &'static str,
    pub(super) name: &'static str,
    pub(super) mode: u32,
    kind: Kind,
}

const fn file(controller: &'static str, name: &'static str, kind: Kind) -> Definition {
    let mode = match kind {
        Kind::Show(_) => 0o444,
        Kind::Devices(_) | Kind::Events => 0o200,
        _ => 0o644,
    };
    Definition { controller, name, mode, kind }
}

const FILES: &[Definition] = &[
    file("", "cgroup.clone_children", Kind::Number(0, 0)),
    file("", "cgroup.event_control", Kind::Events),
    file("", "cgroup.procs", Kind::Members(processes)),
    file("", "notify_on_release", Kind::Number(0, 0)),
    file("", "tasks", Kind::Members(threads)),
    file("cpu", "cpu.cfs_burst_us", Kind::Number(0, 0)),
    file("cpu", "cpu.cfs_period_us", Kind::Number(100_000, 1000)),
    file("cpu", "cpu.cfs_quota_us", Kind::Number(-1, -1)),
    file("cpu", "cpu.shares", Kind::Number(1024, 0)),
    file("cpu", "cpu.stat", Kind::Show(|_, _| "nr_periods 0\nnr_throttled 0\nthrottled_time 0".into())),
    file("cpuacct", "cpuacct.stat", Kind::Show(cpu_stat)),
    file("cpuacct", "cpuacct.usage", Kind::Show(|group, task| total_ns(cpu_times(group, task)).to_string())),
    file("cpuset", "cpuset.cpu_exclusive", Kind::Number(0, 0)),
    file("cpuset", "cpuset.cpus", Kind::Set(processors)),
    file("cpuset", "cpuset.mem_exclusive", Kind::Number(0, 0)),
    file("cpuset", "cpuset.memory_migrate", Kind::Number(0, 0)),
    file("cpuset", "cpuset.mems", Kind::Set(|_| "0".into())),
    file("cpuset", "cpuset.sched_load_balance", Kind::Number(1, 0)),
    file("devices", "devices.allow", Kind::Devices(true)),
    file("devices", "devices.deny", Kind::Devices(false)),
    file("devices", "devices.list", Kind::Show(|group, _| device_list(group).shown())),
    file("memory", "memory.failcnt", Kind::Number(0, 0)),
    file("memory", "memory.limit_in_bytes", Kind::Bytes),
    file("memory", "memory.max_usage_in_bytes", Kind::Show(|group, task| resident(group, task).to_string())),
    file(
        "memory",
        "memory.oom_control",
        Kind::Show(|_, _| "oom_kill_disable 0\nunder_oom 0\noom_kill 0".into()),
    ),
    file("memory", "memory.soft_limit_in_bytes", Kind::Bytes),
    file("memory", "memory.stat", Kind::Show(memory_stat)),
    file("memory", "memory.swappiness", Kind::Number(60, 0)),
    file("memory", "memory.usage_in_bytes", Kind::Show(|group, task| resident(group, task).to_string())),
    file("memory", "memory.use_hierarchy", Kind::Number(1, 0)),
    file(
        "pids",
        "pids.current",
        Kind::Show(|group, task| group.task_count(&task.kernel().tasks).to_string()),
    ),
    file("pids", "pids.events", Kind::Show(|_, _| "max 0".into())),
    file("pids", "pids.max", Kind::Maximum),
];

/// The files of groups with these controllers.
pub(super) fn of(controllers: &[&'static str]) -> impl Iterator<Item = &'static Definition> {
    FILES.iter().filter(move |file| file.controller.is_empty() || controllers.contains(&file.controller))
}

fn processors(task: &Task) -> String {
    match task.kernel().cpu_count() {
        0 | 1 => "0".into(),
        count => format!("0-{}", count - 1),
    }
}

fn lines(numbers: impl Iterator<Item = Tid>) -> String {
    numbers.filter(|number| *number > 0).map(|number| number.to_string()).collect::<Vec<_>>().join("\n")
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

/// Processor time of the processes in a group and below.
fn cpu_times(group: &Arc<Cgroup>, task: &Task) -> CpuTimes {
    let members = group.members(&task.kernel().tasks);
    let own = members
        .iter()
        .fold(CpuTimes::default(), |sum, process| sum + process.cpu_times() + process.children_cpu_times());
    group.children().iter().fold(own, |sum, child| sum + cpu_times(child, task))
}

fn total_ns(times: CpuTimes) -> u64 {
    times.user_ns + times.system_ns
}

fn cpu_stat(group: &Arc<Cgroup>, task: &Task) -> String {
    let times = cpu_times(group, task);
    format!("user {}\nsystem {}", times.user_ns / NS_PER_TICK, times.system_ns / NS_PER_TICK)
}

/// Memory of the processes in a group and below. What they share is counted for each.
fn resident(group: &Arc<Cgroup>, task: &Task) -> u64 {
    let members = group.members(&task.kernel().tasks);
    let mms = members.iter().filter_map(|process| process.tasks().first().and_then(|task| task.try_mm()));
    let own: u64 = mms.map(|mm| mm.totals().usage.rss()).sum();
    own + group.children().iter().map(|child| resident(child, task)).sum::<u64>()
}

fn memory_stat(group: &Arc<Cgroup>, task: &Task) -> String {
    let rss = resident(group, task);
    format!(
        "cache 0\nrss {rss}\nmapped_file 0\npgfault 0\npgmajfault 0\ntotal_cache 0\ntotal_rss {rss}\ntotal_inactive_file 0"
    )
}

fn device_list(group: &Arc<Cgroup>) -> List {
    List::parse(group.value("devices.list", true).as_deref().unwrap_or(devices::ALL))
}

/// Bytes as Linux takes them: with a unit, or less than none for no limit.
fn parse_bytes(text: &str) -> Result<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        _ => return Err(Errno::EINVAL),
    };
    let number: i64 = digits.parse().map_err(|_| Errno::EINVAL)?;
    let bytes = if number < 0 { UNLIMITED } else { number.checked_mul(1 << shift).unwrap_or(UNLIMITED) };
    Ok(bytes.min(UNLIMITED) / 4096 * 4096)
}

/// A file of one group.
pub(super) struct GroupFile {
    group: Arc<Cgroup>,
    file: &'static Definition,
}

impl GroupFile {
    pub(super) fn inode(attr: Attr, group: &Arc<Cgroup>, file: &'static Definition) -> Arc<dyn Inode> {
        TextFile::new(attr, Self { group: group.clone(), file })
    }

    /// Moves a process here, by the number of it or of one of its threads; 0 stands for the writer. Others than root move
    /// their own.
    fn take(&self, task: &Task, text: &str) -> Result<()> {
        let number: Tid = text.parse().map_err(|_| Errno::EINVAL)?;
        if number == 0 {
            return self.group.take(task.thread_group());
        }
        let member = task.pid_ns().task(number).ok_or(Errno::ESRCH)?;
        let (own, other) = (task.creds(), member.creds());
        if own.euid != 0 && own.euid != other.uid && own.euid != other.suid {
            return Err(Errno::EACCES);
        }
        self.group.take(member.thread_group())
    }
}

impl Content for GroupFile {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        let kept = |inherits| self.group.value(self.file.name, inherits);
        let text = match self.file.kind {
            Kind::Number(default, _) => kept(false).unwrap_or_else(|| default.to_string()),
            Kind::Bytes => kept(false).unwrap_or_else(|| UNLIMITED.to_string()),
            Kind::Maximum => kept(false).unwrap_or_else(|| "max".into()),
            Kind::Set(default) => kept(true).unwrap_or_else(|| default(task)),
            Kind::Show(show) | Kind::Members(show) => show(&self.group, task),
            Kind::Devices(_) | Kind::Events => return Err(Errno::EINVAL),
        };
        out.extend_from_slice(text.as_bytes());
        if !text.is_empty() {
            out.push(b'\n');
        }
        Ok(())
    }

    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?.trim();
        let number = || text.parse::<i64>().map_err(|_| Errno::EINVAL);
        let value = match self.file.kind {
            Kind::Number(_, lowest) => {
                Some(number()?).filter(|value| *value >= lowest).ok_or(Errno::EINVAL)?.to_string()
            }
            Kind::Bytes => parse_bytes(text)?.to_string(),
            Kind::Maximum if text == "max" => text.to_owned(),
            Kind::Maximum => Some(number()?).filter(|value| *value >= 0).ok_or(Errno::EINVAL)?.to_string(),
            Kind::Set(_) if text.chars().all(|c| c.is_ascii_digit() || c == '-' || c == ',') => {
                text.to_owned()
            }
            Kind::Set(_) | Kind::Show(_) => return Err(Errno::EINVAL),
            Kind::Members(_) => return self.take(task, text),
            Kind::Events => return Ok(()),
            Kind::Devices(is_allowed) => {
                let list = device_list(&self.group).change(text, is_allowed)?;
                return self.group.set_value("devices.list", &list.text());
            }
        };
        self.group.set_value(self.file.name, &value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("64M"), Ok(64 << 20));
        assert_eq!(parse_bytes("5000"), Ok(4096));
        assert_eq!(parse_bytes("-1"), Ok(UNLIMITED));
        assert_eq!(parse_bytes("9999999999G"), Ok(UNLIMITED));
        assert_eq!(parse_bytes("many"), Err(Errno::EINVAL));
        assert_eq!(parse_bytes("1T"), Err(Errno::EINVAL));
    }

    #[test]
    fn groups_have_the_files_of_their_controllers() {
        let names: Vec<_> = of(&["pids"]).map(|file| file.name).collect();
        assert!(names.contains(&"pids.max") && names.contains(&"tasks") && !names.contains(&"cpu.shares"));
    }
}
