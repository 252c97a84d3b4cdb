//! The [`Inode`]: a file as its file system knows it, whatever its names.

use std::any::Any;
use std::sync::Arc;

use abi::fcntl::Seals;
use abi::{DeviceId, Errno, FileType, OpenFlags, Result, Timespec};
use bitflags::bitflags;

use super::{FileOps, InodeCommon, SetXattrFlags, VfsPath};
use crate::Task;
use crate::task::Credentials;
use crate::task::cgroup::Cgroup;

/// On whose behalf a file-system operation runs. There is no task while the sandbox's mounts are made.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Decides permissions and the owner of new files.
    pub creds: &'a Arc<Credentials>,
    /// The calling task, for file systems whose content depends on it (proc, devpts).
    pub task: Option<&'a Task>,
}

/// What stat(2) tells, without the device number (the file system's).
#[derive(Clone, Copy, Debug)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Type and permission bits, as `st_mode`.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// The device that a device node names.
    pub rdev: DeviceId,
    /// Bytes.
    pub size: u64,
    /// 512-byte blocks in use.
    pub blocks: u64,
    /// Preferred I/O size.
    pub blksize: u32,
    /// Last access.
    pub atime: Timespec,
    /// Last change of content.
    pub mtime: Timespec,
    /// Last change of attributes.
    pub ctime: Timespec,
    /// Creation, where the file system keeps it.
    pub btime: Option<Timespec>,
}

impl Attr {
    /// Those of a file made `now`: empty, user 0's, with one name, or a directory without others in it.
    #[must_use]
    pub fn new(ino: u64, mode: u32, now: Timespec) -> Self {
        Self {
            ino,
            mode,
            nlink: if FileType::from_mode(mode) == Some(FileType::Directory) { 2 } else { 1 },
            uid: 0,
            gid: 0,
            rdev: DeviceId::default(),
            size: 0,
            blocks: 0,
            blksize: 4096,
            atime: now,
            mtime: now,
            ctime: now,
            btime: None,
        }
    }

    /// The file type in `mode`.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode).unwrap_or(FileType::Regular)
    }

    /// Applies a change other than of the size, for file systems that keep attributes in this form.
    pub fn apply(&mut self, change: &SetAttr, now: Timespec) {
        let time = |value: SetTime| match value {
            SetTime::Now => now,
            SetTime::At(at) => at,
        };
        self.mode = change.mode.map_or(self.mode, |mode| self.mode & !0o7777 | mode & 0o7777);
        self.uid = change.uid.unwrap_or(self.uid);
        self.gid = change.gid.unwrap_or(self.gid);
        self.atime = change.atime.map_or(self.atime, time);
        self.mtime = change.mtime.map_or(self.mtime, time);
        self.ctime = now;
    }
}

/// A new value for a timestamp.
#[derive(Clone, Copy, Debug)]
pub enum SetTime {
    /// The current time (`UTIME_NOW`).
    Now,
    /// This time.
    At(Timespec),
}

/// Attribute changes that the VFS has already permitted; `None` leaves an attribute alone. Changing anything updates
/// `ctime`; changing `size` also `mtime`.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "as in Attr")]
pub struct SetAttr {
    /// Permission bits only (07777).
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}

/// What to create. `mode` has the umask applied already; owner and group are final.
#[derive(Clone, Copy, Debug)]
pub struct NewNode<'a> {
    /// Kind of file.
    pub file_type: FileType,
    /// Permission bits (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// For device nodes.
    pub rdev: DeviceId,
    /// For symbolic links: the target, not empty.
    pub target: &'a [u8],
}

bitflags! {
    /// Flags of renameat2(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RenameFlags: u32 {
        /// Fail with EEXIST where the target exists.
        const NOREPLACE = 1;
        /// Exchange the two.
        const EXCHANGE = 2;
        /// Leave a whiteout behind (overlay).
        const WHITEOUT = 4;
    }
}

/// What [`Inode::rename`] is to do.
#[derive(Clone, Copy)]
pub struct Rename<'a> {
    /// The name in this directory.
    pub name: &'a [u8],
    /// What the VFS found there.
    pub source: &'a Arc<dyn Inode>,
    /// Where it goes.
    pub new_dir: &'a Arc<dyn Inode>,
    /// Its name there.
    pub new_name: &'a [u8],
    /// What the VFS found there.
    pub replaced: Option<&'a Arc<dyn Inode>>,
    /// How.
    pub flags: RenameFlags,
}

/// Where a symbolic link leads.
#[derive(Clone, Debug)]
pub enum LinkTarget {
    /// To this path, walked from the link's directory.
    Path(Vec<u8>),
    /// To this place, whatever its name (`/proc/[pid]/fd/N`, `cwd`, `exe`).
    Place(VfsPath),
}

/// A file as its file system knows it. There is one object per file, however many names and openers it has.
///
/// The VFS has checked permissions, name lengths and types before it calls; names are single components, never `.`
/// or `..`. The defaults are those of a file that is not a directory.
pub trait Inode: Send + Sync + Any {
    /// The VFS's part.
    fn common(&self) -> &InodeCommon;

    /// Attributes as of now.
    ///
    /// # Errors
    /// `EIO`, `ESTALE` where the file system has lost the file.
    fn attr(&self) -> Result<Attr>;

    /// Type and permission bits alone: cheaper than [`Self::attr`] on the path walk.
    ///
    /// # Errors
    /// As [`Self::attr`].
    fn mode(&self) -> Result<u32> {
        self.attr().map(|attr| attr.mode)
    }

    /// The type, which no file changes: known also where [`Self::mode`] cannot be had.
    fn file_type(&self) -> Option<FileType> {
        self.mode().ok().and_then(FileType::from_mode)
    }

    /// Attributes of which type, permission bits, owner and device number are true: what permissions are decided by, and
    /// neither reading nor writing changes. Cheaper than [`Self::attr`] where the file has been used.
    ///
    /// # Errors
    /// As [`Self::attr`].
    fn ownership(&self) -> Result<Attr> {
        self.attr()
    }

    /// Changes attributes.
    ///
    /// # Errors
    /// `EPERM` where the file system does not allow it, `EROFS`, `ENOSPC`, `EFBIG`.
    fn set_attr(&self, caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        let _ = (caller, change);
        Err(Errno::EPERM)
    }

    /// Finds a name in this directory.
    ///
    /// # Errors
    /// `ENOENT`; `ENOTDIR` where this is no directory.
    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let _ = (caller, name);
        Err(Errno::ENOTDIR)
    }

    /// Makes a file, directory, link or node in this directory.
    ///
    /// # Errors
    /// `EEXIST`, `ENOSPC`, `EROFS`; `EPERM` where the file system has no such kind.
    fn create(&self, caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let _ = (caller, name, node);
        Err(Errno::EPERM)
    }

    /// Makes an unnamed regular file in this directory's file system (`O_TMPFILE`).
    ///
    /// # Errors
    /// `EOPNOTSUPP` where there is no such thing.
    fn create_unnamed(&self, caller: &Caller<'_>, node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let _ = (caller, node);
        Err(Errno::EOPNOTSUPP)
    }

    /// Gives `target`, of the same file system, another name here.
    ///
    /// # Errors
    /// `EEXIST`, `EMLINK`, `EPERM`.
    fn link(&self, caller: &Caller<'_>, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        let _ = (caller, name, target);
        Err(Errno::EPERM)
    }

    /// Removes a name that is not a directory's. `child` is what the VFS found there.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `EPERM`.
    fn unlink(&self, caller: &Caller<'_>, name: &[u8], child: &Arc<dyn Inode>) -> Result<()> {
        let _ = (caller, name, child);
        Err(Errno::EPERM)
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOTEMPTY`, `ENOENT`, `ENOTDIR`.
    fn rmdir(&self, caller: &Caller<'_>, name: &[u8], child: &Arc<dyn Inode>) -> Result<()> {
        let _ = (caller, name, child);
        Err(Errno::EPERM)
    }

    /// Moves a name of this directory to one in another directory of the same file system, replacing what is there
    /// unless the flags say otherwise. The VFS has ruled out moving a directory below itself.
    ///
    /// # Errors
    /// `EXDEV`, `ENOTEMPTY`, `EEXIST`, `EINVAL` for flags the file system lacks.
    fn rename(&self, caller: &Caller<'_>, rename: &Rename<'_>) -> Result<()> {
        let _ = (caller, rename);
        Err(Errno::EPERM)
    }

    /// The text of a symbolic link.
    ///
    /// # Errors
    /// `EINVAL` where it is not one.
    fn readlink(&self, caller: &Caller<'_>) -> Result<Vec<u8>> {
        let _ = caller;
        Err(Errno::EINVAL)
    }

    /// Where a symbolic link leads; the text of [`Self::readlink`] unless it is a magic link.
    ///
    /// # Errors
    /// As [`Self::readlink`]; `ENOENT`, `EACCES` for magic links.
    fn follow(&self, caller: &Caller<'_>) -> Result<LinkTarget> {
        self.readlink(caller).map(LinkTarget::Path)
    }

    /// Opens a FIFO, socket or device node that is more than what its type and number say: a terminal of devpts, a
    /// descriptor of the host's. `None` leaves it to the VFS.
    fn open_special(
        self: Arc<Self>,
        caller: &Caller<'_>,
        flags: OpenFlags,
    ) -> Option<Result<Arc<dyn FileOps>>> {
        let _ = (caller, flags);
        None
    }

    /// Opens it. FIFOs, sockets and device nodes never get here: the VFS opens those itself.
    ///
    /// # Errors
    /// `EACCES`, `EIO`, `ENXIO`.
    fn open(self: Arc<Self>, caller: &Caller<'_>, flags: OpenFlags) -> Result<Arc<dyn FileOps>>;

    /// Checks access beyond mode bits and ACLs: `mask` is of `MAY_*` bits 4 (read), 2 (write), 1 (execute/search).
    /// `None` leaves it to the VFS.
    fn permission(&self, caller: &Caller<'_>, mask: u32) -> Option<Result<()>> {
        let _ = (caller, mask);
        None
    }

    /// The access ACL in the binary form of `system.posix_acl_access`, `None` where mode bits say it all. Asked on
    /// every path walk: file systems with extended attributes keep it at hand.
    ///
    /// # Errors
    /// As [`Self::attr`].
    fn access_acl(&self) -> Result<Option<Arc<[u8]>>> {
        match self.xattr().map(|xattr| xattr.get(b"system.posix_acl_access")) {
            None | Some(Err(Errno::ENODATA | Errno::EOPNOTSUPP)) => Ok(None),
            Some(Ok(acl)) => Ok(Some(acl.into())),
            Some(Err(errno)) => Err(errno),
        }
    }

    /// The default ACL of a directory, as [`Self::access_acl`]. Asked for each file made in it.
    ///
    /// # Errors
    /// As [`Self::attr`].
    fn default_acl(&self) -> Result<Option<Arc<[u8]>>> {
        match self.xattr().map(|xattr| xattr.get(b"system.posix_acl_default")) {
            None | Some(Err(Errno::ENODATA | Errno::EOPNOTSUPP)) => Ok(None),
            Some(Ok(acl)) => Ok(Some(acl.into())),
            Some(Err(errno)) => Err(errno),
        }
    }

    /// Extended attributes, where the file system has them.
    fn xattr(&self) -> Option<&dyn Xattr> {
        None
    }

    /// The control group of version 2 whose directory it is, as clone3(2) takes it.
    fn cgroup(&self) -> Option<&Arc<Cgroup>> {
        None
    }

    /// The seals on a memfd.
    ///
    /// # Errors
    /// `EINVAL` where the file cannot be sealed.
    fn seals(&self) -> Result<Seals> {
        Err(Errno::EINVAL)
    }

    /// Adds seals.
    ///
    /// # Errors
    /// `EINVAL` where the file cannot be sealed, `EPERM` where it is sealed against it, `EBUSY` while it is mapped
    /// writable and shared.
    fn add_seals(&self, seals: Seals) -> Result<()> {
        let _ = seals;
        Err(Errno::EINVAL)
    }

    /// Somebody watches it with inotify(7): a file system whose files change elsewhere begins to tell of that, by
    /// [`super::notify_inode`].
    fn note_watch(&self) {}

    /// Allocates, punches or zeroes a range: fallocate(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `ENOSPC`, `EFBIG`.
    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let _ = (mode, offset, len);
        Err(Errno::EOPNOTSUPP)
    }
}

/// Extended attributes of an inode. The VFS has checked name space, permissions and sizes; POSIX ACLs come as the
/// attributes `system.posix_acl_access` and `system.posix_acl_default` in their binary form (`man 5 acl`).
pub trait Xattr {
    /// The value of `name`.
    ///
    /// # Errors
    /// `ENODATA`.
    fn get(&self, name: &[u8]) -> Result<Vec<u8>>;

    /// Sets a value.
    ///
    /// # Errors
    /// `EEXIST` and `ENODATA` as `flags` say; `ENOSPC`, `EOPNOTSUPP`.
    fn set(&self, name: &[u8], value: &[u8], flags: SetXattrFlags) -> Result<()>;

    /// Removes one.
    ///
    /// # Errors
    /// `ENODATA`.
    fn remove(&self, name: &[u8]) -> Result<()>;

    /// All names.
    ///
    /// # Errors
    /// `EOPNOTSUPP`.
    fn list(&self) -> Result<Vec<Vec<u8>>>;
}
