//! Which devices the tasks of a group of version 2 may use: what BPF programs that are attached to it and above say
//! (`kernel/bpf/cgroup.c` in Linux's tree).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::{DeviceId, Errno, Result};
use bitflags::bitflags;
use bpf::DeviceProgram;
use parking_lot::Mutex;

use super::{Cgroup, Hierarchies};
use crate::vfs::DeviceKind;

/// Programs of one group at most.
const MAX_PROGRAMS: usize = 64;

bitflags! {
    /// How programs are attached (`BPF_F_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct AttachFlags: u32 {
        /// One, which a group below may override.
        const ALLOW_OVERRIDE = 1;
        /// Several, which hold together with those of groups below.
        const ALLOW_MULTI = 2;
        /// In the place of another.
        const REPLACE = 4;
    }

    /// What is to be done with a device (`BPF_DEVCG_ACC_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DeviceAccess: u32 {
        /// Make a node for it.
        const MKNOD = 1;
        /// Open it for reading.
        const READ = 2;
        /// Open it for writing.
        const WRITE = 4;
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct DeviceFilter {
    id: u32,
    name: [u8; 16],
    program: DeviceProgram,
}

impl DeviceFilter {
    /// Its number.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What its maker calls it.
    #[must_use]
    pub fn name(&self) -> &[u8; 16] {
        &self.name
    }

    /// Whether it lets the device be used so.
    fn allows(&self, kind: DeviceKind, access: DeviceAccess, device: DeviceId) -> bool {
        let kind = match kind {
            DeviceKind::Block => 1,
            DeviceKind::Char => 2,
        };
        let words = [access.bits() << 16 | kind, device.major, device.minor];
        self.program.run(&words.map(u32::to_le_bytes).concat()) == Some(1)
    }
}

/// All loaded programs. Lock: a leaf.
#[derive(Debug, Default)]
pub struct DeviceFilters {
    last_id: AtomicU32,
    by_id: Mutex<BTreeMap<u32, Weak<DeviceFilter>>>,
}

impl DeviceFilters {
    /// Takes a program in.
    pub fn add(&self, program: DeviceProgram, name: [u8; 16]) -> Arc<DeviceFilter> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let filter = Arc::new(DeviceFilter { id, name, program });
        let mut by_id = self.by_id.lock();
        by_id.retain(|_, filter| filter.strong_count() != 0);
        by_id.insert(id, Arc::downgrade(&filter));
        filter
    }

    /// The one of this number.
    #[must_use]
    pub fn get(&self, id: u32) -> Option<Arc<DeviceFilter>> {
        self.by_id.lock().get(&id)?.upgrade()
    }
}

/// What is attached to one group. Lock: a leaf.
#[derive(Debug, Default)]
pub(super) struct Attached(Mutex<(AttachFlags, Vec<Arc<DeviceFilter>>)>);

impl Cgroup {
    /// The programs attached to it, and how.
    #[must_use]
    pub fn device_filters(&self) -> (AttachFlags, Vec<Arc<DeviceFilter>>) {
        self.unified.devices.0.lock().clone()
    }

    /// Attaches a program, in the place of `replaced` with `REPLACE`.
    ///
    /// # Errors
    /// `EINVAL`, `EPERM` where what is attached here or above does not allow it, `E2BIG` for too many, `ENOENT` where
    /// `replaced` is not attached, `ENODEV` where the group was removed.
    pub fn attach_device_filter(
        self: &Arc<Self>,
        all: &Hierarchies,
        filter: &Arc<DeviceFilter>,
        flags: AttachFlags,
        replaced: Option<&Arc<DeviceFilter>>,
    ) -> Result<()> {
        let _changing = all.change();
        self.check_alive()?;
        let (kept, is_multi) = (flags - AttachFlags::REPLACE, flags.contains(AttachFlags::ALLOW_MULTI));
        let wants_both = kept == AttachFlags::ALLOW_OVERRIDE | AttachFlags::ALLOW_MULTI;
        let is_replacing = flags.contains(AttachFlags::REPLACE);
        if wants_both || is_replacing && !is_multi || is_replacing != replaced.is_some() {
            return Err(Errno::EINVAL);
        }
        if !self.may_attach(kept) {
            return Err(Errno::EPERM);
        }
        let mut own = self.unified.devices.0.lock();
        let (own_flags, list) = &mut *own;
        if !list.is_empty() && *own_flags != kept {
            return Err(Errno::EPERM);
        }
        let place = |wanted: &Arc<DeviceFilter>| list.iter().position(|known| Arc::ptr_eq(known, wanted));
        let at = match replaced {
            _ if !is_multi => (!list.is_empty()).then_some(0),
            _ if place(filter).is_some() => return Err(Errno::EINVAL),
            Some(replaced) => Some(place(replaced).ok_or(Errno::ENOENT)?),
            None if list.len() >= MAX_PROGRAMS => return Err(Errno::E2BIG),
            None => None,
        };
        match at {
            Some(at) => list[at] = filter.clone(),
            None => list.push(filter.clone()),
        }
        *own_flags = kept;
        Ok(())
    }

    /// Whether the nearest programs above let others be attached here.
    fn may_attach(self: &Arc<Self>, flags: AttachFlags) -> bool {
        for above in self.line().skip(1) {
            let (own, list) = above.device_filters();
            if own.contains(AttachFlags::ALLOW_MULTI) {
                return true;
            }
            if !list.is_empty() {
                return own.contains(AttachFlags::ALLOW_OVERRIDE) && flags == AttachFlags::ALLOW_OVERRIDE;
            }
        }
        true
    }

    /// Takes a program off; of one that is alone, whichever.
    ///
    /// # Errors
    /// `ENOENT` where it is not attached, `EINVAL` where several may be and none is named.
    pub fn detach_device_filter(&self, all: &Hierarchies, filter: Option<&Arc<DeviceFilter>>) -> Result<()> {
        let _changing = all.change();
        let mut own = self.unified.devices.0.lock();
        let (flags, list) = &mut *own;
        if list.is_empty() {
            return Err(Errno::ENOENT);
        }
        let at = if flags.contains(AttachFlags::ALLOW_MULTI) {
            let wanted = filter.ok_or(Errno::EINVAL)?;
            list.iter().position(|known| Arc::ptr_eq(known, wanted)).ok_or(Errno::ENOENT)?
        } else {
            0
        };
        list.remove(at);
        if list.is_empty() {
            *flags = AttachFlags::empty();
        }
        Ok(())
    }

    /// The programs that decide for its tasks: the nearest, and those above that hold together with others.
    #[must_use]
    pub fn effective_device_filters(self: &Arc<Self>) -> Vec<Arc<DeviceFilter>> {
        let mut effective = Vec::new();
        for group in self.line() {
            let (flags, list) = group.device_filters();
            if effective.is_empty() || flags.contains(AttachFlags::ALLOW_MULTI) {
                effective.extend(list);
            }
        }
        effective
    }

    /// Whether its tasks may use a device so.
    ///
    /// # Errors
    /// `EPERM`.
    pub(crate) fn check_device(
        self: &Arc<Self>,
        kind: DeviceKind,
        access: DeviceAccess,
        device: DeviceId,
    ) -> Result<()> {
        let filters = self.effective_device_filters();
        let is_allowed = filters.iter().all(|filter| filter.allows(kind, access, device));
        if is_allowed { Ok(()) } else { Err(Errno::EPERM) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that says `result` whatever it is asked.
    fn constant(all: &DeviceFilters, result: u8) -> Arc<DeviceFilter> {
        let code = [0xb7, 0, 0, 0, result, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        all.add(DeviceProgram::new(&code).unwrap(), [0; 16])
    }

    #[test]
    fn all_of_several_must_agree() {
        let (all, filters) = (Hierarchies::default(), DeviceFilters::default());
        let top = all.unified().make("box").unwrap();
        let child = top.make("child").unwrap();
        let ask = |group: &Arc<Cgroup>| {
            group.check_device(DeviceKind::Char, DeviceAccess::READ, DeviceId { major: 1, minor: 3 })
        };
        let (yes, no) = (constant(&filters, 1), constant(&filters, 0));
        let multi = AttachFlags::ALLOW_MULTI;
        assert_eq!((ask(&child), yes.id()), (Ok(()), 1));
        assert_eq!(top.attach_device_filter(&all, &no, multi, None), Ok(()));
        assert_eq!(child.attach_device_filter(&all, &yes, multi, None), Ok(()));
        assert_eq!(child.attach_device_filter(&all, &yes, multi, None), Err(Errno::EINVAL), "twice");
        assert_eq!(ask(&child), Err(Errno::EPERM));
        assert_eq!(child.attach_device_filter(&all, &no, AttachFlags::empty(), None), Err(Errno::EPERM));
        let replace = multi | AttachFlags::REPLACE;
        assert_eq!(top.attach_device_filter(&all, &yes, replace, Some(&no)), Ok(()));
        assert_eq!((ask(&child), ask(&top)), (Ok(()), Ok(())));
        assert_eq!(top.detach_device_filter(&all, Some(&no)), Err(Errno::ENOENT));
        assert_eq!(top.detach_device_filter(&all, Some(&yes)), Ok(()));
    }

    #[test]
    fn one_alone_allows_no_others_below() {
        let (all, filters) = (Hierarchies::default(), DeviceFilters::default());
        let top = all.unified().make("box").unwrap();
        let child = top.make("child").unwrap();
        let (yes, no) = (constant(&filters, 1), constant(&filters, 0));
        assert_eq!(top.attach_device_filter(&all, &no, AttachFlags::ALLOW_OVERRIDE, None), Ok(()));
        assert_eq!(child.attach_device_filter(&all, &yes, AttachFlags::ALLOW_MULTI, None), Err(Errno::EPERM));
        assert_eq!(child.attach_device_filter(&all, &yes, AttachFlags::ALLOW_OVERRIDE, None), Ok(()));
        assert_eq!(child.effective_device_filters().len(), 1);
        assert_eq!(
            top.attach_device_filter(&all, &yes, AttachFlags::ALLOW_OVERRIDE, None),
            Ok(()),
            "it replaces"
        );
        assert_eq!(top.device_filters().1.len(), 1);
        assert_eq!(top.detach_device_filter(&all, None), Ok(()));
        assert_eq!(top.detach_device_filter(&all, None), Err(Errno::ENOENT));
    }
}
