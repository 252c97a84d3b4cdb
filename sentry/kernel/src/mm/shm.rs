//! Attaching and detaching System V segments (`man 2 shmat`).

use std::sync::Arc;

use abi::ipc::{SHM_EXEC, SHM_RDONLY, SHM_REMAP};
use abi::{Errno, Result, UserAddr};
use platform::Protection;

use super::manager::MemoryManager;
use super::{Mappable, MmapArgs, MmapFlags};

impl MemoryManager {
    /// Maps a segment of `len` bytes at `addr`, or where there is room if that is null; `flags` are those of shmat(2).
    /// Returns where it is.
    ///
    /// # Errors
    /// `EINVAL` where something is mapped there that `SHM_REMAP` does not allow to replace; else as mmap(2).
    pub fn attach_segment(
        &self,
        segment: Arc<dyn Mappable>,
        len: u64,
        addr: UserAddr,
        flags: u32,
    ) -> Result<UserAddr> {
        let (write, execute) = (flags & SHM_RDONLY == 0, flags & SHM_EXEC != 0);
        let place = match (addr.is_null(), flags & SHM_REMAP != 0) {
            (true, _) => MmapFlags::empty(),
            (false, true) => MmapFlags::FIXED,
            (false, false) => MmapFlags::FIXED_NOREPLACE,
        };
        let attached = self.mmap(MmapArgs {
            prot: Protection { read: true, write, execute },
            may_write: write,
            mappable: Some((segment, 0)),
            ..MmapArgs::anonymous(addr, len, place | MmapFlags::SHARED)
        });
        attached.map_err(|error| if error == Errno::EEXIST { Errno::EINVAL } else { error })
    }

    /// Unmaps all parts of the segment whose attachment begins at `addr`, whatever has been cut out of it since.
    ///
    /// # Errors
    /// `EINVAL` where no segment is attached there.
    pub fn detach_segment(&self, addr: UserAddr) -> Result<()> {
        if !addr.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        let mut mappings = self.write_mappings();
        let mut found = None;
        let mut parts = Vec::new();
        for (range, vma) in mappings.vmas.overlapping(addr.0..self.bounds.end) {
            let Some(object) = vma.object.as_ref() else { continue };
            let Some(len) = object.mappable.segment_len() else { continue };
            let (identity, end) = *found.get_or_insert((object.identity(), addr.0.saturating_add(len)));
            if range.start >= end {
                break;
            }
            if object.identity() == identity && range.start.checked_sub(addr.0) == Some(object.offset) {
                parts.push(range);
            }
        }
        let removed: Vec<_> = parts.into_iter().map(|part| self.unmap_locked(&mut mappings, part)).collect();
        drop(mappings);
        if removed.is_empty() { Err(Errno::EINVAL) } else { Ok(()) }
    }
}
