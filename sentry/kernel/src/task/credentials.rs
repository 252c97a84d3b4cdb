//! Credentials: identities and capabilities (`man 7 credentials`, `man 7 capabilities`).

use std::sync::Arc;

use abi::{Errno, Result};

use super::{Task, UserNamespace};

/// A capability's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "Linux's names; man 7 capabilities")]
#[repr(u8)]
pub enum Capability {
    Chown = 0,
    DacOverride = 1,
    DacReadSearch = 2,
    Fowner = 3,
    Fsetid = 4,
    Kill = 5,
    Setgid = 6,
    Setuid = 7,
    Setpcap = 8,
    LinuxImmutable = 9,
    NetBindService = 10,
    NetBroadcast = 11,
    NetAdmin = 12,
    NetRaw = 13,
    IpcLock = 14,
    IpcOwner = 15,
    SysModule = 16,
    SysRawio = 17,
    SysChroot = 18,
    SysPtrace = 19,
    SysPacct = 20,
    SysAdmin = 21,
    SysBoot = 22,
    SysNice = 23,
    SysResource = 24,
    SysTime = 25,
    SysTtyConfig = 26,
    Mknod = 27,
    Lease = 28,
    AuditWrite = 29,
    AuditControl = 30,
    Setfcap = 31,
    MacOverride = 32,
    MacAdmin = 33,
    Syslog = 34,
    WakeAlarm = 35,
    BlockSuspend = 36,
    AuditRead = 37,
    Perfmon = 38,
    Bpf = 39,
    CheckpointRestore = 40,
}

/// A set of capabilities, bit `n` for number `n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CapabilitySet(pub u64);

impl CapabilitySet {
    /// None.
    pub const EMPTY: Self = Self(0);
    /// All that Linux knows.
    pub const FULL: Self = Self((1 << 41) - 1);

    /// Whether `capability` is in it.
    #[must_use]
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & (1 << capability as u8) != 0
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn is_superset(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are in either.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The set of one.
    #[must_use]
    pub const fn of(capability: Capability) -> Self {
        Self(1 << capability as u8)
    }

    /// The set of the one with this number.
    ///
    /// # Errors
    /// `EINVAL` where there is none.
    pub fn of_number(number: u64) -> Result<Self> {
        let set = u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number)).map(Self);
        set.filter(|set| Self::FULL.is_superset(*set)).ok_or(Errno::EINVAL)
    }

    /// Whether the one with this number is in it.
    ///
    /// # Errors
    /// `EINVAL` where there is none.
    pub fn contains_number(self, number: u64) -> Result<bool> {
        Self::of_number(number).map(|one| self.is_superset(one))
    }

    /// Whether it is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Who a task is. Immutable: a change makes a new value (Linux's `struct cred`).
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "Linux's names; man 7 credentials")]
pub struct Credentials {
    pub uid: u32,
    pub euid: u32,
    pub suid: u32,
    pub fsuid: u32,
    pub gid: u32,
    pub egid: u32,
    pub sgid: u32,
    pub fsgid: u32,
    pub groups: Arc<[u32]>,
    pub permitted: CapabilitySet,
    pub effective: CapabilitySet,
    pub inheritable: CapabilitySet,
    pub bounding: CapabilitySet,
    pub ambient: CapabilitySet,
    pub securebits: u32,
    pub user_ns: Arc<UserNamespace>,
}

impl Credentials {
    /// User 0 with all capabilities in `user_ns`, the initial name space: the kernel's own.
    #[must_use]
    pub fn root(user_ns: Arc<UserNamespace>) -> Self {
        Self::user(user_ns, 0, 0, CapabilitySet::FULL)
    }

    /// Whether every user id is `uid` and every group id `gid`, those of who wants to look into the process or to set
    /// its limits (`man 2 ptrace`, `man 2 prlimit`).
    #[must_use]
    pub fn has_only_ids(&self, uid: u32, gid: u32) -> bool {
        [self.uid, self.euid, self.suid] == [uid; 3] && [self.gid, self.egid, self.sgid] == [gid; 3]
    }

    /// A user with one group and these capabilities, none of them inheritable.
    #[must_use]
    pub fn user(user_ns: Arc<UserNamespace>, uid: u32, gid: u32, capabilities: CapabilitySet) -> Self {
        Self {
            uid,
            euid: uid,
            suid: uid,
            fsuid: uid,
            gid,
            egid: gid,
            sgid: gid,
            fsgid: gid,
            groups: Arc::from([]),
            permitted: capabilities,
            effective: capabilities,
            inheritable: CapabilitySet::EMPTY,
            bounding: capabilities,
            ambient: CapabilitySet::EMPTY,
            securebits: 0,
            user_ns,
        }
    }

    /// Whether `capability` is held towards the sandbox as a whole: effective, and in the initial user name space
    /// (Linux's `capable`).
    #[must_use]
    pub fn capable(&self, capability: Capability) -> bool {
        self.user_ns.parent().is_none() && self.effective.contains(capability)
    }

    /// Whether `capability` is held towards what belongs to the task's own user name space, whichever that is. Every
    /// user can make one and have all capabilities in it, so this is no right over anything of others
    /// (`ns_capable(current_user_ns(), ...)`).
    #[must_use]
    pub fn has_in_own(&self, capability: Capability) -> bool {
        self.effective.contains(capability)
    }

    /// Whether `gid` is the file-system group or a supplementary one.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }

    /// Whether `capability` is held towards things that belong to `ns` (Linux's `ns_capable`): it is effective in `ns` or in a name space
    /// above, or the user made `ns` (or one between) from the name space it is in.
    #[must_use]
    pub fn has_in(&self, ns: &Arc<UserNamespace>, capability: Capability) -> bool {
        let mut at = ns;
        loop {
            if Arc::ptr_eq(at, &self.user_ns) {
                return self.effective.contains(capability);
            }
            let Some(parent) = at.parent() else { return false };
            if Arc::ptr_eq(parent, &self.user_ns) && at.owner() == self.euid {
                return true;
            }
            at = parent;
        }
    }
}

impl Credentials {
    /// Whether the capabilities of `other` are no news to these: no more in the same user name space, or whichever in
    /// one below it that this user has made (`cred_cap_issubset`).
    fn covers_capabilities_of(&self, other: &Self) -> bool {
        if Arc::ptr_eq(&self.user_ns, &other.user_ns) && self.permitted.is_superset(other.permitted) {
            return true;
        }
        let above = std::iter::successors(Some(&other.user_ns), |ns| ns.parent());
        let is_made_here = |ns: &Arc<UserNamespace>| {
            ns.owner() == self.euid && ns.parent().is_some_and(|parent| Arc::ptr_eq(parent, &self.user_ns))
        };
        above.into_iter().any(is_made_here)
    }
}

impl Task {
    /// Takes on new credentials. A changed identity makes the process uninspectable for its former equals.
    pub fn commit_creds(&self, old: &Credentials, new: Credentials) {
        let is_changed = old.euid != new.euid
            || old.egid != new.egid
            || old.fsuid != new.fsuid
            || old.fsgid != new.fsgid
            || !old.covers_capabilities_of(&new);
        if is_changed {
            self.thread_group().set_dumpable(false);
            self.details.lock().parent_death_signal = None;
        }
        self.set_creds(new);
    }
}
