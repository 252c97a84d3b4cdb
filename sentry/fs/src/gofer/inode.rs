//! [`GoferInode`]: a host file as the guest's kernel knows it.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::{Errno, FileType, OpenFlags, Result};
use gofer_protocol::{
    Attr as WireAttr, FileId, GetAttr, Name, NodeId, Readlink, SetAttr as WireSetAttr,
    SetTime as WireSetTime, Target, Time, Walk,
};
use kernel::mm::{HostFile, MappingSet};
use kernel::vfs::{Attr, Caller, FileOps, Inode, InodeCommon, NewNode, Rename, SetAttr, SetTime, Xattr};
use parking_lot::Mutex;

use super::attr::{AttrCache, to_vfs};
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

/// What of fallocate(2) is passed on: allocate, keep the size, punch a hole, zero a range. The sandbox's filter knows
/// the same list.
const FALLOCATE_MODES: [u32; 5] = [0, 1, 3, 16, 17];

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
    /// In a shared mount: when we last changed it ourselves, by the host's clock.
    own_change_ns: AtomicI64,
}

impl GoferInode {
    pub(super) fn new(volume: Arc<Volume>, attr: WireAttr, origin: Origin) -> Arc<Self> {
        let kind = FileType::from_mode(attr.mode).unwrap_or(FileType::Regular);
        let ino = volume.guest_ino(&attr);
        let is_root = matches!(origin, Origin::Root(_));
        let inode = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            common: InodeCommon::default(),
            key: (attr.dev, attr.ino),
            ino,
            kind,
            attrs: AttrCache::new(attr),
            is_root,
            node: Mutex::new(None),
            place: Mutex::new(None),
            link: OnceLock::new(),
            dir: (kind == FileType::Directory).then(Box::default),
            handles: Mutex::default(),
            xattr_names: XattrNames::new(matches!(kind, FileType::Regular | FileType::Directory)),
            mappings: MappingSet::new(),
            is_watched: AtomicBool::new(true),
            own_change_ns: AtomicI64::new(0),
            volume,
        });
        inode.take_origin(origin);
        inode
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
        self.key == (attr.dev, attr.ino)
            || self.key.0 == attr.dev && self.is_kind_of(attr) && is_numbered_anew()
    }

    /// Whether the host's numbers of it are these.
    pub(super) fn has_id(&self, id: FileId) -> bool {
        self.key == (id.dev, id.ino)
    }

    pub(super) fn is_kind_of(&self, attr: &WireAttr) -> bool {
        FileType::from_mode(attr.mode) == Some(self.kind)
    }

    /// The file was found again, perhaps by another name.
    pub(super) fn found_again(&self, attr: WireAttr, origin: Origin) {
        self.attrs.set_fresh(attr);
        self.take_origin(origin);
    }

    fn take_origin(&self, origin: Origin) {
        match origin {
            Origin::Root(id) => {
                *self.node.lock() = Some(NodeRef { id, lookups: 0 });
                self.volume.note_node(id, &self.me);
            }
            Origin::Name { parent, name, node, link } => {
                if let Some(id) = node {
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
        let old = if self.is_root { None } else { self.place.lock().replace(Place { parent, name }) };
        // Outside of the lock: it may be the last of a directory.
        drop(old);
    }

    /// The gofer counted a look-up of this file, as this node.
    pub(super) fn found_node(&self, id: NodeId) {
        let is_known = {
            let mut node = self.node.lock();
            match node.as_mut() {
                Some(known) if known.id == id => {
                    known.lookups = known.lookups.saturating_add(1);
                    true
                }
                Some(_) => false,
                None => {
                    *node = Some(NodeRef { id, lookups: 1 });
                    self.volume.note_node(id, &self.me);
                    true
                }
            }
        };
        if !is_known {
            // Another link of the file; one is enough.
            self.volume.connection().forget(id, 1, Reason::Unused);
        }
    }

    /// Notes whether the gofer reports changes of this file.
    pub(super) fn set_watched(&self, is_watched: bool) {
        self.is_watched.store(is_watched, Ordering::Release);
    }

    /// We change content or attributes: what is cached is out of date, and events of it will be our own.
    pub(super) fn changed_by_us(&self) {
        self.attrs.mark_stale();
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
                None => chain.push((parent, None)),
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

    /// Calls the gofer about this file: by node, or by a name in the directory where there is none.
    pub(super) fn with_target<T>(&self, call: impl FnOnce(Target<'_>) -> Result<T>) -> Result<T> {
        if let Some(id) = self.known_node() {
            return call(Target::node(id));
        }
        let (parent, name) = self.place().ok_or(Errno::ESTALE)?;
        let name = Name::new(&name).ok_or(Errno::ESTALE)?;
        call(Target::named(parent.node()?, name))
    }

    /// What a descriptor of this file tells of it.
    pub(super) fn stat_handle(&self, file: &HostFile) -> Result<WireAttr> {
        // This process's user name space does not know the host's owners: they are what the gofer said.
        let WireAttr { uid, gid, .. } = self.attrs.last();
        Ok(WireAttr { uid, gid, ..WireAttr::from(&host::fs::stat_open(file.fd())?) })
    }

    /// Attributes that can be relied on now.
    pub(super) fn refreshed(&self) -> Result<WireAttr> {
        if let Some(attr) = self.attrs.current().filter(|_| self.is_cacheable()) {
            return Ok(attr);
        }
        let asked = self.attrs.now();
        let handle = self.handles.lock().any().filter(|_| !self.attrs.take_owner_doubt());
        let attr = match handle {
            Some(file) => self.stat_handle(&file)?,
            None => {
                match self.with_target(|target| {
                    let response = self.volume.connection().call(&GetAttr { target })?;
                    response.get().map(|reply| reply.attr)
                }) {
                    // A name that is gone is a file that is gone.
                    Err(Errno::ENOENT | Errno::ENOTDIR) => Err(Errno::ESTALE),
                    other => other,
                }
                // What was doubted before the question still is.
                .inspect_err(|_| self.attrs.doubt_owner())?
            }
        };
        if !self.is_key(&attr) {
            return Err(Errno::ESTALE);
        }
        self.attrs.set(asked, attr);
        Ok(self.attrs.last())
    }

    /// One of the file's names is gone. `was_last`: it was the only one.
    pub(super) fn lost_name(&self) {
        if self.attrs.last().nlink <= 1 || self.kind == FileType::Directory {
            self.attrs.update(|attr| attr.nlink = 0);
            // The host may give its number to the next file.
            self.volume.remove(self.key, std::ptr::from_ref(self));
        } else {
            self.attrs.mark_stale();
        }
    }

    /// Before a name goes: makes sure that a file that has others, or is open, can be found without it.
    pub(super) fn survive_without_name(&self) {
        let is_needed = || self.attrs.last().nlink > 1 || self.handles.lock().any().is_some();
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
        let attr = match self.handles.get_mut().any() {
            Some(file) => self.stat_handle(&file).ok(),
            None => self.attrs.current(),
        };
        let space = attr.map(|attr| attr.size.max(attr.blocks.saturating_mul(512)));
        if space.is_some_and(|space| space <= LITTLE_SPACE) { Reason::Deleted } else { Reason::DeletedLarge }
    }

    /// Gives back what the gofer keeps for this inode; returns its directory, to be dropped without recursion.
    fn release(&mut self) -> Option<Arc<Self>> {
        // Not the address of `self`, which may have been moved out of its place by now.
        let me = self.me.as_ptr();
        let place = self.place.get_mut().take();
        if let Some(place) = &place {
            place.parent.forget_child(&place.name, me);
        }
        self.volume.remove(self.key, me);
        self.drop_listing();
        if let Some(node) = self.node.get_mut().take()
            && !self.is_root
        {
            let reason = self.reason_to_forget();
            self.volume.forget_node(node.id, node.lookups, reason);
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
        Ok(self.attrs.mode())
    }

    fn ownership(&self) -> Result<Attr> {
        if self.is_cacheable() && !self.attrs.is_owner_doubtful() {
            return Ok(to_vfs(&self.attrs.last(), self.ino));
        }
        self.attr()
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        if self.volume.is_read_only() {
            return Err(Errno::EROFS);
        }
        let mut size = change.size;
        if let (Some(new), Some(file)) = (size, self.handles.lock().writable()) {
            // Also works for a file that has lost its name.
            host::fs::truncate(file.fd(), new)?;
            self.changed_by_us();
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
            self.changed_by_us();
            let asked = self.attrs.now();
            let attr = self.with_target(|target| {
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
            })?;
            self.attrs.set(asked, attr);
        }
        if change.mode.is_some() || change.uid.is_some() {
            self.xattr_names.forget();
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
        self.changed_by_us();
        host::fs::allocate(file.fd(), mode.cast_signed(), offset, len)
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
