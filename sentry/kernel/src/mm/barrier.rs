//! Memory barriers in all threads of a process (`man 2 membarrier`).

use std::sync::atomic::Ordering;

use abi::{PAGE_SIZE, Result, UserAddr, page_floor};
use platform::{MapOp, Protection};

use super::manager::MemoryManager;
use super::pma::{PageSource, Pages};

impl MemoryManager {
    /// Makes every running thread pass a full barrier: a page in use loses and regains its write permission, for which
    /// the host must tell every processor that runs the process. `hint` is an address that was written to lately (a
    /// stack); without one, some present page is taken.
    ///
    /// # Errors
    /// `ENOMEM` where the platform fails.
    pub fn barrier(&self, hint: Option<UserAddr>) -> Result<()> {
        let mut pages = self.pages.write();
        let hinted = hint.map(|addr| page_floor(addr.0)).filter(|&page| self.is_written(&pages, page));
        let Some(page) = hinted.or_else(|| self.some_page(&pages)) else { return Ok(()) };
        let Some((_, pma)) = pages.map.get(page) else { return Ok(()) };
        let full = pma.effective();
        let reduced = Protection { read: true, write: false, execute: false };
        let addr = UserAddr(page);
        let ops = [
            MapOp::Protect { addr, len: PAGE_SIZE, prot: reduced },
            MapOp::Protect { addr, len: PAGE_SIZE, prot: Protection { read: true, ..full } },
        ];
        if self.space.apply(&ops).is_err() {
            pages.is_broken = true;
            return Err(abi::Errno::ENOMEM);
        }
        Ok(())
    }

    /// Records a registration command.
    pub fn register_barriers(&self, command: u32) {
        self.barriers.fetch_or(command, Ordering::Relaxed);
    }

    /// The registration commands recorded so far.
    #[must_use]
    pub fn registered_barriers(&self) -> u32 {
        self.barriers.load(Ordering::Relaxed)
    }

    fn is_written(&self, pages: &Pages, page: u64) -> bool {
        pages.map.get(page).is_some_and(|(_, pma)| pma.mapped.is_some_and(|prot| prot.write))
    }

    /// A page that can be written and is in memory.
    fn some_page(&self, pages: &Pages) -> Option<u64> {
        pages.map.iter().rev().filter(|(_, pma)| pma.mapped.is_some_and(|prot| prot.write)).find_map(
            |(range, pma)| {
                let PageSource::Memory(offset) = pma.source else { return None };
                let run = self.memory.next_present(offset, offset + (range.end - range.start))?;
                Some(range.start + (run.start - offset))
            },
        )
    }
}
