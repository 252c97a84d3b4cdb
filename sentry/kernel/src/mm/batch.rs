//! Changes to a stub's mappings, collected to be made in one hand-off.

use std::ops::Range;

use abi::{Errno, Result, UserAddr};
use platform::{AddressSpace, MapOp, MapSource, PlatformError, Protection};

use super::MemoryManager;
use super::pma::{PageSource, Pages, Pma};

#[derive(Debug)]
enum Op {
    Map { source: PageSource, prot: Protection, populate: bool },
    Unmap,
    Protect(Protection),
}

/// Operations in order, neighbours joined where possible.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    ops: Vec<(Range<u64>, Op)>,
}

impl Batch {
    /// Whether there is nothing to be done.
    pub(crate) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Shows `source` in `range`, in place of what is there.
    pub(crate) fn map(&mut self, range: Range<u64>, source: PageSource, prot: Protection, populate: bool) {
        if let Some((last, Op::Map { source: s, prot: p, populate: pop })) = self.ops.last_mut() {
            let len = last.end - last.start;
            if last.end == range.start && *p == prot && *pop == populate && s.continues(len, &source) {
                last.end = range.end;
                return;
            }
        }
        // Mapping replaces: nothing else need be done to the same place.
        while self.ops.last().is_some_and(|(last, _)| last.start >= range.start && last.end <= range.end) {
            self.ops.pop();
        }
        self.ops.push((range, Op::Map { source, prot, populate }));
    }

    /// Removes what is mapped in `range`.
    pub(crate) fn unmap(&mut self, range: Range<u64>) {
        if let Some((last, Op::Unmap)) = self.ops.last_mut()
            && last.end == range.start
        {
            last.end = range.end;
            return;
        }
        self.ops.push((range, Op::Unmap));
    }

    /// Changes the rights in `range`.
    pub(crate) fn protect(&mut self, range: Range<u64>, prot: Protection) {
        if let Some((last, Op::Protect(p))) = self.ops.last_mut()
            && last.end == range.start
            && *p == prot
        {
            last.end = range.end;
            return;
        }
        self.ops.push((range, Op::Protect(prot)));
    }

    /// Brings the stub's view of one piece of a PMA up to date.
    pub(crate) fn refresh(&mut self, range: Range<u64>, pma: &mut Pma, populate: bool) {
        let wanted = pma.effective();
        match pma.mapped {
            Some(now) if now == wanted => {}
            Some(_) => self.protect(range, hardware(wanted)),
            None if wanted == Protection::default() => return,
            None => self.map(range, pma.source.clone(), hardware(wanted), populate),
        }
        pma.mapped = Some(wanted);
    }

    /// Makes the changes. Where the host refuses one, whatever the batch touches is unmapped instead, so that the
    /// stub shows nothing that the PMAs do not say.
    pub(crate) fn commit(mut self, pages: &mut Pages, space: &dyn AddressSpace) -> Result<()> {
        if pages.is_broken {
            return Err(Errno::ENOMEM);
        }
        if self.ops.is_empty() {
            return Ok(());
        }
        if let Some(deferred) = &mut pages.deferred {
            deferred.append(self);
            return Ok(());
        }
        pages.catch_up(&mut self);
        let ops: Vec<MapOp<'_>> = self.ops.iter().map(|(range, op)| as_map_op(range, op)).collect();
        match space.apply(&ops) {
            Ok(()) => Ok(()),
            Err(PlatformError::Mapping(_)) => {
                self.retreat(pages, space);
                Err(Errno::ENOMEM)
            }
            Err(_) => {
                pages.is_broken = true;
                Err(Errno::ENOMEM)
            }
        }
    }

    fn append(&mut self, later: Self) {
        for (range, op) in later.ops {
            match op {
                Op::Map { source, prot, populate } => self.map(range, source, prot, populate),
                Op::Unmap => self.unmap(range),
                Op::Protect(prot) => self.protect(range, prot),
            }
        }
    }

    fn retreat(&self, pages: &mut Pages, space: &dyn AddressSpace) {
        for (range, _) in &self.ops {
            if space.apply(&[as_map_op(range, &Op::Unmap)]).is_err() {
                pages.is_broken = true;
            }
            pages.map.update(range.clone(), |_, pma| pma.mapped = None);
        }
    }
}

fn as_map_op<'a>(range: &Range<u64>, op: &'a Op) -> MapOp<'a> {
    let (addr, len) = (UserAddr(range.start), range.end - range.start);
    match op {
        Op::Map { source, prot, populate } => {
            let source = match source {
                PageSource::Memory(offset) => MapSource::Memory(*offset),
                PageSource::Host(file, offset) => MapSource::File(file.fd(), *offset),
            };
            MapOp::Map { addr, len, prot: *prot, source, populate: *populate }
        }
        Op::Unmap => MapOp::Unmap { addr, len },
        Op::Protect(prot) => MapOp::Protect { addr, len, prot: *prot },
    }
}

/// Rights as x86 has them: what can be written or executed can be read.
fn hardware(prot: Protection) -> Protection {
    Protection { read: prot.read || prot.write || prot.execute, ..prot }
}

impl MemoryManager {
    /// Collects all changes from now on instead of making them. Only for an address space in which nothing runs.
    pub(crate) fn defer_mappings(&self) {
        self.pages.write().deferred = Some(Batch::default());
    }

    /// Makes the changes collected since [`Self::defer_mappings`], in one hand-off.
    ///
    /// # Errors
    /// `ENOMEM` where the host refuses one.
    pub(crate) fn apply_deferred(&self) -> Result<()> {
        let mut pages = self.pages.write();
        match pages.deferred.take() {
            Some(batch) => batch.commit(&mut pages, &*self.space),
            None => Ok(()),
        }
    }
}
