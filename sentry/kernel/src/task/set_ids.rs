//! Changing user and group ids (`man 2 setuid`, `setreuid`, `setresuid`, `setfsuid`; `kernel/sys.c` and
//! `cap_task_fix_setuid` in Linux's tree). Ids here are kernel ids; `None` leaves one alone.

use abi::{Errno, Result};

use super::{Capability, CapabilitySet, Credentials, securebits};

/// The capabilities that follow the file-system user id.
const FS_CAPABILITIES: CapabilitySet = CapabilitySet::of(Capability::Chown)
    .or(CapabilitySet::of(Capability::DacOverride))
    .or(CapabilitySet::of(Capability::DacReadSearch))
    .or(CapabilitySet::of(Capability::Fowner))
    .or(CapabilitySet::of(Capability::Fsetid))
    .or(CapabilitySet::of(Capability::LinuxImmutable))
    .or(CapabilitySet::of(Capability::Mknod))
    .or(CapabilitySet::of(Capability::MacOverride));

impl Credentials {
    /// setuid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_uid(&self, uid: u32) -> Result<Self> {
        let mut new = self.clone();
        if self.has_in_own(Capability::Setuid) {
            (new.uid, new.suid) = (uid, uid);
        } else if uid != self.uid && uid != self.suid {
            return Err(Errno::EPERM);
        }
        (new.euid, new.fsuid) = (uid, uid);
        Ok(new.fix_capabilities(self))
    }

    /// setreuid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_reuid(&self, real: Option<u32>, effective: Option<u32>) -> Result<Self> {
        let mut new = self.clone();
        let is_free = self.has_in_own(Capability::Setuid);
        if let Some(uid) = real {
            if !is_free && uid != self.uid && uid != self.euid {
                return Err(Errno::EPERM);
            }
            new.uid = uid;
        }
        if let Some(uid) = effective {
            if !is_free && ![self.uid, self.euid, self.suid].contains(&uid) {
                return Err(Errno::EPERM);
            }
            new.euid = uid;
        }
        if real.is_some() || effective.is_some_and(|uid| uid != self.uid) {
            new.suid = new.euid;
        }
        new.fsuid = new.euid;
        Ok(new.fix_capabilities(self))
    }

    /// setresuid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_resuid(&self, ids: [Option<u32>; 3]) -> Result<Self> {
        let own = [self.uid, self.euid, self.suid];
        let is_free = self.has_in_own(Capability::Setuid);
        if !is_free && ids.iter().flatten().any(|uid| !own.contains(uid)) {
            return Err(Errno::EPERM);
        }
        let mut new = self.clone();
        new.uid = ids[0].unwrap_or(self.uid);
        new.euid = ids[1].unwrap_or(self.euid);
        new.suid = ids[2].unwrap_or(self.suid);
        new.fsuid = new.euid;
        Ok(new.fix_capabilities(self))
    }

    /// setfsuid(2); an id that is not allowed changes nothing.
    #[must_use]
    pub fn set_fsuid(&self, uid: u32) -> Self {
        let own = [self.uid, self.euid, self.suid, self.fsuid];
        if !own.contains(&uid) && !self.has_in_own(Capability::Setuid) {
            return self.clone();
        }
        let mut new = self.clone();
        new.fsuid = uid;
        if self.securebits & securebits::NO_SETUID_FIXUP == 0 {
            let root = self.user_ns.to_kernel_uid(0);
            if Some(self.fsuid) == root && Some(uid) != root {
                new.effective = new.effective.without(FS_CAPABILITIES);
            } else if Some(self.fsuid) != root && Some(uid) == root {
                new.effective = new.effective.or(new.permitted.and(FS_CAPABILITIES));
            }
        }
        new
    }

    /// What leaving or entering user 0 does to capabilities.
    fn fix_capabilities(mut self, old: &Self) -> Self {
        if self.securebits & securebits::NO_SETUID_FIXUP != 0 {
            return self;
        }
        let root = self.user_ns.to_kernel_uid(0);
        let is_root = |uid: u32| Some(uid) == root;
        let was_root = is_root(old.uid) || is_root(old.euid) || is_root(old.suid);
        let stays_root = is_root(self.uid) || is_root(self.euid) || is_root(self.suid);
        if was_root && !stays_root {
            if self.securebits & securebits::KEEP_CAPS == 0 {
                self.permitted = CapabilitySet::EMPTY;
                self.effective = CapabilitySet::EMPTY;
            }
            self.ambient = CapabilitySet::EMPTY;
        }
        if is_root(old.euid) && !is_root(self.euid) {
            self.effective = CapabilitySet::EMPTY;
        } else if !is_root(old.euid) && is_root(self.euid) {
            self.effective = self.permitted;
        }
        self
    }

    /// setgid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_gid(&self, gid: u32) -> Result<Self> {
        let mut new = self.clone();
        if self.has_in_own(Capability::Setgid) {
            (new.gid, new.sgid) = (gid, gid);
        } else if gid != self.gid && gid != self.sgid {
            return Err(Errno::EPERM);
        }
        (new.egid, new.fsgid) = (gid, gid);
        Ok(new)
    }

    /// setregid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_regid(&self, real: Option<u32>, effective: Option<u32>) -> Result<Self> {
        let mut new = self.clone();
        let is_free = self.has_in_own(Capability::Setgid);
        if let Some(gid) = real {
            if !is_free && gid != self.gid && gid != self.egid {
                return Err(Errno::EPERM);
            }
            new.gid = gid;
        }
        if let Some(gid) = effective {
            if !is_free && ![self.gid, self.egid, self.sgid].contains(&gid) {
                return Err(Errno::EPERM);
            }
            new.egid = gid;
        }
        if real.is_some() || effective.is_some_and(|gid| gid != self.gid) {
            new.sgid = new.egid;
        }
        new.fsgid = new.egid;
        Ok(new)
    }

    /// setresgid(2).
    ///
    /// # Errors
    /// `EPERM`.
    pub fn set_resgid(&self, ids: [Option<u32>; 3]) -> Result<Self> {
        let own = [self.gid, self.egid, self.sgid];
        if !self.has_in_own(Capability::Setgid) && ids.iter().flatten().any(|gid| !own.contains(gid)) {
            return Err(Errno::EPERM);
        }
        let mut new = self.clone();
        new.gid = ids[0].unwrap_or(self.gid);
        new.egid = ids[1].unwrap_or(self.egid);
        new.sgid = ids[2].unwrap_or(self.sgid);
        new.fsgid = new.egid;
        Ok(new)
    }

    /// setfsgid(2); an id that is not allowed changes nothing.
    #[must_use]
    pub fn set_fsgid(&self, gid: u32) -> Self {
        let own = [self.gid, self.egid, self.sgid, self.fsgid];
        let mut new = self.clone();
        if own.contains(&gid) || self.has_in_own(Capability::Setgid) {
            new.fsgid = gid;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use crate::task::{CapabilitySet, Credentials, NamespaceId, UserNamespace, securebits};

    fn root() -> Credentials {
        Credentials::root(UserNamespace::initial(NamespaceId(1)))
    }

    #[test]
    fn setuid_of_root_drops_everything_for_good() {
        let user = root().set_uid(1000).unwrap();
        assert_eq!((user.uid, user.euid, user.suid, user.fsuid), (1000, 1000, 1000, 1000));
        assert_eq!((user.permitted, user.effective), (CapabilitySet::EMPTY, CapabilitySet::EMPTY));
        assert_eq!(user.set_uid(0).err(), Some(Errno::EPERM));
    }

    #[test]
    fn seteuid_drops_effective_capabilities_until_root_returns() {
        let user = root().set_resuid([None, Some(1000), None]).unwrap();
        assert_eq!((user.permitted, user.effective), (CapabilitySet::FULL, CapabilitySet::EMPTY));
        let back = user.set_resuid([None, Some(0), None]).unwrap();
        assert_eq!(back.effective, CapabilitySet::FULL);
    }

    #[test]
    fn keepcaps_keeps_permitted_capabilities_only() {
        let mut creds = root();
        creds.securebits |= securebits::KEEP_CAPS;
        let user = creds.set_uid(1000).unwrap();
        assert_eq!((user.permitted, user.effective), (CapabilitySet::FULL, CapabilitySet::EMPTY));
    }

    #[test]
    fn setreuid_moves_the_saved_id() {
        let user = root().set_reuid(Some(1000), Some(1001)).unwrap();
        assert_eq!((user.uid, user.euid, user.suid), (1000, 1001, 1001));
        let swapped = user.set_reuid(Some(1001), Some(1000)).unwrap();
        assert_eq!((swapped.uid, swapped.euid, swapped.suid), (1001, 1000, 1000));
        assert_eq!(swapped.set_reuid(Some(7), None).err(), Some(Errno::EPERM));
    }

    #[test]
    fn fsuid_takes_file_capabilities_along() {
        let user = root().set_fsuid(1000);
        assert_eq!(user.fsuid, 1000);
        assert!(!user.has_in_own(crate::task::Capability::DacOverride));
        assert!(user.has_in_own(crate::task::Capability::SysAdmin));
    }
}
