//! What messages are made of: names, nodes, attributes, flags.

use abi::time::NSEC_PER_SEC;
use bitflags::bitflags;

use crate::wire::{DecodeError, Reader, Wire, Writer, wire_flags, wire_struct};

/// A file that the server knows for this client. The server chooses the numbers; they are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl<'a> Wire<'a> for NodeId {
    fn put(&self, to: &mut Writer) {
        to.put(&self.0);
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        from.get().map(Self)
    }
}

/// A name in a directory: 1 to 255 bytes, no NUL, no slash, neither `.` nor `..`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks.
    #[must_use]
    pub fn new(name: &'a [u8]) -> Option<Self> {
        let is_good = (1..=abi::fs::NAME_MAX).contains(&name.len())
            && !name.iter().any(|&b| b == 0 || b == b'/')
            && name != b"."
            && name != b"..";
        is_good.then_some(Self(name))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Wire<'a> for Name<'a> {
    fn put(&self, to: &mut Writer) {
        to.put(&self.0);
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::new(from.get()?).ok_or(DecodeError::Bad("file name"))
    }
}

/// The name of an extended attribute: 1 to 255 bytes, no NUL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct XattrName<'a>(&'a [u8]);

impl<'a> XattrName<'a> {
    /// Checks.
    #[must_use]
    pub fn new(name: &'a [u8]) -> Option<Self> {
        ((1..=255).contains(&name.len()) && !name.contains(&0)).then_some(Self(name))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }
}

impl<'a> Wire<'a> for XattrName<'a> {
    fn put(&self, to: &mut Writer) {
        to.put(&self.0);
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Self::new(from.get()?).ok_or(DecodeError::Bad("xattr name"))
    }
}

/// Seconds since 1970 and nanoseconds below 10⁹.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds.
    pub seconds: i64,
    /// Nanoseconds.
    pub nanoseconds: u32,
}

impl<'a> Wire<'a> for Time {
    fn put(&self, to: &mut Writer) {
        to.put(&self.seconds);
        to.put(&self.nanoseconds);
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (seconds, nanoseconds) = (from.get()?, from.get::<u32>()?);
        if i64::from(nanoseconds) >= NSEC_PER_SEC {
            return Err(DecodeError::Bad("time"));
        }
        Ok(Self { seconds, nanoseconds })
    }
}

/// What to do with one of a file's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// Leave it.
    Keep,
    /// The host's clock.
    Now,
    /// This.
    To(Time),
}

impl<'a> Wire<'a> for SetTime {
    fn put(&self, to: &mut Writer) {
        match self {
            Self::Keep => to.put(&0u8),
            Self::Now => to.put(&1u8),
            Self::To(time) => {
                to.put(&2u8);
                to.put(time);
            }
        }
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match from.get::<u8>()? {
            0 => Ok(Self::Keep),
            1 => Ok(Self::Now),
            2 => from.get().map(Self::To),
            _ => Err(DecodeError::Bad("time to set")),
        }
    }
}

wire_struct! {
    /// A file's attributes, as `statx(2)` has them.
    #[derive(Copy, Default)]
    Attr {
        /// Device of the host's file system, as `makedev` packs it.
        dev: u64,
        /// Inode number there.
        ino: u64,
        /// Type and permission bits.
        mode: u32,
        /// Hard links.
        nlink: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Device number of a device file.
        rdev: u64,
        /// Bytes.
        size: u64,
        /// Allocated units of 512 bytes.
        blocks: u64,
        /// Preferred size of a transfer.
        block_size: u32,
        /// Last access.
        atime: Time,
        /// Last change of the content.
        mtime: Time,
        /// Last change of the attributes.
        ctime: Time,
        /// Birth, where the file system knows it.
        btime: Option<Time>,
    }

    /// What tells one host file from another.
    #[derive(Copy)]
    FileId {
        /// Device of the host's file system.
        dev: u64,
        /// Inode number there.
        ino: u64,
    }

    /// The file that a request is about: a node, or a name in a directory node (saving a walk of its own).
    #[derive(Copy)]
    Target<'a> {
        /// The node.
        node: NodeId,
        /// A name in it; without one, the node itself.
        name: Option<Name<'a>>,
    }
}

impl From<&host::fs::Stat> for Attr {
    fn from(stat: &host::fs::Stat) -> Self {
        // The host's nanoseconds are below 10⁹, but a broken file system must not make the client hang up.
        let time =
            |(seconds, nanoseconds): (i64, u32)| Time { seconds, nanoseconds: nanoseconds.min(999_999_999) };
        Self {
            dev: stat.dev,
            ino: stat.ino,
            mode: stat.mode,
            nlink: stat.nlink,
            uid: stat.uid,
            gid: stat.gid,
            rdev: stat.rdev,
            size: stat.size,
            blocks: stat.blocks,
            block_size: stat.block_size,
            atime: time(stat.atime),
            mtime: time(stat.mtime),
            ctime: time(stat.ctime),
            btime: stat.btime.map(time),
        }
    }
}

impl<'a> Target<'a> {
    /// A node itself.
    #[must_use]
    pub fn node(node: NodeId) -> Self {
        Self { node, name: None }
    }

    /// `name` in the directory `node`.
    #[must_use]
    pub fn named(node: NodeId, name: Name<'a>) -> Self {
        Self { node, name: Some(name) }
    }
}

bitflags! {
    /// How to open a regular file: what a client may ask of `open(2)`, with Linux's numbers. Following links,
    /// appending (the kernel in the sandbox finds the end itself) and creation are not among it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct NodeOpenFlags: u32 {
        /// For writing alone.
        const WRITE_ONLY = 0o1;
        /// For reading and writing.
        const READ_WRITE = 0o2;
        /// Cut it to nothing.
        const TRUNCATE = 0o1000;
        /// Data reach the disk before a write returns.
        const DATA_SYNC = 0o10000;
        /// Data and attributes do.
        const SYNC = 0o4010000;
        /// Past the host's page cache.
        const DIRECT = 0o40000;
    }

    /// How to rename (`RENAME_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail where the new name is there.
        const NO_REPLACE = 1;
        /// Swap the two names.
        const EXCHANGE = 2;
    }

    /// How to set an extended attribute (`XATTR_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct XattrFlags: u32 {
        /// Fail where it is there.
        const CREATE = 1;
        /// Fail where it is not.
        const REPLACE = 2;
    }

    /// What a mount is.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MountFlags: u32 {
        /// Nothing in it can be changed.
        const READ_ONLY = 1;
        /// Others may change it at any time: caches need the server's events.
        const SHARED = 2;
    }
}

wire_flags! {
    NodeOpenFlags, "open flags";
    RenameFlags, "rename flags";
    XattrFlags, "xattr flags";
    MountFlags, "mount flags";
}

/// `OVERLAYFS_SUPER_MAGIC` (statfs(2)): a file system that numbers directories anew when the host's inode cache lets go of
/// them. Only there does a directory of the same birth count as the same: elsewhere many are born at one moment.
pub const OVERLAYFS: u64 = 0x794c_7630;

impl NodeOpenFlags {
    /// Whether the descriptor may be written to, or the file be changed by opening it.
    #[must_use]
    pub fn is_write(self) -> bool {
        self.intersects(Self::WRITE_ONLY | Self::READ_WRITE | Self::TRUNCATE)
    }

    /// Whether access mode and flags make sense together.
    #[must_use]
    pub fn is_valid(self) -> bool {
        !self.contains(Self::WRITE_ONLY | Self::READ_WRITE)
    }
}
