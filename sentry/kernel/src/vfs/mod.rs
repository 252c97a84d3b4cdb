//! The virtual file system: names, mounts, open files, and the traits that file systems implement.
//!
//! As in Linux: a [`Dentry`] is a name in a tree and caches look-ups, present and absent; an [`Inode`] is a file as its
//! file system knows it; a [`Superblock`] is a file system in use; a [`Mount`] makes a tree visible at a place; a
//! [`VfsPath`] is a dentry seen through a mount; a [`File`] is an open file description with its position and flags, and
//! its behaviour is a [`FileOps`]. [`Vfs`] is what there is one of per sandbox.
//!
//! **Nothing in a [`FileOps`] or [`Inode`] blocks on a guest event.** What would block returns `EAGAIN` and announces
//! readiness through its [`waiter::WaitQueue`]; the system-call layer waits and tries again (`Task::block_on`). So every
//! wait can be interrupted and restarted. Host I/O on files that a gofer donated may take the time that the disk takes.

pub(crate) mod acl;
mod anon;
mod async_notice;
mod attr;
mod create;
mod dcache;
mod dentry;
mod device;
mod epoll;
mod eventfd;
mod fd_table;
mod file;
mod file_ops;
mod filesystem;
mod fs_context;
mod inode;
mod inode_common;
mod inotify;
pub(crate) mod io_timeout;
mod kept_attr;
pub mod locks;
mod memfd;
mod mount;
mod mount_ns;
mod mount_tree;
mod open;
mod path_text;
mod path_walk;
pub mod permission;
pub mod pipe;
mod promise;
mod propagation;
mod rename;
mod signalfd;
mod superblock;
mod timerfd;
pub(crate) mod transfer;
#[expect(clippy::module_inception, reason = "the type that the folder is named for")]
mod vfs;
mod xattr;

pub use anon::AnonKind;
pub use attr::{NewTimes, drop_privileges_on_write};
pub use create::NodeSpec;
pub use dentry::{Dentry, VfsPath};
pub use device::{DeviceDriver, DeviceKind};
pub(crate) use epoll::Taken;
pub use epoll::{Epoll, EpollNesting};
pub use eventfd::EventFd;
pub use fd_table::{Fd, FdEntry, FdTable, MAX_FDS, ReservedFds};
pub use file::{File, SETTABLE_FLAGS, SignalOwner};
pub use file_ops::{DirEntry, FileOps, Readdir, SeekExtent, SyncScope, WriteAt};
pub use filesystem::{Caching, FileSystem, FileSystemType, MountOwner};
pub(crate) use fs_context::ClosedContext;
pub use fs_context::FsContext;
pub use inode::{Attr, Caller, Inode, LinkTarget, NewNode, Rename, RenameFlags, SetAttr, SetTime, Xattr};
pub use inode_common::InodeCommon;
pub use inotify::{Inotify, notify_inode};
pub(crate) use inotify::{note_access, note_modify};
pub use kept_attr::KeptAttr;
pub use mount::{Mount, Propagation};
pub use mount_ns::MountNamespace;
pub(crate) use mount_tree::leads_back;
pub use mount_tree::{Extent, MAX_MOUNTS};
pub use open::{OpenHow, Opened};
pub use path_text::Reach;
pub use path_walk::{Origin, WalkFlags};
pub use permission::{MAY_EXEC, MAY_READ, MAY_WRITE, check_access};
pub(crate) use promise::{Candidates, Holder, Settle, Use};
pub use promise::{Promise, Promising, Push};
pub use propagation::PropagationType;
pub use signalfd::SignalFd;
pub use superblock::Superblock;
pub use timerfd::TimerFd;
pub use vfs::Vfs;
pub use xattr::SetXattrFlags;
