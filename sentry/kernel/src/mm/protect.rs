//! mprotect(2).

use std::ops::Range;

use abi::{Errno, Result, UserAddr};
use platform::Protection;

use super::batch::Batch;
use super::manager::{Mappings, MemoryManager};
use super::mmap::EAGER;
use super::seal::check_unsealed;
use super::vma::{Vma, VmaFlags};

/// How the range of mprotect(2) is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProtectRange {
    /// As given.
    #[default]
    Exact,
    /// Down to the start of the mapping (`PROT_GROWSDOWN`).
    ToStart,
}

impl MemoryManager {
    /// mprotect(2).
    ///
    /// # Errors
    /// `EINVAL`; `ENOMEM` where part of the range is not mapped (what lies before that is changed); `EACCES`; `EPERM` where one is sealed.
    pub fn mprotect(&self, addr: UserAddr, len: u64, prot: Protection, reach: ProtectRange) -> Result<()> {
        let mut range = Self::page_range(addr, len)
            .map_err(|error| if addr.is_page_aligned() { Errno::ENOMEM } else { error })?;
        if range.is_empty() {
            return Ok(());
        }
        let mut mappings = self.write_mappings();
        if reach == ProtectRange::ToStart {
            let (whole, vma) = mappings.vmas.get(range.start).ok_or(Errno::ENOMEM)?;
            if !vma.flags.contains(VmaFlags::GROWSDOWN) {
                return Err(Errno::EINVAL);
            }
            range.start = whole.start;
        }
        check_unsealed(&mappings.vmas, &range)?;
        let outcome = protectable(&mappings, &range, prot);
        let changed = outcome.1;
        if changed.is_empty() {
            return outcome.0;
        }
        if mappings.vmas.len() + 2 > self.memory.max_mappings() {
            return Err(Errno::ENOMEM);
        }
        if prot.write {
            let more = mappings
                .vmas
                .overlapping(changed.clone())
                .filter(|(_, vma)| !vma.is_data() && !vma.is_shared())
                .map(|(whole, _)| whole.end.min(changed.end) - whole.start.max(changed.start))
                .sum();
            self.check_data(&mappings, more)?;
        }
        mappings.vmas.update(changed.clone(), |_, vma| vma.prot = prot);
        let done = self.protect_pages(&mappings.vmas, changed, prot);
        outcome.0.and(done)
    }

    fn protect_pages(
        &self,
        vmas: &segment::SegmentMap<Vma>,
        range: Range<u64>,
        prot: Protection,
    ) -> Result<()> {
        let mut pages = self.pages.write();
        let mut batch = Batch::default();
        let may_wait = pages.deferred.is_none() && pages.more_rights.may_wait();
        let mut took_unused = false;
        pages.map.update(range.clone(), |piece, pma| {
            let waited = pma.waits();
            pma.prot = prot;
            if !(may_wait && pma.mapped.is_some_and(|mapped| adds_only(mapped, pma.effective()))) {
                batch.refresh(piece, pma, false);
            }
            took_unused |= waited && !pma.waits();
        });
        if took_unused && batch.is_empty() {
            pages.more_rights.note_unused();
        }
        // What has been changed so far is to be seen by the stub even where frames for the rest cannot be had.
        let mut added = Ok(());
        if prot != Protection::default() && !pages.is_broken {
            // Memory that was reserved without rights (a thread's stack, an arena) is about to be used.
            let gaps: Vec<Range<u64>> =
                pages.map.gaps(range).filter(|gap| gap.end - gap.start <= EAGER).collect();
            for gap in gaps {
                let whole =
                    vmas.get(gap.start).filter(|(whole, vma)| vma.is_private_anon() && whole.end >= gap.end);
                if let Some((_, vma)) = whole {
                    added = added.and_then(|()| self.add_anon(&mut pages, gap, vma, &mut batch));
                }
            }
        }
        batch.commit(&mut pages, &*self.space).and(added)
    }
}

/// How far from the start of `range` the change may go, and why not further.
fn protectable(mappings: &Mappings, range: &Range<u64>, prot: Protection) -> (Result<()>, Range<u64>) {
    let mut at = range.start;
    while at < range.end {
        let Some((whole, vma)) = mappings.vmas.get(at) else {
            return (Err(Errno::ENOMEM), range.start..at);
        };
        let may = |right: bool, flag| !right || vma.flags.contains(flag);
        let gains_nothing = mappings.exec_gain.check(vma.prot, prot).is_ok();
        if !gains_nothing || !may(prot.write, VmaFlags::MAY_WRITE) || !may(prot.execute, VmaFlags::MAY_EXEC) {
            return (Err(Errno::EACCES), range.start..at);
        }
        at = whole.end;
    }
    (Ok(()), range.clone())
}

/// Whether `new` is `old` and more.
fn adds_only(old: Protection, new: Protection) -> bool {
    let keeps = |had: bool, has: bool| has || !had;
    old != new && keeps(old.read, new.read) && keeps(old.write, new.write) && keeps(old.execute, new.execute)
}
