//! Files without a name in any directory: pipes, sockets, eventfds and their kin, in hidden mounts of their own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::fs::Statfs;
use abi::mount::MountFlags;
use abi::{DeviceId, Errno, FileType, OpenFlags, Result};

use super::{
    Attr, Caller, Dentry, FileOps, FileSystem, Inode, InodeCommon, KeptAttr, Mount, SetAttr, SetXattrFlags,
    Superblock, VfsPath, Xattr,
};
use crate::task::Credentials;
use crate::time::Timekeeper;

/// The attribute of sockets that names their protocol.
pub(super) const SOCKET_PROTOCOL: &[u8] = b"system.sockprotoname";

/// What an anonymous file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnonKind {
    /// Shown as `pipe:[N]`.
    Pipe,
    /// Shown as `socket:[N]`, with its protocol's name as attribute `system.sockprotoname`.
    Socket(&'static str),
    /// Shown as `anon_inode:` and this name, brackets included: `[eventfd]`.
    Named(&'static str),
}

/// The hidden mounts.
#[derive(Debug)]
pub(super) struct AnonMounts {
    pipes: Arc<Mount>,
    sockets: Arc<Mount>,
    others: Arc<Mount>,
    pub(super) namespaces: Arc<Mount>,
    next_ino: AtomicU64,
    timekeeper: Arc<Timekeeper>,
}

impl AnonMounts {
    pub(super) fn new(
        timekeeper: Arc<Timekeeper>,
        mut mount: impl FnMut(Arc<dyn FileSystem>) -> Arc<Superblock>,
    ) -> Self {
        let hidden = MountFlags::NOSUID | MountFlags::NOEXEC;
        let mut make = |name: &'static str, magic: i64, minor: u32, flags: MountFlags| {
            let device = DeviceId { major: 0, minor };
            let root = AnonInode::new(1, FileType::Directory as u32 | 0o555, None, None, &timekeeper);
            let sb = mount(Arc::new(AnonFs { name, magic, device, root }));
            Mount::new(u64::from(minor), sb.root(), name.as_bytes(), flags)
        };
        Self {
            pipes: make("pipefs", 0x5049_5045, 1, hidden),
            sockets: make("sockfs", 0x534F_434B, 2, hidden),
            others: make("anon_inodefs", 0x0904_1934, 3, hidden),
            // Copies of this one are seen where a name space's file is bound.
            namespaces: make("nsfs", 0x6e73_6673, 4, MountFlags::empty()),
            next_ino: AtomicU64::new(2),
            timekeeper,
        }
    }

    /// The mount and device numbers below this one are taken by the hidden mounts.
    pub(super) const FIRST_FREE: u32 = 5;

    /// A place for a new anonymous file.
    pub(super) fn place(&self, kind: AnonKind, creds: &Credentials) -> VfsPath {
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        let (mount, mode, name) = match kind {
            AnonKind::Pipe => (&self.pipes, FileType::Fifo as u32 | 0o600, format!("pipe:[{ino}]")),
            AnonKind::Socket(_) => {
                (&self.sockets, FileType::Socket as u32 | 0o777, format!("socket:[{ino}]"))
            }
            AnonKind::Named(name) => (&self.others, 0o600, format!("anon_inode:{name}")),
        };
        let protocol = match kind {
            AnonKind::Socket(protocol) => Some(protocol),
            AnonKind::Pipe | AnonKind::Named(_) => None,
        };
        let inode = AnonInode::new(ino, mode, Some(creds), protocol, &self.timekeeper);
        let dentry = Dentry::unattached(mount.superblock().clone(), inode, name.as_bytes());
        VfsPath { mount: mount.clone(), dentry }
    }
}

struct AnonFs {
    name: &'static str,
    magic: i64,
    device: DeviceId,
    root: Arc<AnonInode>,
}

impl FileSystem for AnonFs {
    fn type_name(&self) -> &'static str {
        self.name
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs { f_type: self.magic, f_bsize: 4096, f_frsize: 4096, f_namelen: 255, ..Statfs::default() })
    }
}

/// The inode of an anonymous file.
struct AnonInode {
    common: InodeCommon,
    attr: KeptAttr,
    /// A socket's protocol.
    protocol: Option<&'static str>,
}

impl AnonInode {
    fn new(
        ino: u64,
        mode: u32,
        creds: Option<&Credentials>,
        protocol: Option<&'static str>,
        timekeeper: &Arc<Timekeeper>,
    ) -> Arc<Self> {
        let (uid, gid) = creds.map_or((0, 0), |creds| (creds.fsuid, creds.fsgid));
        let attr = Attr { uid, gid, ..Attr::new(ino, mode, timekeeper.now()) };
        Arc::new(Self { common: InodeCommon::default(), attr: KeptAttr::new(attr, timekeeper), protocol })
    }
}

impl Inode for AnonInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr.get())
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        if change.size.is_some() {
            return Err(Errno::EINVAL);
        }
        self.attr.set(change);
        Ok(())
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Err(Errno::ENXIO)
    }

    fn xattr(&self) -> Option<&dyn Xattr> {
        self.protocol.is_some().then_some(self)
    }
}

/// A socket has one attribute, which cannot be set: its protocol's name, with a NUL.
impl Xattr for AnonInode {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        let protocol = self.protocol.filter(|_| name == SOCKET_PROTOCOL).ok_or(Errno::EOPNOTSUPP)?;
        Ok([protocol.as_bytes(), b"\0"].concat())
    }

    fn set(&self, _name: &[u8], _value: &[u8], _flags: SetXattrFlags) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn remove(&self, _name: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn list(&self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![SOCKET_PROTOCOL.to_vec()])
    }
}

impl fmt::Debug for AnonInode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnonInode({})", self.attr.get().ino)
    }
}
