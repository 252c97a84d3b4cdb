//! The client under the VFS, with a real gofer in a thread and with one that lies.

mod caching;
mod files;
mod lying;
mod racing;
mod shared;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ::gofer::{Config, Limits, MountConfig, Server};
use abi::mount::MountFlags;
use abi::{Errno, OpenFlags};
use host::unix::{Kind, pair};
use kernel::mm::{IoDst, IoSrc};
use kernel::task::{Credentials, NamespaceId, NamespaceIds, UserNamespace};
use kernel::time::Timekeeper;
use kernel::vfs::{Attr, Caller, FileSystem, OpenHow, Origin, RenameFlags, Vfs, VfsPath, WalkFlags, WriteAt};

use super::file::GoferFile;
use super::{GoferFs, GoferInode, attach};

/// A directory of the host that is removed at the end.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gofer-client-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A virtual file system whose root is a gofer's first mount.
struct World {
    fs: Arc<GoferFs>,
    vfs: Arc<Vfs>,
    origin: Origin,
    creds: Arc<Credentials>,
}

fn serve(path: &Path, read_only: bool, shared: bool) -> std::os::fd::OwnedFd {
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    let config = Config {
        socket: theirs,
        mounts: vec![MountConfig { path: path.to_path_buf(), read_only, shared }],
        limits: Limits::default(),
    };
    std::thread::spawn(move || {
        host::fs::own_working_dir().unwrap();
        host::process::set_umask(0);
        let mut server = Server::new(config).unwrap();
        server.make_door();
        server.run().unwrap();
    });
    ours
}

impl World {
    fn new(temp: &Temp, shared: bool) -> Self {
        Self::over(serve(&temp.0, false, shared)).unwrap()
    }

    fn over(socket: std::os::fd::OwnedFd) -> Result<Self, Errno> {
        host::memory::install_fault_handler();
        let vfs = Vfs::new(Arc::new(Timekeeper::new()), NamespaceIds::default());
        let gofer = attach(socket, || vfs.allocate_device())?.remove(0);
        let fs: Arc<dyn FileSystem> = gofer.clone();
        let mount = vfs.new_mount(&fs, b"root", MountFlags::empty());
        let ns = UserNamespace::initial(NamespaceId(1));
        let _namespace = vfs.new_namespace(mount.clone(), &ns);
        let creds = Arc::new(Credentials::root(ns));
        Ok(Self { fs: gofer, origin: Origin::at_root(mount.root_path()), vfs, creds })
    }

    fn caller(&self) -> Caller<'_> {
        Caller { creds: &self.creds, task: None }
    }

    fn find(&self, path: &str) -> Result<VfsPath, Errno> {
        self.vfs.lookup(&self.caller(), &self.origin, path.as_bytes(), WalkFlags::empty())
    }

    fn attr(&self, path: &str) -> Result<Attr, Errno> {
        self.find(path)?.inode().attr()
    }

    fn mkdir(&self, path: &str) {
        self.vfs.mkdir(&self.caller(), &self.origin, path.as_bytes(), 0o755, 0).unwrap();
    }

    fn unlink(&self, path: &str) -> Result<(), Errno> {
        self.vfs.unlink(&self.caller(), &self.origin, path.as_bytes())
    }

    fn rename(&self, old: &str, new: &str, flags: RenameFlags) -> Result<(), Errno> {
        let (old, new) = ((&self.origin, old.as_bytes()), (&self.origin, new.as_bytes()));
        self.vfs.rename(&self.caller(), old, new, flags)
    }

    /// Opens through the VFS.
    fn open(&self, path: &str, flags: OpenFlags) -> Result<Open, Errno> {
        let how = OpenHow { flags, mode: 0o644, ..OpenHow::default() };
        let opened = self.vfs.open(&self.caller(), &self.origin, path.as_bytes(), &how)?;
        let inode = GoferInode::of(opened.file.inode())?.arc()?;
        let file = GoferFile::open(inode.clone(), flags)?;
        Ok(Open { file, inode, _opened: opened.file })
    }

    fn calls(&self) -> u64 {
        self.fs.volume().connection().call_count()
    }

    /// Calls made by `action`.
    fn cost<T>(&self, action: impl FnOnce() -> T) -> (T, u64) {
        let before = self.calls();
        let result = action();
        (result, self.calls() - before)
    }
}

/// An open regular file.
struct Open {
    file: GoferFile,
    inode: Arc<GoferInode>,
    _opened: Arc<kernel::vfs::File>,
}

impl Open {
    fn read(&self, offset: u64, len: usize) -> String {
        let mut bytes = vec![0; len];
        let len = self.file.read_at(offset, &mut IoDst::kernel(&mut bytes)).unwrap();
        bytes.truncate(len);
        String::from_utf8(bytes).unwrap()
    }

    fn write(&self, at: WriteAt, text: &str) -> (usize, u64) {
        self.file.write_at(at, &mut IoSrc::kernel(text.as_bytes())).unwrap()
    }
}
