//! A container's mounts: the root, what the specification adds, what it hides.
//!
//! Everything here runs with the kernel's own root credentials and no task. Destinations are walked inside the
//! container's root, so a hostile image's links lead nowhere else.

use std::sync::Arc;

use abi::mount::MountFlags;
use abi::{DeviceId, Errno, FileType, OpenFlags, Result};
use control::{ContainerConfig, Failure, MountKind, MountPlan};
use kernel::Kernel;
use kernel::task::Credentials;
use kernel::vfs::{Caller, FileSystem, MountNamespace, NodeSpec, OpenHow, Origin, VfsPath};
use serde_json::Value;

use crate::filesystems::Sources;

/// Makes the mounts of one container.
pub(crate) struct Mounter<'a> {
    pub(crate) kernel: &'a Arc<Kernel>,
    pub(crate) creds: &'a Arc<Credentials>,
    pub(crate) config: &'a ContainerConfig,
    pub(crate) sources: &'a Sources,
}

impl Mounter<'_> {
    /// The container's mount name space, complete.
    ///
    /// # Errors
    /// Which mount failed and why.
    pub(crate) fn make(&self) -> core::result::Result<Arc<MountNamespace>, Failure> {
        let failed = |what: String| move |errno: Errno| Failure::host(format!("{what}: {errno}"));
        let root_fs = self.sources.root(self.kernel, self.creds, &self.config.root)?;
        let root = self.kernel.vfs.new_mount(&root_fs, root_source(&root_fs), MountFlags::RELATIME);
        let namespace = self.kernel.vfs.new_namespace(Arc::clone(&root), &self.kernel.user_ns);
        let origin = Origin::at_root(namespace.root_path());
        for plan in &self.config.mounts {
            let what = format!("cannot mount {} in the container", plan.destination);
            let plan = &self.with_mode_of_place(&origin, plan);
            let fs = self.sources.mount(self.kernel, self.creds, plan)?;
            self.attach(&origin, plan, &fs).map_err(failed(what))?;
        }
        self.make_devices(&origin)?;
        self.apply_linux(&origin)?;
        if self.config.root.readonly {
            root.set_flags(root.flags() | MountFlags::RDONLY);
        }
        Ok(namespace)
    }

    fn caller(&self) -> Caller<'_> {
        Caller { creds: self.creds, task: None }
    }

    fn attach(&self, origin: &Origin, plan: &MountPlan, fs: &Arc<dyn FileSystem>) -> Result<()> {
        let is_file = matches!(plan.kind, MountKind::Gofer { directory: false, .. });
        let place = self.find_or_make(origin, plan.destination.as_bytes(), is_file)?;
        if place.dentry.is_dir() == is_file {
            return Err(Errno::ENOTDIR);
        }
        let mut flags = mount_flags(&plan.options);
        flags.set(MountFlags::RDONLY, plan.readonly);
        let mount = self.kernel.vfs.new_mount(fs, source_name(plan), flags);
        self.kernel.vfs.attach(&mount, &place);
        Ok(())
    }

    /// A tmpfs of which no mode is said gets that of the directory that it covers, as with runc.
    fn with_mode_of_place(&self, origin: &Origin, plan: &MountPlan) -> MountPlan {
        let mut plan = plan.clone();
        if let MountKind::Tmpfs { mode: mode @ None, .. } = &mut plan.kind
            && let Ok(place) = self.find(origin, plan.destination.as_bytes())
        {
            *mode = place.dentry.inode().attr().ok().map(|attr| attr.mode & 0o7777);
        }
        plan
    }

    /// What `path` names, following links.
    fn find(&self, origin: &Origin, path: &[u8]) -> Result<VfsPath> {
        let how = OpenHow { flags: OpenFlags::PATH, ..OpenHow::default() };
        self.kernel.vfs.open(&self.caller(), origin, path, &how).map(|opened| opened.file.path().clone())
    }

    /// The place at `path`, made where it does not exist: directories above it, and a directory or empty file.
    fn find_or_make(&self, origin: &Origin, path: &[u8], is_file: bool) -> Result<VfsPath> {
        match self.find(origin, path) {
            Err(Errno::ENOENT) => {}
            other => return other,
        }
        let caller = self.caller();
        if is_file {
            let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            make_directories(self.kernel, &caller, origin, &path[..parent])?;
            let file_type = FileType::Regular;
            let spec = NodeSpec { file_type, mode: 0o644, umask: 0, rdev: DeviceId::default() };
            self.kernel.vfs.mknod(&caller, origin, path, &spec)?;
        } else {
            make_directories(self.kernel, &caller, origin, path)?;
        }
        self.find(origin, path)
    }

    /// `linux.devices`: nodes with these numbers. A number without a driver makes one that cannot be opened (`ENXIO`).
    fn make_devices(&self, origin: &Origin) -> core::result::Result<(), Failure> {
        let devices = self.config.spec["linux"]["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
        devices.iter().try_for_each(|device| {
            self.make_device(origin, device).map_err(|errno| {
                Failure::host(format!("cannot make the device {} in the container: {errno}", device["path"]))
            })
        })
    }

    /// Makes one; a file that is there already stays as it is, as with runc.
    fn make_device(&self, origin: &Origin, device: &Value) -> Result<()> {
        let path = device["path"].as_str().ok_or(Errno::EINVAL)?.as_bytes();
        let number = |name: &str| device[name].as_u64().and_then(|number| u32::try_from(number).ok());
        let file_type = match device["type"].as_str() {
            Some("c" | "u") => FileType::Char,
            Some("b") => FileType::Block,
            Some("p") => FileType::Fifo,
            _ => return Err(Errno::EINVAL),
        };
        let rdev = match file_type {
            FileType::Fifo => DeviceId::default(),
            _ => DeviceId {
                major: number("major").ok_or(Errno::EINVAL)?,
                minor: number("minor").ok_or(Errno::EINVAL)?,
            },
        };
        let mode = number("fileMode").unwrap_or(0o666) & 0o7777;
        let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let caller = self.caller();
        make_directories(self.kernel, &caller, origin, &path[..parent])?;
        match self.kernel.vfs.mknod(&caller, origin, path, &NodeSpec { file_type, mode, umask: 0, rdev }) {
            Ok(place) => self.kernel.vfs.chown(&caller, &place, number("uid"), number("gid")),
            Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// `linux.maskedPaths`, `linux.readonlyPaths`.
    fn apply_linux(&self, origin: &Origin) -> core::result::Result<(), Failure> {
        let linux = &self.config.spec["linux"];
        let paths = |name: &str| -> Vec<String> {
            let list = linux[name].as_array().map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        for path in paths("readonlyPaths") {
            self.remount_read_only(origin, path.as_bytes())
                .map_err(|errno| Failure::host(format!("cannot make {path} read-only: {errno}")))?;
        }
        for path in paths("maskedPaths") {
            self.mask(origin, path.as_bytes())
                .map_err(|errno| Failure::host(format!("cannot mask {path}: {errno}")))?;
        }
        Ok(())
    }

    /// Mounts a path over itself, read-only. A path that does not exist needs no protection.
    fn remount_read_only(&self, origin: &Origin, path: &[u8]) -> Result<()> {
        let place = match self.find(origin, path) {
            Ok(place) => place,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let flags = place.mount.flags() | MountFlags::RDONLY;
        let mount = self.kernel.vfs.new_mount_of(&place, place.mount.source(), flags);
        self.kernel.vfs.attach(&mount, &place);
        Ok(())
    }

    /// Hides a file behind `/dev/null` and a directory behind an empty read-only one.
    fn mask(&self, origin: &Origin, path: &[u8]) -> Result<()> {
        let place = match self.find(origin, path) {
            Ok(place) => place,
            Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let mount = if place.dentry.is_dir() {
            let tmpfs = self.kernel.vfs.fs_type(b"tmpfs")?.mount(
                self.kernel,
                &self.caller(),
                b"tmpfs",
                b"size=0,mode=755",
            )?;
            self.kernel.vfs.new_mount(&tmpfs, b"tmpfs", MountFlags::RDONLY)
        } else {
            let null = self.find(origin, b"/dev/null")?;
            self.kernel.vfs.new_mount_of(&null, null.mount.source(), MountFlags::RDONLY)
        };
        self.kernel.vfs.attach(&mount, &place);
        Ok(())
    }
}

/// What `/proc/mounts` shows as the root's source: a layered one goes by its type, as with Docker.
fn root_source(fs: &Arc<dyn FileSystem>) -> &'static [u8] {
    match fs.type_name() {
        name @ "overlay" => name.as_bytes(),
        _ => b"none",
    }
}

/// What `/proc/mounts` shows as the source.
fn source_name(plan: &MountPlan) -> &[u8] {
    if let Some(source) = &plan.source {
        return source.as_bytes();
    }
    match plan.kind {
        MountKind::Gofer { .. } => b"none",
        MountKind::Tmpfs { .. } => b"tmpfs",
        MountKind::Proc => b"proc",
        MountKind::Sysfs => b"sysfs",
        MountKind::Devtmpfs => b"devtmpfs",
        MountKind::Devpts => b"devpts",
        MountKind::Mqueue => b"mqueue",
        MountKind::Cgroup => b"cgroup",
        MountKind::Erofs { .. } => b"erofs",
    }
}

/// The options that mount(8) turns into flags; others are the file system's.
fn mount_flags(options: &[String]) -> MountFlags {
    let flags = options.iter().filter_map(|option| MountFlags::from_option(option));
    flags.fold(MountFlags::RELATIME, MountFlags::after) & MountFlags::PER_MOUNT
}

/// The directory that a process starts in, made where it does not exist, as runc does.
pub(crate) fn make_working_directory(kernel: &Arc<Kernel>, origin: &Origin, path: &[u8]) -> Result<VfsPath> {
    match working_directory(kernel, origin, path) {
        Err(Errno::ENOENT) => {}
        other => return other,
    }
    let creds = Arc::new(Credentials::root(Arc::clone(&kernel.user_ns)));
    make_directories(kernel, &Caller { creds: &creds, task: None }, origin, path)?;
    working_directory(kernel, origin, path)
}

/// The directory in which a further process starts.
pub(crate) fn working_directory(kernel: &Arc<Kernel>, origin: &Origin, path: &[u8]) -> Result<VfsPath> {
    let creds = Arc::new(Credentials::root(Arc::clone(&kernel.user_ns)));
    let caller = Caller { creds: &creds, task: None };
    let how = OpenHow { flags: OpenFlags::PATH | OpenFlags::DIRECTORY, ..OpenHow::default() };
    kernel.vfs.open(&caller, origin, path, &how).map(|opened| opened.file.path().clone())
}

fn make_directories(kernel: &Kernel, caller: &Caller<'_>, origin: &Origin, path: &[u8]) -> Result<()> {
    let ends = (1..=path.len()).filter(|at| *at == path.len() || path[*at] == b'/');
    for prefix in ends.map(|end| &path[..end]).filter(|prefix| prefix.last() != Some(&b'/')) {
        match kernel.vfs.mkdir(caller, origin, prefix, 0o755, 0) {
            Ok(_) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
