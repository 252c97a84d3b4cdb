//! The nodes that a client knows, and the descriptors behind them.
//!
//! A node is a file at a place: a name in another node. Its `O_PATH` descriptor is a cache: when there are too many,
//! old ones are closed and the file is found again by its name, which counts only if device and inode number are
//! still the same, and the time of birth where that means something: hosts give the numbers of deleted files to new ones.
//! For a directory of a stacked file system of several devices the time of its birth is enough, since those are given new
//! numbers when the host's inode cache lets go of them. A node whose name went away keeps its descriptor for as long as
//! the client keeps the node.
//! One thread owns the table; there are no locks.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::fs::{FileType, OpenFlags};
use abi::{Errno, Result};
use gofer_protocol::{Attr, NodeId, OVERLAYFS};
use host::fs::{self, Stat};

use crate::config::Limits;

/// How a file is opened just to name it.
pub(crate) const PATH_ONLY: OpenFlags = OpenFlags::PATH.union(OpenFlags::NOFOLLOW);

/// The deepest chain of nodes that is followed to find one again. Deeper ones exist only by renaming behind our
/// back, where the chain may even be a ring.
const MAX_DEPTH: usize = 4096;

/// Where a node is.
#[derive(Debug)]
pub(crate) enum Place {
    /// It is a mount's root: in this directory under this name, or the process's root.
    Root(Option<(Arc<OwnedFd>, Box<[u8]>)>),
    /// A name in another node.
    Child(NodeId, Arc<[u8]>),
    /// It had a name once.
    Gone,
}

/// The file system of a mount's root.
#[derive(Clone, Copy, Debug)]
struct MountFs {
    /// It may number directories anew.
    is_stacked: bool,
    dev: u64,
}

/// A file that the client knows.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    /// Index of its mount.
    pub(crate) mount: usize,
    dev: u64,
    ino: u64,
    /// Type bits of the mode.
    kind: u32,
    /// When it was made, where the file system tells.
    btime: Option<(i64, u32)>,
    mount_fs: MountFs,
    lookups: u64,
    children: HashMap<Arc<[u8]>, NodeId>,
    fd: Option<Arc<OwnedFd>>,
    /// Used since the cache last looked for something to close.
    is_recent: bool,
    /// The watch on it, where its mount is shared.
    pub(crate) watch: Option<i32>,
}

impl Node {
    pub(crate) fn is_same(&self, stat: &Stat) -> bool {
        let is_born_with = self.btime.is_some() && self.btime == stat.btime;
        let is_same_number = self.ino == stat.ino && (is_born_with || !self.is_born_otherwise(stat));
        let is_numbered_anew = || self.mount_fs.is_stacked && self.is_dir() && is_born_with;
        (self.dev, self.kind) == (stat.dev, stat.kind()) && (is_same_number || is_numbered_anew())
    }

    /// Whether the times of birth tell that they are two files. A stacked file system gives a file another time when it
    /// copies it up; what is mounted below the root may be one.
    fn is_born_otherwise(&self, stat: &Stat) -> bool {
        let MountFs { is_stacked, dev } = self.mount_fs;
        !is_stacked
            && self.dev == dev
            && self.btime.is_some()
            && stat.btime.is_some()
            && self.btime != stat.btime
    }

    pub(crate) fn is_dir(&self) -> bool {
        FileType::from_mode(self.kind) == Some(FileType::Directory)
    }
}

/// A node whose name goes.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) id: NodeId,
    fd: Option<Arc<OwnedFd>>,
}

impl Pinned {
    /// What the file is now.
    pub(crate) fn attr(&self) -> Option<Attr> {
        let stat = fs::stat(self.fd.as_ref()?.as_fd()).ok()?;
        Some(Attr::from(&stat))
    }
}

/// All nodes.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: HashMap<NodeId, Node>,
    next_id: u64,
    /// Nodes with a descriptor that may be closed, oldest first.
    open: VecDeque<NodeId>,
    limits: Limits,
    /// Watches of removed nodes, for the server to end.
    pub(crate) orphaned_watches: Vec<(NodeId, i32)>,
}

impl Nodes {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            nodes: HashMap::new(),
            next_id: 1,
            open: VecDeque::new(),
            limits,
            orphaned_watches: Vec::new(),
        }
    }

    /// Nodes and descriptors held now.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.nodes.len(), self.nodes.values().filter(|node| node.fd.is_some()).count())
    }

    pub(crate) fn get(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(&id).ok_or(Errno::ESTALE)
    }

    pub(crate) fn get_mut(&mut self, id: NodeId) -> Result<&mut Node> {
        self.nodes.get_mut(&id).ok_or(Errno::ESTALE)
    }

    /// A mount's root; it stays for good.
    pub(crate) fn add_root(&mut self, mount: usize, fd: OwnedFd, stat: &Stat, place: Place) -> NodeId {
        let id = self.new_id();
        let is_stacked = fs::stat_file_system(fd.as_fd()).is_ok_and(|figures| figures.kind == OVERLAYFS);
        let mount_fs = MountFs { is_stacked, dev: stat.dev };
        let node =
            Node { fd: Some(Arc::new(fd)), lookups: u64::MAX, ..Node::new(place, mount, mount_fs, stat) };
        self.nodes.insert(id, node);
        id
    }

    /// The node of `name` in `parent`, which was just seen to be `stat`; counts a look-up.
    pub(crate) fn enter(
        &mut self,
        parent: NodeId,
        name: &[u8],
        stat: &Stat,
        fd: Option<OwnedFd>,
    ) -> Result<NodeId> {
        let (mount, mount_fs) = (self.get(parent)?.mount, self.get(parent)?.mount_fs);
        if let Some(id) = self.child(parent, name) {
            let node = self.get_mut(id)?;
            if node.is_same(stat) {
                node.lookups = node.lookups.saturating_add(1);
                if node.fd.is_none() && fd.is_some() {
                    self.keep(id, fd.map(Arc::new));
                }
                return Ok(id);
            }
            // Somebody put another file there.
            self.detach(id);
        }
        if self.nodes.len() >= self.limits.nodes {
            return Err(Errno::ENFILE);
        }
        let id = self.new_id();
        let name: Arc<[u8]> = name.into();
        self.get_mut(parent)?.children.insert(Arc::clone(&name), id);
        let node = Node { lookups: 1, ..Node::new(Place::Child(parent, name), mount, mount_fs, stat) };
        self.nodes.insert(id, node);
        self.keep(id, fd.map(Arc::new));
        Ok(id)
    }

    /// The node known under `name` in `parent`.
    pub(crate) fn child(&self, parent: NodeId, name: &[u8]) -> Option<NodeId> {
        self.nodes.get(&parent)?.children.get(name).copied()
    }

    /// Gives `count` look-ups back.
    pub(crate) fn forget(&mut self, id: NodeId, count: u32) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if !matches!(node.place, Place::Root(_)) {
            node.lookups = node.lookups.saturating_sub(u64::from(count));
            self.collect(id);
        }
    }

    /// A path descriptor of a node.
    pub(crate) fn fd(&mut self, id: NodeId) -> Result<Arc<OwnedFd>> {
        let mut chain = Vec::new();
        let mut at = id;
        let mut fd = loop {
            let node = self.get_mut(at)?;
            if let Some(fd) = &node.fd {
                node.is_recent = true;
                break Arc::clone(fd);
            }
            let Place::Child(parent, _) = node.place else { return Err(Errno::ESTALE) };
            chain.push(at);
            if chain.len() > MAX_DEPTH {
                return Err(Errno::ESTALE);
            }
            at = parent;
        };
        for id in chain.into_iter().rev() {
            let Place::Child(_, name) = &self.get(id)?.place else { return Err(Errno::ESTALE) };
            let found = fs::open_at(fd.as_fd(), name, PATH_ONLY, 0).map_err(gone)?;
            if !self.get(id)?.is_same(&fs::stat(found.as_fd())?) {
                return Err(Errno::ESTALE);
            }
            fd = Arc::new(found);
            self.keep(id, Some(Arc::clone(&fd)));
        }
        Ok(fd)
    }

    /// The directory and name under which a node can be opened; the caller compares what it opens.
    pub(crate) fn place(&mut self, id: NodeId) -> Result<(Arc<OwnedFd>, Box<[u8]>)> {
        match &self.get(id)?.place {
            Place::Root(Some((dir, name))) => Ok((Arc::clone(dir), name.clone())),
            Place::Root(None) => Ok((self.fd(id)?, b"."[..].into())),
            Place::Child(parent, name) => {
                let (parent, name) = (*parent, name[..].into());
                Ok((self.fd(parent)?, name))
            }
            Place::Gone => Err(Errno::ESTALE),
        }
    }

    /// Before a name is removed or replaced: makes sure that its node, if any, survives without it.
    pub(crate) fn pin(&mut self, parent: NodeId, name: &[u8]) -> Option<Pinned> {
        let id = self.child(parent, name)?;
        // Where that fails, the node will be stale, as any file is that is gone.
        Some(Pinned { id, fd: self.fd(id).ok() })
    }

    /// The node's name is gone.
    pub(crate) fn detach(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Place::Child(parent, name) = std::mem::replace(&mut node.place, Place::Gone) else { return };
        // Its descriptor is no longer one that can be had again.
        self.open.retain(|open| *open != id);
        self.unname(parent, &name, id);
        self.collect(id);
        self.collect(parent);
    }

    /// The name `old` in `old_dir` is now `new` in `new_dir`.
    pub(crate) fn moved(&mut self, old_dir: NodeId, old: &[u8], new_dir: NodeId, new: &[u8]) {
        if let Some(victim) = self.child(new_dir, new) {
            self.detach(victim);
        }
        let Some(id) = self.child(old_dir, old) else { return };
        self.put_at(id, old_dir, old, new_dir, new);
        self.collect(old_dir);
    }

    /// Two names were swapped.
    pub(crate) fn exchanged(&mut self, a_dir: NodeId, a: &[u8], b_dir: NodeId, b: &[u8]) {
        let (at_a, at_b) = (self.child(a_dir, a), self.child(b_dir, b));
        if let Some(id) = at_a {
            self.put_at(id, a_dir, a, b_dir, b);
        }
        if let Some(id) = at_b {
            self.put_at(id, b_dir, b, a_dir, a);
        }
        self.collect(a_dir);
        self.collect(b_dir);
    }

    fn put_at(&mut self, id: NodeId, old_dir: NodeId, old: &[u8], new_dir: NodeId, new: &[u8]) {
        self.unname(old_dir, old, id);
        if self.is_below(new_dir, id) {
            // The host was changed behind our back; a ring of nodes would never be let go.
            if let Some(node) = self.nodes.get_mut(&id) {
                node.place = Place::Gone;
            }
            self.open.retain(|open| *open != id);
            return;
        }
        let name: Arc<[u8]> = new.into();
        let (Some(_), true) = (self.nodes.get(&id), self.nodes.contains_key(&new_dir)) else { return };
        if let Some(dir) = self.nodes.get_mut(&new_dir) {
            dir.children.insert(Arc::clone(&name), id);
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.place = Place::Child(new_dir, name);
        }
    }

    /// Whether `id` is `above` or has it among its ancestors.
    fn is_below(&self, id: NodeId, above: NodeId) -> bool {
        let mut at = id;
        for _ in 0..MAX_DEPTH {
            if at == above {
                return true;
            }
            match self.nodes.get(&at).map(|node| &node.place) {
                Some(Place::Child(parent, _)) => at = *parent,
                _ => return false,
            }
        }
        true
    }

    /// Takes `name` from `parent` if it is still the name of `id`.
    fn unname(&mut self, parent: NodeId, name: &[u8], id: NodeId) {
        if let Some(parent) = self.nodes.get_mut(&parent)
            && parent.children.get(name) == Some(&id)
        {
            parent.children.remove(name);
        }
    }

    /// Drops a node that nobody needs, and then its parents if they were only needed by it.
    fn collect(&mut self, id: NodeId) {
        let mut at = id;
        while let Some(node) = self.nodes.get(&at) {
            if node.lookups > 0 || !node.children.is_empty() {
                return;
            }
            let Some(node) = self.nodes.remove(&at) else { return };
            if let Some(watch) = node.watch {
                self.orphaned_watches.push((at, watch));
            }
            let Place::Child(parent, name) = node.place else { return };
            self.unname(parent, &name, at);
            at = parent;
        }
    }

    /// Caches a descriptor, closing older ones where there are too many.
    fn keep(&mut self, id: NodeId, fd: Option<Arc<OwnedFd>>) {
        let (Some(fd), Some(node)) = (fd, self.nodes.get_mut(&id)) else { return };
        node.fd = Some(fd);
        node.is_recent = true;
        self.open.push_back(id);
        // Each is looked at twice at most: recent ones get a second chance.
        let mut chances = self.open.len().saturating_mul(2);
        while self.open.len() > self.limits.descriptors && chances > 0 {
            chances -= 1;
            let Some(oldest) = self.open.pop_front() else { return };
            match self.nodes.get_mut(&oldest) {
                Some(node) if node.is_recent => {
                    node.is_recent = false;
                    self.open.push_back(oldest);
                }
                Some(node) => node.fd = None,
                None => {}
            }
        }
    }

    fn new_id(&mut self) -> NodeId {
        let id = NodeId(self.next_id);
        self.next_id += 1;
        id
    }
}

impl Node {
    fn new(place: Place, mount: usize, mount_fs: MountFs, stat: &Stat) -> Self {
        Self {
            place,
            mount,
            mount_fs,
            dev: stat.dev,
            ino: stat.ino,
            kind: stat.kind(),
            btime: stat.btime,
            lookups: 0,
            children: HashMap::new(),
            fd: None,
            is_recent: false,
            watch: None,
        }
    }
}

/// A node's own name is missing: the node is stale, which is not the same as a name that is not there.
fn gone(error: Errno) -> Errno {
    if matches!(error, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) { Errno::ESTALE } else { error }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::{MountFs, Node, Place};

    fn stat_of_root() -> host::fs::Stat {
        let dir = std::fs::File::open("/").unwrap();
        host::fs::Stat { btime: Some((7, 8)), ..host::fs::stat(dir.as_fd()).unwrap() }
    }

    #[test]
    fn a_directory_that_is_numbered_anew_is_the_same() {
        let stat = stat_of_root();
        let mount_fs = MountFs { is_stacked: true, dev: stat.dev };
        let node = Node::new(Place::Gone, 0, mount_fs, &stat);
        let renumbered = host::fs::Stat { ino: stat.ino + 1, ..stat };
        assert!(node.is_same(&renumbered));
        assert!(!node.is_same(&host::fs::Stat { btime: Some((1, 2)), ..renumbered }));
        assert!(!node.is_same(&host::fs::Stat { btime: None, ..renumbered }));
        assert!(!node.is_same(&host::fs::Stat { mode: 0o100_644, ..stat }));
        let mount_fs = MountFs { is_stacked: false, ..mount_fs };
        assert!(!Node { mount_fs, ..node }.is_same(&renumbered), "elsewhere it is another one");
    }

    #[test]
    fn a_file_with_the_number_of_a_deleted_one_is_another() {
        let stat = stat_of_root();
        let mount_fs = MountFs { is_stacked: false, dev: stat.dev };
        let node = Node::new(Place::Gone, 0, mount_fs, &stat);
        let reborn = host::fs::Stat { btime: Some((9, 9)), ..stat };
        assert!(node.is_same(&stat) && !node.is_same(&reborn));
        assert!(node.is_same(&host::fs::Stat { btime: None, ..stat }), "nobody can tell");
        let below = Node { mount_fs: MountFs { dev: stat.dev + 1, ..mount_fs }, ..node };
        assert!(below.is_same(&reborn), "it may have been copied up");
        let stacked = Node { mount_fs: MountFs { is_stacked: true, ..mount_fs }, ..below };
        assert!(stacked.is_same(&reborn));
    }
}
