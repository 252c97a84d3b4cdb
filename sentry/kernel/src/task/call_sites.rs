//! Which call sites a thread uses often enough to have them rewritten, and calls that come from such a site after all.

use std::sync::Arc;

use platform::Fault;

use super::CurrentTask;
use crate::mm::MemoryManager;

/// Traps from one site before it is rewritten: what a rewriting costs, in traps.
const HOT: u8 = 24;
/// Not to be tried again.
const HOPELESS: u8 = u8::MAX;
/// Sites that are counted at a time.
const COUNTED: usize = 64;

/// clone, fork, vfork, clone3: the child needs a copy of the extended state, which only a trap's frame holds.
const MAKES_CHILD: [u64; 4] = [56, 57, 58, 435];

/// How often calls have trapped at which site, as far as is remembered.
#[derive(Debug)]
pub(super) struct CallCounts([(u64, u8); COUNTED]);

impl Default for CallCounts {
    fn default() -> Self {
        Self([(0, 0); COUNTED])
    }
}

impl CallCounts {
    /// Counts a trap; says whether the site is to be rewritten now.
    fn count(&mut self, ret: u64) -> bool {
        let slot = self.slot(ret);
        if slot.0 != ret {
            *slot = (ret, 1);
            return false;
        }
        if slot.1 < HOT {
            slot.1 += 1;
        }
        slot.1 == HOT
    }

    fn set_hopeless(&mut self, ret: u64) {
        *self.slot(ret) = (ret, HOPELESS);
    }

    fn slot(&mut self, ret: u64) -> &mut (u64, u8) {
        let hash = (ret ^ ret >> 6) as usize % COUNTED;
        &mut self.0[hash]
    }
}

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
        let may_rewrite = self.kernel().config.rewrite_calls && !MAKES_CHILD.contains(&self.regs.orig_rax);
        if !may_rewrite || !self.call_counts.count(ret) {
            return;
        }
        if self.is_traced() || !mm.rewrite_call_site(&self.regs, self.is_alone_in(&mm)) {
            self.call_counts.set_hopeless(ret);
        }
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

#[cfg(test)]
mod tests {
    use super::{CallCounts, HOT};

    #[test]
    fn a_site_becomes_hot_and_stays_so_until_it_is_hopeless() {
        let mut counts = CallCounts::default();
        assert!((1..HOT).all(|_| !counts.count(0x1000)));
        assert!(counts.count(0x1000) && counts.count(0x1000));
        counts.set_hopeless(0x1000);
        assert!((0..1000).all(|_| !counts.count(0x1000)));
        assert!(!counts.count(0x1000 + 64 * 64), "another site in the same slot");
    }
}
