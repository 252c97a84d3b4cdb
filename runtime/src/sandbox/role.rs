//! What the children that become roles of this binary have in common while they set themselves up: the first steps, and
//! how a step that fails is told.

use abi::resource::Resource;
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use control::Failure;
use host::mount::{self, MountFlags, Propagation};
use host::process;

/// A child on its way to a role: the role's name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Role(&'static str);

impl Role {
    /// Leaves the caller's session, for one with `terminal` where the role gets one, and the caller's umask.
    ///
    /// # Errors
    /// What `setsid(2)` says.
    pub(super) fn begin(name: &'static str, terminal: Option<BorrowedFd<'_>>) -> Result<Self, Failure> {
        let role = Self(name);
        role.step("lead a session", process::new_session(terminal))?;
        process::set_umask(0);
        Ok(role)
    }

    /// The result of a step, told as what could not be done.
    ///
    /// # Errors
    /// Where `result` is one.
    pub(super) fn step<T>(self, what: impl Display, result: abi::Result<T>) -> Result<T, Failure> {
        result.map_err(|errno| Failure::host(format!("cannot {what} for the {}: {errno}", self.0)))
    }

    /// The root becomes a file system without any file that cannot be written.
    ///
    /// # Errors
    /// What the mount calls say.
    pub(super) fn empty_root(self) -> Result<(), Failure> {
        let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        let options = [(c"mode", c"0555"), (c"size", c"4096"), (c"nr_inodes", c"1")];
        let made = mount::set_propagation(Path::new("/"), Propagation::Private)
            .and_then(|()| mount::new_filesystem(c"tmpfs", &options, flags))
            .and_then(|root| {
                // Any directory that certainly exists and that nobody may search: what is in it is not needed any more.
                mount::attach(root.as_fd(), Path::new("/proc"))?;
                mount::become_root(root.as_fd())
            });
        self.step("make an empty root", made)
    }

    /// No core is dumped: it would show what the process holds of guests.
    ///
    /// # Errors
    /// What `setrlimit(2)` says.
    pub(super) fn limit_core(self) -> Result<(), Failure> {
        self.step("limit core dumps", process::set_resource_limit(Resource::Core, 0, 0))
    }
}
