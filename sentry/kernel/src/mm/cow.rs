//! Copy-on-write: a store to pages that somebody else may see.

use std::ops::Range;

use abi::{PAGE_SIZE, page_floor};

use super::batch::Batch;
use super::fault::{FaultError, frames_near};
use super::manager::MemoryManager;
use super::pma::{PageSource, Pages, Pma};

/// Neighbours are copied along with the page that is stored to: a hand-off costs more than copying them.
const COPY_CHUNK: u64 = 64 << 10;
/// Neighbours that turn out to be ours alone are given back in one go.
const OWN_CHUNK: u64 = 2 << 20;

impl MemoryManager {
    /// Makes the page at `addr` this address space's own and brings the stub up to date. The page is present and
    /// marked copy-on-write.
    pub(super) fn break_cow(&self, pages: &mut Pages, addr: u64) -> Result<(), FaultError> {
        let Some((range, pma)) = pages.map.get(addr) else { return Ok(()) };
        let pma = pma.clone();
        let page = page_floor(addr);
        pages.stored_after_fork.note(page);
        match &pma.source {
            PageSource::Memory(base) => {
                let frame = |at: u64| base + (at - range.start);
                if self.memory.is_exclusive(frame(page)) {
                    let run = grow(page, &range, OWN_CHUNK, |at| self.memory.is_exclusive(frame(at)));
                    return self.take_ownership(pages, run);
                }
                let run = self.run_to_copy(page, &range, &frame);
                let len = run.end - run.start;
                let to = self.memory.gather_present(&[(frame(run.start), len)], frames_near(pages, &run))?;
                self.replace(pages, run, to, &pma)
            }
            PageSource::Host(file, base) => {
                let run = grow(page, &range, COPY_CHUNK, |_| true);
                let len = run.end - run.start;
                let to = self.memory.allocate_near(len, frames_near(pages, &run))?;
                let read = self
                    .memory
                    .slice(to, len as usize)
                    .and_then(|slice| file.read_into(base + (run.start - range.start), &slice));
                if read.is_err() {
                    self.memory.release(to, len);
                    return Err(FaultError::Bus);
                }
                self.replace(pages, run, to, &pma)
            }
        }
    }

    /// Nobody else refers to these pages any more: stores may go ahead.
    fn take_ownership(&self, pages: &mut Pages, run: Range<u64>) -> Result<(), FaultError> {
        let mut batch = Batch::default();
        pages.map.update(run, |piece, pma| {
            pma.cow = false;
            pma.anon = true;
            batch.refresh(piece, pma, false);
        });
        Ok(batch.commit(pages, &*self.space)?)
    }

    /// The pages around `page` that are worth copying with it: shared, and present (copying a hole would fill it).
    fn run_to_copy(&self, page: u64, range: &Range<u64>, frame: &dyn Fn(u64) -> u64) -> Range<u64> {
        let shared = grow(page, range, COPY_CHUNK, |at| !self.memory.is_exclusive(frame(at)));
        let index = |at: u64| ((at - shared.start) / PAGE_SIZE) as usize;
        let mut resident = [0; (COPY_CHUNK / PAGE_SIZE) as usize];
        self.memory.resident_pages(frame(shared.start), &mut resident[..index(shared.end)]);
        grow(page, &shared, COPY_CHUNK, |at| resident[index(at)] & 1 != 0)
    }

    /// Puts own frames in the place of shared pages.
    fn replace(&self, pages: &mut Pages, run: Range<u64>, to: u64, old: &Pma) -> Result<(), FaultError> {
        let removed = pages.map.remove(run.clone());
        let source = PageSource::Memory(to);
        let mut pma = Pma { source, cow: false, anon: true, prot: old.prot, mapped: None };
        let mut batch = Batch::default();
        batch.refresh(run.clone(), &mut pma, true);
        if pma.mapped.is_none() && old.mapped.is_some() {
            batch.unmap(run.clone());
        }
        pages.map.insert(run, pma);
        let result = batch.commit(pages, &*self.space);
        let freed = removed.into_iter().map(|(range, pma)| (pma.source, range.end - range.start)).collect();
        self.release_all(pages.releasable(freed));
        Ok(result?)
    }
}

/// The longest run of pages around `page` for which `holds`, inside `range` and the aligned chunk of `page`.
fn grow(page: u64, range: &Range<u64>, chunk: u64, holds: impl Fn(u64) -> bool) -> Range<u64> {
    let low = range.start.max(page / chunk * chunk);
    let high = range.end.min((page / chunk * chunk).saturating_add(chunk));
    let mut run = page..page + PAGE_SIZE;
    while run.start > low && holds(run.start - PAGE_SIZE) {
        run.start -= PAGE_SIZE;
    }
    while run.end < high && holds(run.end) {
        run.end += PAGE_SIZE;
    }
    run
}
