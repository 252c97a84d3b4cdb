//! tmpfs under the VFS: names, links, permissions, sparse files.

use std::sync::Arc;

use abi::mount::MountFlags;
use abi::{Errno, FileType, OpenFlags};
use kernel::mm::{IoDst, IoSrc, MemoryFile};
use kernel::task::{CapabilitySet, Credentials, NamespaceId, NamespaceIds, UserNamespace};
use kernel::time::Timekeeper;
use kernel::vfs::{
    Caller, FileSystem, NewTimes, OpenHow, Origin, RenameFlags, SetTime, Vfs, VfsPath, WalkFlags,
};

use super::content::Content;
use super::usage::{UNLIMITED, Usage};
use super::{Tmpfs, TmpfsConfig};

struct World {
    vfs: Arc<Vfs>,
    origin: Origin,
    root: Arc<Credentials>,
    user: Arc<Credentials>,
}

fn world() -> World {
    let timekeeper = Arc::new(Timekeeper::new());
    let memory = MemoryFile::new(1 << 30).unwrap();
    let vfs = Vfs::new(timekeeper.clone(), NamespaceIds::default());
    let config = TmpfsConfig { mode: 0o755, ..TmpfsConfig::new(vfs.allocate_device()) };
    let fs: Arc<dyn FileSystem> = Tmpfs::new(&memory, &timekeeper, &config).unwrap();
    let mount = vfs.new_mount(&fs, b"tmpfs", MountFlags::empty());
    let ns = UserNamespace::initial(NamespaceId(1));
    let _namespace = vfs.new_namespace(mount.clone(), &ns);
    World {
        origin: Origin::at_root(mount.root_path()),
        vfs,
        root: Arc::new(Credentials::root(ns.clone())),
        user: Arc::new(Credentials::user(ns, 1000, 1000, CapabilitySet::EMPTY)),
    }
}

impl World {
    fn caller(&self) -> Caller<'_> {
        Caller { creds: &self.root, task: None }
    }

    fn mkdir(&self, path: &[u8]) -> Result<VfsPath, Errno> {
        self.vfs.mkdir(&self.caller(), &self.origin, path, 0o755, 0)
    }

    fn symlink(&self, text: &[u8], path: &[u8]) {
        self.vfs.symlink(&self.caller(), text, &self.origin, path).unwrap();
    }

    fn create(&self, path: &[u8]) -> Result<VfsPath, Errno> {
        let how = OpenHow { flags: OpenFlags::CREAT | OpenFlags::RDWR, mode: 0o644, ..OpenHow::default() };
        self.vfs.open(&self.caller(), &self.origin, path, &how).map(|opened| opened.file.path().clone())
    }

    fn find(&self, path: &[u8]) -> Result<VfsPath, Errno> {
        self.vfs.lookup(&self.caller(), &self.origin, path, WalkFlags::FOLLOW)
    }

    fn rename(&self, old: &[u8], new: &[u8], flags: RenameFlags) -> Result<(), Errno> {
        self.vfs.rename(&self.caller(), (&self.origin, old), (&self.origin, new), flags)
    }

    fn nlink(&self, path: &[u8]) -> u32 {
        self.find(path).unwrap().inode().attr().unwrap().nlink
    }
}

#[test]
fn paths_are_walked_like_linux() {
    let w = world();
    w.mkdir(b"/a").unwrap();
    w.mkdir(b"a/b/").unwrap();
    w.create(b"/a/f").unwrap();
    w.symlink(b"a/b", b"/l");
    w.symlink(b"../f", b"/a/b/up");
    w.symlink(b"loop", b"/loop");
    w.symlink(b"/a/b/", b"/slash");
    assert_eq!(w.find(b"/l/up").unwrap(), w.find(b"a//./f").unwrap());
    assert_eq!(w.find(b"/l/../f").unwrap(), w.find(b"/a/f").unwrap());
    assert_eq!(w.find(b"/slash/up").unwrap(), w.find(b"/a/f").unwrap());
    assert_eq!(w.find(b"/../../a").unwrap(), w.find(b"/a").unwrap());
    assert_eq!(w.find(b"loop"), Err(Errno::ELOOP));
    assert_eq!(w.find(b"a/f/"), Err(Errno::ENOTDIR));
    assert_eq!(w.find(b"a/f/x"), Err(Errno::ENOTDIR));
    assert_eq!(w.find(b"a/f/.."), Err(Errno::ENOTDIR));
    assert_eq!(w.find(b""), Err(Errno::ENOENT));
    assert_eq!(w.find(&[b'x'; 256]), Err(Errno::ENAMETOOLONG));
    assert_eq!(w.find(b"nothing/x"), Err(Errno::ENOENT));
    assert_eq!(w.create(b"/a/new/").err(), Some(Errno::EISDIR));
    assert_eq!(w.create(b"/a/b").err(), Some(Errno::EISDIR));
    assert_eq!(w.find(b"/a/b/up").unwrap().text(&w.origin.root), b"/a/f");
}

#[test]
fn dangling_links_are_created_through() {
    let w = world();
    w.symlink(b"target", b"/link");
    w.create(b"/link").unwrap();
    assert_eq!(w.find(b"/target").unwrap(), w.find(b"/link").unwrap());
    let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::RDWR;
    let how = OpenHow { flags, mode: 0o600, ..OpenHow::default() };
    assert_eq!(w.vfs.open(&w.caller(), &w.origin, b"/link", &how).err(), Some(Errno::EEXIST));
    let how = OpenHow::flags(OpenFlags::NOFOLLOW);
    assert_eq!(w.vfs.open(&w.caller(), &w.origin, b"/link", &how).err(), Some(Errno::ELOOP));
}

#[test]
fn scoped_walks_stay_inside() {
    let w = world();
    w.mkdir(b"/a").unwrap();
    w.mkdir(b"/a/b").unwrap();
    w.symlink(b"/a", b"/a/abs");
    let start = Origin { root: w.origin.root.clone(), start: w.find(b"/a").unwrap() };
    let walk = |path: &[u8], flags| w.vfs.lookup(&w.caller(), &start, path, flags | WalkFlags::FOLLOW);
    assert_eq!(walk(b"..", WalkFlags::BENEATH), Err(Errno::EXDEV));
    assert_eq!(walk(b"b/..", WalkFlags::BENEATH), Ok(start.start.clone()));
    assert_eq!(walk(b"abs", WalkFlags::BENEATH), Err(Errno::EXDEV));
    assert_eq!(walk(b"..", WalkFlags::IN_ROOT), Ok(start.start.clone()));
    assert_eq!(walk(b"abs", WalkFlags::IN_ROOT), Err(Errno::ENOENT));
    assert_eq!(walk(b"abs", WalkFlags::NO_SYMLINKS), Err(Errno::ELOOP));
}

#[test]
fn renames_keep_names_and_link_counts_right() {
    let w = world();
    for dir in [&b"/a"[..], b"/b", b"/a/d"] {
        w.mkdir(dir).unwrap();
    }
    w.create(b"/a/f").unwrap();
    assert_eq!(w.nlink(b"/a"), 3);
    assert_eq!(w.rename(b"/a", b"/a/d/x", RenameFlags::empty()), Err(Errno::EINVAL));
    assert_eq!(w.rename(b"/a/f", b"/b", RenameFlags::empty()), Err(Errno::EISDIR));
    assert_eq!(w.rename(b"/b", b"/a", RenameFlags::empty()), Err(Errno::ENOTEMPTY));
    assert_eq!(w.rename(b"/a/d", b"/a/f", RenameFlags::empty()), Err(Errno::ENOTDIR));
    w.rename(b"/a/d", b"/b/e", RenameFlags::empty()).unwrap();
    assert_eq!((w.nlink(b"/a"), w.nlink(b"/b")), (2, 3));
    assert_eq!(w.find(b"/a/d"), Err(Errno::ENOENT));
    assert_eq!(w.find(b"/b/e/..").unwrap(), w.find(b"/b").unwrap());
    w.rename(b"/b/e", b"/a/f", RenameFlags::EXCHANGE).unwrap();
    assert!(w.find(b"/a/f").unwrap().dentry.is_dir());
    assert_eq!((w.nlink(b"/a"), w.nlink(b"/b")), (3, 2));
    assert_eq!(w.rename(b"/b/e", b"/a/f", RenameFlags::NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(w.find(b"/a/f").unwrap().text(&w.origin.root), b"/a/f");
}

#[test]
fn removal_and_hard_links() {
    let w = world();
    w.mkdir(b"/d").unwrap();
    let file = w.create(b"/d/f").unwrap();
    w.vfs.link(&w.caller(), &file, &w.origin, b"/g").unwrap();
    assert_eq!(w.nlink(b"/g"), 2);
    assert_eq!(w.vfs.rmdir(&w.caller(), &w.origin, b"/d"), Err(Errno::ENOTEMPTY));
    assert_eq!(w.vfs.rmdir(&w.caller(), &w.origin, b"/g"), Err(Errno::ENOTDIR));
    assert_eq!(w.vfs.unlink(&w.caller(), &w.origin, b"/d"), Err(Errno::EISDIR));
    assert_eq!(w.vfs.unlink(&w.caller(), &w.origin, b"/d/f/"), Err(Errno::ENOTDIR));
    w.vfs.unlink(&w.caller(), &w.origin, b"/d/f").unwrap();
    assert_eq!(w.find(b"/d/f"), Err(Errno::ENOENT));
    assert_eq!(w.nlink(b"/g"), 1);
    let dir = w.find(b"/d").unwrap();
    w.vfs.rmdir(&w.caller(), &w.origin, b"/d").unwrap();
    let inside = Origin { root: w.origin.root.clone(), start: dir.clone() };
    assert_eq!(w.vfs.mkdir(&w.caller(), &inside, b"x", 0o755, 0).err(), Some(Errno::ENOENT));
    assert_eq!(dir.text(&w.origin.root), b"/d (deleted)");
}

#[test]
fn ordinary_users_are_held_back() {
    let w = world();
    let user = Caller { creds: &w.user, task: None };
    assert_eq!(w.vfs.mkdir(&user, &w.origin, b"/x", 0o755, 0).err(), Some(Errno::EACCES));
    let sticky = w.mkdir(b"/tmp").unwrap();
    w.vfs.chmod(&w.caller(), &sticky, 0o1777).unwrap();
    let secret = w.create(b"/tmp/secret").unwrap();
    w.vfs.chmod(&w.caller(), &secret, 0o600).unwrap();
    let open = |flags| w.vfs.open(&user, &w.origin, b"/tmp/secret", &OpenHow::flags(flags)).err();
    assert_eq!(open(OpenFlags::empty()), Some(Errno::EACCES));
    assert_eq!(w.vfs.unlink(&user, &w.origin, b"/tmp/secret"), Err(Errno::EPERM));
    assert_eq!(w.vfs.chown(&user, &secret, Some(1000), None), Err(Errno::EPERM));
    let now = NewTimes { atime: Some(SetTime::Now), mtime: Some(SetTime::Now) };
    assert_eq!(w.vfs.set_times(&user, &secret, now), Err(Errno::EACCES));
    w.vfs.mkdir(&user, &w.origin, b"/tmp/own", 0o777, 0o022).unwrap();
    let attr = w.find(b"/tmp/own").unwrap().inode().attr().unwrap();
    assert_eq!((attr.mode, attr.uid), (FileType::Directory as u32 | 0o755, 1000));
    let target = w.find(b"/tmp/own").unwrap();
    assert_eq!(w.vfs.chmod(&user, &target, 0o2755), Ok(()));
}

#[test]
fn very_deep_trees_end_without_recursion() {
    let w = world();
    let mut at = w.origin.clone();
    for _ in 0..20_000 {
        at.start = w.vfs.mkdir(&w.caller(), &at, b"d", 0o755, 0).unwrap();
    }
}

#[test]
fn content_is_sparse() {
    host::memory::install_fault_handler();
    let memory = MemoryFile::new(1 << 30).unwrap();
    let usage = Arc::new(Usage::new(UNLIMITED, UNLIMITED));
    let content = Content::new(memory, usage.clone());
    let write = |at, bytes: &[u8]| content.write(at, &mut IoSrc::kernel(bytes)).unwrap();
    let read = |at, len: usize| {
        let mut bytes = vec![0xff; len];
        let count = content.read(at, &mut IoDst::kernel(&mut bytes)).unwrap();
        bytes.truncate(count);
        bytes
    };
    write(1 << 20, b"data");
    assert_eq!(content.size_and_pages(), ((1 << 20) + 4, 1));
    assert_eq!(read((1 << 20) - 2, 100), b"\0\0data");
    assert_eq!(content.seek_extent(0, kernel::vfs::SeekExtent::Data), Ok(1 << 20));
    assert_eq!(content.seek_extent(1 << 20, kernel::vfs::SeekExtent::Hole), Ok((1 << 20) + 4));
    write(0, &[7; 10_000]);
    content.punch(100, 9000);
    assert_eq!(read(99, 3), [7, 0, 0]);
    assert_eq!(read(8999, 2), [0, 7]);
    assert_eq!(content.size_and_pages().1, 3);
    // The last page goes as a whole, though the file ends within it.
    content.punch(8192, 12_288);
    assert_eq!((content.size_and_pages().1, read(9999, 2)), (2, vec![0, 0]));
    content.set_size(50);
    content.set_size(200);
    assert_eq!(read(49, 3), [7, 0, 0]);
    content.preallocate(0, 100_000).unwrap();
    assert_eq!(usage.pages().0, 25);
    drop(content);
    assert_eq!(usage.pages().0, 0);
}

#[test]
fn limits_are_kept() {
    let timekeeper = Arc::new(Timekeeper::new());
    let memory = MemoryFile::new(1 << 30).unwrap();
    let config = TmpfsConfig {
        max_bytes: Some(8192),
        max_inodes: Some(2),
        ..TmpfsConfig::new(abi::DeviceId::default())
    };
    let fs = Tmpfs::new(&memory, &timekeeper, &config).unwrap();
    let content = Content::new(memory, fs.usage.clone());
    assert_eq!(content.write(0, &mut IoSrc::kernel(&[1; 10_000])), Ok(8192));
    assert_eq!(content.write(8192, &mut IoSrc::kernel(&[1; 10])), Err(Errno::ENOSPC));
    assert_eq!(fs.statfs().unwrap().f_bfree, 0);
}

#[test]
fn what_cannot_be_preallocated_takes_nothing() {
    let usage = Arc::new(Usage::new(16, UNLIMITED));
    let content = Content::new(MemoryFile::new(1 << 30).unwrap(), usage.clone());
    content.write(4096, &mut IoSrc::kernel(&[1; 4096])).unwrap();
    assert_eq!(content.preallocate(0, 17 * 4096), Err(Errno::ENOSPC));
    assert_eq!(content.size_and_pages().1, 1);
    assert_eq!(usage.pages().0, 1);
    // More than all memory there is.
    assert_eq!(content.preallocate(0x1234, 1 << 47), Err(Errno::ENOSPC));
    content.preallocate(0, 16 * 4096).unwrap();
    assert_eq!(usage.pages().0, 16);
}
