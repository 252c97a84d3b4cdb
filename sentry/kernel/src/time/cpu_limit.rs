//! `RLIMIT_CPU`: a process that has used its share of processor time gets SIGXCPU at the soft limit and each second
//! after it, and SIGKILL at the hard limit (`man 2 getrlimit`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::resource::{RLIM_INFINITY, Rlimit};
use abi::signal::SI_KERNEL;
use abi::time::NSEC_PER_SEC;
use abi::{SigInfo, Signal};

use super::{Clock, ClockTimer, CpuKind, Expiry, FirstExpiry};
use crate::Kernel;
use crate::task::ThreadGroup;

/// Watches a process's processor time.
pub(super) struct CpuLimit {
    group: Weak<ThreadGroup>,
    /// The hard limit, seconds.
    hard: AtomicU64,
}

impl Expiry for CpuLimit {
    fn expired(&self, _count: u64) {
        let Some(group) = self.group.upgrade() else { return };
        let used_ns = group.cpu_times().total_ns();
        let used = used_ns / NSEC_PER_SEC as u64;
        let signal = if used >= self.hard.load(Ordering::Relaxed) { Signal::KILL } else { Signal::XCPU };
        group.send_signal(SigInfo::new(signal, SI_KERNEL));
    }
}

/// A limit with the timer that watches it.
pub(super) type Armed = (Arc<CpuLimit>, Arc<ClockTimer>);

/// Arms, changes or disarms the watch for `limit`. `slot` keeps it; nothing is made for a process without a limit.
pub(super) fn set(slot: &mut Option<Armed>, kernel: &Kernel, group: &Arc<ThreadGroup>, limit: Rlimit) {
    if slot.is_none() && limit.cur == RLIM_INFINITY {
        return;
    }
    let (owner, timer) = slot.get_or_insert_with(|| {
        let owner = Arc::new(CpuLimit { group: Arc::downgrade(group), hard: AtomicU64::new(limit.max) });
        let as_expiry: Arc<dyn Expiry> = owner.clone();
        let clock = Clock::Process(Arc::downgrade(group), CpuKind::Total);
        (owner, ClockTimer::new(kernel, clock, Arc::downgrade(&as_expiry)))
    });
    owner.hard.store(limit.max, Ordering::Relaxed);
    let first = match i64::try_from(limit.cur).ok().and_then(|seconds| seconds.checked_mul(NSEC_PER_SEC)) {
        Some(at) => FirstExpiry::At(at.max(1)),
        None => FirstExpiry::Disarmed,
    };
    timer.set(first, NSEC_PER_SEC);
}
