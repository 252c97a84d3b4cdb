//! Changing the mount tree: attaching with propagation, binding, moving, unmounting, pivot_root(2), new name spaces
//! (`man 7 mount_namespaces`, `fs/namespace.c` and `fs/pnode.c` in Linux's tree).
//!
//! Everything here holds `Vfs::mount_lock`. Mounts of one peer group tell each other of what is mounted below them;
//! slaves only listen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::mount::MountFlags;
use abi::{Errno, Result};

use super::{FsContext, Mount, MountNamespace, Vfs, VfsPath};
use crate::task::{NamespaceId, UserNamespace};

/// Mounts of one name space (Linux's `fs.mount-max`).
pub const MAX_MOUNTS: usize = 100_000;

/// How access times are kept.
const ACCESS_TIMES: MountFlags =
    MountFlags::NOATIME.union(MountFlags::NODIRATIME).union(MountFlags::RELATIME);

/// A change of propagation type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PropagationType {
    /// `MS_SHARED`.
    Shared,
    /// `MS_PRIVATE`.
    Private,
    /// `MS_SLAVE`.
    Slave,
    /// `MS_UNBINDABLE`.
    Unbindable,
}

/// Whether a tree is taken with the mounts below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The one mount.
    Single,
    /// `MS_REC`, `AT_RECURSIVE`.
    Recursive,
}

/// A mount that hears of changes elsewhere.
struct Listener {
    mount: Arc<Mount>,
    is_peer: bool,
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
    /// As there; `EINVAL` where it is none any more, or `tree` is not its root.
    pub(crate) fn attach_loose(&self, tree: &Arc<Mount>, place: &VfsPath) -> Result<()> {
        let _tree_lock = self.mount_lock.lock();
        if !tree.is_loose() || tree.mountpoint().is_some() {
            return Err(Errno::EINVAL);
        }
        self.attach_tree_locked(tree, place)
    }

    fn attach_tree_locked(&self, tree: &Arc<Mount>, place: &VfsPath) -> Result<()> {
        if tree.root().is_dir() != place.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if place.dentry.is_unlinked() {
            return Err(Errno::ENOENT);
        }
        let place = topmost(place);
        let mut listeners = self.listeners(&place.mount);
        listeners.retain(|listener| listener.mount.root().is_ancestor_of(&place.dentry));
        let receivers = listeners.iter().map(|listener| &listener.mount).chain([&place.mount]);
        check_room(receivers, tree.subtree().len())?;
        if place.mount.propagation().group != 0 {
            for mount in tree.subtree() {
                self.make_shared(&mount);
            }
        }
        for listener in listeners {
            let at = VfsPath { mount: listener.mount.clone(), dentry: place.dentry.clone() };
            let copy = self.copy_tree(&tree.root_path(), Extent::Recursive)?;
            if !listener.is_peer {
                self.enslave(&copy, listener.mount.propagation().group != 0);
            }
            if is_owned_apart(&listener.mount, &place.mount) {
                lock_tree(&copy);
            }
            self.attach_locked(&copy, &at);
        }
        self.attach_locked(tree, &place);
        Ok(())
    }

    /// Who hears of changes below `mount`: its peers, the slaves of its group, theirs in turn.
    fn listeners(&self, mount: &Arc<Mount>) -> Vec<Listener> {
        let group = mount.propagation().group;
        if group == 0 {
            return Vec::new();
        }
        let mut found: Vec<Listener> = Vec::new();
        let mut groups = vec![(group, true)];
        let mut next = 0;
        let members = self.grouped_mounts();
        while let Some(&(group, is_peer)) = groups.get(next) {
            next += 1;
            for member in &members {
                let is_known =
                    Arc::ptr_eq(member, mount) || found.iter().any(|l| Arc::ptr_eq(&l.mount, member));
                let propagation = member.propagation();
                if is_known || (propagation.group != group && propagation.master != group) {
                    continue;
                }
                found
                    .push(Listener { mount: member.clone(), is_peer: is_peer && propagation.group == group });
                if propagation.group != 0 && !groups.iter().any(|(known, _)| *known == propagation.group) {
                    groups.push((propagation.group, false));
                }
            }
        }
        found.retain(|listener| listener.mount.namespace().is_some());
        found
    }

    fn grouped_mounts(&self) -> Vec<Arc<Mount>> {
        let mut list = self.grouped.lock();
        list.retain(|mount| mount.strong_count() > 0);
        list.iter().filter_map(std::sync::Weak::upgrade).collect()
    }

    /// Notes that a mount is in a group or listens to one.
    fn note_grouped(&self, mount: &Arc<Mount>) {
        let mut list = self.grouped.lock();
        if !list.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(mount))) {
            list.push(Arc::downgrade(mount));
        }
    }

    fn make_shared(&self, mount: &Arc<Mount>) {
        let mut state = mount.state().write();
        if state.group == 0 {
            state.group = self.next_group.fetch_add(1, Ordering::Relaxed);
        }
        drop(state);
        self.note_grouped(mount);
    }

    /// Makes a copied tree listen to the groups that it is a member of.
    fn enslave(&self, tree: &Arc<Mount>, stays_shared: bool) {
        for mount in tree.subtree() {
            {
                let mut state = mount.state().write();
                if state.group != 0 {
                    state.master = std::mem::take(&mut state.group);
                }
            }
            if stays_shared {
                self.make_shared(&mount);
            }
        }
    }

    /// Changes how a mount shares (`mount --make-shared` and so on).
    pub fn set_propagation(&self, mount: &Arc<Mount>, kind: PropagationType, extent: Extent) {
        let _tree_lock = self.mount_lock.lock();
        let list = if extent == Extent::Recursive { mount.subtree() } else { vec![mount.clone()] };
        for mount in list {
            self.set_propagation_of(&mount, kind);
        }
    }

    fn set_propagation_of(&self, mount: &Arc<Mount>, kind: PropagationType) {
        if kind == PropagationType::Shared {
            mount.state().write().is_unbindable = false;
            self.make_shared(mount);
            return;
        }
        let has_peers = {
            let group = mount.propagation().group;
            group != 0
                && self
                    .grouped_mounts()
                    .iter()
                    .any(|other| !Arc::ptr_eq(other, mount) && other.propagation().group == group)
        };
        let mut state = mount.state().write();
        let group = std::mem::take(&mut state.group);
        match kind {
            // Alone in its group it has nobody to listen to: it goes on with the master it had.
            PropagationType::Slave if has_peers => state.master = group,
            PropagationType::Slave => {}
            _ => state.master = 0,
        }
        state.is_unbindable = kind == PropagationType::Unbindable;
    }

    /// A copy of the tree seen at `source`, in no tree yet (`MS_BIND`, `open_tree`).
    ///
    /// # Errors
    /// `EINVAL` for an unbindable mount, and where something would be uncovered that is not to be seen.
    pub fn clone_tree(&self, source: &VfsPath, extent: Extent) -> Result<Arc<Mount>> {
        let _tree_lock = self.mount_lock.lock();
        let shows_locked = |child: &Arc<Mount>| {
            child.state().read().is_locked
                && child.mountpoint().is_some_and(|place| source.dentry.is_ancestor_of(&place.dentry))
        };
        // A copy without a locked mount would show what that one covers.
        let uncovers = extent == Extent::Single && source.mount.children().iter().any(shows_locked);
        if source.mount.propagation().is_unbindable || uncovers {
            return Err(Errno::EINVAL);
        }
        let tree = self.copy_tree(source, extent)?;
        tree.state().write().is_locked = false;
        Ok(tree)
    }

    fn copy_tree(&self, source: &VfsPath, extent: Extent) -> Result<Arc<Mount>> {
        let root = self.copy_mount(&source.mount, source);
        let mut pending = vec![(source.mount.clone(), root.clone())];
        let mut count = 1;
        while let Some((from, to)) = pending.pop() {
            if extent == Extent::Single {
                break;
            }
            for child in from.children() {
                let Some(place) = child.mountpoint() else { continue };
                if !to.root().is_ancestor_of(&place.dentry) || child.propagation().is_unbindable {
                    continue;
                }
                count += 1;
                if count > MAX_MOUNTS {
                    return Err(Errno::ENOSPC);
                }
                let copy = self.copy_mount(&child, &child.root_path());
                copy.attach(&VfsPath { mount: to.clone(), dentry: place.dentry });
                pending.push((child, copy));
            }
        }
        Ok(root)
    }

    fn copy_mount(&self, mount: &Arc<Mount>, root: &VfsPath) -> Arc<Mount> {
        let copy = self.new_mount_of(root, mount.source(), mount.flags());
        let propagation = mount.propagation();
        {
            let mut state = copy.state().write();
            state.group = propagation.group;
            state.master = propagation.master;
            let old = mount.state().read();
            (state.is_locked, state.locked_flags) = (old.is_locked, old.locked_flags);
        }
        if propagation.group != 0 || propagation.master != 0 {
            self.note_grouped(&copy);
        }
        copy
    }

    /// Moves a mount to another place (`MS_MOVE`).
    ///
    /// # Errors
    /// `EINVAL` where it is a root, below a shared mount or locked, `ELOOP` where it would end below itself.
    pub fn move_mount(&self, mount: &Arc<Mount>, place: &VfsPath) -> Result<()> {
        let _tree_lock = self.mount_lock.lock();
        let Some(parent) = mount.mountpoint() else { return Err(Errno::EINVAL) };
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
        if !is_ours(new_mount) || !is_ours(&put_old.mount) || new.dentry.is_unlinked() {
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
    /// `ENOSPC` for too many mounts.
    pub fn copy_namespace(
        &self,
        namespace: &MountNamespace,
        user_ns: &Arc<UserNamespace>,
        fs: &FsContext,
    ) -> Result<Arc<MountNamespace>> {
        let _tree_lock = self.mount_lock.lock();
        let old_root = namespace.root();
        let new_root = self.copy_tree(&old_root.root_path(), Extent::Recursive)?;
        if !Arc::ptr_eq(user_ns, namespace.user_ns()) {
            self.enslave(&new_root, false);
            lock_tree(&new_root);
        }
        let copy = self.new_namespace(new_root.clone(), user_ns);
        // Both trees have the same places; unbindable mounts, which a copy leaves out, map to nothing.
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
