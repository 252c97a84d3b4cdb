//! Call sites that are used often enough to be rewritten, and calls that come from such a site after all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::{Errno, Result};
use platform::Fault;

use super::{CurrentTask, Task, Work};
use crate::mm::MemoryManager;

/// How long threads may take to come out of guest code while a site is rewritten. On a busy machine one may have to wait
/// for a processor first: then it is tried again later.
const PATIENCE: Duration = Duration::from_micros(200);
/// So often that may be in vain in an address space.
const MOST_IN_VAIN: u32 = 64;

impl CurrentTask {
    /// A call trapped: has its site rewritten where that pays.
    pub(super) fn note_trapped_call(&mut self) {
        let mm = self.mm();
        let ret = self.regs.rip;
        if let Some(site) = mm.return_of_call_at(ret) {
            // It was rewritten, but the register that leads to the stub is in use by the guest.
            (self.regs.rip, self.regs.rcx) = (site, site);
            return;
        }
        if !self.kernel().config.rewrite_calls || !mm.call_counts.count(ret) {
            return;
        }
        if self.is_traced() {
            mm.call_counts.give_up(ret);
            return;
        }
        let mut result = mm.rewrite_call_site(&self.regs, self.is_alone_in(&mm));
        if result == Err(Errno::EBUSY) {
            result = self.rewrite_while_others_wait(&mm);
        }
        match result {
            Ok(()) => {}
            Err(Errno::EBUSY) => mm.call_counts.start_over(ret),
            Err(_) => mm.call_counts.give_up(ret),
        }
    }

    /// Rewrites a site that other threads could see half-written, while none of them runs.
    ///
    /// Each is told to wait for the gate before it runs guest code again, new ones from the start. None stands within
    /// what is written: all forms begin at an instruction and end with one, or leave the `syscall` where it is.
    fn rewrite_while_others_wait(&self, mm: &Arc<MemoryManager>) -> Result<()> {
        let Some(mut in_vain) = mm.code_gate.try_lock() else { return Err(Errno::EBUSY) };
        if *in_vain == MOST_IN_VAIN {
            return Err(Errno::ETIMEDOUT);
        }
        let others: Vec<Arc<Task>> = self
            .kernel()
            .tasks
            .tasks()
            .into_iter()
            .filter(|task| {
                task.id() != self.id() && task.try_mm().is_some_and(|other| Arc::ptr_eq(&other, mm))
            })
            .collect();
        for task in &others {
            task.wake().add(Work::CODE);
        }
        let start = Instant::now();
        while others.iter().any(|task| task.wake().is_in_guest()) {
            if start.elapsed() > PATIENCE {
                *in_vain += 1;
                return Err(Errno::EBUSY);
            }
            std::thread::yield_now();
        }
        mm.rewrite_call_site(&self.regs, true)
    }

    /// Waits for a thread that changes the code of this address space.
    pub(super) fn wait_for_code(&self) {
        self.wake().clear(Work::CODE);
        drop(self.mm().code_gate.lock());
    }

    /// Whether no other thread runs in the task's address space.
    pub(crate) fn is_alone_in(&self, mm: &Arc<MemoryManager>) -> bool {
        // The caller's, and what the task itself holds.
        Arc::strong_count(mm) == 2
    }

    /// Whether a fault is a call from a rewritten site that could not find the stub; it is in the registers then.
    pub(super) fn takes_fault_for_call(&mut self, fault: &Fault) -> bool {
        // The thunk itself may have to be brought in.
        let ret = if fault.execute { None } else { self.mm().return_of_call_at(self.regs.rip) };
        let Some(ret) = ret else {
            // An instruction of the guest's that stands in a thunk now: its fault is the guest's.
            self.leave_call_site();
            return false;
        };
        let regs = &mut self.regs;
        (regs.rip, regs.rcx, regs.r11) = (ret, ret, regs.rflags);
        regs.orig_rax = regs.rax & u64::from(u32::MAX);
        true
    }

    /// Takes a thread that was interrupted on its way from a rewritten site into the platform back to the site.
    pub(super) fn leave_call_site(&mut self) {
        if let Some(site) = self.mm().call_site_at(self.regs.rip) {
            self.regs.rip = site;
        }
    }
}
