//! The overlay on two tmpfs, under the VFS.

use std::sync::Arc;

use abi::mount::MountFlags;
use abi::{DeviceId, Errno, OpenFlags};
use kernel::mm::{Access, Backing, MemoryFile};
use kernel::task::{Credentials, NamespaceId, NamespaceIds, UserNamespace};
use kernel::time::Timekeeper;
use kernel::vfs::{Caller, File, FileSystem, NewNode, OpenHow, Origin, RenameFlags, Vfs, VfsPath, WalkFlags};

use super::work::WHITEOUT;
use super::{Overlay, OverlayConfig};
use crate::tmpfs::{Tmpfs, TmpfsConfig};

struct World {
    vfs: Arc<Vfs>,
    memory: Arc<MemoryFile>,
    creds: Arc<Credentials>,
    lower: Origin,
    upper: Origin,
    merged: Origin,
}

fn world(prepare: impl FnOnce(&World)) -> World {
    host::memory::install_fault_handler();
    let timekeeper = Arc::new(Timekeeper::new());
    let memory = MemoryFile::new(1 << 30).unwrap();
    let vfs = Vfs::new(timekeeper.clone(), NamespaceIds::default());
    let creds = Arc::new(Credentials::root(UserNamespace::initial(NamespaceId(1))));
    let tmpfs = || {
        let config = TmpfsConfig { mode: 0o755, ..TmpfsConfig::new(vfs.allocate_device()) };
        let fs: Arc<dyn FileSystem> = Tmpfs::new(&memory, &timekeeper, &config).unwrap();
        Origin::at_root(vfs.new_mount(&fs, b"tmpfs", MountFlags::empty()).root_path())
    };
    let (lower, upper) = (tmpfs(), tmpfs());
    let mut world =
        World { merged: lower.clone(), vfs: vfs.clone(), memory: memory.clone(), creds, lower, upper };
    prepare(&world);
    let config = OverlayConfig {
        device: vfs.allocate_device(),
        lowers: vec![world.lower.root.clone()],
        upper: Some(world.upper.root.clone()),
        work: None,
        creds: world.creds.clone(),
        options: String::new(),
    };
    let fs: Arc<dyn FileSystem> = Overlay::new(&vfs, &memory, &config).unwrap();
    world.merged = Origin::at_root(vfs.new_mount(&fs, b"overlay", MountFlags::empty()).root_path());
    world
}

impl World {
    fn caller(&self) -> Caller<'_> {
        Caller { creds: &self.creds, task: None }
    }

    fn open(&self, at: &Origin, path: &[u8], flags: OpenFlags) -> Result<Arc<File>, Errno> {
        let how = OpenHow { flags, mode: 0o644, ..OpenHow::default() };
        self.vfs.open(&self.caller(), at, path, &how).map(|opened| opened.file)
    }

    fn put(&self, at: &Origin, path: &[u8], bytes: &[u8]) {
        let file = self.open(at, path, OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
        self.vfs.truncate_file(&self.caller(), &file, bytes.len() as u64).unwrap();
        let Backing::Memory { offset, len } = self.backing(&file) else { panic!("tmpfs is in memory") };
        self.memory.slice(offset, bytes.len()).unwrap().write(bytes).unwrap();
        self.memory.release(offset, len);
    }

    fn get(&self, at: &Origin, path: &[u8]) -> Vec<u8> {
        self.content(&self.open(at, path, OpenFlags::empty()).unwrap())
    }

    fn content(&self, file: &File) -> Vec<u8> {
        let mut bytes = vec![0; file.ops().size().unwrap() as usize];
        let Backing::Memory { offset, len } = self.backing(file) else { panic!("tmpfs is in memory") };
        self.memory.slice(offset, bytes.len()).unwrap().read(&mut bytes).unwrap();
        self.memory.release(offset, len);
        bytes
    }

    fn backing(&self, file: &File) -> Backing {
        file.ops().mappable(file).unwrap().backing(0, 4096, Access::WRITE).unwrap()
    }

    fn mkdir(&self, at: &Origin, path: &[u8]) {
        self.vfs.mkdir(&self.caller(), at, path, 0o755, 0).unwrap();
    }

    fn find(&self, at: &Origin, path: &[u8]) -> Result<VfsPath, Errno> {
        self.vfs.lookup(&self.caller(), at, path, WalkFlags::empty())
    }

    fn rename(&self, old: &[u8], new: &[u8]) -> Result<(), Errno> {
        let at = &self.merged;
        self.vfs.rename(&self.caller(), (at, old), (at, new), RenameFlags::empty())
    }
}

fn populate(w: &World) {
    w.mkdir(&w.lower, b"/d");
    w.mkdir(&w.lower, b"/d/e");
    w.put(&w.lower, b"/d/f", b"lower");
    w.put(&w.lower, b"/d/e/g", b"deep");
    let file = w.find(&w.lower, b"/d/f").unwrap();
    w.vfs.link(&w.caller(), &file, &w.lower, b"/other").unwrap();
}

#[test]
fn writing_copies_up_and_keeps_the_number() {
    let w = world(populate);
    let reader = w.open(&w.merged, b"/d/e/g", OpenFlags::empty()).unwrap();
    let before = w.find(&w.merged, b"/d/e/g").unwrap().inode().attr().unwrap();
    assert_eq!(w.content(&reader), b"deep");
    drop(w.open(&w.merged, b"/d/e/g", OpenFlags::RDWR).unwrap());
    assert_eq!(w.get(&w.upper, b"/d/e/g"), b"deep");
    let after = w.find(&w.merged, b"/d/e/g").unwrap().inode().attr().unwrap();
    assert_eq!((before.ino, before.mtime, before.mode), (after.ino, after.mtime, after.mode));
    w.put(&w.upper, b"/d/e/g", b"DEEP");
    assert_eq!(w.content(&reader), b"DEEP");
    assert_eq!(w.get(&w.lower, b"/d/e/g"), b"deep");
}

#[test]
fn removed_names_are_covered() {
    let w = world(populate);
    w.vfs.unlink(&w.caller(), &w.merged, b"/d/f").unwrap();
    assert_eq!(w.find(&w.merged, b"/d/f"), Err(Errno::ENOENT));
    assert!(w.find(&w.lower, b"/d/f").is_ok());
    let upper = || {
        // Not through the upper tree's own dentries: they know nothing of the overlay's changes.
        let dir = w.upper.root.inode().lookup(&w.caller(), b"d").unwrap();
        dir.lookup(&w.caller(), b"f").unwrap()
    };
    assert!(super::is_whiteout(&upper()));
    w.put(&w.merged, b"/d/f", b"new");
    assert_eq!(w.get(&w.merged, b"/d/f"), b"new");
    w.vfs.unlink(&w.caller(), &w.merged, b"/d/f").unwrap();
    w.mkdir(&w.merged, b"/d/f");
    assert!(super::is_opaque(&upper()));
}

#[test]
fn nobody_makes_a_whiteout() {
    let w = world(populate);
    let null = NewNode { rdev: DeviceId { major: 1, minor: 3 }, ..WHITEOUT };
    let root = w.merged.root.inode();
    assert_eq!(root.create(&w.caller(), b"made", &WHITEOUT).err(), Some(Errno::EPERM));
    assert!(root.create(&w.caller(), b"made", &null).is_ok());
}

#[test]
fn directories_move_with_what_is_below() {
    let w = world(populate);
    w.rename(b"/d", b"/moved").unwrap();
    assert_eq!(w.find(&w.merged, b"/d"), Err(Errno::ENOENT));
    assert_eq!(w.get(&w.merged, b"/moved/e/g"), b"deep");
    w.mkdir(&w.merged, b"/d");
    assert_eq!(w.find(&w.merged, b"/d/f"), Err(Errno::ENOENT));
    w.rename(b"/moved/e", b"/d/x").unwrap();
    assert_eq!(w.get(&w.merged, b"/d/x/g"), b"deep");
    w.put(&w.merged, b"/d/x/g", b"changed");
    assert_eq!(w.get(&w.merged, b"/d/x/g"), b"changed");
    w.rename(b"/moved/f", b"/d/x/g").unwrap();
    assert_eq!(w.get(&w.merged, b"/d/x/g"), b"lower");
    assert_eq!(w.find(&w.merged, b"/moved/f"), Err(Errno::ENOENT));
}

#[test]
fn hard_links_stay_one_file() {
    let w = world(populate);
    let (a, b) = (w.find(&w.merged, b"/d/f").unwrap(), w.find(&w.merged, b"/other").unwrap());
    assert!(Arc::ptr_eq(a.inode(), b.inode()));
    drop((a, b));
    w.put(&w.merged, b"/d/f", b"changed");
    assert_eq!(w.get(&w.merged, b"/other"), b"changed");
    w.vfs.unlink(&w.caller(), &w.merged, b"/d/f").unwrap();
    assert_eq!(w.get(&w.merged, b"/other"), b"changed");
}

#[test]
fn a_file_without_a_name_can_still_change() {
    let w = world(populate);
    let file = w.open(&w.merged, b"/d/e/g", OpenFlags::empty()).unwrap();
    w.vfs.unlink(&w.caller(), &w.merged, b"/d/e/g").unwrap();
    w.vfs.chmod(&w.caller(), file.path(), 0o600).unwrap();
    assert_eq!(w.content(&file), b"deep");
    assert_eq!(w.find(&w.merged, b"/d/e/g"), Err(Errno::ENOENT));
}

#[test]
fn overlays_are_not_stacked_without_end() {
    let w = world(populate);
    let on = |lower: VfsPath| {
        let config = OverlayConfig {
            device: w.vfs.allocate_device(),
            lowers: vec![lower],
            upper: None,
            work: None,
            creds: w.creds.clone(),
            options: String::new(),
        };
        let fs: Arc<dyn FileSystem> = Overlay::new(&w.vfs, &w.memory, &config)?;
        Ok(w.vfs.new_mount(&fs, b"overlay", MountFlags::empty()).root_path())
    };
    let second = on(w.merged.root.clone()).unwrap();
    assert_eq!(on(second).map(|_: VfsPath| ()), Err(Errno::EINVAL));
}
