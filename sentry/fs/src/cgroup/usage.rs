//! What groups use, as their files tell it.

use std::collections::HashSet;
use std::sync::Arc;

use kernel::Task;
use kernel::task::CpuTimes;
use kernel::task::cgroup::Cgroup;

/// The processors that there are, as a list of numbers.
pub(super) fn processors(task: &Task) -> String {
    match task.kernel().cpu_count() {
        0 | 1 => "0".into(),
        count => format!("0-{}", count - 1),
    }
}

/// Processor time of the processes in a group of version 1 and below.
pub(super) fn cpu_times_v1(group: &Arc<Cgroup>, task: &Task) -> CpuTimes {
    let members = group.members(&task.kernel().tasks);
    let own = members
        .iter()
        .fold(CpuTimes::default(), |sum, process| sum + process.cpu_times() + process.children_cpu_times());
    group.children().iter().fold(own, |sum, child| sum + cpu_times_v1(child, task))
}

/// Memory of the processes in a group of version 1 and below. What they share is counted for each.
pub(super) fn resident_v1(group: &Arc<Cgroup>, task: &Task) -> u64 {
    let members = group.members(&task.kernel().tasks);
    let mms = members.iter().filter_map(|process| process.tasks().first().and_then(|task| task.try_mm()));
    let own: u64 = mms.map(|mm| mm.totals().usage.rss()).sum();
    own + group.children().iter().map(|child| resident_v1(child, task)).sum::<u64>()
}

/// Whether a group of version 2 is a container's own.
pub(super) fn is_containers(group: &Cgroup) -> bool {
    group.parent().is_some_and(|parent| parent.parent().is_none())
}

/// Memory of a group of version 2. A container's own is what `/proc/meminfo` has; of another it is that of the tasks in it
/// and below, and what they share is counted for each.
pub(super) fn memory_v2(group: &Arc<Cgroup>, task: &Task) -> u64 {
    let kernel = task.kernel();
    if is_containers(group) {
        return kernel.memory.used().min(kernel.total_memory());
    }
    let mut seen = HashSet::new();
    let tasks = kernel.tasks.tasks();
    let own = tasks.iter().filter(|task| task.cgroup().line().any(|above| Arc::ptr_eq(&above, group)));
    let mms = own.filter_map(|task| task.try_mm()).filter(|mm| seen.insert(Arc::as_ptr(mm)));
    mms.map(|mm| mm.totals().usage.rss()).sum()
}
