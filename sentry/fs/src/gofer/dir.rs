//! Directories: finding names, and what is known of them without asking.

use std::collections::{HashMap, HashSet};
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::inotify::InotifyMask;
use abi::{Errno, FileType, Result};
use gofer_protocol::{Attr as WireAttr, Name, NodeId, Walk, WalkEnd};
use host::fs::WatchMask;
use kernel::vfs::notify_inode;
use parking_lot::Mutex;

use super::ahead::Ahead;
use super::attr::Moment;
use super::inode::{GoferInode, Origin};
use super::listing::{LISTING_MAX, Listed, Listing};
use super::unheard::Unheard;

/// A directory whose size the host says to be at most this is fetched at the first look into it: one message costs
/// as much as some fifty attributes.
const SMALL: u64 = 4096;
/// A larger one after a few look-ups, unless it is larger than this.
const MEDIUM: u64 = 128 << 10;
/// These.
const LOOKUPS_BEFORE_FILL: u32 = 4;

/// Changed names that are remembered one by one.
const MAX_SUSPECTS: usize = 1024;

/// What a directory inode has besides.
///
/// A listing is as the host has it: who changes a name of it takes it away or changes it as well, and it has attributes only
/// of files that no inode was made of and that nobody has changed since it was fetched.
#[derive(Debug, Default)]
pub(super) struct Directory {
    inner: Mutex<Inner>,
    /// Files that were opened before anybody asked.
    pub(super) ahead: Mutex<Ahead>,
    /// In a shared mount: the gofer reports changes.
    is_watched: AtomicBool,
    /// So often, events never came.
    losses: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// All names, if they are known.
    listing: Option<Listing>,
    /// Counts changes of names, so that a listing that was fetched meanwhile is not believed.
    changes: u64,
    lookups: u32,
    /// It was fetched and was too large to keep.
    is_too_large: bool,
    /// Inodes in use by name.
    children: HashMap<Arc<[u8]>, Weak<GoferInode>>,
    /// In a shared mount: names that the host has changed, until they are looked up again.
    suspects: HashSet<Box<[u8]>>,
    unheard: Unheard,
    /// The gofer cannot watch it: nothing is gained by fetching it whole.
    is_unwatchable: bool,
    /// In a shared mount: changes of our own that are still to be reported to us.
    own: Vec<OwnChange>,
}

/// A change that we asked for, whose event tells us nothing new.
#[derive(Debug)]
struct OwnChange {
    name: Box<[u8]>,
    event: WatchMask,
    made_at: Instant,
}

/// An event that has not come by then does not come; later ones like it are somebody else's.
const EVENT_DELAY: Duration = Duration::from_secs(2);
/// Changes remembered at a time. What is forgotten is looked up once more, no harm done.
const MAX_OWN: usize = 256;

/// A name as it is listed to the guest: its inode number and type.
pub(super) type Shown = (Arc<[u8]>, u64, FileType);

/// What was heard of a file in a directory.
pub(super) struct Heard {
    pub(super) name: Arc<[u8]>,
    pub(super) attr: WireAttr,
    /// When the gofer was asked.
    pub(super) asked: Moment,
    /// Until then what happened to it is accounted for.
    pub(super) true_at: Moment,
    pub(super) node: Option<NodeId>,
    /// Where it points, if it is a link and that came along.
    pub(super) link: Option<Box<[u8]>>,
}

/// What is known of a name.
enum Known {
    Absent,
    Inode(Arc<GoferInode>),
    Listed(Heard),
    Unknown { should_fill: bool },
}

/// Events of names.
const NAMES: WatchMask =
    WatchMask::CREATE.union(WatchMask::DELETE).union(WatchMask::MOVED_FROM).union(WatchMask::MOVED_TO);
/// Events of what is behind a name.
const CONTENT: WatchMask = WatchMask::MODIFY.union(WatchMask::ATTRIB).union(WatchMask::CLOSE_WRITE);

impl Inner {
    /// The host changed `name`; returns the listing, which is no longer true.
    fn suspect(&mut self, dir: &Directory, name: &[u8]) -> Option<Listing> {
        self.changes += 1;
        self.suspects.insert(name.into());
        if self.suspects.len() > MAX_SUSPECTS {
            self.suspects.clear();
            self.children.clear();
            dir.losses.fetch_add(1, Ordering::AcqRel);
        }
        self.listing.take()
    }

    /// The host changed what is behind `name`, by `at`.
    fn doubt_attributes(&mut self, name: &[u8], at: Moment) -> Option<Listing> {
        self.listed_is_known_better(name);
        self.unheard.note(name, at);
        None
    }

    fn listed_is_known_better(&mut self, name: &[u8]) {
        if let Some(listing) = &mut self.listing {
            listing.is_known_better(name);
        }
    }

    /// Whether this is the event of a change of ours, which is thereby settled.
    fn is_own(&mut self, name: &[u8], event: WatchMask) -> bool {
        if self.own.is_empty() {
            return false;
        }
        self.own.retain(|own| own.made_at.elapsed() < EVENT_DELAY);
        let event = event.difference(WatchMask::IS_DIR);
        let at = self.own.iter().position(|own| *own.name == *name && own.event == event);
        at.is_some_and(|at| {
            self.own.remove(at);
            true
        })
    }
}

impl GoferInode {
    fn directory(&self) -> Result<&Directory> {
        self.dir.as_deref().ok_or(Errno::ENOTDIR)
    }

    /// Whether what was heard of this directory's names may be kept.
    fn is_dir_cacheable(&self, dir: &Directory) -> bool {
        !self.volume.is_shared() || dir.is_watched.load(Ordering::Acquire)
    }

    /// The file called `name` in this directory.
    pub(super) fn find(&self, name: &[u8]) -> Result<Arc<Self>> {
        let dir = self.directory()?;
        match self.known(dir, name) {
            Known::Unknown { should_fill: true } => self.fill()?,
            Known::Unknown { should_fill: false } => return self.find_by_walk(dir, name),
            known => return self.take_known(known),
        }
        match self.known(dir, name) {
            Known::Unknown { .. } => self.find_by_walk(dir, name),
            known => self.take_known(known),
        }
    }

    fn take_known(&self, known: Known) -> Result<Arc<Self>> {
        match known {
            Known::Inode(inode) => Ok(inode),
            Known::Listed(heard) => {
                // Another link of the file may have been used since it was listed.
                let is_doubtful = heard.attr.nlink > 1 && heard.attr.mode & 0o170_000 != 0o040_000;
                let inode = self.child(heard)?;
                if is_doubtful {
                    inode.attrs.doubt();
                }
                Ok(inode)
            }
            _ => Err(Errno::ENOENT),
        }
    }

    fn known(&self, dir: &Directory, name: &[u8]) -> Known {
        let mut inner = dir.inner.lock();
        if !self.is_dir_cacheable(dir) {
            return Known::Unknown { should_fill: !inner.is_unwatchable };
        }
        if inner.suspects.contains(name) {
            if inner.listing.is_none() {
                return Known::Unknown { should_fill: false };
            }
            // It was fetched since.
            inner.suspects.remove(name);
            inner.children.remove(name);
        }
        if let Some(child) = inner.children.get(name).and_then(Weak::upgrade) {
            // Its drop, if it is the last of it, takes the lock.
            drop(inner);
            let is_lost = child.is_lost();
            return if is_lost { Known::Unknown { should_fill: false } } else { Known::Inode(child) };
        }
        let Some(listing) = &mut inner.listing else {
            inner.lookups = inner.lookups.saturating_add(1);
            let size = self.attrs.last().size;
            let is_time = size <= SMALL || (size <= MEDIUM && inner.lookups >= LOOKUPS_BEFORE_FILL);
            return Known::Unknown { should_fill: is_time && !inner.is_too_large };
        };
        let Some((name, _)) = listing.names.get_key_value(name) else { return Known::Absent };
        let (name, asked, lacks_attributes) = (name.clone(), listing.asked, listing.lacks_attributes);
        let Some(listed) = listing.names.get_mut(&name) else { return Known::Absent };
        let Some(attr) = listed.attr.take() else {
            let is_small = self.attrs.last().size <= MEDIUM;
            let was_listed_without = lacks_attributes && is_small && listed.file_type != FileType::Directory;
            if was_listed_without {
                self.volume.habit.attributes_are_wanted();
            }
            return Known::Unknown { should_fill: was_listed_without && !inner.is_too_large };
        };
        listing.was_useful |= listed.file_type != FileType::Directory;
        let link = listed.link.take();
        // Who changed it before has taken its attributes away.
        Known::Listed(Heard { name, attr: *attr, asked, true_at: self.attrs.now(), node: None, link })
    }

    fn find_by_walk(&self, dir: &Directory, name: &[u8]) -> Result<Arc<Self>> {
        let wire_name = Name::new(name).ok_or(Errno::ENOENT)?;
        let (asked, losses) = (self.attrs.now(), dir.losses.load(Ordering::Acquire));
        // Before asking: a change that comes after the answer makes the name suspect again.
        let was_suspect = dir.inner.lock().suspects.remove(name);
        let not_answered = |error: Errno| {
            if was_suspect {
                dir.inner.lock().suspects.insert(name.into());
            }
            error
        };
        let from = self.node().map_err(not_answered)?;
        let walk = Walk { from, names: vec![wire_name], open: None };
        let response = self.volume.connection().call(&walk).map_err(not_answered)?;
        let reply = response.get().map_err(not_answered)?;
        self.note_watch(dir, reply.is_cacheable);
        let Some(found) = reply.found.first() else {
            // What had the name may still be in use.
            let old = dir.inner.lock().children.remove(name);
            drop(old);
            return Err(match reply.end {
                WalkEnd::Failed(error) if error != Errno::ENOENT => not_answered(error),
                _ => Errno::ENOENT,
            });
        };
        let link = match reply.end {
            WalkEnd::Symlink(link) => Some(link.into()),
            _ => None,
        };
        let (attr, node) = (found.attr, Some(found.node));
        let child = self.child(Heard { name: name.into(), attr, asked, true_at: asked, node, link })?;
        if dir.losses.load(Ordering::Acquire) != losses {
            dir.inner.lock().suspects.insert(name.into());
        }
        Ok(child)
    }

    /// The inode of a name in this directory of which this was heard.
    pub(super) fn child(&self, heard: Heard) -> Result<Arc<Self>> {
        let dir = self.directory()?;
        let Heard { name, attr, asked, true_at, node, link } = heard;
        let origin = Origin::Name { parent: self.arc()?, name: name.clone(), node, link };
        let inode = self.volume.inode(attr, asked, origin);
        inode.set_watched(self.is_dir_cacheable(dir));
        if dir.inner.lock().unheard.has(&name, true_at) {
            // It has changed meanwhile, and could not hear of it yet.
            inode.forget_attributes();
        }
        Ok(inode)
    }

    /// The gofer has said whether it watches.
    fn note_watch(&self, dir: &Directory, is_watched: bool) {
        let mut inner = dir.inner.lock();
        let was_watched = dir.is_watched.swap(is_watched, Ordering::AcqRel);
        if is_watched && !was_watched && self.volume.is_shared() {
            // Of what was heard before, nobody has told us what became.
            inner.children.clear();
            if inner.is_unwatchable {
                dir.losses.fetch_add(1, Ordering::AcqRel);
            }
        }
        inner.is_unwatchable = !is_watched;
    }

    /// Fetches all names with attributes, to be answered from from now on.
    fn fill(&self) -> Result<()> {
        let changes = self.directory()?.inner.lock().changes;
        let fetched = self.fetch(true)?;
        self.keep_listing(fetched, changes)
    }

    /// Fetches all names of a small directory into which nobody has looked, if only we change it; says whether it did.
    pub(super) fn fill_first(&self) -> bool {
        let Some(dir) = self.dir.as_ref().filter(|_| !self.volume.is_shared()) else { return false };
        let is_new = {
            let inner = dir.inner.lock();
            inner.listing.is_none() && !inner.is_too_large
        };
        is_new && self.attrs.last().size <= SMALL && self.fill().is_ok()
    }

    /// What the directory holds, for listing it to the guest: name, inode number, type.
    pub(super) fn entries(&self) -> Result<Vec<Shown>> {
        let dir = self.directory()?;
        let collect = |listing: &Listing| {
            listing.names.iter().map(|(name, listed)| (name.clone(), listed.ino, listed.file_type)).collect()
        };
        let changes = {
            let inner = dir.inner.lock();
            match &inner.listing {
                Some(listing) if self.is_dir_cacheable(dir) => return Ok(collect(listing)),
                _ => inner.changes,
            }
        };
        // Who lists a directory mostly wants attributes next; of a huge one, perhaps not.
        let with_attributes = self.volume.habit.wants_attributes(self) && self.attrs.last().size <= MEDIUM;
        let fetched = self.fetch(with_attributes)?;
        let entries = collect(&fetched.listing);
        self.keep_listing(fetched, changes)?;
        Ok(entries)
    }

    fn keep_listing(&self, fetched: super::listing::Fetched, changes: u64) -> Result<()> {
        let dir = self.directory()?;
        self.note_watch(dir, fetched.is_cacheable);
        if !fetched.has_xattrs && fetched.is_cacheable {
            self.xattr_names.set_empty(fetched.listing.asked);
        }
        let mut listing = fetched.listing;
        let bytes = listing.bytes;
        let old = {
            let mut inner = dir.inner.lock();
            if bytes > LISTING_MAX {
                inner.is_too_large = true;
                return Ok(());
            }
            if inner.changes != changes || !fetched.is_cacheable {
                return Ok(());
            }
            inner.children.keys().for_each(|name| listing.is_known_better(name));
            match inner.unheard.since(listing.asked) {
                Some(names) => names.for_each(|name| listing.is_known_better(name)),
                None => listing.names.values_mut().for_each(|listed| listed.attr = None),
            }
            inner.listing.replace(listing)
        };
        if let Some(old) = old {
            self.volume.connection().listing_gone(old.bytes);
        }
        self.volume.connection().keep_listing(self.me(), bytes);
        Ok(())
    }

    /// Whether attributes of files that are listed here have been of use, if there are any.
    pub(super) fn was_listing_useful(&self) -> Option<bool> {
        let inner = self.dir.as_ref()?.inner.lock();
        let listing = inner.listing.as_ref().filter(|listing| listing.has_files && !listing.lacks_attributes);
        listing.map(|listing| listing.was_useful)
    }

    /// Frees what is only a cache.
    pub(super) fn drop_listing(&self) {
        let listing = self.dir.as_ref().and_then(|dir| dir.inner.lock().listing.take());
        self.listing_is_gone(listing);
    }

    /// A name in this directory is in use by `child`.
    pub(super) fn note_child(&self, name: &Arc<[u8]>, child: &Weak<Self>) {
        if let Some(dir) = &self.dir {
            let mut inner = dir.inner.lock();
            inner.children.insert(name.clone(), child.clone());
            inner.listed_is_known_better(name);
        }
    }

    /// `child`, which was last changed at `changed_at`, no longer is, if it still was.
    pub(super) fn forget_child(&self, name: &Arc<[u8]>, child: *const Self, changed_at: Moment) {
        let Some(dir) = &self.dir else { return };
        let mut inner = dir.inner.lock();
        inner.unheard.note(name, changed_at);
        if inner.children.get(name).is_some_and(|known| std::ptr::eq(known.as_ptr(), child)) {
            inner.children.remove(name);
        }
    }

    /// Makes a change of `name` that the gofer will report as `event`: of a success we need not be told, after a
    /// failure we know less than before.
    pub(super) fn change<T>(
        &self,
        name: &[u8],
        event: WatchMask,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let watched =
            self.dir.as_ref().filter(|dir| self.volume.is_shared() && dir.is_watched.load(Ordering::Acquire));
        let Some(dir) = watched else { return call() };
        {
            let mut inner = dir.inner.lock();
            if inner.own.len() >= MAX_OWN {
                inner.own.remove(0);
            }
            inner.own.push(OwnChange { name: name.into(), event, made_at: Instant::now() });
        }
        call().inspect_err(|_| {
            let listing = {
                let mut inner = dir.inner.lock();
                inner.is_own(name, event);
                inner.suspect(dir, name)
            };
            self.listing_is_gone(listing);
        })
    }

    fn listing_is_gone(&self, listing: Option<Listing>) {
        if let Some(listing) = listing {
            self.volume.connection().listing_gone(listing.bytes);
        }
    }

    /// We made `name`: `child`.
    pub(super) fn name_added(&self, name: Arc<[u8]>, child: &Arc<Self>) {
        let Some(dir) = &self.dir else { return };
        let mut inner = dir.inner.lock();
        inner.changes += 1;
        let listed = Listed {
            ino: self.volume.guest_ino(&child.attrs.last()),
            file_type: child.file_type(),
            attr: None,
            link: None,
        };
        inner.children.insert(name.clone(), Arc::downgrade(child));
        let Some(listing) = &mut inner.listing else { return };
        let before = listing.bytes;
        listing.insert(name, listed);
        let more = listing.bytes - before;
        drop(inner);
        self.volume.connection().listing_grew(more);
    }

    /// We removed `name`.
    pub(super) fn name_removed(&self, name: &[u8]) {
        let Some(dir) = &self.dir else { return };
        let mut inner = dir.inner.lock();
        inner.changes += 1;
        let child = inner.children.remove(name);
        if let Some(listing) = &mut inner.listing {
            listing.names.remove(name);
        }
        drop(inner);
        drop(child);
        self.give_up_ahead(name);
    }

    /// What was opened ahead as `name` is not needed, or not what is called so any more.
    pub(super) fn give_up_ahead(&self, name: &[u8]) {
        let opened = self.dir.as_ref().and_then(|dir| dir.ahead.lock().give_up(name));
        drop(opened);
    }

    /// Regular files that are listed behind `name`, `most` at most, with the inodes that are known of them.
    pub(super) fn listed_after(&self, name: &[u8], most: usize) -> Vec<(Arc<[u8]>, Weak<Self>)> {
        let Some(dir) = &self.dir else { return Vec::new() };
        let inner = dir.inner.lock();
        let Some(listing) = &inner.listing else { return Vec::new() };
        let behind = listing.names.range::<[u8], _>((Bound::Excluded(name), Bound::Unbounded));
        let files = behind.filter(|(_, listed)| listed.file_type == FileType::Regular).take(most);
        files.map(|(name, _)| (name.clone(), inner.children.get(name).cloned().unwrap_or_default())).collect()
    }

    /// For the VFS: whether `name` still is `inode` (or absent), as far as is known. Only shared mounts ask. Where not, the
    /// VFS looks the name up, with the directory's names locked.
    pub(super) fn is_still(&self, name: &[u8], inode: Option<&Self>) -> bool {
        let Some(dir) = &self.dir else { return false };
        let inner = dir.inner.lock();
        if !dir.is_watched.load(Ordering::Acquire) || inner.suspects.contains(name) {
            return false;
        }
        match inode {
            Some(inode) => {
                let known = inner.children.get(name);
                !inode.is_lost() && known.is_some_and(|known| std::ptr::eq(known.as_ptr(), inode))
            }
            // Which of them, nobody knows once events were lost.
            None => dir.losses.load(Ordering::Acquire) == 0,
        }
    }

    /// The gofer says that something changed in this directory, or (without a name) the file itself.
    pub(super) fn changed_by_host(&self, name: Option<&[u8]>, mask: WatchMask, cookie: u32) {
        let (Some(name), Some(dir)) = (name, &self.dir) else {
            self.forget_attributes();
            return self.tell_watchers(self, mask.intersection(CONTENT), 0, b"");
        };
        let names_changed = mask.intersects(NAMES);
        let (child, listing) = {
            let mut inner = dir.inner.lock();
            if inner.is_own(name, mask) {
                return;
            }
            let child = inner.children.get(name).and_then(Weak::upgrade);
            let listing = if names_changed {
                inner.suspect(dir, name)
            } else {
                inner.doubt_attributes(name, self.attrs.tick())
            };
            (child, listing)
        };
        self.listing_is_gone(listing);
        if names_changed {
            self.give_up_ahead(name);
            self.attrs.mark_stale();
        }
        match &child {
            Some(child) if mask.contains(WatchMask::ATTRIB) => child.forget_attributes(),
            Some(child) => child.attrs.mark_stale(),
            None => {}
        }
        self.forward(name, mask, cookie, child.as_deref());
    }

    /// Whatever is known of this file's attributes, somebody else may have changed.
    fn forget_attributes(&self) {
        self.attrs.doubt();
        self.xattr_names.forget(self.attrs.tick());
    }

    /// Tells the guest's own watchers of a change by the host: those of this directory, and those of the file.
    fn forward(&self, name: &[u8], mask: WatchMask, cookie: u32, child: Option<&Self>) {
        let Some(child) = child else { return self.tell_watchers(self, mask, cookie, name) };
        if mask.intersects(CONTENT) && child.has_own_change() {
            // The VFS has told of it already.
            return;
        }
        self.tell_watchers(self, mask, cookie, name);
        let mut of_file = mask.intersection(CONTENT);
        if mask.contains(WatchMask::MOVED_FROM) {
            of_file |= WatchMask::MOVE_SELF;
        }
        if mask.contains(WatchMask::DELETE) && (child.dir.is_some() || child.attrs.last().nlink <= 1) {
            of_file |= WatchMask::DELETE_SELF;
        }
        self.tell_watchers(child, of_file, 0, b"");
    }

    fn tell_watchers(&self, inode: &Self, mask: WatchMask, cookie: u32, name: &[u8]) {
        let mask = mask.intersection(
            NAMES | CONTENT | WatchMask::IS_DIR | WatchMask::MOVE_SELF | WatchMask::DELETE_SELF,
        );
        if !mask.difference(WatchMask::IS_DIR).is_empty() {
            // The host's numbers must not meet those that the VFS gives.
            let cookie = if cookie == 0 { 0 } else { cookie | 1 << 31 };
            notify_inode(inode, InotifyMask::from_bits_truncate(mask.bits()), cookie, name);
        }
    }

    /// The guest watches this directory: the gofer is to tell of changes, also if nobody looks into it.
    pub(super) fn start_watching(&self) {
        if let Some(dir) = &self.dir
            && self.volume.is_shared()
            && !dir.is_watched.load(Ordering::Acquire)
        {
            // Asking for anything in it starts the watch; where that fails, there is nothing to tell.
            let _ = self.fill();
        }
    }

    /// Events were lost: nothing is known of this directory any more.
    pub(super) fn all_doubtful(&self) {
        // A mount's root has no parent that would say so.
        self.forget_attributes();
        let Some(dir) = &self.dir else { return };
        let (children, listing) = {
            let mut inner = dir.inner.lock();
            dir.losses.fetch_add(1, Ordering::AcqRel);
            inner.changes += 1;
            inner.unheard.note_all(self.attrs.tick());
            inner.suspects.clear();
            inner.own.clear();
            (std::mem::take(&mut inner.children), inner.listing.take())
        };
        self.listing_is_gone(listing);
        let opened = dir.ahead.lock().give_up_all();
        drop(opened);
        for child in children.values().filter_map(Weak::upgrade) {
            child.forget_attributes();
        }
    }
}
