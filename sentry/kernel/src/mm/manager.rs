//! The [`MemoryManager`]: one guest address space.

use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Weak};

use abi::{Errno, Result, SigInfo, UserAddr};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use platform::{AddressSpace, Platform, PlatformError};
use segment::SegmentMap;

use super::MemoryFile;
use super::aio::AioContexts;
use super::call_counts::CallCounts;
use super::call_sites::CallSites;
use super::exec_gain::ExecGain;
use super::image::ProgramImage;
use super::layout::Layout;
use super::peak::PeakRss;
use super::pma::{PageSource, Pages};
use super::rlimits::MemoryLimits;
use super::vma::{Vma, VmaFlags};

/// The signal that an unresolvable fault deserves.
pub type FaultSignal = Box<SigInfo>;

/// One guest address space.
///
/// Locks, in this order: `call_sites` and `heap`, `io`, `mappings`, (a mapped file's own locks), `pages`, the memory
/// file's.
/// * `heap` is held by brk(2) from its look at the end of the heap to its change.
/// * `io` is held for reading while the host does I/O on guest pages, and for writing by fork(2), which must not mark
///   pages copy-on-write under a transfer.
/// * `mappings` is taken for reading recursively: whoever holds a file's lock may copy to guest memory and so fault,
///   while a fault of another thread holds `mappings` and waits for that file's lock. So no file's lock is ever
///   wanted with `mappings` held for writing, and nothing that may close a file is dropped then.
/// * `pages` is held during every copy to or from guest memory, for reading; no other lock but the memory file's is
///   taken under it, and no file is asked for anything.
pub struct MemoryManager {
    pub(super) this: Weak<Self>,
    pub(super) platform: Arc<dyn Platform>,
    pub(super) memory: Arc<MemoryFile>,
    pub(super) space: Arc<dyn AddressSpace>,
    /// Where guest mappings may lie.
    pub(super) bounds: Range<u64>,
    pub(super) heap: Mutex<()>,
    pub(super) io: RwLock<()>,
    pub(super) mappings: RwLock<Mappings>,
    pub(super) pages: RwLock<Pages>,
    pub(super) limits: MemoryLimits,
    /// Before all other locks.
    pub(super) call_sites: Mutex<CallSites>,
    /// Held while no other thread may run guest code; before all locks of the sentry. How often that was in vain.
    pub(crate) code_gate: Mutex<u32>,
    /// Where calls trap.
    pub(crate) call_counts: CallCounts,
    /// Commands of membarrier(2) that have been registered.
    pub(super) barriers: AtomicU32,
    /// Asynchronous I/O.
    pub(super) aio: AioContexts,
    pub(super) peak_rss: PeakRss,
}

/// What the guest asked for.
#[derive(Clone, Debug)]
pub(crate) struct Mappings {
    pub(super) vmas: SegmentMap<Vma>,
    pub(super) layout: Layout,
    /// Start and current end of the heap that brk(2) moves.
    pub(super) brk: Range<u64>,
    /// What mlockall(MCL_FUTURE) adds to new mappings.
    pub(super) lock_future: VmaFlags,
    /// Whether memory may become executable.
    pub(super) exec_gain: ExecGain,
    pub(super) image: ProgramImage,
}

impl MemoryManager {
    /// An empty address space.
    ///
    /// # Errors
    /// `ENOMEM` or `EAGAIN` where the platform has none to give.
    pub fn new(platform: &Arc<dyn Platform>, memory: &Arc<MemoryFile>) -> Result<Arc<Self>> {
        let (min, max) = platform.user_range();
        let mappings = Mappings {
            vmas: SegmentMap::new(),
            layout: Layout::new(min.0..max.0),
            brk: 0..0,
            lock_future: VmaFlags::empty(),
            exec_gain: ExecGain::default(),
            image: ProgramImage::default(),
        };
        Self::assemble(platform, memory, mappings, MemoryLimits::default())
    }

    /// A manager of a new platform address space in which nothing is mapped yet.
    pub(super) fn assemble(
        platform: &Arc<dyn Platform>,
        memory: &Arc<MemoryFile>,
        mappings: Mappings,
        limits: MemoryLimits,
    ) -> Result<Arc<Self>> {
        let space = platform.new_address_space().map_err(|error| match error {
            PlatformError::Resources(_) => Errno::EAGAIN,
            _ => Errno::ENOMEM,
        })?;
        let (min, max) = platform.user_range();
        Ok(Arc::new_cyclic(|this| Self {
            this: this.clone(),
            platform: platform.clone(),
            memory: memory.clone(),
            space,
            bounds: min.0..max.0,
            heap: Mutex::new(()),
            io: RwLock::new(()),
            mappings: RwLock::new(mappings),
            pages: RwLock::default(),
            limits,
            call_sites: Mutex::default(),
            code_gate: Mutex::default(),
            call_counts: CallCounts::default(),
            barriers: AtomicU32::new(0),
            aio: AioContexts::default(),
            peak_rss: PeakRss::default(),
        }))
    }

    /// The platform's side.
    #[must_use]
    pub fn address_space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    /// The memory file behind it.
    #[must_use]
    pub fn memory(&self) -> &Arc<MemoryFile> {
        &self.memory
    }

    /// The resource limits that apply to it.
    #[must_use]
    pub fn limits(&self) -> &MemoryLimits {
        &self.limits
    }

    /// Where guest mappings may lie.
    #[must_use]
    pub fn bounds(&self) -> (UserAddr, UserAddr) {
        (UserAddr(self.bounds.start), UserAddr(self.bounds.end))
    }

    pub(super) fn read_mappings(&self) -> RwLockReadGuard<'_, Mappings> {
        self.mappings.read_recursive()
    }

    pub(super) fn write_mappings(&self) -> RwLockWriteGuard<'_, Mappings> {
        self.mappings.write()
    }

    /// The page range that a system call names: `addr` aligned, `len` rounded up.
    ///
    /// # Errors
    /// `EINVAL` where `addr` is not aligned or the range wraps.
    pub(super) fn page_range(addr: UserAddr, len: u64) -> Result<Range<u64>> {
        if !addr.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        let len = abi::page_ceil(len).ok_or(Errno::EINVAL)?;
        let end = addr.checked_add(len).ok_or(Errno::EINVAL)?;
        Ok(addr.0..end.0)
    }

    /// Gives frames back. To be called with what [`Pages::releasable`] allows, after the stub has lost them.
    pub(super) fn release_all(&self, sources: Vec<(PageSource, u64)>) {
        for (source, len) in sources {
            if let PageSource::Memory(offset) = source {
                self.memory.release(offset, len);
            }
        }
    }
}

impl Drop for MemoryManager {
    fn drop(&mut self) {
        // No guest thread of this address space runs any more, so the stub's mappings are of no use to anybody.
        let pages = self.pages.get_mut();
        let mut frames = std::mem::take(&mut pages.stranded);
        frames.extend(pages.map.iter().map(|(range, pma)| (pma.source.clone(), range.end - range.start)));
        self.release_all(frames);
    }
}

impl std::fmt::Debug for MemoryManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryManager").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
