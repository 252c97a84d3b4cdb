//! Call sites of guest code that have been rewritten to jump into the platform without a trap.
//!
//! [`platform::rewrite`] says which bytes; here they are put into guest memory, as copies private to this address
//! space: text pages that are written to become its own, thunks get mappings near the code they serve. Both are
//! ordinary guest memory, so fork(2) copies them and execve(2) forgets them.
//!
//! Lock order: [`CallSites`] before all locks of the address space.

use std::ops::Range;
use std::sync::Arc;

use abi::{Errno, PAGE_SIZE, Regs, Result, UserAddr};
use host::memory::VolatileSlice;
use platform::Protection;
use platform::rewrite::{self, CodePatch, Plan, THUNK_SIZE, WINDOW};

use super::fault::Access;
use super::manager::MemoryManager;
use super::shared_text::SharedText;
use super::{MmapArgs, MmapFlags};

/// Most pages of thunks: far more than programs have sites that they use often.
const MAX_REGIONS: usize = 64;
/// In a page.
pub(super) const THUNKS: u64 = PAGE_SIZE / THUNK_SIZE as u64;

/// The rewritten sites of an address space.
#[derive(Clone, Debug, Default)]
pub(crate) struct CallSites {
    regions: Vec<Region>,
    sites: Vec<Site>,
    /// Texts that came with their sites rewritten, and where they lie.
    texts: Vec<(u64, Arc<SharedText>)>,
    /// Somebody looks at the code: nothing is rewritten.
    is_watched: bool,
}

/// What is to be as it was again.
struct Gone {
    sites: Vec<Site>,
    /// Where they lie, and what was shown there. Their sites are among the others.
    texts: Vec<(u64, Arc<SharedText>)>,
}

/// A page of thunks.
#[derive(Clone, Debug)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) used: u64,
}

impl Region {
    /// Where its next thunk lies.
    const fn next(&self) -> u64 {
        self.start + self.used * THUNK_SIZE as u64
    }
}

#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) ret: u64,
    /// Where its thunk lies.
    pub(super) thunk: u64,
    /// Where the jump in padding stands that leads to it.
    pub(super) padding: Option<u64>,
    /// What stood there before.
    pub(super) original: CodePatch,
    /// What stands there instead.
    pub(super) written: Vec<u8>,
}

impl CallSites {
    /// A text that lies at `start` was shown with its sites rewritten, and `thunks` along with it.
    pub(super) fn add_text(&mut self, thunks: Region, start: u64, text: Arc<SharedText>) {
        self.regions.push(thunks);
        self.texts.push((start, text));
    }

    /// Whether the call that returns to `ret` is made from a rewritten site.
    fn has(&self, ret: u64) -> bool {
        self.sites.iter().any(|site| site.ret == ret)
            || self.texts.iter().any(|(start, text)| text.has_site(*start, ret))
    }

    /// Forgets the sites whose thunks lie in a page that `is_gone`.
    fn take_with(&mut self, is_gone: impl Fn(u64) -> bool) -> Gone {
        let (mut gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.sites)
            .into_iter()
            .partition(|site| is_gone(site.thunk & !(PAGE_SIZE - 1)));
        self.sites = kept;
        let (texts, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.texts)
            .into_iter()
            .partition(|(start, text)| is_gone(text.thunks_at(*start)));
        self.texts = kept;
        gone.extend(texts.iter().flat_map(|(start, text)| text.sites_at(*start)));
        Gone { sites: gone, texts }
    }

    /// The last thunk of a region is not needed after all.
    fn give_back(&mut self, thunk: u64) {
        let is_last = |region: &&mut Region| region.next() == thunk + THUNK_SIZE as u64;
        if let Some(region) = self.regions.iter_mut().find(is_last) {
            region.used -= 1;
        }
    }

    fn region_of(&self, addr: u64) -> Option<&Region> {
        self.regions.iter().find(|region| (region.start..region.start + PAGE_SIZE).contains(&addr))
    }
}

/// Whether other threads see either all of a change or nothing of it: it lies within one aligned word.
const fn is_one_store(patch: &CodePatch) -> bool {
    (patch.addr % 8) as usize + patch.bytes.len() <= 8
}

impl MemoryManager {
    /// Rewrites the site from where a call came with `regs`, so that calls from there come without a trap. `is_alone`
    /// tells that no other thread runs guest code in this address space.
    ///
    /// # Errors
    /// `EBUSY` where that can be done only alone, others where it cannot be done.
    pub fn rewrite_call_site(&self, regs: &Regs, is_alone: bool) -> Result<()> {
        let mut sites = self.call_sites.lock();
        if sites.is_watched {
            return Err(Errno::EPERM);
        }
        if sites.has(regs.rip) {
            return Ok(());
        }
        self.try_rewrite(&mut sites, regs, is_alone)
    }

    fn try_rewrite(&self, sites: &mut CallSites, regs: &Regs, is_alone: bool) -> Result<()> {
        let ret = regs.rip;
        let (mapping, is_anonymous) =
            ret.checked_sub(2).and_then(|site| self.code_around(site)).ok_or(Errno::EACCES)?;
        let start = mapping.start.max(ret.saturating_sub(WINDOW + 8));
        let mut code = vec![0; (mapping.end.min(ret.saturating_add(WINDOW + 8)) - start) as usize];
        self.read(UserAddr(start), &mut code)?;
        let site = rewrite::find(&code, start, ret, regs, is_anonymous).ok_or(Errno::ENOENT)?;
        let thunk = self.new_thunk(sites, site.reach(), mapping.start)?;
        let Some(plan) = site.plan(thunk) else {
            sites.give_back(thunk);
            return Err(Errno::ERANGE);
        };
        if !is_alone && !is_one_store(&plan.site) {
            sites.give_back(thunk);
            return Err(Errno::EBUSY);
        }
        let at = (plan.site.addr - start) as usize;
        let before = code.get(at..at + plan.site.bytes.len()).ok_or(Errno::ERANGE)?;
        let original = CodePatch { addr: plan.site.addr, bytes: before.to_vec() };
        let padding = plan.padding.as_ref().map(|padding| padding.addr);
        self.write_plan(&plan, thunk)?;
        sites.sites.push(Site { ret, thunk, padding, original, written: plan.site.bytes });
        Ok(())
    }

    /// The mapping with the code at `addr`, if that is private and only executed; and whether it is no file's.
    fn code_around(&self, addr: u64) -> Option<(Range<u64>, bool)> {
        let mappings = self.read_mappings();
        let (range, vma) = mappings.vmas.get(addr)?;
        let is_code = vma.prot.execute && vma.prot.read && !vma.prot.write && !vma.is_shared();
        let is_special = vma.flags.contains(super::VmaFlags::SPECIAL);
        (is_code && !is_special).then(|| (range, vma.object.is_none()))
    }

    fn write_plan(&self, plan: &Plan, thunk: u64) -> Result<()> {
        self.write_code(&CodePatch { addr: thunk, bytes: plan.thunk.to_vec() })?;
        if let Some(padding) = &plan.padding {
            self.write_code(padding)?;
        }
        self.write_site(&plan.site)
    }

    fn write_code(&self, patch: &CodePatch) -> Result<()> {
        let done = self.write_forced(UserAddr(patch.addr), &patch.bytes);
        if done == patch.bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Writes bytes where other threads may be executing: as one store, where that can be done.
    fn write_site(&self, patch: &CodePatch) -> Result<()> {
        if !is_one_store(patch) {
            return self.write_code(patch);
        }
        let word = patch.addr & !7;
        let at = (patch.addr - word) as usize;
        let access = Access { force: true, ..Access::WRITE };
        let done = self.access(UserAddr(word), 8, access, &mut |piece: VolatileSlice<'_>, _| {
            let mut bytes = [0; 8];
            piece.read(&mut bytes)?;
            bytes[at..at + patch.bytes.len()].copy_from_slice(&patch.bytes);
            piece.store_u64(0, u64::from_ne_bytes(bytes))
        });
        if done == 8 { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// A place for a thunk within `reach`; `below` is where the site's mapping begins.
    fn new_thunk(&self, sites: &mut CallSites, reach: Range<u64>, below: u64) -> Result<u64> {
        let fits = |region: &&mut Region| region.used < THUNKS && reach.contains(&region.next());
        if let Some(region) = sites.regions.iter_mut().find(fits) {
            let thunk = region.next();
            region.used += 1;
            return Ok(thunk);
        }
        if sites.regions.len() >= MAX_REGIONS {
            return Err(Errno::ENOSPC);
        }
        let start = self.new_region(reach, below)?;
        sites.regions.push(Region { start, used: 1 });
        Ok(start)
    }

    fn new_region(&self, reach: Range<u64>, below: u64) -> Result<u64> {
        let low = reach.start.max(super::layout::MIN_ADDR);
        let high = reach.end.min(self.bounds.end);
        let gap = {
            let mappings = self.read_mappings();
            // Below the program rather than above, where its heap wants to grow.
            let under = mappings.vmas.highest_gap(PAGE_SIZE, PAGE_SIZE, low..below.max(low));
            under.or_else(|| mappings.vmas.highest_gap(PAGE_SIZE, PAGE_SIZE, below.max(low)..high))
        };
        let flags = MmapFlags::FIXED_NOREPLACE;
        let addr = self.mmap(MmapArgs {
            prot: Protection { read: true, write: false, execute: true },
            name: Some("[calls]"),
            ..MmapArgs::anonymous(UserAddr(gap.ok_or(Errno::ENOMEM)?), PAGE_SIZE, flags)
        })?;
        Ok(addr.0)
    }

    /// Puts back what stood at all sites, since somebody is going to look at or step through the code. Thunks stay,
    /// for threads that are in them.
    pub fn restore_call_sites(&self) {
        let mut sites = self.call_sites.lock();
        sites.is_watched = true;
        self.restore_all(&sites.take_with(|_| true));
    }

    /// Puts back what stood at the sites whose thunks lie in `range`, which is about to be mapped anew.
    pub(super) fn forget_thunks(&self, range: Range<u64>) {
        let mut sites = self.call_sites.lock();
        let is_inside = |at: u64| at < range.end && range.start < at + PAGE_SIZE;
        if !sites.regions.iter().any(|region| is_inside(region.start)) {
            return;
        }
        sites.regions.retain(|region| !is_inside(region.start));
        self.restore_all(&sites.take_with(is_inside));
    }

    /// Removes the pages of thunks in `range`, to make room there; says whether there were any. No thread may be in one.
    pub fn remove_thunks(&self, range: Range<UserAddr>) -> bool {
        let starts: Vec<u64> = {
            let sites = self.call_sites.lock();
            let is_inside = |start: &u64| (range.start.0..range.end.0).contains(start);
            sites.regions.iter().map(|region| region.start).filter(is_inside).collect()
        };
        for start in &starts {
            // The sites are put back with it.
            let _ = self.munmap(UserAddr(*start), PAGE_SIZE);
        }
        !starts.is_empty()
    }

    fn restore_all(&self, gone: &Gone) {
        for (start, text) in &gone.texts {
            self.hide_text(text, *start);
        }
        // Of texts that is what lies in pages that have become the guest's own.
        for site in &gone.sites {
            self.restore(site);
        }
    }

    /// Puts back what stood at a site, unless the guest has other code there by now.
    fn restore(&self, site: &Site) {
        let mut now = vec![0; site.written.len()];
        let read = self.read_forced(UserAddr(site.original.addr), &mut now);
        if read == now.len() && now == site.written {
            // What cannot be written any more is not executed either.
            let _ = self.write_site(&site.original);
        }
    }

    /// Where a thread that stands at `rip`, on its way from a rewritten site into the platform, is as far as the guest
    /// knows: at the site, before the call.
    pub fn call_site_at(&self, rip: u64) -> Option<u64> {
        let sites = self.call_sites.lock();
        if let Some(site) = sites.sites.iter().find(|site| site.padding == Some(rip)) {
            return Some(site.ret.wrapping_sub(2));
        }
        let (thunk, offset) = self.thunk_at(&sites, rip)?;
        Some(rewrite::place_of(&thunk, offset))
    }

    /// Where the call returns to that trapped at `rip` because the thunk there could not go on.
    pub fn return_of_call_at(&self, rip: u64) -> Option<u64> {
        let sites = self.call_sites.lock();
        let (thunk, offset) = self.thunk_at(&sites, rip)?;
        (!rewrite::is_before_call(&thunk, offset)).then(|| rewrite::return_of(&thunk))
    }

    fn thunk_at(&self, sites: &CallSites, rip: u64) -> Option<([u8; THUNK_SIZE], usize)> {
        sites.region_of(rip)?;
        let offset = rip % THUNK_SIZE as u64;
        let mut thunk = [0; THUNK_SIZE];
        self.read(UserAddr(rip - offset), &mut thunk).ok()?;
        Some((thunk, offset as usize))
    }
}
