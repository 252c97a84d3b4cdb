//! fork(2): a second address space with the same content, copied where somebody writes or is about to.

use std::collections::HashSet;
use std::sync::Arc;

use abi::Result;
use segment::SegmentMap;

use super::batch::Batch;
use super::child_needs::Shown;
use super::fork_copy::is_inherited;
use super::manager::MemoryManager;
use super::pma::{PageSource, Pages};
use super::vma::{Vma, VmaFlags};

impl MemoryManager {
    /// A copy-on-write copy for fork(2).
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn fork(&self) -> Result<Arc<Self>> {
        let call_sites = self.call_sites.lock();
        let _no_transfer = self.io.write();
        let mappings = self.read_mappings();
        let mut copy = mappings.clone();
        copy.lock_future = VmaFlags::empty();
        copy.exec_gain = mappings.exec_gain.inherited();
        copy.vmas = SegmentMap::new();
        for (range, vma) in mappings.vmas.iter() {
            if !vma.flags.contains(VmaFlags::DONTFORK) {
                let mut vma = vma.clone();
                vma.flags.remove(VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT);
                copy.vmas.insert(range, vma);
            }
        }
        let child = Self::assemble(&self.platform, &self.memory, copy, self.limits.clone())?;
        for (_, vma) in mappings.vmas.iter() {
            if let Some(object) = &vma.object {
                object.mappable.mappings().add(&child.this);
            }
        }
        *child.call_sites.lock() = call_sites.clone();
        child.register_barriers(self.registered_barriers());
        let mut ours = self.pages.write();
        let mut theirs = child.pages.write();
        let (mut protect, mut show) = (Batch::default(), Batch::default());
        (theirs.new_memory, theirs.more_rights) = (ours.new_memory.clone(), ours.more_rights.clone());
        let copied = self.copy_for_child(&mappings.vmas, &mut ours, &mut theirs, &mut show);
        for (range, vma) in mappings.vmas.iter().filter(|(_, vma)| is_inherited(vma)) {
            for rest in copied.gaps(range) {
                self.share(&mut ours, &mut theirs, rest, vma, &mut protect);
            }
        }
        theirs.child_needs = ours.child_needs.clone();
        show_inherited(&mappings.vmas, &mut theirs, &ours.child_needs.next_child(), &mut show);
        protect.commit(&mut ours, &*self.space)?;
        show.commit(&mut theirs, &*child.space)?;
        drop(theirs);
        Ok(child)
    }

    /// Shares the pages of one mapping with the child.
    fn share(
        &self,
        ours: &mut Pages,
        theirs: &mut Pages,
        range: std::ops::Range<u64>,
        vma: &Vma,
        protect: &mut Batch,
    ) {
        let private = !vma.is_shared();
        ours.map.update(range, |piece, pma| {
            if private {
                pma.cow = true;
                protect.refresh(piece.clone(), pma, false);
            }
            if let PageSource::Memory(offset) = pma.source {
                self.memory.retain(offset, piece.end - piece.start);
            }
            let mut copy = pma.clone();
            copy.mapped = None;
            theirs.map.insert(piece, copy);
        });
    }
}

/// Has the stub of a new child shown what it is likely to touch: memory of its own, and the files that children of this
/// process are known to need. The first file that is touched besides brings all.
fn show_inherited(vmas: &SegmentMap<Vma>, pages: &mut Pages, shown: &Shown, show: &mut Batch) {
    let programs = programs(vmas);
    let is_shown = |addr: u64| {
        let Some((_, vma)) = vmas.get(addr) else { return true };
        let Some(object) = &vma.object else { return true };
        match shown {
            Shown::Programs => vma.is_shared() || programs.contains(&object.identity()),
            Shown::Files(files) => files.contains(&object.identity()),
        }
    };
    let mut left_out = Vec::new();
    pages.map.update(0..u64::MAX, |piece, pma| {
        if is_shown(piece.start) {
            show.refresh(piece, pma, false);
        } else if pma.mapped.is_none() {
            left_out.push(piece);
        }
    });
    pages.leave_out(left_out);
}

/// Files that some part of can be executed, by their identity: not locales and caches.
fn programs(vmas: &SegmentMap<Vma>) -> HashSet<usize> {
    let code = vmas.iter().filter(|(_, vma)| vma.prot.execute);
    code.filter_map(|(_, vma)| Some(vma.object.as_ref()?.identity())).collect()
}
