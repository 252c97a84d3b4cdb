//! [`GoferInode`]: a host file as the guest's kernel knows it.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::fcntl::falloc::{KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE};
use abi::{Errno, FileType, OpenFlags, Result};
use gofer_protocol::{
    Attr as WireAttr, FileId, GetAttr, Name, NodeId, Readlink, SetAttr as WireSetAttr,
    SetTime as WireSetTime, Target, Time, Walk,
};
use kernel::mm::{HostFile, MappingSet};
use kernel::vfs::{Attr, Caller, FileOps, Inode, InodeCommon, NewNode, Rename, SetAttr, SetTime, Xattr};
use parking_lot::Mutex;

use super::attr::{AttrCache, Change, Moment, Reach, to_vfs};
use super::connection::Reason;
use super::dir::Directory;
use super::dir_file::DirFile;
use super::file::GoferFile;
use super::handles::Handles;
use super::volume::{Key, Volume};
use super::xattr::XattrNames;

/// The event of a change of ours comes within this time, the gofer's pauses included.
const OWN_EVENT_DELAY_NS: i64 = 200_000_000;

/// A deleted file of at most this size need not be given back at once: a batch of them must not fill a small volume.
const LITTLE_SPACE: u64 = 4 << 10;

/// Names in one walk: far below what a message holds.
const WALK_MAX: usize = 128;
/// Directories above a file at most, as in the gofer.
const MAX_DEPTH: usize = 4096;

/// What of fallocate(2) is passed on: the sandbox's filter allows that and no more.
pub const FALLOCATE_MODES: [u32; 5] =
    [0, KEEP_SIZE, PUNCH_HOLE | KEEP_SIZE, ZERO_RANGE, ZERO_RANGE | KEEP_SIZE];

/// How an inode was found.
#[derive(Debug)]
pub(super) enum Origin {
    /// A mount's root.
    Root(NodeId),
    /// A name in a directory; with the node that the gofer gave for it, if it did.
    Name {
        parent: Arc<GoferInode>,
        name: Arc<[u8]>,
        node: Option<NodeId>,
        /// Where it points, if it is a link and that came along.
        link: Option<Box<[u8]>>,
    },
}

/// A name of the inode: how the gofer is asked for it while it has no node.
#[derive(Debug)]
struct Place {
    parent: Arc<GoferInode>,
    name: Arc<[u8]>,
}

/// An inode that has no node yet, and its name.
type Unwalked = (Arc<GoferInode>, Option<Arc<[u8]>>);

/// A node of the gofer's and how many look-ups it has counted for us.
#[derive(Clone, Copy, Debug)]
struct NodeRef {
    id: NodeId,
    lookups: u32,
}

/// A name of an inode that is being removed.
#[derive(Debug)]
#[must_use]
pub(super) struct Leaving<'a> {
    inode: &'a GoferInode,
    change: Option<Change<'a>>,
    /// It is the only one, as far as is known.
    is_last: bool,
}

impl Leaving<'_> {
    /// It is gone, and the file is as `attr` says now, if the gofer knows it.
    pub(super) fn left(mut self, attr: Option<WireAttr>) {
        let Some(change) = self.change.take() else { return };
        let attr = attr.filter(|attr| self.inode.is_key(attr));
        let is_gone = match attr {
            Some(attr) => attr.nlink == 0 || self.inode.kind == FileType::Directory,
            None => self.is_last,
        };
        if !is_gone {
            self.stays();
            if let Some(attr) = attr {
                change.answered(attr);
            }
            return;
        }
        if !self.is_last {
            self.inode.volume.remove(self.inode.key, std::ptr::from_ref(self.inode));
        }
        change.removed(attr);
        if attr.is_none() && self.inode.is_open() {
            // What the host noted besides, a descriptor tells.
            self.inode.attrs.mark_stale();
        }
    }

    /// The file has a name.
    fn stays(&self) {
        if self.is_last {
            self.inode.volume.restore(self.inode.key, &self.inode.me);
        }
    }
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if self.change.is_some() {
            self.stays();
        }
    }
}

/// A host file. Locks: see the module's header.
#[derive(Debug)]
pub struct GoferInode {
    me: Weak<GoferInode>,
    pub(super) volume: Arc<Volume>,
    common: InodeCommon,
    key: Key,
    ino: u64,
    kind: FileType,
    pub(super) attrs: AttrCache,
    is_root: bool,
    node: Mutex<Option<NodeRef>>,
    place: Mutex<Option<Place>>,
    link: OnceLock<Box<[u8]>>,
    /// What a directory has besides.
    pub(super) dir: Option<Box<Directory>>,
    pub(super) handles: Mutex<Handles>,
    pub(super) xattr_names: XattrNames,
    pub(super) mappings: MappingSet,
    /// In a shared mount: whether the gofer reports changes of the directory where it was found.
    is_watched: AtomicBool,
    /// In a shared mount: the gofer does not find it any more.
    is_lost: AtomicBool,
    /// In a shared mount: when we last changed it ourselves, by the host's clock.
    own_change_ns: AtomicI64,
}

impl GoferInode {
    /// One that nobody has found yet, of a file of which the host said `attr` when it was asked at `asked`. Takes no lock.
    pub(super) fn new(
        volume: Arc<Volume>,
        attr: WireAttr,
        asked: Moment,
        ino: u64,
        is_root: bool,
    ) -> Arc<Self> {
        let kind = FileType::from_mode(attr.mode).unwrap_or(FileType::Regular);
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            common: InodeCommon::default(),
            key: (attr.dev, attr.ino),
            ino,
            kind,
            attrs: AttrCache::new(volume.connection().clock().clone(), attr, asked),
            is_root,
            node: Mutex::new(None),
            place: Mutex::new(None),
            link: OnceLock::new(),
            dir: (kind == FileType::Directory).then(Box::default),
            handles: Mutex::default(),
            xattr_names: XattrNames::new(matches!(kind, FileType::Regular | FileType::Directory)),
            mappings: MappingSet::new(),
            is_watched: AtomicBool::new(true),
            is_lost: AtomicBool::new(false),
            own_change_ns: AtomicI64::new(0),
            volume,
        })
    }

    /// The gofer's inode behind one of the VFS's.
    ///
    /// # Errors
    /// `EXDEV` where it is of another file system.
    pub(super) fn of(inode: &Arc<dyn Inode>) -> Result<&Self> {
        let any: &dyn Any = &**inode;
        any.downcast_ref().ok_or(Errno::EXDEV)
    }

    pub(super) fn me(&self) -> &Weak<Self> {
        &self.me
    }

    /// As something that others can keep.
    pub(super) fn arc(&self) -> Result<Arc<Self>> {
        self.me.upgrade().ok_or(Errno::ESTALE)
    }

    pub(super) fn file_type(&self) -> FileType {
        self.kind
    }

    /// Whether this is what the gofer speaks of: the same numbers, or, in a stacked file system, a directory of the same
    /// birth, since that gives directories new numbers when the host's inode cache lets go of them.
    pub(super) fn is_key(&self, attr: &WireAttr) -> bool {
        let is_numbered_anew = || {
            let known = self.attrs.last();
            let is_stacked_dir = self.kind == FileType::Directory && self.volume.is_stacked();
            is_stacked_dir && known.btime.is_some() && known.btime == attr.btime
        };
        self.key == (attr.dev, attr.ino) && self.is_alike(attr)
            || self.key.0 == attr.dev && self.is_kind_of(attr) && is_numbered_anew()
    }

    /// Whether it is on a file system of the host's own that has one copy of its pages: `EXT4_SUPER_MAGIC`,
    /// `XFS_SUPER_MAGIC`, `BTRFS_SUPER_MAGIC`, `TMPFS_MAGIC` (statfs(2)).
    pub(super) fn is_of_local_fs(&self) -> bool {
        self.volume.is_of_kind(self.key.0, &[0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994])
    }

    /// Whether the host's numbers of it are these.
    pub(super) fn has_id(&self, id: FileId) -> bool {
        self.key == (id.dev, id.ino)
    }

    /// Whether this may be what the gofer speaks of, if the numbers are the same: hosts give those of deleted files to new
    /// ones. A stacked file system has another time of birth for a file that it has copied up.
    pub(super) fn is_alike(&self, attr: &WireAttr) -> bool {
        let is_born_with = || match (self.attrs.last().btime, attr.btime) {
            (Some(known), Some(btime)) => known == btime,
            _ => true,
        };
        self.is_kind_of(attr) && (!self.volume.has_births(attr.dev) || is_born_with())
    }

    fn is_kind_of(&self, attr: &WireAttr) -> bool {
        FileType::from_mode(attr.mode) == Some(self.kind)
    }

    /// The file was found, perhaps once more and by another name.
    pub(super) fn take_origin(&self, origin: Origin) {
        match origin {
            Origin::Root(id) => {
                *self.node.lock() = Some(NodeRef { id, lookups: 0 });
                self.volume.note_node(id, &self.me);
            }
            Origin::Name { parent, name, node, link } => {
                if let Some(id) = node {
                    self.is_lost.store(false, Ordering::Release);
                    self.found_node(id);
                }
                if let Some(link) = link {
                    let _ = self.link.set(link);
                }
                self.set_place(parent, name);
            }
        }
    }

    /// The directory where it is found, and its name there.
    pub(super) fn place(&self) -> Option<(Arc<Self>, Arc<[u8]>)> {
        self.place.lock().as_ref().map(|place| (place.parent.clone(), place.name.clone()))
    }

    /// The file is (also) called `name` in `parent`.
    pub(super) fn set_place(&self, parent: Arc<Self>, name: Arc<[u8]>) {
        parent.note_child(&name, &self.me);
        if self.is_root || std::ptr::eq(self, &*parent) {
            return;
        }
        let is_dir = self.kind == FileType::Directory;
        let placing = is_dir.then(|| self.volume.lock_places());
        // The host has moved directories into each other, of which not all is known: they would keep each other for ever.
        let of_parent = if is_dir && parent.is_below(self) { parent.place.lock().take() } else { None };
        let old = self.place.lock().replace(Place { parent, name });
        drop(placing);
        // Outside of the locks: each may be the last of a directory.
        drop((of_parent, old));
    }

    /// Whether `above` is among the directories above this one, or there are more than any path has. Directories' places
    /// must be locked.
    fn is_below(&self, above: &Self) -> bool {
        let mut at = self.place().map(|(parent, _)| parent);
        for _ in 0..MAX_DEPTH {
            match at {
                None => return false,
                Some(dir) if std::ptr::eq(&*dir, above) => return true,
                Some(dir) => at = dir.place().map(|(parent, _)| parent),
            }
        }
        true
    }

    /// The gofer counted a look-up of this file, as this node.
    pub(super) fn found_node(&self, id: NodeId) {
        let unneeded = {
            let mut node = self.node.lock();
            match node.as_mut() {
                Some(known) if known.id == id => {
                    known.lookups = known.lookups.saturating_add(1);
                    None
                }
                // Another link of the file; one is enough.
                Some(_) if self.is_root || self.kind != FileType::Directory => {
                    Some(NodeRef { id, lookups: 1 })
                }
                // The host has moved the directory here, or there was none.
                _ => {
                    self.volume.note_node(id, &self.me);
                    node.replace(NodeRef { id, lookups: 1 })
                }
            }
        };
        if let Some(NodeRef { id, lookups }) = unneeded {
            self.volume.forget_node(id, lookups, std::ptr::from_ref(self), Reason::Unused);
        }
    }

    /// The gofer does not find the file by node `id` any more; says whether it may by another.
    fn gives_up(&self, id: NodeId) -> bool {
        if self.is_root || !self.volume.is_shared() {
            return false;
        }
        let stale = {
            let mut node = self.node.lock();
            if node.is_some_and(|node| node.id == id) { node.take() } else { None }
        };
        if let Some(NodeRef { id, lookups }) = stale {
            self.volume.forget_node(id, lookups, std::ptr::from_ref(self), Reason::Unused);
        }
        true
    }

    /// Notes whether the gofer reports changes of this file.
    pub(super) fn set_watched(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::Release);
    }

    /// Begins a change of ours of content or attributes.
    pub(super) fn begin_change(&self, reach: Reach) -> Change<'_> {
        self.note_own_change();
        self.attrs.change(reach)
    }

    /// Events of this file will be our own.
    pub(super) fn note_own_change(&self) {
        if self.volume.is_shared() {
            self.own_change_ns.store(host::time::monotonic_ns(), Ordering::Relaxed);
        }
    }

    /// Whether an event that comes now is probably of our own change.
    pub(super) fn has_own_change(&self) -> bool {
        let at = self.own_change_ns.load(Ordering::Relaxed);
        at != 0 && host::time::monotonic_ns().saturating_sub(at) < OWN_EVENT_DELAY_NS
    }

    /// Whether what was heard of this file may be kept.
    pub(super) fn is_cacheable(&self) -> bool {
        self.is_watched.load(Ordering::Acquire)
    }

    pub(super) fn known_node(&self) -> Option<NodeId> {
        self.node.lock().map(|node| node.id)
    }

    /// The file's node; asks for it, and for those of directories above, in one walk.
    pub(super) fn node(&self) -> Result<NodeId> {
        if let Some(id) = self.known_node() {
            return Ok(id);
        }
        let mut chain = vec![(self.arc()?, None)];
        let start = loop {
            let (last, _) = chain.last().ok_or(Errno::ESTALE)?;
            let (parent, name) = last.place().ok_or(Errno::ESTALE)?;
            if let Some((_, last_name)) = chain.last_mut() {
                *last_name = Some(name);
            }
            match parent.known_node() {
                Some(id) => break id,
                None if chain.len() < MAX_DEPTH => chain.push((parent, None)),
                // No path is that long: directories that were moved into each other on the host, or a lie.
                None => return Err(Errno::ESTALE),
            }
        };
        chain.reverse();
        let mut from = start;
        for part in chain.chunks(WALK_MAX) {
            from = self.walk_part(from, part)?;
        }
        Ok(from)
    }

    /// Walks from `from` through inodes that are known by name only; returns the last one's node.
    fn walk_part(&self, from: NodeId, part: &[Unwalked]) -> Result<NodeId> {
        let names: Option<Vec<_>> =
            part.iter().map(|(_, name)| name.as_deref().and_then(Name::new)).collect();
        let walk = Walk { from, names: names.ok_or(Errno::ESTALE)?, open: None };
        let response = self.volume.connection().call(&walk)?;
        let reply = response.get()?;
        for ((inode, _), found) in part.iter().zip(&reply.found) {
            if !inode.is_key(&found.attr) {
                self.volume.connection().forget(found.node, 1, Reason::Unused);
                return Err(Errno::ESTALE);
            }
            inode.found_node(found.node);
        }
        match (reply.found.len() == part.len(), reply.found.last()) {
            (true, Some(last)) => Ok(last.node),
            _ => Err(Errno::ESTALE),
        }
    }

    /// Calls the gofer about this file: by node, or by a name in the directory where there is none. A node that is stale,
    /// since the host has moved the file, is had anew once.
    pub(super) fn with_target<T>(&self, mut call: impl FnMut(Target<'_>) -> Result<T>) -> Result<T> {
        let answer = match self.known_node() {
            Some(id) => match call(Target::node(id)) {
                Err(Errno::ESTALE) if self.gives_up(id) => self.node().and_then(|id| call(Target::node(id))),
                other => other,
            },
            None => self.with_name(call),
        };
        if matches!(answer, Err(Errno::ESTALE)) {
            self.lose();
        }
        answer
    }

    fn with_name<T>(&self, mut call: impl FnMut(Target<'_>) -> Result<T>) -> Result<T> {
        let (parent, name) = self.place().ok_or(Errno::ESTALE)?;
        let name = Name::new(&name).ok_or(Errno::ESTALE)?;
        call(Target::named(parent.node()?, name))
    }

    /// In a shared mount: the host has put something else where this file was found, of which we have not heard yet.
    fn lose(&self) {
        self.is_lost.store(self.volume.is_shared(), Ordering::Release);
    }

    /// Whether its names have to be looked up again.
    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Acquire)
    }

    /// Attributes that can be relied on now.
    pub(super) fn refreshed(&self) -> Result<WireAttr> {
        if let Some(attr) = self.attrs.current().filter(|_| self.is_cacheable()) {
            return Ok(attr);
        }
        let asked = self.attrs.now();
        let handle = self.handles.lock().any();
        match handle {
            Some(file) if self.attrs.current_access().is_some() => self.look_at(asked, &file)?,
            handle => match (self.ask_attr(asked), handle) {
                // It is open, but has no name any more by which its owner could be asked for.
                (Err(Errno::ESTALE), Some(file)) => {
                    let WireAttr { uid, gid, .. } = self.attrs.last();
                    let attr = WireAttr::from(&host::fs::stat_open(file.fd())?);
                    self.attrs.told(asked, WireAttr { uid, gid, ..attr });
                }
                // It was there when it was looked up, just now, and was as we heard of it last.
                (Err(Errno::ESTALE), None) if self.volume.is_shared() => {}
                (answer, _) => answer?,
            },
        }
        Ok(self.attrs.last())
    }

    /// Asks the gofer for the attributes.
    fn ask_attr(&self, asked: Moment) -> Result<()> {
        let answer = self.with_target(|target| {
            let response = self.volume.connection().call(&GetAttr { target })?;
            response.get().map(|reply| reply.attr)
        });
        match answer {
            Ok(attr) if self.is_key(&attr) => {
                self.attrs.told(asked, attr);
                Ok(())
            }
            // A name that is gone, or is another file's, is a file that is gone.
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {
                self.lose();
                Err(Errno::ESTALE)
            }
            Err(error) => Err(error),
        }
    }

    /// Asks a descriptor for the attributes.
    pub(super) fn look_at(&self, asked: Moment, file: &HostFile) -> Result<()> {
        let attr = WireAttr::from(&host::fs::stat_open(file.fd())?);
        if !self.is_key(&attr) {
            return Err(Errno::ESTALE);
        }
        self.attrs.seen(asked, attr);
        Ok(())
    }

    /// Makes a change that may find no room on the host. Small deleted files wait to be given back: where there is no
    /// room they are, and the change is tried once more.
    pub(super) fn with_room<T>(&self, mut change: impl FnMut() -> Result<T>) -> Result<T> {
        match change() {
            Err(Errno::ENOSPC | Errno::EDQUOT) if self.volume.connection().forget_deleted() => {
                // The gofer answers in order: once it has, it has heard what it was told before.
                let _ = self.ask_attr(self.attrs.now());
                change()
            }
            other => other,
        }
    }

    /// One of the file's names is about to be removed.
    pub(super) fn leave(&self) -> Leaving<'_> {
        let change = Some(self.attrs.change(Reach::Content));
        let is_last = self.attrs.last().nlink <= 1 || self.kind == FileType::Directory;
        if is_last {
            // The host may give its number to another file before we hear that it is gone.
            self.volume.remove(self.key, std::ptr::from_ref(self));
        }
        Leaving { inode: self, change, is_last }
    }

    /// Before a name goes: makes sure that a file that has others, or is open, can be found without it.
    pub(super) fn survive_without_name(&self) {
        // In a shared mount the host may have given it others.
        let has_others =
            || self.attrs.last().nlink > 1 || self.volume.is_shared() && self.attrs.current().is_none();
        let is_needed = || has_others() || self.handles.lock().any().is_some();
        if self.kind != FileType::Directory && is_needed() {
            // Where that fails, it is stale, as it would be anyway.
            let _ = self.node();
        }
    }

    /// Why its node is given back: how soon that should be.
    fn reason_to_forget(&mut self) -> Reason {
        // A directory that is gone was empty.
        if self.attrs.last().nlink > 0 || self.kind == FileType::Directory {
            return Reason::Unused;
        }
        if self.kind != FileType::Regular {
            return Reason::Deleted;
        }
        let told = self.attrs.current();
        let attr = told.or_else(|| {
            let file = self.handles.get_mut().any()?;
            host::fs::stat_open(file.fd()).ok().map(|stat| WireAttr::from(&stat))
        });
        let space = attr.map(|attr| attr.size.max(attr.blocks.saturating_mul(512)));
        if space.is_some_and(|space| space <= LITTLE_SPACE) { Reason::Deleted } else { Reason::DeletedLarge }
    }

    /// Gives back what the gofer keeps for this inode; returns its directory, to be dropped without recursion.
    fn release(&mut self) -> Option<Arc<Self>> {
        // Not the address of `self`, which may have been moved out of its place by now.
        let me = self.me.as_ptr();
        let place = self.place.get_mut().take();
        if let Some(place) = &place {
            // Of one that is gone there is nothing to hear.
            let changed_at =
                if self.attrs.last().nlink > 0 { self.attrs.changed_at() } else { Moment::default() };
            place.parent.forget_child(&place.name, me, changed_at);
        }
        self.volume.remove(self.key, me);
        self.drop_listing();
        if let Some(node) = self.node.get_mut().take()
            && !self.is_root
        {
            let reason = self.reason_to_forget();
            self.volume.forget_node(node.id, node.lookups, me, reason);
        }
        place.map(|place| place.parent)
    }
}

impl Drop for GoferInode {
    fn drop(&mut self) {
        // A guest can nest directories deeper than our stack.
        let mut next = self.release();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.release();
        }
    }
}

impl Inode for GoferInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        self.refreshed().map(|attr| to_vfs(&attr, self.ino))
    }

    fn mode(&self) -> Result<u32> {
        match self.attrs.mode() {
            Some(mode) => Ok(mode),
            None => Ok(self.refreshed()?.mode),
        }
    }

    fn file_type(&self) -> Option<FileType> {
        Some(self.kind)
    }

    fn ownership(&self) -> Result<Attr> {
        match self.attrs.current_access().filter(|_| self.is_cacheable()) {
            Some(attr) => Ok(to_vfs(&attr, self.ino)),
            None => self.attr(),
        }
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        if self.volume.is_read_only() {
            return Err(Errno::EROFS);
        }
        let mut size = change.size;
        let file = self.handles.lock().writable();
        if let (Some(new), Some(file)) = (size, file) {
            // Also works for a file that has lost its name.
            let _change = self.begin_change(Reach::Content);
            self.with_room(|| host::fs::truncate(file.fd(), new))?;
            size = None;
        }
        // Cutting a file sets its time by itself.
        let mtime = if change.size.is_some() && matches!(change.mtime, Some(SetTime::Now)) {
            None
        } else {
            change.mtime
        };
        let is_more = size.is_some()
            || change.mode.is_some()
            || change.uid.is_some()
            || change.gid.is_some()
            || change.atime.is_some()
            || mtime.is_some();
        if is_more {
            let is_of_access = change.mode.is_some() || change.uid.is_some() || change.gid.is_some();
            let of_attrs = self.begin_change(if is_of_access { Reach::All } else { Reach::Content });
            let call = |target: Target<'_>| {
                let request = WireSetAttr {
                    target,
                    mode: change.mode,
                    uid: change.uid,
                    gid: change.gid,
                    size,
                    atime: to_wire(change.atime)?,
                    mtime: to_wire(mtime)?,
                };
                self.volume.connection().call(&request)?.get()
            };
            let attr = self.with_room(|| self.with_target(call));
            if change.mode.is_some() || change.uid.is_some() {
                self.xattr_names.forget(self.attrs.tick());
            }
            of_attrs.answered(attr?);
        }
        // Whether the file shrinks is known only to the host: it may have grown since we looked.
        if let Some(new) = change.size {
            self.mappings.invalidate(new.next_multiple_of(abi::PAGE_SIZE), u64::MAX, true);
        }
        Ok(())
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let inode: Arc<dyn Inode> = self.find(name)?;
        Ok(inode)
    }

    fn create(&self, _caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let inode: Arc<dyn Inode> = self.make(name, node)?;
        Ok(inode)
    }

    fn link(&self, _caller: &Caller<'_>, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.make_link(name, Self::of(target)?)
    }

    fn unlink(&self, _caller: &Caller<'_>, name: &[u8], child: &Arc<dyn Inode>) -> Result<()> {
        self.remove_name(name, Self::of(child)?, false)
    }

    fn rmdir(&self, _caller: &Caller<'_>, name: &[u8], child: &Arc<dyn Inode>) -> Result<()> {
        self.remove_name(name, Self::of(child)?, true)
    }

    fn rename(&self, _caller: &Caller<'_>, rename: &Rename<'_>) -> Result<()> {
        self.move_name(rename)
    }

    fn readlink(&self, _caller: &Caller<'_>) -> Result<Vec<u8>> {
        if self.kind != FileType::Symlink {
            return Err(Errno::EINVAL);
        }
        // A link's text never changes; another link by its name is another inode.
        if let Some(link) = self.link.get() {
            return Ok(link.to_vec());
        }
        let link = self.with_target(|target| {
            let response = self.volume.connection().call(&Readlink { target })?;
            response.get().map(<[u8]>::to_vec)
        })?;
        Ok(self.link.get_or_init(|| link.into()).to_vec())
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        match self.kind {
            FileType::Directory => Ok(Arc::new(DirFile::new(self))),
            FileType::Regular => {
                GoferFile::open(self, flags).map(|file| -> Arc<dyn FileOps> { Arc::new(file) })
            }
            FileType::Symlink => Err(Errno::ELOOP),
            _ => Err(Errno::ENXIO),
        }
    }

    fn access_acl(&self) -> Result<Option<Arc<[u8]>>> {
        self.acl(b"system.posix_acl_access")
    }

    fn default_acl(&self) -> Result<Option<Arc<[u8]>>> {
        self.acl(b"system.posix_acl_default")
    }

    fn xattr(&self) -> Option<&dyn Xattr> {
        Some(self)
    }

    fn note_watch(&self) {
        self.start_watching();
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        if !FALLOCATE_MODES.contains(&mode) {
            return Err(Errno::EOPNOTSUPP);
        }
        let file = self.handle(true)?;
        let _change = self.begin_change(Reach::Content);
        self.with_room(|| host::fs::allocate(file.fd(), mode.cast_signed(), offset, len))
    }
}

fn to_wire(time: Option<SetTime>) -> Result<WireSetTime> {
    Ok(match time {
        None => WireSetTime::Keep,
        Some(SetTime::Now) => WireSetTime::Now,
        Some(SetTime::At(at)) => WireSetTime::To(Time {
            seconds: at.tv_sec,
            nanoseconds: u32::try_from(at.tv_nsec)
                .ok()
                .filter(|n| *n < 1_000_000_000)
                .ok_or(Errno::EINVAL)?,
        }),
    })
}
