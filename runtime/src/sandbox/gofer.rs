//! The gofer process: what it is told, how its view of the host is put together, and what it becomes.
//!
//! Its root holds one directory or file per mount and nothing else: `/root-mount` is the container's root, `/mounts/N`
//! the others. Each source is opened once, as a detached mount, after the hooks and before anything is covered.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use control::Failure;
use host::mount::{self, MountFlags, Propagation};
use host::process;
use serde::{Deserialize, Serialize};

use super::role::Role;
use super::spawn::execute;
use crate::hooks::HookSet;
use crate::spec::mounts::GoferMount;

/// The gofer's descriptors: its configuration, the start socket, its socket.
pub(crate) const CONFIG_FD: i32 = 3;
/// Number of descriptors from [`CONFIG_FD`] on.
pub(crate) const FD_COUNT: u32 = 3;

/// What a gofer is started with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoferBoot {
    /// Its mounts, as paths in its own root.
    pub(crate) mounts: Vec<GoferBootMount>,
    /// `--fdlimit`.
    pub(crate) fd_limit: Option<u64>,
}

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GoferBootMount {
    /// Its path in the gofer's root.
    pub(crate) path: PathBuf,
    /// Whether nothing in it may be changed.
    pub(crate) read_only: bool,
    /// Whether others may change it.
    pub(crate) shared: bool,
}

/// Where mount number `index` is in the gofer's root.
pub(crate) fn place(index: usize) -> PathBuf {
    if index == 0 { "/root-mount".into() } else { format!("/mounts/{index}").into() }
}

/// What the child needs.
#[derive(Debug)]
pub(crate) struct GoferPlan<'a> {
    /// The container's id.
    pub(crate) id: &'a str,
    /// The state directory, for its command line as the id is.
    pub(crate) state_root: &'a str,
    /// This binary.
    pub(crate) binary: &'a OwnedFd,
    /// What to serve.
    pub(crate) mounts: &'a [GoferMount],
    /// Whether mounts of the host that appear later are seen.
    pub(crate) propagation: Propagation,
    /// The configuration, a [`GoferBoot`].
    pub(crate) config: BorrowedFd<'a>,
    /// The sandbox's gofer socket.
    pub(crate) socket: BorrowedFd<'a>,
    /// `/dev/null`.
    pub(crate) null: BorrowedFd<'a>,
    /// Standard output and error.
    pub(crate) log: BorrowedFd<'a>,
    /// Whether it is born in a user name space of its own, where it is to be root.
    pub(crate) become_root: bool,
    /// The `createContainer` hooks.
    pub(crate) hooks: HookSet<'a>,
}

/// Runs in the child; does not return on success.
pub(crate) fn enter(plan: &GoferPlan<'_>, start: BorrowedFd<'_>) -> Result<Infallible, Failure> {
    let role = Role::begin("gofer", None)?;
    if plan.become_root {
        role.step("become root of its user name space", process::set_ids(0, 0))?;
    }
    role.step("separate mounts", mount::set_propagation(Path::new("/"), plan.propagation))?;
    // Before the sources are opened: hooks see the host's /proc, and what they mount is in the container.
    plan.hooks.run_inside().map_err(|error| Failure::host(error.to_string()))?;
    role.step("give up supplementary groups", process::clear_groups())?;
    let root = assemble(role, plan.mounts)?;
    role.step("change the root", mount::become_root(root.as_fd()))?;
    role.limit_core()?;
    let fds = [plan.null, plan.log, plan.log, plan.config, start, plan.socket];
    Err(execute(plan.binary, &["runsc-gofer", "gofer", plan.id, plan.state_root], &fds))
}

/// Builds the gofer's root in a new file system that is attached where nobody looks any more.
fn assemble(role: Role, mounts: &[GoferMount]) -> Result<OwnedFd, Failure> {
    let mut trees = Vec::with_capacity(mounts.len());
    for mount in mounts {
        let shown = mount.source.display();
        let tree = role.step(format!("open the mount {shown}"), mount::clone_tree(&mount.source))?;
        let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
        flags.set(MountFlags::RDONLY, mount.readonly);
        role.step(format!("protect the mount {shown}"), mount::set_flags(tree.as_fd(), flags))?;
        trees.push(tree);
    }
    let options = [(c"mode", c"0755"), (c"size", c"16m")];
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let root = role.step("make a root", mount::new_filesystem(c"tmpfs", &options, flags))?;
    let base = Path::new("/proc");
    role.step("attach a root", mount::attach(root.as_fd(), base))?;
    let failed =
        |error: std::io::Error| Failure::host(format!("cannot make mount points for the gofer: {error}"));
    std::fs::create_dir(base.join("mounts")).map_err(failed)?;
    for (index, (mount, tree)) in mounts.iter().zip(&trees).enumerate() {
        let inside = place(index);
        let target = base.join(inside.strip_prefix("/").unwrap_or(&inside));
        if mount.directory {
            std::fs::create_dir(&target).map_err(failed)?;
        } else {
            File::create(&target).map_err(failed)?;
        }
        role.step(
            format!("attach the mount {}", mount.source.display()),
            mount::attach(tree.as_fd(), &target),
        )?;
    }
    Ok(root)
}
