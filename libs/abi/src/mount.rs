//! Mounting (`linux/mount.h`; `man 2 mount`, `man 2 umount`, `man 2 mount_setattr`).
#![allow(missing_docs, reason = "Linux's names: man 2 mount, man 2 umount, man 2 mount_setattr")]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

bitflags! {
    /// Flags of mount(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MountFlags: u64 {
        const RDONLY = 1;
        const NOSUID = 2;
        const NODEV = 4;
        const NOEXEC = 8;
        const SYNCHRONOUS = 16;
        const REMOUNT = 32;
        const MANDLOCK = 64;
        const DIRSYNC = 128;
        const NOSYMFOLLOW = 256;
        const NOATIME = 1024;
        const NODIRATIME = 2048;
        const BIND = 4096;
        const MOVE = 8192;
        const REC = 16384;
        const SILENT = 32768;
        const POSIXACL = 1 << 16;
        const UNBINDABLE = 1 << 17;
        const PRIVATE = 1 << 18;
        const SLAVE = 1 << 19;
        const SHARED = 1 << 20;
        const RELATIME = 1 << 21;
        const KERNMOUNT = 1 << 22;
        const I_VERSION = 1 << 23;
        const STRICTATIME = 1 << 24;
        const LAZYTIME = 1 << 25;
        /// What a mount has by itself, beyond its file system.
        const PER_MOUNT = Self::RDONLY.bits() | Self::NOSUID.bits() | Self::NODEV.bits() | Self::NOEXEC.bits()
            | Self::NOSYMFOLLOW.bits() | Self::NOATIME.bits() | Self::NODIRATIME.bits() | Self::RELATIME.bits();
        /// Changes of propagation.
        const PROPAGATION = Self::UNBINDABLE.bits() | Self::PRIVATE.bits() | Self::SLAVE.bits() | Self::SHARED.bits();
    }
}

/// What an option of mount(8) does to a mount's flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionFlags {
    /// It sets these,
    pub set: MountFlags,
    /// after it has taken these away.
    pub clear: MountFlags,
}

impl MountFlags {
    /// What an option does that is a flag; `None` for those that are for the file system.
    #[must_use]
    pub fn from_option(option: &str) -> Option<OptionFlags> {
        let none = Self::empty();
        let (set, clear) = match option {
            "async" => (none, Self::SYNCHRONOUS),
            "atime" => (none, Self::NOATIME),
            "bind" => (Self::BIND, none),
            "defaults" => (none, none),
            "dev" => (none, Self::NODEV),
            "diratime" => (none, Self::NODIRATIME),
            "dirsync" => (Self::DIRSYNC, none),
            "exec" => (none, Self::NOEXEC),
            "mand" => (Self::MANDLOCK, none),
            "noatime" => (Self::NOATIME, Self::RELATIME),
            "nodev" => (Self::NODEV, none),
            "nodiratime" => (Self::NODIRATIME, none),
            "noexec" => (Self::NOEXEC, none),
            "nomand" => (none, Self::MANDLOCK),
            "norelatime" => (none, Self::RELATIME),
            "nostrictatime" => (none, Self::STRICTATIME),
            "nosuid" => (Self::NOSUID, none),
            "nosymfollow" => (Self::NOSYMFOLLOW, none),
            "rbind" => (Self::BIND.union(Self::REC), none),
            "relatime" => (Self::RELATIME, none),
            "remount" => (Self::REMOUNT, none),
            "ro" => (Self::RDONLY, none),
            "rw" => (none, Self::RDONLY),
            "strictatime" => (Self::STRICTATIME, Self::RELATIME),
            "suid" => (none, Self::NOSUID),
            "symfollow" => (none, Self::NOSYMFOLLOW),
            "sync" => (Self::SYNCHRONOUS, none),
            _ => return None,
        };
        Some(OptionFlags { set, clear })
    }

    /// These flags after an option that is one.
    #[must_use]
    pub fn after(self, option: OptionFlags) -> Self {
        (self - option.clear) | option.set
    }
}

bitflags! {
    /// Flags of umount2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct UmountFlags: u32 {
        const FORCE = 1;
        const DETACH = 2;
        const EXPIRE = 4;
        const NOFOLLOW = 8;
    }
}

/// `MS_MGC_VAL`, which old programs put into the flags' upper half.
pub const MS_MGC_VAL: u64 = 0xC0ED_0000;
/// Covers [`MS_MGC_VAL`].
pub const MS_MGC_MSK: u64 = 0xffff_0000;

bitflags! {
    /// `MOUNT_ATTR_*`. The values of `ATIME` are a number of its own: 0 is relative.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct MountAttrs: u64 {
        const RDONLY = 0x1;
        const NOSUID = 0x2;
        const NODEV = 0x4;
        const NOEXEC = 0x8;
        const NOATIME = 0x10;
        const STRICTATIME = 0x20;
        const ATIME = 0x70;
        const NODIRATIME = 0x80;
        const IDMAP = 0x10_0000;
        const NOSYMFOLLOW = 0x20_0000;
    }
}

/// `struct mount_attr`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MountSetattr {
    pub attr_set: u64,
    pub attr_clr: u64,
    pub propagation: u64,
    pub userns_fd: u64,
}
