//! Getting a stub's thread onto another core than ours.
//!
//! A wake-up alone does not do it: where a machine is a little busy, the host's scheduler no longer looks for an idle
//! core and leaves the woken thread on the one on which it slept, which is that of the sentry thread it always hands
//! over to. So its set of cores is narrowed for that one wake-up.

use std::arch::x86_64::__rdtscp;

/// Cores that a set can hold.
const SIZE: usize = libc::CPU_SETSIZE as usize;

/// The number of the core that the caller runs on.
pub(super) fn current_core() -> usize {
    const CPU_BITS: u32 = 0xfff;
    let mut aux = 0;
    // SAFETY: the platform does not start on a CPU without the instruction (`require_rdtscp`).
    unsafe { __rdtscp(&raw mut aux) };
    (aux & CPU_BITS) as usize
}

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
        let mut others = self.all;
        let core = current_core();
        if core < SIZE {
            // SAFETY: the number is one that the set has.
            unsafe { libc::CPU_CLR(core, &mut others) };
        }
        set(tid, &others);
    }

    /// Takes the calling thread to `core`, where it may be taken from again.
    pub(super) fn go_to(&self, core: usize) {
        set(0, &only(core));
        set(0, &self.all);
    }

    /// Whether `core` may be used.
    pub(super) fn contains(&self, core: usize) -> bool {
        // SAFETY: the number is one that the set has.
        core < SIZE && unsafe { libc::CPU_ISSET(core, &self.all) }
    }

    /// The highest number of a core that may be used.
    pub(super) fn highest(&self) -> usize {
        (0..SIZE).rev().find(|core| self.contains(*core)).unwrap_or(0)
    }

    /// Lets it run on all cores again.
    pub(super) fn let_anywhere(&self, tid: i32) {
        set(tid, &self.all);
    }
}

/// The set of one core; empty where there is no such core.
fn only(core: usize) -> libc::cpu_set_t {
    // SAFETY: all zeros is a valid set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    if core < SIZE {
        // SAFETY: the number is one that the set has.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    set
}

/// A failure costs speed only: the thread was ended, or there is no such core.
fn set(tid: i32, cpus: &libc::cpu_set_t) {
    // SAFETY: the kernel reads the set.
    unsafe { libc::sched_setaffinity(tid, size_of::<libc::cpu_set_t>(), cpus) };
}

#[cfg(test)]
impl Affinity {
    /// These cores.
    pub(super) fn of(cores: &[usize]) -> Self {
        let mut all = only(SIZE);
        for core in cores {
            // SAFETY: tests name cores that the set has.
            unsafe { libc::CPU_SET(*core, &mut all) };
        }
        Self { all }
    }
}

impl std::fmt::Debug for Affinity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // SAFETY: a look at the set.
        f.debug_struct("Affinity").field("cores", &unsafe { libc::CPU_COUNT(&self.all) }).finish()
    }
}
