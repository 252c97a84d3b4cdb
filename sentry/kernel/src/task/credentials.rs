//! Credentials: identities and capabilities (`man 7 credentials`, `man 7 capabilities`).

use std::sync::Arc;

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
}

/// A user name space; ids in [`Credentials`] are those of the sandbox's first one.
#[derive(Debug)]
pub struct UserNamespace;

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
    /// Whether `capability` is effective in the task's own user name space.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.effective.contains(capability)
    }

    /// Whether `gid` is the file-system group or a supplementary one.
    #[must_use]
    pub fn in_group(&self, gid: u32) -> bool {
        self.fsgid == gid || self.groups.contains(&gid)
    }
}
