//! User name spaces: which ids mean what (`man 7 user_namespaces`).
//!
//! [`super::Credentials`] hold ids of the sandbox's first name space ("kernel ids"). What a guest says or sees is
//! translated by the maps of its own name space. Lock: the maps are a leaf, written once.

use std::sync::Arc;

use abi::{Errno, Result};
use parking_lot::RwLock;

use super::{Capability, Credentials, NamespaceId};

/// What a guest sees for an id that its name space does not map (`/proc/sys/kernel/overflowuid`).
pub const OVERFLOW_ID: u32 = 65534;

/// Stands for "leave this id alone" in calls that change several ids.
const KEEP_ID: u32 = u32::MAX;

/// Name spaces can be nested this deep.
const MAX_LEVEL: u32 = 32;

/// The most ranges of one map (Linux's `UID_GID_MAP_MAX_EXTENTS`).
pub const MAX_RANGES: usize = 340;

/// `count` ids from `inside` on are the kernel ids from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// First id as seen inside.
    pub inside: u32,
    /// First id as seen outside: in [`IdMap`], a kernel id.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// A table of ranges.
#[derive(Clone, Debug, Default)]
pub struct IdMap(Vec<IdRange>);

impl IdMap {
    /// Every id is itself.
    #[must_use]
    pub fn identity() -> Self {
        Self(vec![IdRange { inside: 0, outside: 0, count: u32::MAX }])
    }

    /// The map of these ranges.
    ///
    /// # Errors
    /// `EINVAL` where there is none or too many, or where one is empty, wraps or overlaps another.
    pub fn new(ranges: Vec<IdRange>) -> Result<Self> {
        if ranges.is_empty() || ranges.len() > MAX_RANGES {
            return Err(Errno::EINVAL);
        }
        for (index, range) in ranges.iter().enumerate() {
            // u32::MAX itself is no id: it means "leave alone" in the calls.
            let ends = (range.inside.checked_add(range.count), range.outside.checked_add(range.count));
            let (Some(inside_end), Some(outside_end), 1..) = (ends.0, ends.1, range.count) else {
                return Err(Errno::EINVAL);
            };
            let clashes = |other: &IdRange| {
                (other.inside < inside_end && range.inside - other.inside.min(range.inside) < other.count)
                    || (other.outside < outside_end
                        && range.outside - other.outside.min(range.outside) < other.count)
            };
            if ranges[..index].iter().any(clashes) {
                return Err(Errno::EINVAL);
            }
        }
        Ok(Self(ranges))
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &[IdRange] {
        &self.0
    }

    /// The kernel id of `id`.
    #[must_use]
    pub fn to_kernel(&self, id: u32) -> Option<u32> {
        let hit = |range: &&IdRange| id.checked_sub(range.inside).is_some_and(|at| at < range.count);
        self.0.iter().find(hit).map(|range| range.outside + (id - range.inside))
    }

    /// The first kernel id of the `count` ids from `first` on; `None` unless one range holds them all.
    #[must_use]
    pub fn range_to_kernel(&self, first: u32, count: u32) -> Option<u32> {
        let holds = |range: &&IdRange| {
            first.checked_sub(range.inside).is_some_and(|at| at < range.count && count <= range.count - at)
        };
        self.0.iter().find(holds).map(|range| range.outside + (first - range.inside))
    }

    /// The id that stands for kernel id `id`.
    #[must_use]
    pub fn from_kernel(&self, id: u32) -> Option<u32> {
        let hit = |range: &&IdRange| id.checked_sub(range.outside).is_some_and(|at| at < range.count);
        self.0.iter().find(hit).map(|range| range.inside + (id - range.outside))
    }
}

#[derive(Debug)]
struct Maps {
    uids: IdMap,
    gids: IdMap,
    setgroups_allowed: bool,
}

/// A user name space.
#[derive(Debug)]
pub struct UserNamespace {
    id: NamespaceId,
    parent: Option<Arc<UserNamespace>>,
    level: u32,
    /// Kernel ids of who made it: that user has all capabilities in it, seen from the parent.
    owner: u32,
    group: u32,
    /// Whether its maker could set capabilities of files: only then may it map the root of the name space above, which
    /// lets its own root set such as count there.
    maker_could_setfcap: bool,
    maps: RwLock<Maps>,
}

impl UserNamespace {
    /// The first one: every id is itself.
    #[must_use]
    pub fn initial(id: NamespaceId) -> Arc<Self> {
        let maps = Maps { uids: IdMap::identity(), gids: IdMap::identity(), setgroups_allowed: true };
        let maps = RwLock::new(maps);
        Arc::new(Self { id, parent: None, level: 0, owner: 0, group: 0, maker_could_setfcap: true, maps })
    }

    /// A name space below this one, made by `maker`, without maps.
    ///
    /// # Errors
    /// `ENOSPC` where it would be nested too deeply.
    pub fn child(self: &Arc<Self>, id: NamespaceId, maker: &Credentials) -> Result<Arc<Self>> {
        if self.level + 1 >= MAX_LEVEL {
            return Err(Errno::ENOSPC);
        }
        let setgroups_allowed = self.maps.read().setgroups_allowed;
        let maps = Maps { uids: IdMap::default(), gids: IdMap::default(), setgroups_allowed };
        let (parent, level) = (Some(self.clone()), self.level + 1);
        let maker_could_setfcap = maker.effective.contains(Capability::Setfcap);
        let (owner, group, maps) = (maker.euid, maker.egid, RwLock::new(maps));
        Ok(Arc::new(Self { id, parent, level, owner, group, maker_could_setfcap, maps }))
    }

    /// Its identity in `/proc/[pid]/ns`.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// The name space it was made in.
    #[must_use]
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// The kernel user id of who made it.
    #[must_use]
    pub fn owner(&self) -> u32 {
        self.owner
    }

    /// The kernel group id of who made it.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.group
    }

    /// Whether who made it could set capabilities of files then.
    #[must_use]
    pub fn maker_could_setfcap(&self) -> bool {
        self.maker_could_setfcap
    }

    /// Whether `other` is this name space or lies below it.
    #[must_use]
    pub fn contains(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(other);
        while let Some(ns) = at {
            if Arc::ptr_eq(ns, self) {
                return true;
            }
            at = ns.parent.as_ref();
        }
        false
    }

    /// The kernel id of user `uid`; `None` where it is not mapped.
    #[must_use]
    pub fn to_kernel_uid(&self, uid: u32) -> Option<u32> {
        self.maps.read().uids.to_kernel(uid)
    }

    /// The kernel id of group `gid`; `None` where it is not mapped.
    #[must_use]
    pub fn to_kernel_gid(&self, gid: u32) -> Option<u32> {
        self.maps.read().gids.to_kernel(gid)
    }

    /// The kernel id of user `uid` as an argument that may leave an id alone: `None` for -1.
    ///
    /// # Errors
    /// `EINVAL` where it is not mapped.
    pub fn uid_or_keep(&self, uid: u32) -> Result<Option<u32>> {
        if uid == KEEP_ID { Ok(None) } else { self.to_kernel_uid(uid).map(Some).ok_or(Errno::EINVAL) }
    }

    /// As [`Self::uid_or_keep`], for groups.
    ///
    /// # Errors
    /// `EINVAL` where it is not mapped.
    pub fn gid_or_keep(&self, gid: u32) -> Result<Option<u32>> {
        if gid == KEEP_ID { Ok(None) } else { self.to_kernel_gid(gid).map(Some).ok_or(Errno::EINVAL) }
    }

    /// How a guest here sees kernel user id `uid`.
    #[must_use]
    pub fn from_kernel_uid(&self, uid: u32) -> u32 {
        self.maps.read().uids.from_kernel(uid).unwrap_or(OVERFLOW_ID)
    }

    /// How a guest here sees kernel group id `gid`.
    #[must_use]
    pub fn from_kernel_gid(&self, gid: u32) -> u32 {
        self.maps.read().gids.from_kernel(gid).unwrap_or(OVERFLOW_ID)
    }

    /// Whether kernel user id `uid` has a name here.
    #[must_use]
    pub fn maps_uid(&self, uid: u32) -> bool {
        self.maps.read().uids.from_kernel(uid).is_some()
    }

    /// Whether kernel group id `gid` has a name here.
    #[must_use]
    pub fn maps_gid(&self, gid: u32) -> bool {
        self.maps.read().gids.from_kernel(gid).is_some()
    }

    /// The users' map, `outside` being kernel ids.
    #[must_use]
    pub fn uid_map(&self) -> IdMap {
        self.maps.read().uids.clone()
    }

    /// The groups' map, `outside` being kernel ids.
    #[must_use]
    pub fn gid_map(&self) -> IdMap {
        self.maps.read().gids.clone()
    }

    /// Whether setgroups(2) may be called: `/proc/[pid]/setgroups` says so and groups are mapped.
    #[must_use]
    pub fn can_set_groups(&self) -> bool {
        let maps = self.maps.read();
        maps.setgroups_allowed && !maps.gids.ranges().is_empty()
    }

    /// What `/proc/[pid]/setgroups` shows: `true` for "allow".
    #[must_use]
    pub fn setgroups_allowed(&self) -> bool {
        self.maps.read().setgroups_allowed
    }

    /// Denies or allows setgroups(2) here.
    ///
    /// # Errors
    /// `EPERM` where groups are mapped already and it would be denied, or where it was denied.
    pub fn set_setgroups_allowed(&self, allowed: bool) -> Result<()> {
        let mut maps = self.maps.write();
        let was_mapped = !maps.gids.ranges().is_empty();
        if (!allowed && was_mapped && maps.setgroups_allowed) || (allowed && !maps.setgroups_allowed) {
            return Err(Errno::EPERM);
        }
        maps.setgroups_allowed = allowed;
        Ok(())
    }

    /// Sets the users' map, `outside` being kernel ids; once only.
    ///
    /// # Errors
    /// `EPERM` where it is set already.
    pub fn set_uid_map(&self, map: IdMap) -> Result<()> {
        let mut maps = self.maps.write();
        if !maps.uids.ranges().is_empty() {
            return Err(Errno::EPERM);
        }
        maps.uids = map;
        Ok(())
    }

    /// Sets the groups' map, `outside` being kernel ids; once only.
    ///
    /// # Errors
    /// `EPERM` where it is set already.
    pub fn set_gid_map(&self, map: IdMap) -> Result<()> {
        let mut maps = self.maps.write();
        if !maps.gids.ranges().is_empty() {
            return Err(Errno::EPERM);
        }
        maps.gids = map;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use super::{IdMap, IdRange};

    #[test]
    fn maps_translate_both_ways() {
        let map = IdMap::new(vec![
            IdRange { inside: 0, outside: 1000, count: 1 },
            IdRange { inside: 1, outside: 100_000, count: 65536 },
        ])
        .unwrap();
        assert_eq!((map.to_kernel(0), map.to_kernel(5)), (Some(1000), Some(100_004)));
        assert_eq!((map.from_kernel(100_004), map.from_kernel(7)), (Some(5), None));
    }

    #[test]
    fn a_range_must_lie_within_one_of_the_map() {
        let map = IdMap::new(vec![
            IdRange { inside: 0, outside: 1000, count: 1 },
            IdRange { inside: 99_000, outside: 100_000, count: 2 },
        ])
        .unwrap();
        assert_eq!((map.range_to_kernel(0, 1), map.range_to_kernel(99_001, 1)), (Some(1000), Some(100_001)));
        // The same shift at both ends, and other users' ids between them.
        assert_eq!(map.range_to_kernel(0, 99_001), None);
        assert_eq!((map.range_to_kernel(99_001, 2), map.range_to_kernel(0, u32::MAX)), (None, None));
    }

    #[test]
    fn overlapping_empty_and_wrapping_ranges_are_refused() {
        let range = |inside, outside, count| IdRange { inside, outside, count };
        for bad in [
            vec![],
            vec![range(0, 0, 0)],
            vec![range(u32::MAX - 1, 0, 5)],
            vec![range(0, 0, 10), range(9, 100, 1)],
            vec![range(5, 50, 10), range(100, 40, 11)],
        ] {
            assert_eq!(IdMap::new(bad).err(), Some(Errno::EINVAL));
        }
    }
}
