//! The files of a control group of version 2 (`Documentation/admin-guide/cgroup-v2.rst` in Linux's tree).
//!
//! Groups, who is in them, `pids.max`, freezing and killing are real, and so is what is told of processor time and of
//! numbers of tasks. Limits of processor time, memory and devices are kept and told: the host enforces its own for the
//! sandbox as a whole.

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::Task;
use kernel::task::PID_MAX;
use kernel::task::cgroup::{Cgroup, Controllers, CpuBandwidth, Extent, Freeze, Freezer, TreeLimit};

use super::file::{Definition, Kind, Writer, lines};
use super::numbers::{kept_number, kept_set, number, parse_bandwidth, parse_bytes};
use super::usage::processors;

const fn file(controller: &'static str, name: &'static str, kind: Kind) -> Definition {
    Definition::new(controller, name, kind)
}

const NO_MEMORY_EVENTS: Kind =
    Kind::Show(|_, _| "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0".into());
const NOTHING: Kind = Kind::Show(|_, _| String::new());
const NONE: Kind = Kind::Show(|_, _| "0".into());

pub(super) const FILES: &[Definition] = &[
    file("", "cgroup.type", Kind::Control(show_type, store_type)),
    file(
        "",
        "cgroup.procs",
        Kind::Control(processes, |group, by, text| attach(group, by, text, Extent::Process)),
    )
    .delegated(),
    file(
        "",
        "cgroup.threads",
        Kind::Control(threads, |group, by, text| attach(group, by, text, Extent::Thread)),
    )
    .delegated(),
    file(
        "",
        "cgroup.controllers",
        Kind::Show(|group, task| names(group.controllers(&task.kernel().tasks.cgroups))),
    ),
    file(
        "",
        "cgroup.subtree_control",
        Kind::Control(|group, _| Ok(names(group.subtree_control())), store_control),
    )
    .delegated(),
    file("", "cgroup.events", Kind::Events(show_events, Cgroup::events)),
    file(
        "",
        "cgroup.max.descendants",
        Kind::Control(
            |group, _| Ok(limit_text(group, TreeLimit::Descendants)),
            |group, _, text| store_limit(group, text, TreeLimit::Descendants),
        ),
    ),
    file(
        "",
        "cgroup.max.depth",
        Kind::Control(
            |group, _| Ok(limit_text(group, TreeLimit::Depth)),
            |group, _, text| store_limit(group, text, TreeLimit::Depth),
        ),
    ),
    file(
        "",
        "cgroup.stat",
        Kind::Show(|group, _| format!("nr_descendants {}\nnr_dying_descendants 0", group.descendants())),
    ),
    file(
        "",
        "cgroup.freeze",
        Kind::Control(|group, _| Ok(u8::from(group.wants_freeze()).to_string()), store_freeze),
    ),
    file("", "cgroup.kill", Kind::Order(store_kill)),
    file("", "cpu.stat", Kind::Show(cpu_stat)),
    file(
        "cpuset",
        "cpuset.cpus",
        Kind::Control(
            |group, _| Ok(kept(group, "cpuset.cpus")),
            |group, by, text| store_set(group, "cpuset.cpus", text, &processors(by.task)),
        ),
    ),
    file(
        "cpuset",
        "cpuset.cpus.effective",
        Kind::Show(|group, task| effective(group, "cpuset.cpus", || processors(task))),
    ),
    file("cpuset", "cpuset.cpus.partition", Kind::Control(|_, _| Ok("member".into()), store_partition)),
    file(
        "cpuset",
        "cpuset.mems",
        Kind::Control(
            |group, _| Ok(kept(group, "cpuset.mems")),
            |group, _, text| store_set(group, "cpuset.mems", text, "0"),
        ),
    ),
    file(
        "cpuset",
        "cpuset.mems.effective",
        Kind::Show(|group, _| effective(group, "cpuset.mems", || "0".into())),
    ),
    file("cpu", "cpu.idle", Kind::Range(0, 0, 1)),
    file("cpu", "cpu.max", Kind::Control(cpu_max, store_cpu_max)),
    file("cpu", "cpu.max.burst", Kind::Number(0, 0)),
    file("cpu", "cpu.weight", Kind::Range(100, 1, 10_000)),
    file("cpu", "cpu.weight.nice", Kind::Range(0, -20, 19)),
    file("io", "io.max", Kind::Control(|_, _| Ok(String::new()), |_, _, _| Err(Errno::ENODEV))),
    file("io", "io.stat", NOTHING),
    file("io", "io.weight", Kind::Control(io_weight, store_io_weight)),
    file(
        "memory",
        "memory.current",
        Kind::Show(|group, task| group.memory_use(task.kernel()).now.to_string()),
    ),
    file("memory", "memory.events", NO_MEMORY_EVENTS),
    file("memory", "memory.events.local", NO_MEMORY_EVENTS),
    file("memory", "memory.high", Kind::BytesOrMax("max")),
    file("memory", "memory.low", Kind::BytesOrMax("0")),
    file("memory", "memory.max", Kind::Control(memory_max, store_memory_max)),
    file("memory", "memory.min", Kind::BytesOrMax("0")),
    file("memory", "memory.oom.group", Kind::Range(0, 0, 1)).delegated(),
    file("memory", "memory.peak", Kind::Show(|group, task| group.memory_use(task.kernel()).peak.to_string())),
    // Nothing can be taken from the guest's memory.
    file("memory", "memory.reclaim", Kind::Order(|_, _, text| parse_bytes(text).and(Err(Errno::EAGAIN))))
        .delegated(),
    file("memory", "memory.stat", Kind::Show(memory_stat)),
    file("memory", "memory.swap.current", NONE),
    file("memory", "memory.swap.events", Kind::Show(|_, _| "high 0\nmax 0\nfail 0".into())),
    file("memory", "memory.swap.high", Kind::BytesOrMax("max")),
    file("memory", "memory.swap.max", Kind::BytesOrMax("max")),
    file("memory", "memory.swap.peak", NONE),
    file("pids", "pids.current", Kind::Show(|group, _| group.charged_tasks().to_string())),
    file(
        "pids",
        "pids.events",
        Kind::Events(|group, _| format!("max {}", group.refused_tasks().0), Cgroup::pids_events),
    ),
    file("pids", "pids.events.local", Kind::Show(|group, _| format!("max {}", group.refused_tasks().1))),
    file("pids", "pids.max", Kind::Control(pids_max, store_pids_max)),
    file("pids", "pids.peak", Kind::Show(|group, _| group.task_peak().to_string())),
];

/// Whether groups with these controllers have that file.
pub(super) fn is_of(file: &Definition, controllers: Controllers) -> bool {
    Controllers::named(file.controller).is_none_or(|controller| controllers.contains(controller))
}

fn names(controllers: Controllers) -> String {
    controllers.names().join(" ")
}

fn show_type(group: &Arc<Cgroup>, task: &Task) -> Result<String> {
    Ok(group.group_type(&task.kernel().tasks.cgroups.change()).text().into())
}

fn store_type(group: &Arc<Cgroup>, by: Writer<'_>, text: &str) -> Result<()> {
    if text == "threaded" { group.make_threaded(&by.task.kernel().tasks.cgroups) } else { Err(Errno::EINVAL) }
}

fn processes(group: &Arc<Cgroup>, task: &Task) -> Result<String> {
    let ns = task.pid_ns();
    Ok(lines(group.processes(task)?.iter().map(|process| process.tgid_in(&ns))))
}

fn threads(group: &Arc<Cgroup>, task: &Task) -> Result<String> {
    let ns = task.pid_ns();
    Ok(lines(group.threads(task).iter().map(|thread| thread.tid_in(&ns))))
}

/// Moves a process or a thread here, by its number; 0 stands for the writer.
fn attach(group: &Arc<Cgroup>, by: Writer<'_>, text: &str, extent: Extent) -> Result<()> {
    let task = by.task;
    let target = match number(text, 0, i64::from(i32::MAX), Errno::EINVAL).map_err(|_| Errno::EINVAL)? {
        0 => task.pid().task(),
        tid => task.pid_ns().task(tid as i32),
    };
    group.attach(task, (by.opener, by.ns), &target.ok_or(Errno::ESRCH)?, extent)
}

fn store_control(group: &Arc<Cgroup>, by: Writer<'_>, text: &str) -> Result<()> {
    group.set_subtree_control(&by.task.kernel().tasks.cgroups, text)
}

fn show_events(group: &Arc<Cgroup>, _task: &Task) -> String {
    format!("populated {}\nfrozen {}", u8::from(group.is_populated()), u8::from(group.is_frozen()))
}

fn limit_text(group: &Cgroup, which: TreeLimit) -> String {
    group.tree_limit(which).map_or("max".into(), |limit| limit.to_string())
}

fn store_limit(group: &Cgroup, text: &str, which: TreeLimit) -> Result<()> {
    let limit = match text {
        "max" => None,
        text => Some(number(text, 0, i64::from(i32::MAX), Errno::ERANGE)? as u32),
    };
    group.set_tree_limit(which, limit);
    Ok(())
}

fn store_freeze(group: &Arc<Cgroup>, by: Writer<'_>, text: &str) -> Result<()> {
    let wanted = if number(text, 0, 1, Errno::ERANGE)? == 1 { Freeze::Frozen } else { Freeze::Thawed };
    group.set_freeze(&by.task.kernel().tasks, Freezer::WRITER, wanted);
    Ok(())
}

fn store_kill(group: &Arc<Cgroup>, by: Writer<'_>, text: &str) -> Result<()> {
    number(text, 1, 1, Errno::ERANGE)?;
    group.kill(by.task)
}

fn cpu_stat(group: &Arc<Cgroup>, task: &Task) -> String {
    let tasks = &task.kernel().tasks;
    let spent = group.cpu_times(tasks);
    let (user, system) = (spent.user_ns / 1000, spent.system_ns / 1000);
    let times = format!("usage_usec {}\nuser_usec {user}\nsystem_usec {system}\nnice_usec 0", user + system);
    if group.controllers(&tasks.cgroups).contains(Controllers::CPU) {
        times + "\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\nnr_bursts 0\nburst_usec 0"
    } else {
        times
    }
}

/// What was written to a group, or nothing.
fn kept(group: &Arc<Cgroup>, name: &str) -> String {
    group.value(name).unwrap_or_default()
}

/// What was written to a group or, where nothing was, above.
fn effective(group: &Arc<Cgroup>, name: &str, default: impl FnOnce() -> String) -> String {
    group.line().map(|group| kept(&group, name)).find(|text| !text.is_empty()).unwrap_or_else(default)
}

fn store_set(group: &Cgroup, name: &'static str, text: &str, present: &str) -> Result<()> {
    group.set_value(name, &kept_set(text, present)?)
}

fn store_partition(_group: &Arc<Cgroup>, _by: Writer<'_>, text: &str) -> Result<()> {
    if text == "member" { Ok(()) } else { Err(Errno::EINVAL) }
}

fn cpu_max(group: &Arc<Cgroup>, _task: &Task) -> Result<String> {
    let CpuBandwidth { quota_us, period_us } = group.bandwidth();
    let quota = quota_us.map_or("max".into(), |quota| quota.to_string());
    Ok(format!("{quota} {period_us}"))
}

fn store_cpu_max(group: &Arc<Cgroup>, _by: Writer<'_>, text: &str) -> Result<()> {
    group.set_bandwidth(parse_bandwidth(text, group.bandwidth().period_us)?);
    Ok(())
}

fn io_weight(group: &Arc<Cgroup>, _task: &Task) -> Result<String> {
    Ok(format!("default {}", group.value("io.weight").unwrap_or_else(|| "100".into())))
}

fn store_io_weight(group: &Arc<Cgroup>, _by: Writer<'_>, text: &str) -> Result<()> {
    let weight = text.strip_prefix("default").map_or(text, str::trim);
    group.set_value("io.weight", &kept_number(weight, 1, 10_000, Errno::EINVAL)?)
}

fn memory_max(group: &Arc<Cgroup>, task: &Task) -> Result<String> {
    if group.is_containers() {
        return Ok(task.kernel().total_memory().to_string());
    }
    Ok(group.value("memory.max").unwrap_or_else(|| "max".into()))
}

fn store_memory_max(group: &Arc<Cgroup>, _by: Writer<'_>, text: &str) -> Result<()> {
    match text {
        "max" => group.set_value("memory.max", text),
        text if text.starts_with('-') => Err(Errno::EINVAL),
        text => group.set_value("memory.max", &parse_bytes(text)?.to_string()),
    }
}

fn memory_stat(group: &Arc<Cgroup>, task: &Task) -> String {
    let anon = group.memory_use(task.kernel()).now;
    format!(
        "anon {anon}\nfile 0\nkernel 0\nshmem 0\ninactive_anon 0\nactive_anon {anon}\n\
         inactive_file 0\nactive_file 0\nunevictable 0\nslab 0\npgfault 0\npgmajfault 0"
    )
}

fn pids_max(group: &Arc<Cgroup>, _task: &Task) -> Result<String> {
    let max = group.max_tasks();
    Ok(if max == u64::MAX { "max".into() } else { max.to_string() })
}

fn store_pids_max(group: &Arc<Cgroup>, _by: Writer<'_>, text: &str) -> Result<()> {
    let max = match text {
        "max" => u64::MAX,
        text => number(text, 0, i64::from(PID_MAX), Errno::EINVAL)?.unsigned_abs(),
    };
    group.set_max_tasks(max);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_the_files_of_their_controllers() {
        let own = FILES.iter().filter(|file| is_of(file, Controllers::PIDS));
        let names: Vec<_> = own.map(|file| file.name).collect();
        assert!(
            names.contains(&"pids.max") && names.contains(&"cgroup.procs") && !names.contains(&"cpu.weight")
        );
    }
}
