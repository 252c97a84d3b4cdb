//! The control file: slots of memory shared between the sentry and the stubs.
//!
//! One sparse memfd, mapped whole by the sentry. A slot is either a stub's commands, which that stub maps read-only,
//! or a guest thread's area, which its stub maps writable and whose content is hostile. A slot is given out again only
//! after the process that mapped it was reaped.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::{Errno, Result};
use host::memory::{Mapping, VolatileSlice, memfd, punch_hole};
use parking_lot::Mutex;
use stub::layout::{MAX_SLOTS, SLOT_SIZE};

/// The file, its mapping, and who has which slot.
#[derive(Debug)]
pub(super) struct ControlFile {
    fd: OwnedFd,
    map: Mapping,
    slots: Mutex<Slots>,
}

#[derive(Debug)]
struct Slots {
    /// Slots given back.
    free: Vec<u32>,
    /// The lowest slot that was never given out.
    fresh: u32,
}

impl ControlFile {
    /// A new file whose slot 0 is taken.
    pub(super) fn new() -> Result<Self> {
        let size = MAX_SLOTS * SLOT_SIZE;
        let fd = memfd(c"stubs", size)?;
        let map = Mapping::shared(fd.as_fd(), 0, size as usize, true)?;
        Ok(Self { fd, map, slots: Mutex::new(Slots { free: Vec::new(), fresh: 1 }) })
    }

    /// Its descriptor.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Slot 0.
    pub(super) fn platform_slot(&self) -> VolatileSlice<'_> {
        self.slot(0)
    }

    /// A slot of zeros.
    pub(super) fn allocate(self: &Arc<Self>) -> Result<Slot> {
        let mut slots = self.slots.lock();
        let index = match slots.free.pop() {
            Some(index) => index,
            None if u64::from(slots.fresh) < MAX_SLOTS => {
                slots.fresh += 1;
                slots.fresh - 1
            }
            None => return Err(Errno::ENOMEM),
        };
        Ok(Slot { file: Arc::clone(self), index })
    }

    fn slot(&self, index: u32) -> VolatileSlice<'_> {
        self.map
            .slice(u64::from(index) * SLOT_SIZE, SLOT_SIZE as usize)
            .expect("slot numbers stay below MAX_SLOTS, which the mapping covers")
    }
}

/// A slot of the control file, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    file: Arc<ControlFile>,
    index: u32,
}

impl Slot {
    /// Where it lies in the file.
    pub(super) fn offset(&self) -> u64 {
        u64::from(self.index) * SLOT_SIZE
    }

    /// Its bytes.
    pub(super) fn memory(&self) -> VolatileSlice<'_> {
        self.file.slot(self.index)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // The next owner may be another guest process: it must not read this one's registers.
        if punch_hole(self.file.fd(), self.offset(), SLOT_SIZE).is_err() && self.memory().zero().is_err() {
            return; // Cannot be cleaned: never given out again.
        }
        self.file.slots.lock().free.push(self.index);
    }
}
