//! devpts: the directory of pseudo-terminals. Each mount is an instance of its own (`man 4 pts`).
//!
//! Locks: `Instance::nodes` is a leaf.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use abi::{DeviceId, Errno, FileType, OpenFlags, Result};
use kernel::Kernel;
use kernel::vfs::{
    Attr, Caching, Caller, FileOps, FileSystem, FileSystemType, Inode, InodeCommon, KeptAttr, Mount,
    MountNamespace, MountOwner, OpenHow, Origin, SetAttr, VfsPath,
};
use parking_lot::Mutex;

use super::console::Console;
use super::pty::Master;
use super::{PTS_MAJOR, Replica, Terminal};
use crate::synth::{Dir, DirContent, Entry, Inodes};

const PTMX_INO: u64 = 2;
const FIRST_PTS_INO: u64 = 3;

/// Mount options.
#[derive(Clone, Debug)]
struct Options {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: u32,
    ptmx_mode: u32,
    max: u32,
}

impl Options {
    fn parse(caller: &Caller<'_>, text: &[u8]) -> Result<Self> {
        let mut options = Self { uid: None, gid: None, mode: 0o600, ptmx_mode: 0, max: 1 << 20 };
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let number = |text: &str, radix| u32::from_str_radix(text, radix).map_err(|_| Errno::EINVAL);
        let ns = &caller.creds.user_ns;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("newinstance", "") => {}
                ("uid", id) => options.uid = Some(ns.to_kernel_uid(number(id, 10)?).ok_or(Errno::EINVAL)?),
                ("gid", id) => options.gid = Some(ns.to_kernel_gid(number(id, 10)?).ok_or(Errno::EINVAL)?),
                ("mode", mode) => options.mode = number(mode, 8)? & 0o7777,
                ("ptmxmode", mode) => options.ptmx_mode = number(mode, 8)? & 0o7777,
                ("max", max) => options.max = number(max, 10)?.min(1 << 20),
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }
}

/// The pseudo-terminals of a mount.
pub(super) struct Instance {
    kernel: Weak<Kernel>,
    options: Options,
    inodes: Inodes,
    nodes: Mutex<BTreeMap<u32, Arc<PtsNode>>>,
    this: Weak<Self>,
}

impl Instance {
    /// Makes a terminal with the lowest free number, owned by whoever asks.
    fn allocate(&self, kernel: &Kernel, uid: u32, gid: u32) -> Result<(u32, Arc<Terminal>)> {
        let mut nodes = self.nodes.lock();
        let index = (0..self.options.max).find(|index| !nodes.contains_key(index)).ok_or(Errno::ENOSPC)?;
        let terminal = Terminal::new(kernel, index);
        let ino = FIRST_PTS_INO + u64::from(index);
        let attr = Attr {
            uid: self.options.uid.unwrap_or(uid),
            gid: self.options.gid.unwrap_or(gid),
            rdev: DeviceId { major: PTS_MAJOR, minor: index },
            ..self.inodes.attr_numbered(ino, FileType::Char, self.options.mode)
        };
        let node = PtsNode {
            common: InodeCommon::default(),
            attr: KeptAttr::new(attr, &kernel.timekeeper),
            terminal: terminal.clone(),
            console: Mutex::new(None),
        };
        nodes.insert(index, Arc::new(node));
        Ok((index, terminal))
    }

    /// Opens a new pair; the master is what comes back.
    pub(super) fn open_master(&self, caller: &Caller<'_>) -> Result<Arc<dyn FileOps>> {
        let kernel = self.kernel.upgrade().ok_or(Errno::EIO)?;
        let this = self.this.upgrade().ok_or(Errno::EIO)?;
        let (index, terminal) = self.allocate(&kernel, caller.creds.fsuid, caller.creds.fsgid)?;
        Ok(Master::new(&this, terminal, index))
    }

    /// A terminal whose master is `console`, made by `make`; returns its number.
    pub(super) fn add_console(
        &self,
        kernel: &Kernel,
        uid: u32,
        gid: u32,
        make: impl FnOnce(&Arc<Terminal>, u32) -> Result<Arc<Console>>,
    ) -> Result<(u32, Arc<Terminal>)> {
        let (index, terminal) = self.allocate(kernel, uid, gid)?;
        match make(&terminal, index) {
            Ok(console) => {
                if let Some(node) = self.node(index) {
                    *node.console.lock() = Some(console);
                }
                Ok((index, terminal))
            }
            Err(errno) => {
                self.remove(index);
                Err(errno)
            }
        }
    }

    pub(super) fn node(&self, index: u32) -> Option<Arc<PtsNode>> {
        self.nodes.lock().get(&index).cloned()
    }

    /// Takes a number away: its master is gone.
    pub(super) fn remove(&self, index: u32) {
        let node = self.nodes.lock().remove(&index);
        drop(node);
    }
}

/// `/dev/pts/N`.
pub(super) struct PtsNode {
    common: InodeCommon,
    attr: KeptAttr,
    terminal: Arc<Terminal>,
    /// Keeps the host's side alive, where that is the master.
    console: Mutex<Option<Arc<Console>>>,
}

impl Inode for PtsNode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr.get())
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        self.attr.set(change);
        Ok(())
    }

    fn open(self: Arc<Self>, caller: &Caller<'_>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let replica: Arc<dyn FileOps> = Replica::open(&self.terminal, caller.task, flags)?;
        Ok(replica)
    }

    fn open_special(
        self: Arc<Self>,
        caller: &Caller<'_>,
        flags: OpenFlags,
    ) -> Option<Result<Arc<dyn FileOps>>> {
        Some(self.open(caller, flags))
    }
}

/// `/dev/pts/ptmx`.
struct Ptmx {
    common: InodeCommon,
    attr: KeptAttr,
    instance: Arc<Instance>,
}

impl Inode for Ptmx {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr.get())
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        self.attr.set(change);
        Ok(())
    }

    fn open(self: Arc<Self>, caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        self.instance.open_master(caller)
    }

    fn open_special(
        self: Arc<Self>,
        caller: &Caller<'_>,
        flags: OpenFlags,
    ) -> Option<Result<Arc<dyn FileOps>>> {
        Some(self.open(caller, flags))
    }
}

/// The root directory.
struct Root {
    instance: Arc<Instance>,
    ptmx: Arc<Ptmx>,
    attr: Attr,
}

impl DirContent for Root {
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        if name == b"ptmx" {
            return Ok(self.ptmx.clone());
        }
        let index = crate::proc::parse_number(name).and_then(|number| u32::try_from(number).ok());
        let node = index.and_then(|index| self.instance.node(index)).ok_or(Errno::ENOENT)?;
        Ok(node)
    }

    fn next(&self, _task: &kernel::Task, from: u64) -> Option<Entry> {
        if from == 0 {
            let name = b"ptmx".to_vec();
            return Some(Entry { name, ino: PTMX_INO, file_type: FileType::Char, next: 1 });
        }
        let first = u32::try_from(from - 1).ok()?;
        let index = *self.instance.nodes.lock().range(first..).next()?.0;
        Some(Entry {
            name: index.to_string().into_bytes(),
            ino: FIRST_PTS_INO + u64::from(index),
            file_type: FileType::Char,
            next: u64::from(index) + 2,
        })
    }
}

/// A mounted devpts.
pub struct DevPts {
    instance: Arc<Instance>,
    root: Arc<dyn Inode>,
    device: DeviceId,
}

impl DevPts {
    fn new(kernel: &Arc<Kernel>, options: Options) -> Arc<Self> {
        let inodes = Inodes::new(1, kernel.timekeeper.now());
        let root_attr = inodes.attr(FileType::Directory, 0o755);
        let ptmx_attr = Attr {
            rdev: DeviceId { major: super::TTY_AUX_MAJOR, minor: super::PTMX_MINOR },
            ..inodes.attr_numbered(PTMX_INO, FileType::Char, options.ptmx_mode)
        };
        let instance = Arc::new_cyclic(|this| Instance {
            kernel: Arc::downgrade(kernel),
            options,
            inodes,
            nodes: Mutex::default(),
            this: this.clone(),
        });
        let ptmx = Arc::new(Ptmx {
            common: InodeCommon::default(),
            attr: KeptAttr::new(ptmx_attr, &kernel.timekeeper),
            instance: instance.clone(),
        });
        let root = Dir::new(Root { instance: instance.clone(), ptmx, attr: root_attr });
        Arc::new(Self { instance, root, device: kernel.vfs.allocate_device() })
    }

    /// One that is mounted nowhere, for the consoles of containers without devpts.
    pub(super) fn hidden(kernel: &Arc<Kernel>) -> Arc<Self> {
        Self::new(kernel, Options { uid: None, gid: None, mode: 0o620, ptmx_mode: 0o666, max: 1 << 20 })
    }

    /// Its terminals.
    pub(super) fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

/// The place of terminal `index` of `instance` in a mount name space, where that shows the instance.
pub(super) fn place_of(
    kernel: &Kernel,
    caller: &Caller<'_>,
    namespace: &MountNamespace,
    instance: &Arc<Instance>,
    index: u32,
) -> Option<VfsPath> {
    let shows = |mount: &Arc<Mount>| {
        let fs: Arc<dyn std::any::Any + Send + Sync> = mount.fs().clone();
        fs.downcast::<DevPts>().is_ok_and(|devpts| Arc::ptr_eq(&devpts.instance, instance))
    };
    let mount = namespace.mounts().into_iter().find(shows)?;
    place_below(kernel, caller, &mount.root_path(), index).ok()
}

/// The place of terminal `index` in the devpts whose root is `root`.
pub(super) fn place_below(
    kernel: &Kernel,
    caller: &Caller<'_>,
    root: &VfsPath,
    index: u32,
) -> Result<VfsPath> {
    let how = OpenHow::flags(OpenFlags::PATH);
    let found =
        kernel.vfs.open(caller, &Origin::at_root(root.clone()), index.to_string().as_bytes(), &how)?;
    Ok(found.file.path().clone())
}

impl FileSystem for DevPts {
    fn type_name(&self) -> &'static str {
        "devpts"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn statfs(&self) -> Result<abi::fs::Statfs> {
        let sizes = abi::fs::Statfs { f_type: 0x1cd1, f_bsize: 4096, f_frsize: 4096, ..Default::default() };
        Ok(abi::fs::Statfs { f_namelen: 255, ..sizes })
    }

    /// Terminals come and go by themselves.
    fn caching(&self) -> Caching {
        Caching::Never
    }

    fn options(&self) -> String {
        let options = &self.instance.options;
        let mut text = String::new();
        if let Some(uid) = options.uid {
            text += &format!("uid={uid},");
        }
        if let Some(gid) = options.gid {
            text += &format!("gid={gid},");
        }
        text + &format!("mode={:03o},ptmxmode={:03o}", options.mode, options.ptmx_mode)
    }
}

impl fmt::Debug for DevPts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DevPts({} terminals)", self.instance.nodes.lock().len())
    }
}

/// The type `devpts`.
#[derive(Debug)]
pub struct DevPtsType;

impl FileSystemType for DevPtsType {
    fn name(&self) -> &'static str {
        "devpts"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        _source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        Ok(DevPts::new(kernel, Options::parse(caller, options)?))
    }

    fn mount_owner(&self) -> MountOwner {
        MountOwner::Caller
    }
}
