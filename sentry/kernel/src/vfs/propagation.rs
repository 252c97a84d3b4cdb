//! Propagation: mounts of one peer group tell each other of what is mounted below them; slaves only listen (shared
//! subtrees in `man 7 mount_namespaces`, `fs/pnode.c` in Linux's tree).
//!
//! Everything here is called with `Vfs::mount_lock` held. `Vfs::peers` is the way from a group to its mounts; a mount's
//! own `state` says where it belongs, and [`Vfs::relate`] changes both.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem;
use std::sync::{Arc, Weak};

use super::mount_tree::Extent;
use super::{Mount, Vfs};

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

/// A mount that hears of changes elsewhere.
pub(super) struct Listener {
    pub(super) mount: Arc<Mount>,
    pub(super) is_peer: bool,
}

/// Mounts by their numbers.
type Mounts = BTreeMap<u64, Weak<Mount>>;

/// A peer group.
#[derive(Debug, Default)]
struct PeerGroup {
    peers: Mounts,
    slaves: Mounts,
}

/// The peer groups of a sandbox. Mounts that are gone are forgotten now and then.
#[derive(Debug, Default)]
pub(super) struct PeerGroups {
    groups: HashMap<u64, PeerGroup>,
    /// The highest group number given out.
    last: u64,
    /// How many mounts have been noted since those that are gone were forgotten, and how many were left then.
    noted: usize,
    kept: usize,
}

impl PeerGroups {
    fn note(&mut self, mount: &Arc<Mount>, group: u64, master: u64) {
        if group != 0 {
            self.groups.entry(group).or_default().peers.insert(mount.id(), Arc::downgrade(mount));
        }
        if master != 0 {
            self.groups.entry(master).or_default().slaves.insert(mount.id(), Arc::downgrade(mount));
        }
        self.noted += 1;
        if self.noted > self.kept + 64 {
            self.forget_gone();
        }
    }

    fn forget(&mut self, mount: &Mount, group: u64, master: u64) {
        for (number, is_peer) in [(group, true), (master, false)] {
            let Some(group) = self.groups.get_mut(&number) else { continue };
            let members = if is_peer { &mut group.peers } else { &mut group.slaves };
            members.remove(&mount.id());
            if group.peers.is_empty() && group.slaves.is_empty() {
                self.groups.remove(&number);
            }
        }
    }

    fn forget_gone(&mut self) {
        for group in self.groups.values_mut() {
            group.peers.retain(|_, mount| mount.strong_count() > 0);
            group.slaves.retain(|_, mount| mount.strong_count() > 0);
        }
        self.groups.retain(|_, group| !group.peers.is_empty() || !group.slaves.is_empty());
        self.kept = self.groups.values().map(|group| group.peers.len() + group.slaves.len()).sum();
        self.noted = 0;
    }

    /// Whether `group` has another member than `mount`.
    fn has_other(&mut self, group: u64, mount: &Mount) -> bool {
        let Some(group) = self.groups.get_mut(&group) else { return false };
        while let Some(entry) = group.peers.first_entry().filter(|entry| entry.get().strong_count() == 0) {
            entry.remove();
        }
        group.peers.iter().any(|(&id, peer)| id != mount.id() && peer.strong_count() > 0)
    }
}

impl Vfs {
    /// Who hears of changes below `mount`: its peers, the slaves of its group, theirs in turn.
    pub(super) fn listeners(&self, mount: &Mount) -> Vec<Listener> {
        let own = mount.propagation().group;
        let mut known = HashSet::from([mount.id()]);
        let mut found = Vec::new();
        let mut pending = vec![own];
        let mut told = HashSet::from([0, own]);
        let peers = self.peers.lock();
        while let Some(number) = pending.pop() {
            let Some(group) = peers.groups.get(&number) else { continue };
            for (&id, member) in group.peers.iter().chain(&group.slaves) {
                if !known.insert(id) {
                    continue;
                }
                let Some(member) = member.upgrade() else { continue };
                let group = member.propagation().group;
                if told.insert(group) {
                    pending.push(group);
                }
                found.push(Listener { is_peer: group == own, mount: member });
            }
        }
        drop(peers);
        found.retain(|listener| listener.mount.namespace().is_some());
        found
    }

    /// Makes `mount` a member of `group` and a slave of `master`; 0 is none.
    pub(super) fn relate(&self, mount: &Arc<Mount>, group: u64, master: u64) {
        let (old_group, old_master) = {
            let mut state = mount.state().write();
            (mem::replace(&mut state.group, group), mem::replace(&mut state.master, master))
        };
        let mut peers = self.peers.lock();
        peers.forget(mount, old_group, old_master);
        if group != 0 || master != 0 {
            peers.note(mount, group, master);
        }
    }

    /// Gives every mount of a tree a peer group; returns those that had none.
    pub(super) fn share(&self, tree: &Arc<Mount>) -> Vec<Arc<Mount>> {
        let mut alone = tree.subtree();
        alone.retain(|mount| mount.propagation().group == 0);
        alone.iter().for_each(|mount| self.make_shared(mount));
        alone
    }

    /// Takes back what [`Vfs::share`] has done.
    pub(super) fn unshare(&self, mounts: &[Arc<Mount>]) {
        for mount in mounts {
            self.relate(mount, 0, mount.propagation().master);
        }
    }

    fn make_shared(&self, mount: &Arc<Mount>) {
        let propagation = mount.propagation();
        if propagation.group == 0 {
            let group = {
                let mut peers = self.peers.lock();
                peers.last += 1;
                peers.last
            };
            self.relate(mount, group, propagation.master);
        }
    }

    /// Makes a copied tree listen to the groups that it is a member of.
    pub(super) fn enslave(&self, tree: &Arc<Mount>, stays_shared: bool) {
        for mount in tree.subtree() {
            let group = mount.propagation().group;
            if group != 0 {
                self.relate(&mount, 0, group);
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
        mount.state().write().is_unbindable = kind == PropagationType::Unbindable;
        let propagation = mount.propagation();
        match kind {
            PropagationType::Shared => self.make_shared(mount),
            // Alone in its group it has nobody to listen to: it goes on with the master it had.
            PropagationType::Slave if self.peers.lock().has_other(propagation.group, mount) => {
                self.relate(mount, 0, propagation.group);
            }
            PropagationType::Slave => self.relate(mount, 0, propagation.master),
            PropagationType::Private | PropagationType::Unbindable => self.relate(mount, 0, 0),
        }
    }
}
