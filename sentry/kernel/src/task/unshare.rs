//! New name spaces for a task or its child (`man 2 unshare`, `man 7 namespaces`).

use std::sync::Arc;

use abi::sched::CloneFlags;
use abi::{Errno, Result};

use super::cgroup::CgroupNamespace;
use super::{
    Capability, CapabilitySet, Credentials, CurrentTask, Namespaces, OtherNamespace, Task, UserNamespace,
    UtsNamespace,
};
use crate::vfs::FsContext;

impl Credentials {
    /// These credentials in a name space that they have just made or entered: every capability, no securebits.
    #[must_use]
    pub fn with_user_ns(&self, user_ns: Arc<UserNamespace>) -> Self {
        Self {
            permitted: CapabilitySet::FULL,
            effective: CapabilitySet::FULL,
            inheritable: CapabilitySet::EMPTY,
            bounding: CapabilitySet::FULL,
            ambient: CapabilitySet::EMPTY,
            securebits: 0,
            user_ns,
            ..self.clone()
        }
    }
}

impl Task {
    /// `CLONE_NEWUSER`: the credentials in a new user name space below the present one.
    ///
    /// # Errors
    /// `EPERM` in a changed root directory or where the ids are not mapped, `ENOSPC` where nested too deeply.
    pub(super) fn creds_in_new_user_ns(&self, creds: &Credentials) -> Result<Credentials> {
        if self.is_chrooted() || !creds.user_ns.maps_uid(creds.euid) || !creds.user_ns.maps_gid(creds.egid) {
            return Err(Errno::EPERM);
        }
        let id = self.kernel().tasks.new_namespace_id();
        Ok(creds.with_user_ns(creds.user_ns.child(id, creds)?))
    }

    /// Whether its root is not that of its mount name space.
    #[must_use]
    pub fn is_chrooted(&self) -> bool {
        let (root, bottom) = (self.fs().root(), self.namespaces().mnt.root_path());
        !(Arc::ptr_eq(&root.mount, &bottom.mount) && Arc::ptr_eq(&root.dentry, &bottom.dentry))
    }

    /// A set of name spaces with new ones where `flags` ask for them, owned by the user name space of `creds`. The
    /// places in `fs` move to the new mount name space.
    ///
    /// # Errors
    /// `ENOSPC` where nested too deeply, `ENOMEM`.
    pub(super) fn new_namespaces(
        &self,
        flags: CloneFlags,
        creds: &Credentials,
        fs: &FsContext,
    ) -> Result<Namespaces> {
        let kernel = self.kernel();
        let mut set = (*self.namespaces()).clone();
        let owner = &creds.user_ns;
        let other = || OtherNamespace::new(kernel.tasks.new_namespace_id(), owner.clone());
        if flags.contains(CloneFlags::NEWUTS) {
            let (host, domain) = (set.uts.host_name(), set.uts.domain_name());
            set.uts = UtsNamespace::new(kernel.tasks.new_namespace_id(), owner.clone(), &host, &domain);
        }
        if flags.contains(CloneFlags::NEWIPC) {
            set.ipc = other();
        }
        if flags.contains(CloneFlags::NEWNET) {
            set.net = other();
        }
        if flags.contains(CloneFlags::NEWCGROUP) {
            set.cgroup = other();
            CgroupNamespace::begin_with(&set.cgroup, self);
        }
        if flags.contains(CloneFlags::NEWPID) {
            if !Arc::ptr_eq(&set.pid_for_children, &self.pid_ns()) {
                // One nesting at a time: the first child must have been made in the last one.
                return Err(Errno::EINVAL);
            }
            set.pid_for_children =
                set.pid_for_children.child(kernel.tasks.new_namespace_id(), owner.clone())?;
        }
        if flags.contains(CloneFlags::NEWNS) {
            set.mnt = kernel.vfs.copy_namespace(&set.mnt, owner, fs)?;
        }
        Ok(set)
    }
}

impl CurrentTask {
    /// unshare(2).
    ///
    /// # Errors
    /// `EPERM` without `CAP_SYS_ADMIN`, `EINVAL` where other threads make it impossible, `ENOSPC`.
    pub fn unshare(&self, flags: CloneFlags) -> Result<()> {
        // What goes with what: a user name space cannot be changed under other threads, nor signal handlers unshared.
        let mut flags = flags;
        if flags.contains(CloneFlags::NEWUSER) {
            flags |= CloneFlags::THREAD | CloneFlags::FS;
        }
        if flags.contains(CloneFlags::NEWNS) {
            flags |= CloneFlags::FS;
        }
        let wants_alone = CloneFlags::THREAD | CloneFlags::SIGHAND | CloneFlags::VM;
        if flags.intersects(wants_alone) && self.thread_group().thread_count() > 1 {
            return Err(Errno::EINVAL);
        }
        let old = self.creds();
        let creds = if flags.contains(CloneFlags::NEWUSER) {
            self.creds_in_new_user_ns(&old)?
        } else {
            (*old).clone()
        };
        let kinds = flags & CloneFlags::NAMESPACES.difference(CloneFlags::NEWUSER);
        if !kinds.is_empty() && !creds.has_in_own(Capability::SysAdmin) {
            return Err(Errno::EPERM);
        }
        let fs = if flags.contains(CloneFlags::FS) { self.fs().duplicate() } else { self.fs() };
        let namespaces = if kinds.is_empty() { None } else { Some(self.new_namespaces(kinds, &creds, &fs)?) };
        if flags.contains(CloneFlags::FS) {
            self.leave_fs(fs);
        }
        if flags.intersects(CloneFlags::SYSVSEM | CloneFlags::NEWIPC) {
            self.release_semaphores();
        }
        if flags.contains(CloneFlags::FILES) {
            self.own_fd_table();
        }
        if let Some(namespaces) = namespaces {
            self.set_namespaces(namespaces);
        }
        if flags.contains(CloneFlags::NEWUSER) {
            self.commit_creds(&old, creds);
        }
        Ok(())
    }
}
