//! What groups use, as their files tell it.

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
