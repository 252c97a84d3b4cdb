//! The guest's physical memory: one sparse memfd, mapped once in the sentry (the direct map).
//!
//! Locks: `free` is a leaf; it is not held while memory is zeroed or returned to the host.

use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use abi::{Errno, PAGE_SIZE, Result, page_ceil};
use host::heap::{self, Purpose};
use host::memory::{Mapping, VolatileSlice};
use parking_lot::Mutex;

use super::frames::Frames;
use super::free_space::FreeSpace;
use super::io::IoSrc;

/// Allocations of at most this size are expected to be touched at once: they are served from memory that was freed
/// lately, and kept when freed. Larger ones are mostly holes, and are returned to the host.
pub(crate) const SMALL: u64 = 256 << 10;
/// Ranges up to this size are asked about page by page.
const PROBED: u64 = 256 << 10;
/// Freed memory kept for reuse, bytes.
const KEEP: u64 = 4 << 20;
/// The file is larger than the limit by this factor: reserved but untouched frames (stacks, arenas) cost nothing.
const OVERCOMMIT: u64 = 16;
const MIN_CAPACITY: u64 = 64 << 30;
const MAX_CAPACITY: u64 = 4 << 40;

/// Allocates pages of the memory file and counts who refers to them.
///
/// Frames are named by their byte offset in the file. Every page handed out by [`Self::allocate`] reads as zeros. A
/// page is freed when its last reference goes; its memory then returns to the host, or is kept for the next small
/// allocation and zeroed there.
///
/// The limit is on memory in use, as a machine's is: frames may be reserved beyond it as long as they are not touched.
#[derive(Debug)]
pub struct MemoryFile {
    fd: OwnedFd,
    map: Mapping,
    limit: u64,
    /// What files in memory may bring the memory in use to, bytes.
    file_limit: AtomicU64,
    frames: Frames,
    free: Mutex<FreeLists>,
    /// Bytes in frames with a reference.
    reserved: AtomicU64,
    /// Most mappings of each address space (`vm.max_map_count`).
    max_mappings: AtomicUsize,
}

/// Every byte of the file is in use or in one of these.
#[derive(Debug)]
struct FreeLists {
    /// Holes of the file.
    cold: FreeSpace,
    /// Memory with unknown content.
    warm: FreeSpace,
}

/// Most mappings of an address space (`vm.max_map_count`) to begin with.
const MAX_MAPPINGS: usize = 65530;

impl MemoryFile {
    /// A memory file that can hold `limit` bytes of guest pages.
    ///
    /// # Errors
    /// What the host says to `memfd_create`, `ftruncate` or `mmap`.
    pub fn new(limit: u64) -> Result<Arc<Self>> {
        let limit = page_ceil(limit).ok_or(Errno::ENOMEM)?;
        let capacity = limit.saturating_mul(OVERCOMMIT).clamp(MIN_CAPACITY, MAX_CAPACITY).max(limit);
        let fd = host::memory::memfd(c"guest-memory", capacity)?;
        let len = usize::try_from(capacity).map_err(|_| Errno::ENOMEM)?;
        let map = Mapping::shared(fd.as_fd(), 0, len, true)?;
        let mut cold = FreeSpace::default();
        cold.insert(0..capacity);
        let free = Mutex::new(FreeLists { cold, warm: FreeSpace::default() });
        let frames = Frames::new(capacity);
        let reserved = AtomicU64::new(0);
        let file_limit = AtomicU64::new(u64::MAX);
        let max_mappings = AtomicUsize::new(MAX_MAPPINGS);
        Ok(Arc::new(Self { fd, map, limit, file_limit, frames, free, reserved, max_mappings }))
    }

    /// How many mappings each address space in this memory may have.
    #[must_use]
    pub fn max_mappings(&self) -> usize {
        self.max_mappings.load(Ordering::Relaxed)
    }

    /// Changes that, for what is mapped from now on.
    pub fn set_max_mappings(&self, max: usize) {
        self.max_mappings.store(max, Ordering::Relaxed);
    }

    /// The file, for the platform to map.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The limit given to [`Self::new`], in whole pages.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Limits files in memory to what leaves an eighth of `total_memory` free: no process can be killed for what they
    /// hold, and the host would kill the sentry in the end.
    pub fn set_file_limit(&self, total_memory: u64) {
        self.file_limit.store(total_memory - total_memory / 8, Ordering::Relaxed);
    }

    /// Whether a file in memory may have `len` bytes more.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn check_file_room(&self, len: u64) -> Result<()> {
        let limit = self.file_limit.load(Ordering::Relaxed);
        // What is reserved is never less than what is used, and costs no call to look at.
        let is_full = self.allocated().saturating_add(len) > limit
            && self.used().saturating_add(len.min(SMALL)) > limit;
        if is_full { Err(Errno::ENOSPC) } else { Ok(()) }
    }

    /// `len` bytes (a page multiple) of contiguous zeroed frames, each with one reference.
    ///
    /// # Errors
    /// `ENOMEM` above the limit.
    pub fn allocate(&self, len: u64) -> Result<u64> {
        self.allocate_near(len, None)
    }

    /// As [`Self::allocate`], preferably at offset `near`, so that neighbouring mappings are neighbours in the file.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub fn allocate_near(&self, len: u64, near: Option<u64>) -> Result<u64> {
        self.allocate_to_fill(len, near).map(|(at, _)| at)
    }

    /// As [`Self::allocate_near`]; the second value says whether the frames are holes of the file, for which
    /// [`Self::fill`] is the cheapest way to their first content.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub fn allocate_to_fill(&self, len: u64, near: Option<u64>) -> Result<(u64, bool)> {
        let (at, dirty) = self.allocate_any(len, near)?;
        if dirty && self.zero(at, len).is_err() {
            self.release(at, len);
            return Err(Errno::ENOMEM);
        }
        Ok((at, !dirty))
    }

    /// Takes up to `len` bytes from `src` to `offset` on, by a call of the host instead of the direct map: pages that
    /// are not there yet cost no fault, and are not zeroed before they are overwritten.
    ///
    /// # Errors
    /// `EFAULT` where not even one byte could be loaded; `ENOMEM`.
    pub fn fill(&self, offset: u64, len: usize, src: &mut IoSrc<'_>) -> Result<usize> {
        let mut at = offset;
        src.drain_with(len, &mut |slices| {
            let count = host::memory::pwritev(self.fd(), slices, at)?;
            at += count as u64;
            Ok(count)
        })
    }

    /// As [`Self::allocate_near`], but where the second value is true the frames hold arbitrary old data of any guest
    /// process: the caller must overwrite every byte before anybody sees it.
    ///
    /// # Errors
    /// As [`Self::allocate`].
    pub(crate) fn allocate_any(&self, len: u64, near: Option<u64>) -> Result<(u64, bool)> {
        if len == 0 || !len.is_multiple_of(PAGE_SIZE) {
            return Err(Errno::ENOMEM);
        }
        self.charge(len)?;
        let small = len <= SMALL;
        let mut free = self.free.lock();
        let found = if small { take_from(&mut free.warm, len, near).map(|at| (at, true)) } else { None };
        let found = found.or_else(|| take_from(&mut free.cold, len, near).map(|at| (at, false)));
        drop(free);
        let found = found.or_else(|| {
            self.trim();
            self.free.lock().cold.take(len).map(|at| (at, false))
        });
        let Some((at, dirty)) = found else {
            self.reserved.fetch_sub(len, Ordering::Relaxed);
            return Err(Errno::ENOMEM);
        };
        self.frames.start(at..at + len, small);
        Ok((at, dirty))
    }

    /// Adds a reference to each page of the range. The caller holds one already.
    pub fn retain(&self, offset: u64, len: u64) {
        self.frames.retain(offset..offset + len);
    }

    /// Drops a reference from each page of the range.
    pub fn release(&self, offset: u64, len: u64) {
        self.frames.release(offset..offset + len, &mut |range, warm| self.recycle(range, warm));
    }

    /// The bytes themselves, through the direct map.
    ///
    /// # Errors
    /// `EFAULT` outside the file.
    pub fn slice(&self, offset: u64, len: usize) -> Result<VolatileSlice<'_>> {
        self.map.slice(offset, len)
    }

    /// Bytes in frames that are referred to, touched or not.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Bytes of host memory that guests use: what `/proc/meminfo` calls used.
    #[must_use]
    pub fn used(&self) -> u64 {
        let kept = self.free.lock().warm.total();
        host::memory::occupied(self.fd()).unwrap_or(0).saturating_sub(kept)
    }

    /// Bytes of a range that are present in memory.
    #[must_use]
    pub fn resident(&self, offset: u64, len: u64) -> u64 {
        let (mut at, end) = (offset, offset + len);
        let mut sum = 0;
        // Two calls of the host for each stretch, whatever lies in it; none for the holes between.
        while let Some(start) = host::memory::seek_data(self.fd(), at).unwrap_or(None).filter(|&at| at < end)
        {
            let stop = end.min(start + PROBED);
            let mut pages = [0; (PROBED / PAGE_SIZE) as usize];
            let pages = &mut pages[..((stop - start) / PAGE_SIZE) as usize];
            self.resident_pages(start, pages);
            sum += pages.iter().filter(|page| **page & 1 != 0).count() as u64 * PAGE_SIZE;
            at = stop;
        }
        sum
    }

    /// The next run of pages in `at..end` that are present; the rest reads as zeros without taking memory.
    pub(crate) fn next_present(&self, at: u64, end: u64) -> Option<Range<u64>> {
        if end.saturating_sub(at) <= PROBED {
            return self.probe_present(at, end);
        }
        // An error cannot happen on a memfd; taking everything for present is always right.
        host::memory::next_data(self.fd(), at, end).unwrap_or(Some(at..end)).filter(|run| run.start < run.end)
    }

    /// As [`Self::next_present`], page by page: the host looks for the end of a run far beyond `end`.
    fn probe_present(&self, at: u64, end: u64) -> Option<Range<u64>> {
        let data_at = |at| host::memory::seek_data(self.fd(), at).unwrap_or(Some(at));
        let start = data_at(at).filter(|&start| start < end)?;
        let mut stop = start + PAGE_SIZE;
        while stop < end && data_at(stop) == Some(stop) {
            stop += PAGE_SIZE;
        }
        Some(start..stop.min(end))
    }

    /// Which pages from `offset` on are worth copying along with another: those that the host has in memory right now.
    /// Not to be taken for holes: what was swapped out is not among them.
    pub(crate) fn resident_pages(&self, offset: u64, pages: &mut [u8]) {
        if self.map.resident(offset, pages).is_err() {
            pages.fill(0);
        }
    }

    /// Whether no page of a range is there: all of it reads as zeros.
    pub(crate) fn is_hole(&self, range: Range<u64>) -> bool {
        host::memory::seek_data(self.fd(), range.start)
            .is_ok_and(|next| next.is_none_or(|at| at >= range.end))
    }

    /// Makes a range read as zeros, returning its memory to the host where that is worth a system call.
    ///
    /// # Errors
    /// `ENOMEM` where the host could not.
    pub(crate) fn clear(&self, offset: u64, len: u64) -> Result<()> {
        host::memory::punch_hole(self.fd(), offset, len).or_else(|_| self.zero(offset, len))
    }

    /// Whether the page at `offset` has a single reference.
    pub(crate) fn is_exclusive(&self, offset: u64) -> bool {
        self.frames.is_exclusive(offset)
    }

    /// Copies `len` bytes of frames to new ones with one reference each; holes stay holes where possible.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn duplicate(&self, offset: u64, len: u64, near: Option<u64>) -> Result<u64> {
        let (to, dirty) = self.allocate_any(len, near)?;
        let copied = self.copy_present(offset, to, len, dirty);
        if copied.is_err() {
            self.release(to, len);
        }
        copied.map(|()| to).map_err(|_| Errno::ENOMEM)
    }

    /// Copies frames that are known to be present, given as offsets and lengths, to new ones in a row, with one reference
    /// each.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn gather_present(&self, sources: &[(u64, u64)], near: Option<u64>) -> Result<u64> {
        let whole = sources.iter().map(|(_, len)| len).sum();
        let (to, _) = self.allocate_any(whole, near)?;
        let mut at = to;
        for (offset, len) in sources {
            let copy = || self.slice(*offset, *len as usize)?.copy_to(&self.slice(at, *len as usize)?);
            if copy().is_err() {
                self.release(to, whole);
                return Err(Errno::ENOMEM);
            }
            at += len;
        }
        Ok(to)
    }

    fn copy_present(&self, from: u64, to: u64, len: u64, dirty: bool) -> Result<()> {
        let mut at = from;
        while at < from + len {
            let run = self.next_present(at, from + len).unwrap_or(from + len..from + len);
            if dirty && run.start > at {
                self.zero(to + (at - from), run.start - at)?;
            }
            let bytes = (run.end - run.start) as usize;
            self.slice(run.start, bytes)?.copy_to(&self.slice(to + (run.start - from), bytes)?)?;
            at = run.end;
        }
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64) -> Result<()> {
        self.slice(offset, len as usize)?.zero()
    }

    /// Counts `len` bytes as reserved, unless guests already use all the memory they may, or sharing everything that is
    /// reserved, which nothing can refuse any more, would take more counts than there is room for.
    fn charge(&self, len: u64) -> Result<()> {
        let reserved = self.reserved.fetch_add(len, Ordering::Relaxed).saturating_add(len);
        let has_counts = || heap::room_for(Frames::table_bytes(reserved), Purpose::Process).is_ok();
        let is_below = || self.used().saturating_add(len.min(SMALL)) <= self.limit;
        if (len <= SMALL || has_counts()) && (reserved <= self.limit || is_below()) {
            return Ok(());
        }
        self.reserved.fetch_sub(len, Ordering::Relaxed);
        Err(Errno::ENOMEM)
    }

    fn recycle(&self, range: Range<u64>, warm: bool) {
        let len = range.end - range.start;
        self.reserved.fetch_sub(len, Ordering::Relaxed);
        if warm {
            let mut free = self.free.lock();
            if free.warm.total() + len <= KEEP {
                free.warm.insert(range);
                return;
            }
        }
        self.return_to_host(range);
    }

    fn return_to_host(&self, range: Range<u64>) {
        let cleared = self.clear(range.start, range.end - range.start);
        let mut free = self.free.lock();
        match cleared {
            Ok(()) => free.cold.insert(range),
            Err(_) => free.warm.insert(range),
        }
    }

    /// Returns everything that is kept to the host.
    pub fn trim(&self) {
        let kept = self.free.lock().warm.take_all();
        for range in kept {
            self.return_to_host(range);
        }
    }
}

fn take_from(space: &mut FreeSpace, len: u64, near: Option<u64>) -> Option<u64> {
    near.filter(|&at| at.checked_add(len).is_some_and(|end| space.take_at(at..end)))
        .or_else(|| space.take(len))
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use super::MemoryFile;

    fn file(limit: u64) -> std::sync::Arc<MemoryFile> {
        host::memory::install_fault_handler();
        MemoryFile::new(limit).unwrap()
    }

    #[test]
    fn frames_are_zero_counted_and_reused() {
        let memory = file(1 << 20);
        let a = memory.allocate(8192).unwrap();
        memory.slice(a, 8192).unwrap().write(&[7; 8192]).unwrap();
        memory.retain(a, 4096);
        assert!(!memory.is_exclusive(a) && memory.is_exclusive(a + 4096));
        memory.release(a, 8192);
        assert_eq!(memory.allocated(), 4096);
        let b = memory.allocate(4096).unwrap();
        assert_eq!(b, a + 4096, "warm memory is reused");
        let mut bytes = [1; 4096];
        memory.slice(b, 4096).unwrap().read(&mut bytes).unwrap();
        assert_eq!(bytes, [0; 4096]);
        memory.slice(a, 4096).unwrap().read(&mut bytes).unwrap();
        assert_eq!(bytes, [7; 4096], "the page with another reference survived");
        memory.release(a, 4096);
        memory.release(b, 4096);
        memory.trim();
        assert_eq!((memory.allocated(), memory.used()), (0, 0));
    }

    #[test]
    fn the_limit_is_on_memory_in_use() {
        let memory = file(1 << 20);
        let reserved = memory.allocate(64 << 20).unwrap();
        let used = memory.allocate(1 << 20).unwrap();
        memory.slice(used, 1 << 20).unwrap().write(&vec![1; 1 << 20]).unwrap();
        assert_eq!(memory.allocate(4096), Err(Errno::ENOMEM));
        memory.release(used, 1 << 20);
        assert!(memory.allocate(4096).is_ok());
        memory.release(reserved, 64 << 20);
        assert_eq!(memory.allocate(!4095), Err(Errno::ENOMEM));
    }

    #[test]
    fn duplicates_keep_holes() {
        let memory = file(1 << 30);
        let a = memory.allocate(1 << 20).unwrap();
        memory.slice(a + 8192, 2).unwrap().write(b"hi").unwrap();
        let b = memory.duplicate(a, 1 << 20, None).unwrap();
        let mut bytes = [0; 2];
        memory.slice(b + 8192, 2).unwrap().read(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hi");
        assert_eq!((memory.resident(a, 1 << 20), memory.resident(b, 1 << 20)), (4096, 4096));
    }

    #[test]
    fn neighbours_stay_neighbours() {
        let memory = file(1 << 30);
        let a = memory.allocate(1 << 20).unwrap();
        assert_eq!(memory.allocate_near(1 << 20, Some(a - (1 << 20))), Ok(a - (1 << 20)));
        let b = memory.allocate_near(1 << 20, Some(a)).unwrap();
        assert_ne!(b, a, "a taken place is not given twice");
    }
}
