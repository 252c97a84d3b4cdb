//! Where a container's file systems come from: its gofer, and those that live in the sentry.

use std::collections::HashMap;
use std::sync::Arc;

use abi::Errno;
use abi::mount::MountFlags;
use control::{Failure, MountKind, MountPlan, Overlay, RootPlan};
use fs::gofer::GoferFs;
use fs::overlay::OverlayConfig;
use kernel::Kernel;
use kernel::ipc::IpcNamespace;
use kernel::task::cgroup::Cgroup;
use kernel::task::{Credentials, OtherNamespace};
use kernel::vfs::{Caller, FileSystem};
use parking_lot::Mutex;

/// File systems of a pod that several containers mount, by their shared name.
pub(crate) type SharedMounts = Mutex<HashMap<String, Arc<dyn FileSystem>>>;

/// What a container's mounts are made from.
pub(crate) struct Sources {
    /// Its gofer's mounts, in the order in which the runtime gave them.
    pub(crate) gofer: Vec<Arc<GoferFs>>,
    /// Those of its sandbox.
    pub(crate) shared: Arc<SharedMounts>,
    /// The container's IPC name space: its message queues are a file system.
    pub(crate) ipc: Arc<OtherNamespace>,
    /// The container's control group.
    pub(crate) cgroup: Arc<Cgroup>,
}

impl Sources {
    /// The root, with a private writable layer above it. A read-only root gets one too: the mount points that the
    /// image lacks are made there.
    pub(crate) fn root(
        &self,
        kernel: &Arc<Kernel>,
        creds: &Arc<Credentials>,
        plan: &RootPlan,
    ) -> Result<Arc<dyn FileSystem>, Failure> {
        let lower = self.gofer_mount(0)?;
        match &plan.overlay {
            Some(overlay) => self.lay_over(kernel, creds, &lower, overlay),
            None if plan.readonly => self.lay_over(kernel, creds, &lower, &Overlay::default()),
            None => Ok(lower),
        }
    }

    /// The file system of one mount.
    pub(crate) fn mount(
        &self,
        kernel: &Arc<Kernel>,
        creds: &Arc<Credentials>,
        plan: &MountPlan,
    ) -> Result<Arc<dyn FileSystem>, Failure> {
        let options = fs_options(&plan.options);
        let named = |name: &str, options: &str| self.named(kernel, creds, name, options, &plan.destination);
        let fs = match &plan.kind {
            MountKind::Gofer { mount, .. } => self.gofer_mount(*mount)?,
            MountKind::Tmpfs { size, mode, uid, gid, shared_name } => {
                let options = tmpfs_options(*size, *mode, *uid, *gid);
                return match shared_name {
                    None => named("tmpfs", &options),
                    Some(name) => {
                        let mut shared = self.shared.lock();
                        if let Some(fs) = shared.get(name) {
                            return Ok(Arc::clone(fs));
                        }
                        let fs = named("tmpfs", &options)?;
                        shared.insert(name.clone(), Arc::clone(&fs));
                        Ok(fs)
                    }
                };
            }
            MountKind::Proc => named("proc", "")?,
            MountKind::Sysfs => named("sysfs", "")?,
            MountKind::Devtmpfs => named("devtmpfs", "")?,
            MountKind::Devpts => named("devpts", &options)?,
            MountKind::Mqueue => IpcNamespace::inside(kernel, &self.ipc).queues.fs(),
            MountKind::Cgroup => fs::cgroup::v2::show(kernel, &self.cgroup)
                .map_err(|errno| Failure::host(format!("cannot show control groups: {errno}")))?,
            MountKind::Erofs { .. } => {
                return Err(Failure::new(
                    control::FailureKind::Unsupported,
                    format!("{}: EROFS images are not supported yet", plan.destination),
                ));
            }
        };
        match &plan.overlay {
            Some(overlay) => self.lay_over(kernel, creds, &fs, overlay),
            None => Ok(fs),
        }
    }

    fn gofer_mount(&self, index: u32) -> Result<Arc<dyn FileSystem>, Failure> {
        let fs = self.gofer.get(index as usize).cloned();
        fs.map(|fs| fs as Arc<dyn FileSystem>)
            .ok_or_else(|| Failure::invalid(format!("the container's gofer does not serve mount {index}")))
    }

    /// Lays a writable tmpfs over `lower`.
    fn lay_over(
        &self,
        kernel: &Arc<Kernel>,
        creds: &Arc<Credentials>,
        lower: &Arc<dyn FileSystem>,
        overlay: &Overlay,
    ) -> Result<Arc<dyn FileSystem>, Failure> {
        let upper = self.named(
            kernel,
            creds,
            "tmpfs",
            &tmpfs_options(overlay.size, Some(0o755), None, None),
            "overlay",
        )?;
        let place =
            |fs: &Arc<dyn FileSystem>| kernel.vfs.new_mount(fs, b"overlay", MountFlags::empty()).root_path();
        let config = OverlayConfig {
            device: kernel.vfs.allocate_device(),
            lowers: vec![place(lower)],
            upper: Some(place(&upper)),
            work: None,
            creds: Arc::clone(creds),
            options: String::new(),
        };
        let fs = fs::overlay::Overlay::new(&kernel.vfs, &kernel.memory, &config)
            .map_err(|errno| Failure::host(format!("cannot lay a writable layer over a mount: {errno}")))?;
        Ok(fs)
    }

    fn named(
        &self,
        kernel: &Arc<Kernel>,
        creds: &Arc<Credentials>,
        name: &str,
        options: &str,
        destination: &str,
    ) -> Result<Arc<dyn FileSystem>, Failure> {
        let caller = Caller { creds, task: None };
        let made = kernel
            .vfs
            .fs_type(name.as_bytes())
            .and_then(|fs_type| fs_type.mount(kernel, &caller, name.as_bytes(), options.as_bytes()));
        made.map_err(|errno| match errno {
            Errno::EINVAL => {
                Failure::invalid(format!("{destination}: {name} does not take the options {options:?}"))
            }
            Errno::ENODEV => Failure::invalid(format!("{destination}: there is no file system {name:?}")),
            other => Failure::host(format!("{destination}: cannot make a {name}: {other}")),
        })
    }
}

fn tmpfs_options(size: Option<u64>, mode: Option<u32>, uid: Option<u32>, gid: Option<u32>) -> String {
    let parts = [
        size.map(|size| format!("size={size}")),
        mode.map(|mode| format!("mode={mode:o}")),
        uid.map(|uid| format!("uid={uid}")),
        gid.map(|gid| format!("gid={gid}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(",")
}

/// The options that are the file system's own business (`newinstance`, `ptmxmode=0666`).
fn fs_options(options: &[String]) -> String {
    options.iter().filter(|option| option.contains('=')).cloned().collect::<Vec<_>>().join(",")
}
