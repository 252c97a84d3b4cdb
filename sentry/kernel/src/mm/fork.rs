//! fork(2): a second address space with the same content, copied where somebody writes or is about to.

use std::collections::HashSet;
use std::sync::Arc;

use abi::Result;

use super::HostFile;
use super::batch::Batch;
use super::fork_copy::is_inherited;
use super::manager::MemoryManager;
use super::pma::{PageSource, Pages, Pma};
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
        copy.vmas = segment::SegmentMap::new();
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
        show_inherited(&mut theirs, &mut show);
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

/// Has the stub of a new child shown what it is likely to touch: all but files that are only data (locales, caches).
/// A shell maps a dozen of these, and most of its children execute a program before they look at one. The first that
/// is touched brings all.
fn show_inherited(pages: &mut Pages, show: &mut Batch) {
    let programs: HashSet<*const HostFile> =
        pages.map.iter().filter(|(_, pma)| pma.prot.execute).filter_map(|(_, pma)| host_file(pma)).collect();
    let mut left_out = Vec::new();
    pages.map.update(0..u64::MAX, |piece, pma| {
        let is_data = host_file(pma).is_some_and(|file| !programs.contains(&file));
        if is_data {
            left_out.push(piece);
        } else {
            show.refresh(piece, pma, false);
        }
    });
    pages.leave_out(left_out);
}

/// Which host file a piece shows, by its address.
fn host_file(pma: &Pma) -> Option<*const HostFile> {
    match &pma.source {
        PageSource::Host(file, _) => Some(Arc::as_ptr(file)),
        PageSource::Memory(_) => None,
    }
}
