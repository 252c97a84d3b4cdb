//! mmap(2) and munmap(2).

use std::ops::Range;
use std::sync::Arc;

use abi::{Errno, Result, UserAddr, page_ceil};
use bitflags::bitflags;
use parking_lot::RwLockWriteGuard;
use platform::Protection;

use super::batch::Batch;
use super::layout::MIN_ADDR;
use super::manager::{Mappings, MemoryManager};
use super::mappable::Attached;
use super::memory_file::SMALL;
use super::mlock::is_filled;
use super::pma::{PageSource, Pages, Pma};
use super::seal::check_unsealed;
use super::vma::{Vma, VmaObject};
use super::{Backing, Mappable, SharedAnon, VmaFlags};
use crate::vfs::File;

/// Anonymous mappings up to this size get frames at once (holes of the memory file, which cost nothing), so that
/// their page faults are the host's business. Larger ones get them in chunks as they are touched.
pub(super) const EAGER: u64 = 64 << 20;
/// Most bytes of a file that mmap(2) asks for ahead, until it is known to be a host file.
const FILE_AHEAD: u64 = 256 << 10;
/// Stacks get this much at once: most never need more.
const STACK_AHEAD: u64 = 64 << 10;
/// Mappings up to this size may be left to a fault: it takes one or two.
const MAY_WAIT: u64 = 1 << 20;
/// Writable segments of programs and libraries up to this size are copied when they are mapped.
const COPY_AHEAD: u64 = 256 << 10;

bitflags! {
    /// What kind of mapping is asked for, beyond its protection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MmapFlags: u32 {
        /// Stores are visible to other mappings of the file and written back to it.
        const SHARED = 1;
        /// At the given address, replacing what is there.
        const FIXED = 2;
        /// At the given address, failing with EEXIST where something is there.
        const FIXED_NOREPLACE = 4;
        /// Grows downwards on faults below it (a stack).
        const GROWSDOWN = 8;
        /// Do not account for the memory.
        const NORESERVE = 16;
        /// Fill all pages now.
        const POPULATE = 32;
        /// Lock pages.
        const LOCKED = 64;
        /// In the low 2 GiB.
        const LOW = 128;
        /// A segment of a program: if small and writable, it is copied now instead of page by page.
        const SEGMENT = 256;
        /// Of fixed kind: `[vdso]`, `[vvar]`.
        const SPECIAL = 512;
        /// A hint, from `MAP_DENYWRITE` among others: a dynamic linker maps a library, in several calls.
        const MORE_COME = 1024;
    }
}

/// Arguments of [`MemoryManager::mmap`].
pub struct MmapArgs {
    /// Hint, or the exact address with a FIXED flag.
    pub addr: UserAddr,
    /// Bytes; rounded up to pages.
    pub len: u64,
    /// Initial rights.
    pub prot: Protection,
    /// The kind of mapping.
    pub flags: MmapFlags,
    /// The object mapped with the byte offset in it; anonymous memory where `None`.
    pub mappable: Option<(Arc<dyn Mappable>, u64)>,
    /// The open file it came from: for names in `/proc/[pid]/maps`, and to keep it open.
    pub file: Option<Arc<File>>,
    /// Whether mprotect(2) may later add write access (a shared mapping of a read-only file may not).
    pub may_write: bool,
    /// Whether mprotect(2) may later add the right to execute (not from a mount without it).
    pub may_exec: bool,
    /// Name shown in maps for special areas: `[heap]`, `[stack]`, `[vdso]`.
    pub name: Option<&'static str>,
}

impl MmapArgs {
    /// Private anonymous memory, readable and writable.
    #[must_use]
    pub fn anonymous(addr: UserAddr, len: u64, flags: MmapFlags) -> Self {
        let prot = Protection { read: true, write: true, execute: false };
        Self {
            addr,
            len,
            prot,
            flags,
            mappable: None,
            file: None,
            may_write: true,
            may_exec: true,
            name: None,
        }
    }

    fn vma(&self, memory: &Arc<super::MemoryFile>, len: u64, future: VmaFlags) -> Vma {
        let mut flags = future;
        for (flag, vma_flag) in [
            (MmapFlags::SHARED, VmaFlags::SHARED),
            (MmapFlags::GROWSDOWN, VmaFlags::GROWSDOWN),
            (MmapFlags::NORESERVE, VmaFlags::NORESERVE),
            (MmapFlags::LOCKED, VmaFlags::LOCKED),
            (MmapFlags::SPECIAL, VmaFlags::SPECIAL),
        ] {
            flags.set(vma_flag, flags.contains(vma_flag) || self.flags.contains(flag));
        }
        flags.set(VmaFlags::MAY_WRITE, self.may_write || !self.flags.contains(MmapFlags::SHARED));
        flags.set(VmaFlags::MAY_EXEC, self.may_exec);
        let object = match &self.mappable {
            Some((mappable, offset)) => Some(VmaObject {
                mappable: Attached::new(mappable.clone()),
                offset: *offset,
                file: self.file.clone(),
            }),
            None if self.flags.contains(MmapFlags::SHARED) => Some(VmaObject {
                mappable: Attached::new(SharedAnon::new(memory, len)),
                offset: 0,
                file: None,
            }),
            None => None,
        };
        Vma { prot: self.prot, flags, object, name: self.name, anon_name: None }
    }
}

/// What a file gave before any lock was taken.
struct Ahead {
    generation: u64,
    backing: Backing,
    /// The backing holds a copy of the file's bytes, and is not the file itself.
    is_copy: bool,
}

/// Frames, or pieces of host files, with their lengths, that were taken out of the map.
pub(super) type Frames = Vec<(PageSource, u64)>;

/// Mappings that made way for a new one.
type Replaced = Vec<(Range<u64>, Vma)>;

impl MemoryManager {
    /// mmap(2) after argument checks that need files.
    ///
    /// # Errors
    /// As mmap(2).
    pub fn mmap(&self, args: MmapArgs) -> Result<UserAddr> {
        let len = page_ceil(args.len).ok_or(Errno::ENOMEM)?;
        if len == 0 {
            return Err(Errno::EINVAL);
        }
        if let Some((_, offset)) = &args.mappable {
            offset.checked_add(len).filter(|&end| end <= 1 << 63).ok_or(Errno::EOVERFLOW)?;
        }
        if args.flags.contains(MmapFlags::FIXED) {
            self.forget_thunks(args.addr.0..args.addr.0.saturating_add(len));
        }
        let vma = args.vma(&self.memory, len, VmaFlags::empty());
        let fill = vma.fill_access();
        let ahead = self.ask_ahead(&args, &vma, len);
        if let Some(object) = &vma.object {
            object.mappable.mappings().add(&self.this);
        }
        let (range, flags, replaced) = self.map_vma(&args, len, vma, ahead)?;
        drop(replaced);
        let is_filled = args.flags.contains(MmapFlags::POPULATE) || is_filled(flags);
        if is_filled && args.prot != Protection::default() {
            // As in Linux, failing to fill the pages is no failure to map them.
            let _ = self.populate(range.clone(), fill);
        }
        Ok(UserAddr(range.start))
    }

    /// The part of mmap(2) under the locks. Says where, and with which flags. What is replaced comes back, to be dropped
    /// without them.
    fn map_vma(
        &self,
        args: &MmapArgs,
        len: u64,
        mut vma: Vma,
        ahead: Option<Ahead>,
    ) -> Result<(Range<u64>, VmaFlags, Replaced)> {
        let mut mappings = self.write_mappings();
        let placed = self.place(&mappings, args, len).and_then(|start| {
            vma.flags |= mappings.lock_future;
            mappings.exec_gain.check(vma.prot, vma.prot)?;
            check_unsealed(&mappings.vmas, &(start..start + len))?;
            self.check_new(&mappings, start..start + len, &vma)?;
            Ok(start..start + len)
        });
        let range = match placed {
            Ok(range) => range,
            Err(error) => {
                drop(mappings);
                ahead.into_iter().for_each(|ahead| self.forget_backing(ahead.backing));
                return Err(error);
            }
        };
        let replaced = mappings.vmas.remove(range.clone());
        mappings.vmas.insert(range.clone(), vma.clone());
        let mut pages = self.pages.write();
        let mut batch = Batch::default();
        let freed = take_pages(&mut pages, range.clone(), &mut batch);
        let more = if is_bss(args, &replaced) { MmapFlags::MORE_COME } else { MmapFlags::empty() };
        let result = self.back_new(&mut pages, &range, &vma, args.flags | more, ahead, &mut batch);
        let result = result.and(batch.commit(&mut pages, &*self.space));
        self.give_back(pages, freed);
        let undone =
            if result.is_err() { self.unmap_locked(&mut mappings, range.clone()) } else { Vec::new() };
        drop(mappings);
        drop(undone);
        result.map(|()| (range, vma.flags, replaced))
    }

    /// Puts pages behind a new mapping, as far as that is worth doing now.
    fn back_new(
        &self,
        pages: &mut Pages,
        range: &Range<u64>,
        vma: &Vma,
        flags: MmapFlags,
        ahead: Option<Ahead>,
        batch: &mut Batch,
    ) -> Result<()> {
        let Some(object) = &vma.object else {
            return self.back_anon(pages, range, vma, flags, batch);
        };
        let Some(Ahead { generation, backing, is_copy }) = ahead else { return Ok(()) };
        if object.mappable.mappings().generation() != generation {
            self.forget_backing(backing);
            return Ok(());
        }
        if let (true, Backing::Memory { offset, len }) = (is_copy, &backing) {
            let source = PageSource::Memory(*offset);
            let pma = Pma { source, cow: false, anon: true, prot: vma.prot, mapped: None };
            pages.map.insert(range.start..range.start + len, pma);
        } else {
            self.install(pages, range.clone(), backing, vma.prot, !vma.is_shared());
        }
        if flags.contains(MmapFlags::MORE_COME) && !vma.is_shared() {
            if is_copy {
                // The linker clears what is behind the data at once, and puts memory in the place of what is behind that.
                pages.put_off_no_further(range.start);
            } else if pages.put_off(range) {
                return Ok(());
            }
        }
        let populate = is_copy || (range.end - range.start <= SMALL && vma.is_shared());
        pages.map.update(range.clone(), |piece, pma| batch.refresh(piece, pma, populate));
        Ok(())
    }

    /// As [`Self::back_new`], for anonymous memory.
    fn back_anon(
        &self,
        pages: &mut Pages,
        range: &Range<u64>,
        vma: &Vma,
        flags: MmapFlags,
        batch: &mut Batch,
    ) -> Result<()> {
        if flags.contains(MmapFlags::MORE_COME) && may_wait(range, vma) && pages.put_off(range) {
            let (pma, _) = self.new_anon(pages, range, vma)?;
            pages.map.insert(range.clone(), pma);
            return Ok(());
        }
        if may_wait(range, vma) && pages.deferred.is_none() && pages.new_memory.may_wait() {
            return Ok(());
        }
        if range.end - range.start <= EAGER && vma.is_accessible() && !pages.is_broken {
            let is_stack = vma.flags.contains(VmaFlags::GROWSDOWN);
            let start =
                if is_stack { range.start.max(range.end.saturating_sub(STACK_AHEAD)) } else { range.start };
            self.add_anon(pages, start..range.end, vma, batch)?;
        }
        Ok(())
    }

    /// Asks the file for what is to be mapped, before any lock is taken. A failure now means a fault later.
    fn ask_ahead(&self, args: &MmapArgs, vma: &Vma, len: u64) -> Option<Ahead> {
        let object = vma.object.as_ref().filter(|_| vma.is_accessible())?;
        let generation = object.mappable.mappings().generation();
        let access = vma.object_access();
        let ask = |len| object.mappable.backing(object.offset, len, access).ok();
        let mut backing = ask(len.min(FILE_AHEAD))?;
        if len > FILE_AHEAD && matches!(backing, Backing::Host { .. }) {
            backing = ask(len).unwrap_or(backing);
        }
        let is_segment = args.flags.contains(MmapFlags::SEGMENT) || self.continues_program(args, object);
        if is_segment && vma.prot.write && !vma.is_shared() {
            match self.copy_ahead(&backing) {
                Some(copy) => {
                    self.forget_backing(backing);
                    return Some(Ahead { generation, backing: copy, is_copy: true });
                }
                None => return Some(Ahead { generation, backing, is_copy: false }),
            }
        }
        Some(Ahead { generation, backing, is_copy: false })
    }

    /// Whether this looks like a dynamic linker that places a segment inside the library it has just mapped.
    fn continues_program(&self, args: &MmapArgs, object: &VmaObject) -> bool {
        args.flags.contains(MmapFlags::FIXED)
            && self.read_mappings().vmas.get(args.addr.0).is_some_and(|(_, vma)| {
                !vma.is_shared() && vma.object.as_ref().is_some_and(|old| old.identity() == object.identity())
            })
    }

    fn copy_ahead(&self, backing: &Backing) -> Option<Backing> {
        match backing {
            Backing::Memory { offset, len } if *len <= COPY_AHEAD => {
                let copy = self.memory.duplicate(*offset, *len, None).ok()?;
                Some(Backing::Memory { offset: copy, len: *len })
            }
            Backing::Host { file, offset, len } if *len <= COPY_AHEAD => {
                let copy = self.memory.allocate(*len).ok()?;
                let read =
                    self.memory.slice(copy, *len as usize).and_then(|slice| file.read_into(*offset, &slice));
                if read.is_err() {
                    self.memory.release(copy, *len);
                    return None;
                }
                Some(Backing::Memory { offset: copy, len: *len })
            }
            _ => None,
        }
    }

    /// The address of a new mapping.
    fn place(&self, mappings: &Mappings, args: &MmapArgs, len: u64) -> Result<u64> {
        let fixed = args.flags.intersects(MmapFlags::FIXED | MmapFlags::FIXED_NOREPLACE);
        if !fixed {
            return mappings.layout.find(
                &mappings.vmas,
                args.addr.0,
                len,
                args.flags.contains(MmapFlags::LOW),
            );
        }
        if !args.addr.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        let end = args.addr.checked_add(len).filter(|end| end.0 <= self.bounds.end).ok_or(Errno::ENOMEM)?;
        if args.addr.0 < MIN_ADDR.max(self.bounds.start) {
            return Err(Errno::EPERM);
        }
        if args.flags.contains(MmapFlags::FIXED_NOREPLACE) && !mappings.vmas.is_vacant(args.addr.0..end.0) {
            return Err(Errno::EEXIST);
        }
        Ok(args.addr.0)
    }

    /// Limits on mappings.
    pub(super) fn check_new(&self, mappings: &Mappings, range: Range<u64>, vma: &Vma) -> Result<()> {
        let len = range.end - range.start;
        if mappings.vmas.len() >= self.memory.max_mappings() {
            return Err(Errno::ENOMEM);
        }
        // What is replaced counts, too, while the new is checked.
        if vma.flags.contains(VmaFlags::LOCKED) {
            self.check_locks(mappings, len)?;
        }
        let replaced: u64 =
            mappings.vmas.overlapping(range.clone()).map(|(old, _)| overlap(&old, &range)).sum();
        self.check_address_space(mappings, len - replaced)?;
        if vma.is_data() {
            let replaced = mappings
                .vmas
                .overlapping(range.clone())
                .filter(|(_, old)| old.is_data())
                .map(|(old, _)| overlap(&old, &range))
                .sum::<u64>();
            self.check_data(mappings, len - replaced)?;
            // Linux's heuristic overcommit refuses only what could never be had.
            if !vma.flags.contains(VmaFlags::NORESERVE) && len > self.memory.limit() {
                return Err(Errno::ENOMEM);
            }
        }
        Ok(())
    }

    /// Whether `RLIMIT_AS` leaves room for `more` bytes.
    pub(super) fn check_address_space(&self, mappings: &Mappings, more: u64) -> Result<()> {
        let limit = self.limits.address_space();
        if limit == u64::MAX {
            return Ok(());
        }
        let total: u64 = mappings.vmas.iter().map(|(range, _)| range.end - range.start).sum();
        if total.saturating_add(more) > limit { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// Whether `RLIMIT_DATA` leaves room for `more` bytes.
    pub(super) fn check_data(&self, mappings: &Mappings, more: u64) -> Result<()> {
        let limit = self.limits.data();
        if limit == u64::MAX {
            return Ok(());
        }
        let data = mappings.vmas.iter().filter(|(_, vma)| vma.is_data());
        let total: u64 = data.map(|(range, _)| range.end - range.start).sum();
        if total.saturating_add(more) > limit { Err(Errno::ENOMEM) } else { Ok(()) }
    }

    /// munmap(2).
    ///
    /// # Errors
    /// `EINVAL`; `ENOMEM` where a mapping would be split and there are too many already; `EPERM` where one is sealed.
    pub fn munmap(&self, addr: UserAddr, len: u64) -> Result<()> {
        let range = Self::page_range(addr, len)?;
        if range.is_empty() || range.end > self.bounds.end {
            return Err(Errno::EINVAL);
        }
        self.forget_thunks(range.clone());
        let mut mappings = self.write_mappings();
        check_unsealed(&mappings.vmas, &range)?;
        let splits = mappings
            .vmas
            .get(range.start)
            .is_some_and(|(whole, _)| whole.start < range.start && whole.end > range.end);
        if splits && mappings.vmas.len() >= self.memory.max_mappings() {
            return Err(Errno::ENOMEM);
        }
        let removed = self.unmap_locked(&mut mappings, range);
        drop(mappings);
        drop(removed);
        Ok(())
    }

    /// Removes everything in `range`. The mappings come back, to be dropped once `mappings` is unlocked.
    pub(super) fn unmap_locked(&self, mappings: &mut Mappings, range: Range<u64>) -> Vec<(Range<u64>, Vma)> {
        let removed = mappings.vmas.remove(range.clone());
        let waited = removed.iter().any(|(range, vma)| may_wait(range, vma));
        self.drop_pages(range, waited);
        removed
    }

    /// Takes the pages of `range` away from the guest and frees them. Where it `may` have been left to a fault, and there
    /// are none, that was right.
    pub(super) fn drop_pages(&self, range: Range<u64>, may_have_waited: bool) {
        let mut pages = self.pages.write();
        let mut batch = Batch::default();
        let freed = take_pages(&mut pages, range, &mut batch);
        if may_have_waited && freed.is_empty() {
            pages.new_memory.note_unused();
        }
        self.lose(pages, batch, freed);
    }

    /// Has the stub lose what `batch` takes away, then gives the frames back that were `freed` with it. A refusal marks the
    /// address space as broken: the guest process dies of it at its next fault.
    pub(super) fn lose(&self, mut pages: RwLockWriteGuard<'_, Pages>, batch: Batch, freed: Frames) {
        if batch.commit(&mut pages, &*self.space).is_err() {
            pages.is_broken = true;
        }
        self.give_back(pages, freed);
    }

    /// Gives frames back that the stub has lost, as far as that is known.
    fn give_back(&self, mut pages: RwLockWriteGuard<'_, Pages>, freed: Frames) {
        let freed = pages.releasable(freed);
        drop(pages);
        self.release_all(freed);
    }
}

/// Takes pages out of the map and has the stub lose them; they are the caller's to release after the commit.
pub(super) fn take_pages(pages: &mut Pages, range: Range<u64>, batch: &mut Batch) -> Frames {
    let removed = pages.map.remove(range);
    let mapped = |(_, pma): &&(Range<u64>, Pma)| pma.mapped.is_some();
    let first = removed.iter().find(mapped).map(|(piece, _)| piece.start);
    let last = removed.iter().rev().find(mapped).map(|(piece, _)| piece.end);
    if let (Some(first), Some(last)) = (first, last) {
        // One operation: what lies between is not mapped any more either.
        batch.unmap(first..last);
    }
    removed.into_iter().map(|(piece, pma)| (pma.source, piece.end - piece.start)).collect()
}

/// Whether this looks like a dynamic linker that puts memory behind the data of the library it has just mapped.
fn is_bss(args: &MmapArgs, replaced: &Replaced) -> bool {
    let is_of_file = |(_, vma): &(Range<u64>, Vma)| vma.object.is_some() && !vma.is_shared();
    args.flags.contains(MmapFlags::FIXED) && args.mappable.is_none() && replaced.iter().any(is_of_file)
}

/// Whether memory is of the kind that may be left to a fault.
pub(super) fn may_wait(range: &Range<u64>, vma: &Vma) -> bool {
    let is_plain = vma.is_private_anon() && !vma.flags.intersects(VmaFlags::GROWSDOWN | VmaFlags::LOCKED);
    is_plain && vma.is_accessible() && range.end - range.start <= MAY_WAIT
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> u64 {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}
