//! What becomes of futexes when a thread exits: `clear_child_tid` and the robust list (`man 2 set_robust_list`).

use abi::futex::{
    FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS, ROBUST_LIST_LIMIT,
    RobustListHead,
};
use abi::{Result, UserAddr};

use crate::mm::{FutexWord, MemoryManager};
use crate::task::Task;

/// The low bit of a list entry marks a priority-inheriting lock.
const PI_BIT: u64 = 1;

impl Task {
    /// Lets go of the thread's locks and tells who waits for its end. Its memory is still there. Nobody queues for a lock
    /// behind it afterwards.
    pub(in crate::task) fn release_futexes(&self) {
        let Some(mm) = self.try_mm() else { return };
        let (list, clear_tid) = {
            let mut details = self.details.lock();
            (std::mem::take(&mut details.robust_list), std::mem::take(&mut details.clear_child_tid))
        };
        if !list.is_null() {
            // The list is the guest's own: what cannot be read is skipped.
            let _ = self.walk_robust_list(&mm, list);
        }
        self.release_pi_locks();
        if !clear_tid.is_null() && mm.write_object(clear_tid, &0_u32).is_ok() {
            self.wake_first(&mm, clear_tid);
        }
    }

    /// Wakes one waiter, by the key that the word has for all processes. A word that cannot be a futex has none.
    fn wake_first(&self, mm: &MemoryManager, addr: UserAddr) {
        let word = FutexWord { addr, is_shared: true };
        let _ = self.kernel().futexes.wake(mm, word, 1, FUTEX_BITSET_MATCH_ANY);
    }

    fn walk_robust_list(&self, mm: &MemoryManager, head_at: UserAddr) -> Result<()> {
        let head: RobustListHead = mm.read_object(head_at)?;
        let futex_of = |entry: u64| UserAddr((entry & !PI_BIT).wrapping_add_signed(head.futex_offset));
        let mut entry = head.list;
        let mut steps = 0;
        while entry & !PI_BIT != head_at.0 && steps < ROBUST_LIST_LIMIT {
            // Read on before waking: the list's memory may be gone afterwards.
            let next = mm.read_object::<u64>(UserAddr(entry & !PI_BIT));
            if entry & !PI_BIT != head.list_op_pending & !PI_BIT {
                self.release_robust(mm, futex_of(entry), entry & PI_BIT != 0, false)?;
            }
            entry = next?;
            steps += 1;
        }
        if head.list_op_pending & !PI_BIT != 0 {
            let is_pi = head.list_op_pending & PI_BIT != 0;
            self.release_robust(mm, futex_of(head.list_op_pending), is_pi, true)?;
        }
        Ok(())
    }

    /// Marks one lock as its dead owner's and wakes a waiter. Who waits for a priority-inheriting lock is given it later.
    fn release_robust(
        &self,
        mm: &MemoryManager,
        addr: UserAddr,
        is_pi: bool,
        is_pending: bool,
    ) -> Result<()> {
        let mut word = mm.load_u32(addr)?;
        let wake = |word: u32| {
            if !is_pi && word & FUTEX_WAITERS != 0 {
                self.wake_first(mm, addr);
            }
        };
        if is_pending && !is_pi && word == 0 {
            // It died between unlocking and waking.
            wake(FUTEX_WAITERS);
            return Ok(());
        }
        loop {
            if word & FUTEX_TID_MASK != self.tid().unsigned_abs() {
                return Ok(());
            }
            let dead = (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
            let seen = mm.compare_exchange_u32(addr, word, dead)?;
            if seen == word {
                break;
            }
            word = seen;
        }
        wake(word);
        Ok(())
    }
}
