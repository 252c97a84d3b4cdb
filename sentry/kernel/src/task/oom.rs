//! What happens when guests have made the sentry use all the heap that they may: calls fail, and the process that takes
//! most memory is killed (Linux's `mm/oom_kill.c`).
//!
//! Guest memory itself is limited by the host's cgroup, or by [`crate::mm::MemoryFile`]. Lock: `victim` is held
//! while a process is chosen and killed, so it comes before the locks of tasks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::{SigInfo, Signal};
use host::heap::{self, Purpose};
use parking_lot::Mutex;

use super::{CurrentTask, ThreadGroup};
use crate::Kernel;
use crate::dmesg::Severity;

/// The share of the sandbox's memory that guests may make the sentry use for its own objects.
const HEAP_SHARE: u64 = 4;
/// It is never less than this, bytes.
const MIN_HEAP: u64 = 32 << 20;
/// What a call that makes something has to find free, bytes.
const CALL_ROOM: u64 = 64 << 10;

/// What a mapping, a thread, a timer and a pending signal are taken to cost when processes are compared, bytes.
const MAPPING_COST: u64 = 512;
const THREAD_COST: u64 = 64 << 10;
const TIMER_COST: u64 = 1 << 10;
const SIGNAL_COST: u64 = 256;

/// `oom_score_adj` of a process that is never chosen.
const EXEMPT: i32 = -1000;

/// Kills processes for their memory, one at a time.
#[derive(Debug, Default)]
pub struct OomKiller {
    victim: Mutex<Weak<ThreadGroup>>,
    kills: AtomicU64,
}

impl OomKiller {
    /// How many processes were killed (`oom_kill` in `/proc/vmstat`).
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.kills.load(Ordering::Relaxed)
    }
}

/// Sets the heap that guests may make the sentry use, in a sandbox with this much memory.
pub(crate) fn set_heap_budget(total_memory: u64) {
    heap::set_budget((total_memory / HEAP_SHARE).max(MIN_HEAP));
}

impl CurrentTask {
    /// Whether there is memory for what a call makes. Where there is none, somebody is killed for it.
    pub(super) fn has_kernel_memory(&self) -> bool {
        let has_room = heap::room_for(CALL_ROOM, Purpose::Process).is_ok();
        if !has_room {
            self.kernel().kill_for_memory();
        }
        has_room
    }
}

impl Kernel {
    /// Kills the process that takes most memory, unless the last one is not gone yet.
    pub fn kill_for_memory(&self) {
        let mut last = self.oom.victim.lock();
        if last.upgrade().is_some_and(|group| !group.is_zombie()) {
            return;
        }
        let candidates = self.tasks.thread_groups();
        // Most of the heap is what descriptors stand for: taken to be the same for each.
        let all_fds: u64 = candidates.iter().map(|group| group.fd_room()).sum();
        let fd_cost = heap::in_use() / all_fds.max(1);
        let scored = candidates.iter().filter_map(|group| Some((group.oom_points(fd_cost)?, group)));
        let Some((points, victim)) = scored.max_by_key(|(points, _)| *points) else { return };
        *last = Arc::downgrade(victim);
        drop(last);
        self.oom.kills.fetch_add(1, Ordering::Relaxed);
        let comm = victim.leader().map(|leader| leader.comm()).unwrap_or_default();
        let text = format!(
            "Out of memory: Killed process {} ({}) points:{}kB, oom_score_adj:{}",
            victim.leader().map_or(0, |leader| leader.tid()),
            String::from_utf8_lossy(&comm),
            points >> 10,
            victim.oom_score_adj()
        );
        self.dmesg.write(Severity::Error, &text);
        self.log.line(&text);
        victim.send_signal_from_outside(SigInfo::new(Signal::KILL, abi::signal::SI_KERNEL));
    }
}

impl ThreadGroup {
    /// What `/proc/[pid]/oom_score` shows: two thirds of 1000 and the share of the memory, in thousandths.
    #[must_use]
    pub fn oom_score(&self) -> u64 {
        let total = self.kernel().map_or(1, |kernel| kernel.total_memory().max(1));
        let share = self.oom_points(0).map(|points| points.saturating_mul(1000) / total);
        share.map_or(0, |share| share.saturating_add(1000) * 2 / 3)
    }

    /// How many descriptors its table has room for.
    fn fd_room(&self) -> u64 {
        self.leader().map_or(0, |leader| leader.fd_table().capacity() as u64)
    }

    /// How much would be won by killing it, bytes, where a descriptor stands for `fd_cost`; `None` where it is exempt
    /// or has ended.
    fn oom_points(&self, fd_cost: u64) -> Option<u64> {
        let adjustment = self.oom_score_adj();
        if adjustment == EXEMPT || self.is_zombie() {
            return None;
        }
        let leader = self.leader()?;
        let cost = |count: usize, each: u64| (count as u64).saturating_mul(each);
        let memory = leader
            .try_mm()
            .map_or(0, |mm| mm.totals().usage.rss().saturating_add(cost(mm.mapping_count(), MAPPING_COST)));
        let own = memory
            .saturating_add(self.fd_room().saturating_mul(fd_cost))
            .saturating_add(cost(self.thread_count(), THREAD_COST))
            .saturating_add(cost(self.timers().posix_count(), TIMER_COST))
            .saturating_add(cost(self.signal.lock().shared.len(), SIGNAL_COST));
        let shift =
            (leader.kernel().total_memory() / 1000).saturating_mul(u64::from(adjustment.unsigned_abs()));
        Some(if adjustment < 0 { own.saturating_sub(shift) } else { own.saturating_add(shift) })
    }
}
