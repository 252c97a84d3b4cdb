//! Changing the mount tree: attaching with propagation, binding, moving, unmounting, pivot_root(2), new name spaces
//! (`man 7 mount_namespaces`, `fs/namespace.c` and `fs/pnode.c` in Linux's tree).
//!
//! Everything here holds `Vfs::mount_lock`. Who is told of what is mounted where is in [`super::propagation`].

use std::collections::HashMap;
use std::sync::Arc;

use abi::mount::MountFlags;
use abi::{Errno, Result};
use host::heap::{self, Purpose};

use super::propagation::Listener;
use super::{Dentry, FsContext, Mount, MountNamespace, Vfs, VfsPath};
use crate::task::{NamespaceId, NamespaceRef, UserNamespace};

/// Mounts of one name space (Linux's `fs.mount-max`).
pub const MAX_MOUNTS: usize = 100_000;

/// How access times are kept.
const ACCESS_TIMES: MountFlags =
    MountFlags::NOATIME.union(MountFlags::NODIRATIME).union(MountFlags::RELATIME);

/// Whether a tree is taken with the mounts below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The one mount.
    Single,
    /// `MS_REC`, `AT_RECURSIVE`.
    Recursive,
}

/// What a tree is copied for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CopyFor {
    /// Another place: without what is not to be bound.
    Binding,
    /// A mount that hears of another: without files of mount name spaces, either, which could contain themselves.
    Listener,
    /// A new name space: with all but such files.
    Namespace,
}

impl Vfs {
    /// Puts `tree`, which is in no tree yet, at `place`, above whatever is mounted there, and tells the peers.
    ///
    /// # Errors
    /// `ENOTDIR` where one is a directory and the other is not, `ENOENT` where the place is gone, `ENOSPC` for too
    /// many.
    pub fn attach_tree(&self, tree: &Arc<Mount>, place: &VfsPath) -> Result<()> {
        let _tree_lock = self.mount_lock.lock();
        self.attach_tree_locked(tree, place)
    }

    /// As [`Vfs::attach_tree`], for a tree that a descriptor stands for and that others may be attaching, too.
    ///
    /// # Errors
    /// As there; `EINVAL` where it is none any more, or `tree` is not its root, `ELOOP` where a name space would
    /// contain itself.
    pub(crate) fn attach_loose(&self, tree: &Arc<Mount>, place: &VfsPath) -> Result<()> {
        let _tree_lock = self.mount_lock.lock();
        if !tree.is_loose() || tree.mountpoint().is_some() {
            return Err(Errno::EINVAL);
        }
        check_bindable(tree, place)?;
        let namespace = place.mount.namespace().ok_or(Errno::EINVAL)?;
        if tree.subtree().iter().any(|mount| leads_back(mount.root(), &namespace)) {
            return Err(Errno::ELOOP);
        }
        self.attach_tree_locked(tree, place)
    }

    fn attach_tree_locked(&self, tree: &Arc<Mount>, place: &VfsPath) -> Result<()> {
        if tree.root().is_dir() != place.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if place.dentry.is_removed() {
            return Err(Errno::ENOENT);
        }
        let place = topmost(place);
        let mut listeners = self.listeners(&place.mount);
        listeners.retain(|listener| listener.mount.root().is_ancestor_of(&place.dentry));
        let receivers = listeners.iter().map(|listener| &listener.mount).chain([&place.mount]);
        check_room(receivers, tree.subtree().len())?;
        let is_shared = place.mount.propagation().group != 0;
        let newly_shared = if is_shared { self.share(tree) } else { Vec::new() };
        let copies: Result<Vec<_>> =
            listeners.iter().map(|listener| self.copy_for(listener, tree, &place)).collect();
        // Where one cannot have its copy, nobody gets any.
        let copies = copies.inspect_err(|_| self.unshare(&newly_shared))?;
        for (copy, at) in copies {
            self.attach_locked(&copy, &at);
        }
        self.attach_locked(tree, &place);
        Ok(())
    }

    /// What `listener` gets when `tree` is put at `place`: a copy, and where it goes.
    fn copy_for(
        &self,
        listener: &Listener,
        tree: &Arc<Mount>,
        place: &VfsPath,
    ) -> Result<(Arc<Mount>, VfsPath)> {
        let copy = self.copy_tree(&tree.root_path(), Extent::Recursive, CopyFor::Listener)?;
        if !listener.is_peer {
            self.enslave(&copy, listener.mount.propagation().group != 0);
        }
        if is_owned_apart(&listener.mount, &place.mount) {
            lock_tree(&copy);
        }
        Ok((copy, VfsPath { mount: listener.mount.clone(), dentry: place.dentry.clone() }))
    }

    /// A copy of the tree seen at `source`, in no tree yet (`MS_BIND`, `open_tree`).
    ///
    /// # Errors
    /// `EINVAL` for an unbindable mount, and where something would be uncovered that is not to be seen, `EPERM` where
    /// that cannot be copied; `ENOSPC`, `ENOMEM`.
    pub fn clone_tree(&self, source: &VfsPath, extent: Extent) -> Result<Arc<Mount>> {
        let _tree_lock = self.mount_lock.lock();
        let shows_locked = |child: &Arc<Mount>| {
            child.state().read().is_locked
                && child.mountpoint().is_some_and(|place| source.dentry.is_ancestor_of(&place.dentry))
        };
        // A copy without a locked mount would show what that one covers.
        let uncovers = extent == Extent::Single && source.mount.children().iter().any(shows_locked);
        if uncovers {
            return Err(Errno::EINVAL);
        }
        let tree = self.copy_tree(source, extent, CopyFor::Binding)?;
        tree.state().write().is_locked = false;
        Ok(tree)
    }

    /// As [`Vfs::clone_tree`], with what the purpose asks for.
    fn copy_tree(&self, source: &VfsPath, extent: Extent, purpose: CopyFor) -> Result<Arc<Mount>> {
        if !purpose.takes(&source.mount, &source.dentry) {
            return Err(Errno::EINVAL);
        }
        let root = self.copy_mount(&source.mount, source)?;
        let mut pending = vec![(source.mount.clone(), root.clone())];
        let mut count = 1;
        while let Some((from, to)) = pending.pop() {
            if extent == Extent::Single {
                break;
            }
            for child in from.children() {
                let Some(place) = child.mountpoint() else { continue };
                if !to.root().is_ancestor_of(&place.dentry) {
                    continue;
                }
                if !purpose.takes(&child, child.root()) {
                    // A copy without it would show what it covers.
                    if child.propagation().is_unbindable && child.state().read().is_locked {
                        return Err(Errno::EPERM);
                    }
                    continue;
                }
                count += 1;
                if count > MAX_MOUNTS {
                    return Err(Errno::ENOSPC);
                }
                let copy = self.copy_mount(&child, &child.root_path())?;
                copy.attach(&VfsPath { mount: to.clone(), dentry: place.dentry });
                pending.push((child, copy));
            }
        }
        Ok(root)
    }

    fn copy_mount(&self, mount: &Arc<Mount>, root: &VfsPath) -> Result<Arc<Mount>> {
        /// What a mount takes, bytes, with its place among others and in its groups.
        const MOUNT_COST: u64 = 512;
        heap::room_for(MOUNT_COST, Purpose::Process)?;
        let copy = self.new_mount_of(root, mount.source(), mount.flags());
        let propagation = mount.propagation();
        {
            let mut state = copy.state().write();
            state.is_unbindable = propagation.is_unbindable;
            let old = mount.state().read();
            (state.is_locked, state.locked_flags) = (old.is_locked, old.locked_flags);
        }
        self.relate(&copy, propagation.group, propagation.master);
        Ok(copy)
    }

    /// Moves a mount to another place (`MS_MOVE`).
    ///
    /// # Errors
    /// `EINVAL` where it is a root, below a shared mount, locked, or unbindable and others would get it, `ELOOP` where it would end below itself.
    pub fn move_mount(&self, mount: &Arc<Mount>, place: &VfsPath) -> Result<()> {
        let _tree_lock = self.mount_lock.lock();
        let Some(parent) = mount.mountpoint() else { return Err(Errno::EINVAL) };
        check_bindable(mount, place)?;
        if parent.mount.propagation().group != 0 || mount.state().read().is_locked {
            return Err(Errno::EINVAL);
        }
        let mut at = Some(place.clone());
        while let Some(path) = at {
            if Arc::ptr_eq(&path.mount, mount) {
                return Err(Errno::ELOOP);
            }
            at = path.mount.mountpoint();
        }
        if mount.root().is_dir() != place.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        mount.detach();
        let result = self.attach_tree_locked(mount, place);
        if result.is_err() {
            self.attach_locked(mount, &parent);
        }
        result
    }

    /// Unmounts. `is_lazy` detaches the whole tree whoever still uses it (`MNT_DETACH`).
    ///
    /// # Errors
    /// `EINVAL` for a root, `EBUSY` while it is in use.
    pub fn unmount(&self, mount: &Arc<Mount>, is_lazy: bool) -> Result<()> {
        let _tree_lock = self.mount_lock.lock();
        let namespace = mount.namespace().ok_or(Errno::EINVAL)?;
        let place = mount.mountpoint().ok_or(Errno::EINVAL)?;
        if mount.state().read().is_locked {
            return Err(Errno::EINVAL);
        }
        if !is_lazy {
            // Held by the caller and by the parent; whoever else holds it uses it.
            const IDLE_REFERENCES: usize = 2;
            if !mount.children().is_empty() || Arc::strong_count(mount) > IDLE_REFERENCES {
                return Err(Errno::EBUSY);
            }
        }
        let copies: Vec<Arc<Mount>> = self
            .listeners(&place.mount)
            .iter()
            .filter_map(|listener| listener.mount.mounted_on(&place.dentry))
            .filter(|copy| Arc::ptr_eq(copy.root(), mount.root()) && (is_lazy || copy.children().is_empty()))
            .collect();
        for gone in copies.iter().chain([mount]) {
            let space = gone.namespace();
            gone.detach();
            for below in gone.subtree() {
                below.state().write().namespace = std::sync::Weak::new();
            }
            if let Some(space) = space {
                space.note_change();
            }
        }
        namespace.note_change();
        Ok(())
    }

    /// pivot_root(2): `new` becomes the root, what was the root goes to `put_old`. Returns the old root's mount.
    ///
    /// # Errors
    /// As pivot_root(2).
    pub fn pivot_root(&self, root: &VfsPath, new: &VfsPath, put_old: &VfsPath) -> Result<()> {
        let _tree_lock = self.mount_lock.lock();
        let (root_mount, new_mount) = (&root.mount, &new.mount);
        let namespace = root_mount.namespace().ok_or(Errno::EINVAL)?;
        let is_ours = |mount: &Arc<Mount>| mount.namespace().is_some_and(|ns| Arc::ptr_eq(&ns, &namespace));
        if !is_ours(new_mount) || !is_ours(&put_old.mount) || new.dentry.is_removed() {
            return Err(Errno::EINVAL);
        }
        if Arc::ptr_eq(new_mount, root_mount) || Arc::ptr_eq(&put_old.mount, root_mount) {
            return Err(Errno::EBUSY);
        }
        let is_mount_root = |path: &VfsPath| Arc::ptr_eq(&path.dentry, path.mount.root());
        let new_place = new_mount.mountpoint().ok_or(Errno::EINVAL)?;
        if !is_mount_root(root) || !is_mount_root(new) || !is_below(put_old, new) {
            return Err(Errno::EINVAL);
        }
        // A root that lies below `new` would end up above itself.
        if !is_below(new, root) {
            return Err(Errno::EINVAL);
        }
        let shared = |mount: &Arc<Mount>| mount.propagation().group != 0;
        let root_place = root_mount.mountpoint();
        if new_mount.state().read().is_locked
            || shared(&new_place.mount)
            || root_place.as_ref().is_some_and(|place| shared(&place.mount))
        {
            return Err(Errno::EINVAL);
        }
        new_mount.detach();
        root_mount.detach();
        let was_locked = std::mem::take(&mut root_mount.state().write().is_locked);
        new_mount.state().write().is_locked = was_locked;
        match root_place {
            Some(place) => new_mount.attach(&place),
            None => namespace.set_root(new_mount.clone()),
        }
        root_mount.attach(&topmost(put_old));
        namespace.note_change();
        Ok(())
    }

    /// A copy of a mount name space for `CLONE_NEWNS`, to belong to `user_ns`. `fs`, which must be the new member's own,
    /// is moved into it. Where the owner is another than before, its mounts only listen to those they were copied from,
    /// and cannot be taken apart.
    ///
    /// # Errors
    /// `ENOSPC` for too many mounts, `ENOMEM`.
    pub fn copy_namespace(
        &self,
        namespace: &MountNamespace,
        user_ns: &Arc<UserNamespace>,
        fs: &FsContext,
    ) -> Result<Arc<MountNamespace>> {
        let _tree_lock = self.mount_lock.lock();
        let old_root = namespace.root();
        let new_root = self.copy_tree(&old_root.root_path(), Extent::Recursive, CopyFor::Namespace)?;
        if !Arc::ptr_eq(user_ns, namespace.user_ns()) {
            self.enslave(&new_root, false);
            lock_tree(&new_root);
        }
        let copy = self.new_namespace(new_root.clone(), user_ns);
        // Both trees have the same places; what a copy leaves out has no place to stand in.
        let twin = |path: &VfsPath| -> Option<VfsPath> {
            let mount = find_twin(&path.mount, &new_root)?;
            Some(VfsPath { mount, dentry: path.dentry.clone() })
        };
        fs.map_places(&twin);
        Ok(copy)
    }

    /// Whether a mount's own flags may be changed so.
    ///
    /// # Errors
    /// `EPERM` for those that came with it into a less privileged name space.
    pub fn check_mount_flags(&self, mount: &Mount, mask: MountFlags, flags: MountFlags) -> Result<()> {
        let locked = mount.state().read().locked_flags;
        let (old, new) = (mount.flags(), (mount.flags() & !mask) | (flags & mask));
        let times = locked & ACCESS_TIMES;
        let kept = locked & !ACCESS_TIMES;
        if !new.contains(kept) || (old ^ new).intersects(times) { Err(Errno::EPERM) } else { Ok(()) }
    }

    /// Changes mounts' own flags (`MS_REMOUNT | MS_BIND`, mount_setattr(2)): those of all, or of none.
    ///
    /// # Errors
    /// As [`Vfs::check_mount_flags`].
    pub fn set_mount_flags(&self, mounts: &[Arc<Mount>], mask: MountFlags, flags: MountFlags) -> Result<()> {
        let _tree_lock = self.mount_lock.lock();
        mounts.iter().try_for_each(|mount| self.check_mount_flags(mount, mask, flags))?;
        for mount in mounts {
            mount.set_flags((mount.flags() & !mask) | (flags & mask));
        }
        if let Some(namespace) = mounts.first().and_then(|mount| mount.namespace()) {
            namespace.note_change();
        }
        Ok(())
    }
}

impl CopyFor {
    /// Whether the copy gets one of `mount`, which would show `root`.
    fn takes(self, mount: &Mount, root: &Dentry) -> bool {
        let is_kept = self == Self::Namespace || !mount.propagation().is_unbindable;
        is_kept && (self == Self::Binding || mount_namespace_at(root).is_none())
    }
}

/// The mount name space whose file this is.
fn mount_namespace_at(dentry: &Dentry) -> Option<Arc<MountNamespace>> {
    match NamespaceRef::of_inode(dentry.inode())? {
        NamespaceRef::Mnt(namespace) => Some(namespace),
        _ => None,
    }
}

/// Whether `dentry` stands for `namespace`, or one that is older and may have `namespace` mounted: two that have each
/// other mounted would never go away.
pub(crate) fn leads_back(dentry: &Dentry, namespace: &MountNamespace) -> bool {
    mount_namespace_at(dentry).is_some_and(|shown| shown.id() <= namespace.id())
}

/// Whether the name spaces of `receivers` can take `count` more mounts each time.
///
/// # Errors
/// `ENOSPC`.
fn check_room<'a>(receivers: impl Iterator<Item = &'a Arc<Mount>>, count: usize) -> Result<()> {
    let mut totals: HashMap<NamespaceId, usize> = HashMap::new();
    for namespace in receivers.filter_map(|mount| mount.namespace()) {
        let total = totals.entry(namespace.id()).or_insert_with(|| namespace.mounts().len());
        *total += count;
        if *total > MAX_MOUNTS {
            return Err(Errno::ENOSPC);
        }
    }
    Ok(())
}

/// What is unbindable cannot go where others would get copies of it.
///
/// # Errors
/// `EINVAL`.
fn check_bindable(tree: &Arc<Mount>, place: &VfsPath) -> Result<()> {
    let is_told = topmost(place).mount.propagation().group != 0;
    let is_fixed = is_told && tree.subtree().iter().any(|mount| mount.propagation().is_unbindable);
    if is_fixed { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Whether two mounts are in name spaces of different owners.
fn is_owned_apart(a: &Mount, b: &Mount) -> bool {
    match (a.namespace(), b.namespace()) {
        (Some(a), Some(b)) => !Arc::ptr_eq(a.user_ns(), b.user_ns()),
        _ => false,
    }
}

/// Keeps a tree as it is for the less privileged owner that it is given to: what is below its root cannot be taken off,
/// and no flag that forbids something can be cleared (`lock_mnt_tree`).
fn lock_tree(tree: &Arc<Mount>) {
    const FORBIDDING: MountFlags =
        MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV).union(MountFlags::NOEXEC);
    for mount in tree.subtree() {
        let flags = mount.flags() & FORBIDDING;
        let mut state = mount.state().write();
        state.locked_flags |= flags | ACCESS_TIMES;
        state.is_locked |= !Arc::ptr_eq(&mount, tree);
    }
}

/// The top of the mounts stacked on `place`.
fn topmost(place: &VfsPath) -> VfsPath {
    let mut place = place.clone();
    while let Some(upper) = place.mount.mounted_on(&place.dentry) {
        place = upper.root_path();
    }
    place
}

/// Whether `path` is at or below `top`, across mounts.
pub(super) fn is_below(path: &VfsPath, top: &VfsPath) -> bool {
    let mut at = path.clone();
    while !Arc::ptr_eq(&at.mount, &top.mount) {
        match at.mount.mountpoint() {
            Some(below) => at = below,
            None => return false,
        }
    }
    top.dentry.is_ancestor_of(&at.dentry)
}

/// The copy of `mount` in the copied tree at `new_root`: the one reached by the same mount points.
fn find_twin(mount: &Arc<Mount>, new_root: &Arc<Mount>) -> Option<Arc<Mount>> {
    let mut way = Vec::new();
    let mut at = mount.clone();
    while let Some(place) = at.mountpoint() {
        way.push(place.dentry);
        at = place.mount;
    }
    let mut twin = new_root.clone();
    for dentry in way.iter().rev() {
        twin = twin.mounted_on(dentry)?;
    }
    Some(twin)
}
