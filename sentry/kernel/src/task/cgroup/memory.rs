//! Memory that the tasks of a group use.
//!
//! Frames that several address spaces show are counted once; pages of the host's files are the host's. All frames have to
//! be looked at for that, so a group is looked at again only when [`PAUSE`] times as long has passed as the last look
//! took. Lock: a group's look, which is held meanwhile; those of address spaces come after it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Cgroup;
use crate::Kernel;
use crate::mm::{MemoryFile, MemoryManager};
use crate::task::{Task, TaskSet};

/// How many times as long as a look takes there is none.
const PAUSE: i64 = 20;

/// Memory in use, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Now.
    pub now: u64,
    /// The most that was seen.
    pub peak: u64,
}

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct MemoryLook(Mutex<Look>);

#[derive(Debug, Default)]
struct Look {
    seen: MemoryUse,
    /// Until when that will do.
    good_until_ns: i64,
}

impl Cgroup {
    /// Memory of the tasks in it and below; of a container's own group, what `/proc/meminfo` has.
    #[must_use]
    pub fn memory_use(self: &Arc<Self>, kernel: &Kernel) -> MemoryUse {
        let mut look = self.unified.memory.0.lock();
        let began = host::time::monotonic_ns();
        if began < look.good_until_ns {
            return look.seen;
        }
        let now = if self.is_containers() {
            kernel.memory.used().min(kernel.total_memory())
        } else {
            self.frames_in_use(&kernel.tasks, &kernel.memory)
        };
        let ended = host::time::monotonic_ns();
        look.seen = MemoryUse { now, peak: look.seen.peak.max(now) };
        look.good_until_ns = ended.saturating_add(ended.saturating_sub(began).saturating_mul(PAUSE));
        look.seen
    }

    fn frames_in_use(self: &Arc<Self>, tasks: &TaskSet, memory: &MemoryFile) -> u64 {
        let mut frames = Vec::new();
        for mm in self.address_spaces(tasks) {
            mm.collect_frames(&mut frames);
        }
        merge(frames).iter().map(|run| memory.resident(run.start, run.end - run.start)).sum()
    }

    fn address_spaces(self: &Arc<Self>, tasks: &TaskSet) -> Vec<Arc<MemoryManager>> {
        let is_in = |task: &&Arc<Task>| match self.is_unified() {
            true => task.cgroup().is_below(self),
            false => self.holds(task.thread_group()),
        };
        let all = tasks.tasks();
        let mms = all.iter().filter(is_in).filter_map(|task| task.try_mm());
        mms.map(|mm| (Arc::as_ptr(&mm) as usize, mm)).collect::<BTreeMap<_, _>>().into_values().collect()
    }
}

/// The ranges that these ones cover, without overlaps.
fn merge(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    ranges.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    ranges
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_shared_is_counted_once() {
        let merged = super::merge(vec![8..9, 0..4, 2..6, 1..2, 6..7]);
        assert_eq!(merged, [0..7, 8..9]);
    }
}
