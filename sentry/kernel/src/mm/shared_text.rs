//! Texts of programs and dynamic linkers that are started again and again, with their call sites rewritten
//! ([`super::call_sites`]): frames for all who execute them, and a page of thunks for each.
//!
//! Of the calls that a program makes while it starts, most come from its dynamic linker, each from a site that it uses a
//! few times: too few to be worth rewriting for this process alone. And it asks the processor the same questions each time.
//!
//! What one process did decides nothing about the code of another: only sites that the file's own bytes leave no doubt
//! about are rewritten ([`platform::plain_calls`]), and only in files that nobody changes.

use std::ops::Range;
use std::sync::{Arc, Weak};

use abi::{Errno, PAGE_SIZE, Result, UserAddr};
use host::memory::FileVersion;
use parking_lot::Mutex;
use platform::Protection;
use platform::known_answers::known_answers;
use platform::plain_calls::plain_calls;
use platform::rewrite::{self, CodePatch, THUNK_SIZE};

use super::batch::Batch;
use super::call_sites::{Region, Site, THUNKS};
use super::layout::MIN_ADDR;
use super::manager::MemoryManager;
use super::mmap::take_pages;
use super::pma::{PageSource, Pma};
use super::{Access, Backing, HostFile, Mappable, MemoryFile, MmapArgs, MmapFlags};

/// So many starts of a program come before it is worth it.
const OFTEN: u32 = 8;
/// Texts that are known at a time.
const MOST: usize = 8;
/// A larger one is left alone: its frames are a second copy of it in memory.
const LARGEST: u64 = 1 << 20;
/// Where a text lies while it is made.
const ORIGIN: u64 = 1 << 40;
/// Calls that only a trap leaves enough of to be seen: clone, fork, vfork, clone3, and rt_sigreturn, whose site debuggers know.
const LEFT_ALONE: [u64; 5] = [56, 57, 58, 435, 15];

/// The texts of a sandbox. Locks: a leaf.
#[derive(Debug, Default)]
pub(crate) struct SharedTexts(Mutex<Vec<Known>>);

#[derive(Debug)]
struct Known {
    file: Weak<HostFile>,
    /// What the host says of the file.
    version: FileVersion,
    place: Place,
    starts: u32,
    /// Once it has been started often, and where something was found.
    text: Option<Arc<SharedText>>,
}

/// A part of a file that is executed. A program's headers say all of this, and may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Where in the file.
    pub(crate) offset: u64,
    /// Bytes; whole pages.
    pub(crate) len: u64,
    /// How far below it the page of thunks is to lie.
    pub(crate) below: u64,
}

/// A text with its call sites rewritten.
#[derive(Debug)]
pub(crate) struct SharedText {
    memory: Arc<MemoryFile>,
    frames: u64,
    place: Place,
    /// As they are where it lies at [`ORIGIN`].
    sites: Vec<Site>,
    thunks: Vec<[u8; THUNK_SIZE]>,
}

impl SharedTexts {
    /// The text that `object` has at `place`, if there are frames for it; counts this start.
    pub(crate) fn of(
        &self,
        memory: &Arc<MemoryFile>,
        object: &dyn Mappable,
        place: Place,
    ) -> Option<Arc<SharedText>> {
        if place.len > LARGEST || place.below > rewrite::REACH {
            return None;
        }
        let file = match object.backing(place.offset, place.len, Access::READ).ok()? {
            Backing::Host { file, len, .. } if len == place.len && file.is_constant() => file,
            Backing::Host { .. } => return None,
            Backing::Memory { offset, len } => {
                memory.release(offset, len);
                return None;
            }
        };
        // Before its bytes are read.
        let version = FileVersion::of(file.fd()).ok()?;
        if let Some(text) = self.count(&file, version, place)? {
            return Some(text);
        }
        let text = Arc::new(SharedText::new(memory, &file, place)?);
        let mut known = self.0.lock();
        known.iter_mut().find(|known| known.is(&file, place) && known.version == version)?.text =
            Some(text.clone());
        Some(text)
    }

    /// Counts a start: `None` where the file itself is to be shown, nothing in it where it is time to make a text.
    fn count(
        &self,
        file: &Arc<HostFile>,
        version: FileVersion,
        place: Place,
    ) -> Option<Option<Arc<SharedText>>> {
        let mut all = self.0.lock();
        // The host may change a file after all.
        all.retain(|known| {
            known.file.strong_count() > 0 && (!known.is(file, place) || known.version == version)
        });
        let Some(known) = all.iter_mut().find(|known| known.is(file, place)) else {
            if all.len() < MOST {
                all.push(Known { file: Arc::downgrade(file), version, place, starts: 1, text: None });
            }
            return None;
        };
        known.starts = known.starts.saturating_add(1);
        match &known.text {
            None if known.starts == OFTEN => Some(None),
            None => None,
            text => Some(text.clone()),
        }
    }
}

impl Known {
    fn is(&self, file: &Arc<HostFile>, place: Place) -> bool {
        self.place == place && std::ptr::eq(self.file.as_ptr(), Arc::as_ptr(file))
    }
}

impl SharedText {
    /// Copies a text and rewrites what can be; `None` where there is nothing, or no memory.
    fn new(memory: &Arc<MemoryFile>, file: &HostFile, place: Place) -> Option<Self> {
        let frames = memory.allocate(place.len).ok()?;
        let mut text = Self { memory: memory.clone(), frames, place, sites: Vec::new(), thunks: Vec::new() };
        let slice = memory.slice(frames, place.len as usize).ok()?;
        file.read_into(place.offset, &slice).ok()?;
        let mut code = vec![0; place.len as usize];
        slice.read(&mut code).ok()?;
        let calls = plain_calls(&code, ORIGIN)
            .filter(|call| !LEFT_ALONE.contains(&call.number))
            .map(|call| call.site);
        let answers = known_answers(&code, ORIGIN, |leaf| host::cpu::cpuid(leaf, 0));
        for site in calls.chain(answers) {
            if text.sites.len() < THUNKS as usize {
                text.rewrite(&code, &site);
            }
        }
        (!text.sites.is_empty()).then_some(text)
    }

    /// Rewrites a site, if it can be. `code` is the file's.
    fn rewrite(&mut self, code: &[u8], site: &rewrite::Site) -> Option<()> {
        let thunk = ORIGIN - self.place.below + (self.sites.len() * THUNK_SIZE) as u64;
        let plan = site.plan(thunk)?;
        let at = (plan.site.addr - ORIGIN) as usize;
        let before = code.get(at..at + plan.site.bytes.len())?.to_vec();
        let place = self.memory.slice(self.frames + at as u64, plan.site.bytes.len()).ok()?;
        place.write(&plan.site.bytes).ok()?;
        let original = CodePatch { addr: plan.site.addr, bytes: before };
        self.sites.push(Site { ret: site.ret(), thunk, padding: None, original, written: plan.site.bytes });
        self.thunks.push(plan.thunk);
        Some(())
    }

    /// Where its page of thunks lies if it lies at `start` itself.
    pub(super) const fn thunks_at(&self, start: u64) -> u64 {
        start.wrapping_sub(self.place.below)
    }

    /// That page.
    fn thunk_page(&self, start: u64) -> Vec<u8> {
        let mut page = Vec::with_capacity(self.thunks.len() * THUNK_SIZE);
        for mut thunk in self.thunks.iter().copied() {
            rewrite::move_thunk(&mut thunk, start.wrapping_sub(ORIGIN));
            page.extend_from_slice(&thunk);
        }
        page
    }

    /// Whether there is a site whose call returns to `ret`, where the text lies at `start`.
    pub(super) fn has_site(&self, start: u64, ret: u64) -> bool {
        self.sites.iter().any(|site| site.ret == ret.wrapping_sub(start).wrapping_add(ORIGIN))
    }

    /// Its sites, where it lies at `start`.
    pub(super) fn sites_at(&self, start: u64) -> impl Iterator<Item = Site> {
        let moved = move |addr: u64| addr.wrapping_sub(ORIGIN).wrapping_add(start);
        self.sites.iter().cloned().map(move |site| Site {
            ret: moved(site.ret),
            thunk: moved(site.thunk),
            padding: None,
            original: CodePatch { addr: moved(site.original.addr), ..site.original },
            written: site.written,
        })
    }
}

impl Drop for SharedText {
    fn drop(&mut self) {
        self.memory.release(self.frames, self.place.len);
    }
}

impl MemoryManager {
    /// Shows `text` in place of the file's, which has just been mapped at `start` to be read and executed, in an address
    /// space where nothing runs yet. Nothing happens where its thunks cannot be had.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub(crate) fn show_text(&self, text: Arc<SharedText>, start: u64) -> Result<()> {
        let mut sites = self.call_sites.lock();
        let (thunks, prot) = (text.thunks_at(start), Protection { read: true, write: false, execute: true });
        if !self.has_room(thunks) {
            return Ok(());
        }
        let page = MmapArgs {
            prot,
            name: Some("[calls]"),
            ..MmapArgs::anonymous(UserAddr(thunks), PAGE_SIZE, MmapFlags::FIXED_NOREPLACE)
        };
        if self.mmap(page).is_err() {
            // A limit, say, that leaves room for no more than the program itself.
            return Ok(());
        }
        let page = text.thunk_page(start);
        if self.write_forced(UserAddr(thunks), &page) < page.len() {
            return Err(Errno::ENOMEM);
        }
        self.replace_pages(start, &text, prot)?;
        sites.add_text(Region { start: thunks, used: THUNKS }, start, text);
        Ok(())
    }

    /// Shows the file itself at `start` instead of `text`, where that is still to be seen. Other threads may be executing
    /// there: they see the one or the other, a page at a time.
    pub(super) fn hide_text(&self, text: &SharedText, start: u64) {
        let range = start..start + text.place.len;
        let mut pages = self.pages.write();
        let is_text = |piece: &Range<u64>, pma: &Pma| match pma.source {
            PageSource::Memory(offset) => offset.wrapping_sub(piece.start) == text.frames.wrapping_sub(start),
            PageSource::Host(..) => false,
        };
        let shown = pages.map.overlapping(range.clone()).filter(|(piece, pma)| is_text(piece, pma));
        let shown: Vec<Range<u64>> =
            shown.map(|(piece, _)| piece.start.max(range.start)..piece.end.min(range.end)).collect();
        let mut batch = Batch::default();
        let taken = shown.into_iter().flat_map(|piece| take_pages(&mut pages, piece, &mut batch)).collect();
        // The next fault asks the file.
        self.lose(pages, batch, taken);
    }

    /// Whether a page of thunks can lie at `at`.
    fn has_room(&self, at: u64) -> bool {
        let is_inside = (MIN_ADDR.max(self.bounds.start)..self.bounds.end).contains(&at);
        is_inside && self.read_mappings().vmas.is_vacant(at..at + PAGE_SIZE)
    }

    /// Puts the frames of `text` behind the mapping at `start`.
    fn replace_pages(&self, start: u64, text: &SharedText, prot: Protection) -> Result<()> {
        let range = start..start + text.place.len;
        self.memory.retain(text.frames, text.place.len);
        let backing = Backing::Memory { offset: text.frames, len: text.place.len };
        let mut pages = self.pages.write();
        let mut batch = Batch::default();
        let freed = take_pages(&mut pages, range.clone(), &mut batch);
        self.install(&mut pages, range.clone(), backing, prot, true);
        pages.map.update(range, |piece, pma| batch.refresh(piece, pma, false));
        let shown = batch.commit(&mut pages, &*self.space);
        let freed = pages.releasable(freed);
        drop(pages);
        self.release_all(freed);
        shown
    }
}
