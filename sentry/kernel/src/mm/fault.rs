//! Page faults: bringing pages in, in chunks, and telling which signal a bad access deserves.
//!
//! Most first touches never come here: mmap(2) puts frames behind small mappings at once, and the host's kernel
//! fills them in. Faults come from huge mappings, growing stacks, mapped files, and copy-on-write.

use std::ops::Range;

use abi::{Errno, SigInfo, Signal, page_floor};
use parking_lot::RwLockReadGuard;

use super::batch::Batch;
use super::manager::{FaultSignal, Mappings, MemoryManager};
use super::mmap::may_wait;
use super::pma::{PageSource, Pages, Pma};
use super::vma::Vma;
use super::{Backing, Mappable, VmaFlags};

/// Frames are put behind untouched anonymous memory in aligned pieces of this size. They are holes until touched.
const ANON_CHUNK: u64 = 2 << 20;
/// Untouched memory up to this size is filled when it is mapped; what is there already is mapped at once in any case.
pub(super) const FILLED: u64 = 128 << 10;
/// Most bytes of a memory-backed file that one fault asks for.
const FILE_CHUNK: u64 = 256 << 10;

const SEGV_MAPERR: i32 = 1;
const SEGV_ACCERR: i32 = 2;
const BUS_ADRERR: i32 = 2;

/// What an access wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    pub(crate) write: bool,
    pub(crate) execute: bool,
    /// As a debugger: without regard to the mapping's present rights.
    pub(crate) force: bool,
}

impl Access {
    /// A load.
    pub const READ: Self = Self { write: false, execute: false, force: false };
    /// A store.
    pub const WRITE: Self = Self { write: true, execute: false, force: false };

    /// Whether it stores.
    #[must_use]
    pub fn is_write(self) -> bool {
        self.write
    }

    /// Whether a mapping allows it.
    fn is_allowed(self, vma: &Vma) -> bool {
        let prot = vma.prot;
        if self.force {
            return !self.write || prot.write || (!vma.is_shared() && !vma.flags.contains(VmaFlags::SPECIAL));
        }
        match (self.write, self.execute) {
            (true, _) => prot.write,
            (_, true) => prot.execute,
            _ => prot.read || prot.write || prot.execute,
        }
    }
}

/// Why an access cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultError {
    /// Nothing is mapped there.
    Unmapped,
    /// The mapping does not allow it.
    Denied,
    /// The file has no such page.
    Bus,
    /// There is no memory for it.
    NoMemory,
}

impl FaultError {
    fn signal(self, addr: u64) -> FaultSignal {
        Box::new(match self {
            Self::Unmapped => SigInfo::from_fault(Signal::SEGV, SEGV_MAPERR, addr),
            Self::Denied => SigInfo::from_fault(Signal::SEGV, SEGV_ACCERR, addr),
            Self::Bus => SigInfo::from_fault(Signal::BUS, BUS_ADRERR, addr),
            Self::NoMemory => SigInfo::new(Signal::KILL, abi::signal::SI_KERNEL),
        })
    }
}

impl From<Errno> for FaultError {
    fn from(errno: Errno) -> Self {
        if errno == Errno::ENOMEM { Self::NoMemory } else { Self::Bus }
    }
}

impl MemoryManager {
    /// Resolves a fault as the platform reports it: brings the page in, copies it, or grows the stack. A bus error on a
    /// page that we believe to be there means that somebody shortened a host file behind our back: the page is asked for
    /// again, once.
    ///
    /// # Errors
    /// The signal to send, with `si_code` and address, where the access is not allowed.
    pub fn resolve(&self, fault: &platform::Fault) -> Result<(), FaultSignal> {
        let access = Access { write: fault.write, execute: fault.execute, force: false };
        if fault.signal == Signal::SEGV.number() && fault.addr == 0 && fault.code == abi::signal::SI_KERNEL {
            return Err(Box::new(SigInfo::from_fault(Signal::SEGV, fault.code, 0)));
        }
        if fault.signal == Signal::BUS.number() {
            self.forget_page(page_floor(fault.addr));
            // The new look-up sees the file's present size; where the page is gone, that is the answer.
            if self.fault_in(fault.addr, access).is_ok() && self.is_backed(fault.addr) {
                return Ok(());
            }
            return Err(FaultError::Bus.signal(fault.addr));
        }
        self.fault_in(fault.addr, access).map_err(|error| error.signal(fault.addr))
    }

    /// Makes `access` to `addr` possible, in the stub and for copies.
    pub(super) fn fault_in(&self, addr: u64, access: Access) -> Result<(), FaultError> {
        loop {
            let mappings = self.read_mappings();
            let Some((range, vma)) = mappings.vmas.get(addr) else {
                drop(mappings);
                self.grow_stack(addr)?;
                continue;
            };
            if !access.is_allowed(vma) {
                return Err(FaultError::Denied);
            }
            let mut pages = self.pages.write();
            if pages.is_broken {
                return Err(FaultError::NoMemory);
            }
            match (pages.map.get(addr), &vma.object) {
                (Some((_, pma)), _) if access.write && pma.cow => return self.break_cow(&mut pages, addr),
                (Some((present, pma)), _) => {
                    let is_new = pma.mapped.is_none();
                    if is_new && let Some(object) = &vma.object {
                        pages.note_needed(addr, object.identity());
                    }
                    if pma.waits() {
                        pages.more_rights.note_used();
                    }
                    return self.refresh(&mut pages, present, is_new);
                }
                (None, None) => {
                    let gap = gap_around(&pages, &range, addr);
                    if may_wait(&gap, vma) {
                        pages.new_memory.note_used();
                    }
                    let chunk = anon_chunk(gap, addr);
                    return self.fill_anon(&mut pages, chunk, vma).map_err(FaultError::from);
                }
                (None, Some(object)) => {
                    let gap = gap_around(&pages, &range, addr);
                    let (mappable, start) = (object.mappable.object().clone(), object.offset);
                    drop(pages);
                    self.fill_from_object(mappings, &*mappable, start, range.start, gap, addr)?;
                }
            }
        }
    }

    /// Brings the stub's view of `range` up to date; where it had not been shown that at all, along with what fork(2)
    /// left out.
    fn refresh(&self, pages: &mut Pages, range: Range<u64>, is_new: bool) -> Result<(), FaultError> {
        let mut batch = Batch::default();
        if is_new {
            pages.show_left_out(&mut batch);
        }
        pages.map.update(range, |piece, pma| batch.refresh(piece, pma, false));
        Ok(batch.commit(pages, &*self.space)?)
    }

    /// Puts zeroed frames behind `range`, which has none, and maps them. Small ranges are filled at once.
    pub(super) fn fill_anon(&self, pages: &mut Pages, range: Range<u64>, vma: &Vma) -> abi::Result<()> {
        let mut batch = Batch::default();
        self.add_anon(pages, range, vma, &mut batch)?;
        batch.commit(pages, &*self.space)
    }

    /// As [`Self::fill_anon`], but leaves the mapping to `batch`.
    pub(super) fn add_anon(
        &self,
        pages: &mut Pages,
        range: Range<u64>,
        vma: &Vma,
        batch: &mut Batch,
    ) -> abi::Result<()> {
        let (mut pma, populate) = self.new_anon(pages, &range, vma)?;
        batch.refresh(range.clone(), &mut pma, populate);
        pages.map.insert(range, pma);
        Ok(())
    }

    /// Zeroed frames for `range`, which has none, and whether to fill them when they are mapped.
    pub(super) fn new_anon(&self, pages: &Pages, range: &Range<u64>, vma: &Vma) -> abi::Result<(Pma, bool)> {
        let len = range.end - range.start;
        let (offset, are_holes) = self.memory.allocate_to_fill(len, frames_near(pages, range))?;
        let source = PageSource::Memory(offset);
        let pma = Pma { source, cow: false, anon: true, prot: vma.prot, mapped: None };
        Ok((pma, !are_holes || len <= FILLED))
    }

    /// Asks the mapped file for the page at `addr` and as many others of `gap` as it gives.
    fn fill_from_object(
        &self,
        mappings: RwLockReadGuard<'_, Mappings>,
        object: &dyn Mappable,
        object_start: u64,
        vma_start: u64,
        gap: Range<u64>,
        addr: u64,
    ) -> Result<(), FaultError> {
        let Some((_, vma)) = mappings.vmas.get(addr) else { return Ok(()) };
        let (prot, access) = (vma.prot, vma.object_access());
        let (private, generation) = (!vma.is_shared(), object.mappings().generation());
        let ask = |start: u64, end: u64| {
            let offset = object_start + (start - vma_start);
            object.backing(offset, end - start, access).map(|backing| (start, backing))
        };
        let chunk = addr / FILE_CHUNK * FILE_CHUNK;
        let window = gap.start.max(chunk)..gap.end.min(chunk.saturating_add(FILE_CHUNK));
        let mut answer = ask(window.start, window.end);
        let reaches = |answer: &abi::Result<(u64, Backing)>| {
            answer.as_ref().is_ok_and(|(start, backing)| start + backing_len(backing) > addr)
        };
        if !reaches(&answer) {
            if let Ok((_, backing)) = answer {
                self.forget_backing(backing);
            }
            answer = ask(page_floor(addr), window.end);
        } else if matches!(answer, Ok((_, Backing::Host { .. }))) && gap != window {
            // A host file costs nothing to map as a whole.
            answer = ask(gap.start, gap.end).or(answer);
        }
        let (start, backing) = answer?;
        let mut pages = self.pages.write();
        if object.mappings().generation() == generation {
            self.install(&mut pages, start..gap.end, backing, prot, private);
        } else {
            drop(pages);
            self.forget_backing(backing);
        }
        Ok(())
    }

    /// Enters what a file gave for the addresses from `range.start` on, as far as nothing else is there.
    pub(super) fn install(
        &self,
        pages: &mut Pages,
        range: Range<u64>,
        backing: Backing,
        prot: platform::Protection,
        private: bool,
    ) {
        let (source, len) = match backing {
            Backing::Memory { offset, len } => (PageSource::Memory(offset), len),
            Backing::Host { file, offset, len } => (PageSource::Host(file, offset), len),
        };
        let given = range.start..range.start.saturating_add(len);
        let wanted = given.start..given.end.min(range.end);
        let gaps: Vec<Range<u64>> = pages.map.gaps(wanted).collect();
        let mut unused = given.start;
        for gap in gaps {
            self.release_source(&source.advanced(unused - given.start), gap.start - unused);
            unused = gap.end;
            let source = source.advanced(gap.start - given.start);
            pages.map.insert(gap, Pma { source, cow: private, anon: false, prot, mapped: None });
        }
        self.release_source(&source.advanced(unused - given.start), given.end - unused);
    }

    pub(super) fn forget_backing(&self, backing: Backing) {
        if let Backing::Memory { offset, len } = backing {
            self.memory.release(offset, len);
        }
    }

    pub(super) fn release_source(&self, source: &PageSource, len: u64) {
        if let PageSource::Memory(offset) = source
            && len > 0
        {
            self.memory.release(*offset, len);
        }
    }

    /// Drops the view of one page of a host file, so that the next access asks the file.
    fn forget_page(&self, page: u64) {
        let mut pages = self.pages.write();
        let is_host = |pma: &Pma| matches!(pma.source, PageSource::Host(..));
        if pages.map.get(page).is_some_and(|(_, pma)| is_host(pma)) {
            let mut batch = Batch::default();
            pages.map.remove(page..page + abi::PAGE_SIZE);
            batch.unmap(page..page + abi::PAGE_SIZE);
            // A failure marks the address space as broken, which the next fault reports.
            let _ = batch.commit(&mut pages, &*self.space);
        }
    }

    /// Whether the byte at `addr` can be loaded by us, that is: the host file has the page.
    fn is_backed(&self, addr: u64) -> bool {
        let pages = self.pages.read();
        match pages.map.get(addr) {
            Some((range, pma)) => match pma.source.advanced(addr - range.start) {
                PageSource::Memory(offset) => {
                    self.memory.slice(offset, 1).is_ok_and(|byte| byte.read(&mut [0]).is_ok())
                }
                PageSource::Host(file, offset) => file
                    .view(offset, 1, Access::READ)
                    .is_ok_and(|view| view.slice().is_ok_and(|s| s.read(&mut [0]).is_ok())),
            },
            None => false,
        }
    }
}

fn backing_len(backing: &Backing) -> u64 {
    match backing {
        Backing::Memory { len, .. } | Backing::Host { len, .. } => *len,
    }
}

/// The part of mapping `range` around `addr` that has no pages.
fn gap_around(pages: &Pages, range: &Range<u64>, addr: u64) -> Range<u64> {
    let start = pages.map.below(addr).map_or(range.start, |(below, _)| below.end.max(range.start));
    let end = pages.map.at_or_above(addr).map_or(range.end, |(above, _)| above.start.min(range.end));
    start..end
}

/// The part of `gap` around `addr` that one fault fills.
fn anon_chunk(gap: Range<u64>, addr: u64) -> Range<u64> {
    let start = addr / ANON_CHUNK * ANON_CHUNK;
    gap.start.max(start)..gap.end.min(start.saturating_add(ANON_CHUNK))
}

/// Where in the memory file frames for `range` would continue its neighbours'.
pub(super) fn frames_near(pages: &Pages, range: &Range<u64>) -> Option<u64> {
    let above = pages.map.get(range.end).filter(|(_, pma)| pma.anon);
    if let Some((_, Pma { source: PageSource::Memory(offset), .. })) = above {
        return offset.checked_sub(range.end - range.start);
    }
    match pages.map.below(range.start).filter(|(below, pma)| below.end == range.start && pma.anon) {
        Some((below, Pma { source: PageSource::Memory(offset), .. })) => {
            Some(offset + (below.end - below.start))
        }
        _ => None,
    }
}
