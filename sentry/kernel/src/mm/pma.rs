//! What stands behind guest addresses now: frames or a piece of a host file, and how the stub has them mapped.

use std::ops::Range;
use std::sync::Arc;

use platform::Protection;
use segment::{Segment, SegmentMap};

use super::HostFile;
use super::batch::Batch;
use super::child_needs::ChildNeeds;
use super::fault::FILLED;
use super::fork_copy::StoredAfterFork;
use super::lazy::Eagerness;

/// Where bytes are.
#[derive(Clone, Debug)]
pub(crate) enum PageSource {
    /// At this offset of the memory file; the holder has a reference to each page.
    Memory(u64),
    /// At this offset of a host file.
    Host(Arc<HostFile>, u64),
}

impl PageSource {
    /// The source of what lies `at` bytes further on.
    pub(crate) fn advanced(&self, at: u64) -> Self {
        match self {
            Self::Memory(offset) => Self::Memory(offset + at),
            Self::Host(file, offset) => Self::Host(file.clone(), offset + at),
        }
    }

    /// Whether `next` is `len` bytes behind `self`.
    pub(crate) fn continues(&self, len: u64, next: &Self) -> bool {
        match (self, next) {
            (Self::Memory(a), Self::Memory(b)) => a + len == *b,
            (Self::Host(a, a_offset), Self::Host(b, b_offset)) => {
                Arc::ptr_eq(a, b) && a_offset + len == *b_offset
            }
            _ => false,
        }
    }
}

/// Pages present in an address space. Never spans mappings with different rights.
#[derive(Clone, Debug)]
pub(crate) struct Pma {
    pub(crate) source: PageSource,
    /// A store must first make sure that nobody else sees these pages.
    pub(crate) cow: bool,
    /// Memory of this address space's own, not a view of the mapped file.
    pub(crate) anon: bool,
    /// The rights of the mapping, kept here so that copies need one look-up.
    pub(crate) prot: Protection,
    /// How the stub has it mapped.
    pub(crate) mapped: Option<Protection>,
}

impl Pma {
    /// The rights that the stub may have.
    pub(crate) fn effective(&self) -> Protection {
        Protection { write: self.prot.write && !self.cow, ..self.prot }
    }

    /// Whether the guest has rights that its stub was not told of.
    pub(crate) fn waits(&self) -> bool {
        self.mapped.is_some_and(|mapped| mapped != self.effective())
    }

    /// Whether the guest may read (x86 knows no pages that can be written or executed and not read).
    pub(crate) fn is_readable(&self) -> bool {
        self.prot.read || self.prot.write || self.prot.execute
    }
}

impl Segment for Pma {
    fn split_off(&mut self, at: u64) -> Self {
        Self { source: self.source.advanced(at), ..self.clone() }
    }

    fn continues(&self, len: u64, next: &Self) -> bool {
        self.cow == next.cow
            && self.anon == next.anon
            && self.prot == next.prot
            && self.mapped == next.mapped
            && self.source.continues(len, &next.source)
    }
}

/// All pages of an address space.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    pub(crate) map: SegmentMap<Pma>,
    /// The stub's state is no longer known: nothing can be mapped any more, the guest process must die.
    pub(crate) is_broken: bool,
    /// Frames that the guest may still see although no page says so, because the host refused to take them from the
    /// stub. Nobody else may get them before the stub is gone.
    pub(crate) stranded: Vec<(PageSource, u64)>,
    /// Changes that are yet to be made: nothing runs in the address space, and more are coming.
    pub(crate) deferred: Option<Batch>,
    /// Pages that the stub is to be shown along with the next change, whatever that is.
    put_off: Vec<Range<u64>>,
    /// Pages that the stub was not shown when fork(2) made it: the first fault at one of them shows all.
    left_out: Vec<Range<u64>>,
    /// Whether new memory is shown to the stub before it is touched.
    pub(crate) new_memory: Eagerness,
    /// Whether rights that mprotect(2) gives back are.
    pub(crate) more_rights: Eagerness,
    /// What fork(2) had better show to children at once.
    pub(crate) child_needs: ChildNeeds,
    /// What fork(2) had better copy.
    pub(crate) stored_after_fork: StoredAfterFork,
}

impl Pages {
    /// Leaves it to the next change of mappings, or to a fault, to show new pages to the stub. Says whether that may be.
    pub(crate) fn put_off(&mut self, range: &Range<u64>) -> bool {
        const MOST: usize = 16;
        let may_wait = self.deferred.is_none() && self.put_off.len() < MOST;
        if may_wait {
            self.put_off.push(range.clone());
        }
        may_wait
    }

    /// Leaves what is put off from `at` on, in the mapping that has it, to a fault after all.
    pub(crate) fn put_off_no_further(&mut self, at: u64) {
        for range in &mut self.put_off {
            if range.contains(&at) {
                range.end = at;
            }
        }
    }

    /// Adds to `batch` what was put off.
    pub(crate) fn catch_up(&mut self, batch: &mut Batch) {
        for range in std::mem::take(&mut self.put_off) {
            self.map.update(range, |piece, pma| {
                if pma.mapped.is_none() {
                    let populate = pma.anon && piece.end - piece.start <= FILLED;
                    batch.refresh(piece, pma, populate);
                }
            });
        }
    }

    /// Leaves these pages to a fault.
    pub(crate) fn leave_out(&mut self, ranges: Vec<Range<u64>>) {
        self.left_out = ranges;
    }

    /// The guest looks at `addr`, in a mapping of `file`, for the first time.
    pub(crate) fn note_needed(&self, addr: u64, file: usize) {
        if self.left_out.iter().any(|range| range.contains(&addr)) {
            self.child_needs.note(file);
        }
    }

    /// Adds to `batch` what was left to a fault.
    pub(crate) fn show_left_out(&mut self, batch: &mut Batch) {
        for range in std::mem::take(&mut self.left_out) {
            self.map.update(range, |piece, pma| {
                if pma.mapped.is_none() {
                    batch.refresh(piece, pma, false);
                }
            });
        }
    }

    /// Which of these frames, taken out of the map and out of the stub, may be given back. None while it is not known
    /// what the stub shows: they are kept until it ends.
    pub(crate) fn releasable(&mut self, freed: Vec<(PageSource, u64)>) -> Vec<(PageSource, u64)> {
        if !self.is_broken {
            return freed;
        }
        self.stranded.extend(freed);
        Vec::new()
    }
}
