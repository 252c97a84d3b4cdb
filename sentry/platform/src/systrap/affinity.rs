//! Getting a stub's thread onto another core than ours.
//!
//! A wake-up alone does not do it: where a machine is a little busy, the host's scheduler no longer looks for an idle
//! core and leaves the woken thread on the one on which it slept, which is that of the sentry thread it always hands
//! over to. So its set of cores is narrowed for that one wake-up.

use std::arch::x86_64::__rdtscp;

/// The cores that this process may use.
#[derive(Clone, Copy)]
pub(super) struct Affinity {
    all: libc::cpu_set_t,
}

impl Affinity {
    /// Asks the host.
    pub(super) fn detect() -> Self {
        // SAFETY: all zeros is a valid set, and the call fills it; a failure leaves it empty.
        let all = unsafe {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut all);
            all
        };
        Self { all }
    }

    /// Keeps a thread off the core that the caller runs on.
    pub(super) fn send_away(&self, tid: i32) {
        const CPU_BITS: u32 = 0xfff;
        let mut aux = 0;
        // SAFETY: every CPU with FSGSBASE has the instruction.
        unsafe { __rdtscp(&raw mut aux) };
        let mut others = self.all;
        let cpu = (aux & CPU_BITS) as usize;
        if cpu < libc::CPU_SETSIZE as usize {
            // SAFETY: the number is one that the set has.
            unsafe { libc::CPU_CLR(cpu, &mut others) };
        }
        set(tid, &others);
    }

    /// Lets it run on all cores again.
    pub(super) fn let_anywhere(&self, tid: i32) {
        set(tid, &self.all);
    }
}

/// A failure costs speed only: the thread was ended, or there is no such core.
fn set(tid: i32, cpus: &libc::cpu_set_t) {
    // SAFETY: the kernel reads the set.
    unsafe { libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), cpus) };
}

impl std::fmt::Debug for Affinity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: a look at the set.
        f.debug_struct("Affinity").field("cores", &unsafe { libc::CPU_COUNT(&self.all) }).finish()
    }
}
