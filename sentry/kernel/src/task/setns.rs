//! Entering name spaces that there are already (`man 2 setns`). All that is asked for is checked before any of it comes
//! into force.

use std::sync::Arc;

use abi::sched::CloneFlags;
use abi::{Errno, Result};

use super::namespace_file::{NamespaceFile, NamespaceKind as Kind, NamespaceRef};
use super::{Capability, Credentials, CurrentTask, Namespaces, PidFd, UserNamespace};
use crate::security::AccessIds;
use crate::vfs::{Fd, VfsPath};

/// What a call is about to put into force.
struct Entry {
    /// The task's own, as of the call: they decide what is allowed.
    old: Arc<Credentials>,
    /// With the user name space that is entered.
    new: Option<Credentials>,
    set: Namespaces,
    /// Root and working directory in the mount name space that is entered.
    root: Option<VfsPath>,
    leaves_ipc: bool,
    /// Several kinds are entered: a root directory that is shared is replaced, not changed.
    is_compound: bool,
}

impl Entry {
    /// Whether the task may change what belongs to `owner`, and itself as it will then be.
    fn check(&self, owner: &Arc<UserNamespace>, own: &[Capability]) -> Result<()> {
        let own_ns = self.new.as_ref().map_or(&self.old.user_ns, |new| &new.user_ns);
        let is_allowed = self.old.has_in(owner, Capability::SysAdmin)
            && own.iter().all(|&capability| self.old.has_in(own_ns, capability));
        if is_allowed { Ok(()) } else { Err(Errno::EPERM) }
    }
}

impl CurrentTask {
    /// setns(2): enters the name spaces of `kinds` that `fd` stands for, a process or a file of `/proc/[pid]/ns`.
    ///
    /// # Errors
    /// `EBADF`, `EINVAL` where it stands for none of these, `ESRCH` for a process that has ended, `EPERM`, `EUSERS`.
    pub fn enter_namespaces(&self, fd: Fd, kinds: u32) -> Result<()> {
        let file = self.fd_table().get(fd)?;
        let flags =
            CloneFlags::from_bits(kinds.into()).filter(|&kinds| CloneFlags::NAMESPACES.contains(kinds));
        let mut entry = Entry {
            old: self.creds(),
            new: None,
            set: (*self.namespaces()).clone(),
            root: None,
            leaves_ipc: false,
            is_compound: kinds.count_ones() > 1,
        };
        if let Some(pidfd) = file.ops_as::<PidFd>() {
            let kinds = flags.filter(|kinds| !kinds.is_empty()).ok_or(Errno::EINVAL)?;
            let target = pidfd.task()?.clone();
            if target.has_exited() {
                return Err(Errno::ESRCH);
            }
            if !self.may_inspect(&target, AccessIds::Real) {
                return Err(Errno::EPERM);
            }
            for kind in Kind::ENTERED.into_iter().filter(|kind| kinds.contains(kind.flag())) {
                self.prepare_entry(&mut entry, kind.of(&target))?;
            }
        } else {
            let NamespaceFile(namespace) = file.ops_as::<NamespaceFile>().ok_or(Errno::EINVAL)?;
            if kinds != 0 && flags != Some(namespace.flag()) {
                return Err(Errno::EINVAL);
            }
            self.prepare_entry(&mut entry, namespace.clone())?;
        }
        self.commit_entry(entry);
        Ok(())
    }

    /// Checks that `namespace` may be entered, and notes it.
    fn prepare_entry(&self, entry: &mut Entry, namespace: NamespaceRef) -> Result<()> {
        const ADMIN: &[Capability] = &[Capability::SysAdmin];
        match namespace {
            NamespaceRef::User(ns) => {
                self.check_user_ns(&entry.old, &ns)?;
                entry.new = Some(entry.old.with_user_ns(ns));
            }
            NamespaceRef::Uts(ns) => {
                entry.check(ns.user_ns(), ADMIN)?;
                entry.set.uts = ns;
            }
            NamespaceRef::Ipc(ns) => {
                entry.check(ns.user_ns(), ADMIN)?;
                entry.leaves_ipc = true;
                entry.set.ipc = ns;
            }
            NamespaceRef::Net(ns) => {
                entry.check(ns.user_ns(), ADMIN)?;
                entry.set.net = ns;
            }
            NamespaceRef::Cgroup(ns) => {
                entry.check(ns.user_ns(), ADMIN)?;
                entry.set.cgroup = ns;
            }
            NamespaceRef::Time(ns) => {
                if self.thread_group().thread_count() > 1 {
                    return Err(Errno::EUSERS);
                }
                entry.check(ns.user_ns(), ADMIN)?;
            }
            NamespaceRef::Pid(ns) => {
                entry.check(ns.user_ns(), ADMIN)?;
                if !self.pid_ns().contains(&ns) {
                    return Err(Errno::EINVAL);
                }
                entry.set.pid_for_children = ns;
            }
            NamespaceRef::Mnt(ns) => {
                entry.check(ns.user_ns(), &[Capability::SysChroot, Capability::SysAdmin])?;
                if self.fs().is_shared() && !entry.is_compound {
                    return Err(Errno::EINVAL);
                }
                entry.root = Some(ns.root_path());
                entry.set.mnt = ns;
            }
        }
        Ok(())
    }

    fn check_user_ns(&self, creds: &Credentials, ns: &Arc<UserNamespace>) -> Result<()> {
        // Nothing is gained by entering the present one, and threads would differ. Whoever shares its root directory
        // would have it changed by the capabilities gained.
        let is_present = Arc::ptr_eq(ns, &creds.user_ns);
        if is_present || self.thread_group().thread_count() > 1 || self.fs().is_shared() {
            return Err(Errno::EINVAL);
        }
        if creds.has_in(ns, Capability::SysAdmin) { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn commit_entry(&self, entry: Entry) {
        if let Some(creds) = entry.new {
            self.commit_creds(&entry.old, creds);
        }
        if let Some(root) = entry.root {
            self.fs().set_root(root.clone());
            self.fs().set_cwd(root);
        }
        if entry.leaves_ipc {
            self.release_semaphores();
        }
        self.set_namespaces(entry.set);
    }
}
