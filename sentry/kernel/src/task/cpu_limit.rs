//! `RLIMIT_CPU`: `SIGXCPU` each second from the soft limit on, death at the hard one (`man 2 getrlimit`).

use std::sync::{Arc, Weak};

use abi::resource::{RLIM_INFINITY, Resource};
use abi::time::NSEC_PER_SEC;
use abi::{SigInfo, Signal};
use parking_lot::Mutex;

use super::ThreadGroup;
use crate::time::{Clock, ClockTimer, CpuKind, Expiry, FirstExpiry};

/// Watches a process's processor time.
struct Watch(Weak<ThreadGroup>);

impl Expiry for Watch {
    fn expired(&self, _count: u64) {
        let Some(group) = self.0.upgrade() else { return };
        let used = group.cpu_times().total_ns() / NSEC_PER_SEC.unsigned_abs();
        let limit = group.limits().get(Resource::Cpu);
        let signal = if used >= limit.max { Signal::KILL } else { Signal::XCPU };
        if used >= limit.cur {
            group.send_signal(SigInfo::new(signal, abi::signal::SI_KERNEL));
        }
    }
}

/// The watch of a process, made when a limit is first set. Lock: above the timers'.
#[derive(Default)]
pub(super) struct CpuLimit(Mutex<Option<(Arc<Watch>, Arc<ClockTimer>)>>);

impl ThreadGroup {
    /// Arms the watch for the limit as it is now.
    pub(super) fn watch_cpu_limit(&self) {
        let soft = self.limits().soft(Resource::Cpu);
        let mut slot = self.cpu_limit.0.lock();
        if soft == RLIM_INFINITY && slot.is_none() {
            return;
        }
        let Some(kernel) = self.kernel() else { return };
        let (_, timer) = slot.get_or_insert_with(|| {
            let watch = Arc::new(Watch(self.weak()));
            let owner: Arc<dyn Expiry> = watch.clone();
            let clock = Clock::Process(self.weak(), CpuKind::Total);
            (watch, ClockTimer::new(&kernel, clock, Arc::downgrade(&owner)))
        });
        let due = i64::try_from(soft).ok().and_then(|seconds| seconds.checked_mul(NSEC_PER_SEC));
        match due {
            Some(due) => timer.set(FirstExpiry::At(due.max(1)), NSEC_PER_SEC),
            None => timer.set(FirstExpiry::Disarmed, 0),
        };
    }
}
