//! What credentials a program runs with: set-user-ID bits and file capabilities (`man 7 capabilities`,
//! "Transformation of capabilities during execve()"; `cap_bprm_creds_from_file` in Linux's tree).

use std::sync::Arc;

use abi::fs::{S_ISGID, S_ISUID};
use abi::mount::MountFlags;
use abi::{Errno, Result};

use super::user_ns::OVERFLOW_ID;
use super::{
    Capability, CapabilitySet, Credentials, Dumpability, FileCapabilities, Task, UserNamespace, securebits,
};
use crate::vfs::{Attr, Caller, ClosedContext, File, FsContext, MAY_READ, check_access};

const S_IXGRP: u32 = 0o010;

/// The credentials of a program about to run.
#[derive(Debug)]
pub(super) struct ExecCreds {
    /// What they will be.
    pub(super) new: Credentials,
    /// `AT_SECURE`: the dynamic linker is to distrust the environment.
    pub(super) is_secure: bool,
    /// Identity or privileges change: the process cannot be inspected by its former equals.
    pub(super) is_changed: bool,
    /// Who may look into the process.
    pub(super) dumpability: Dumpability,
    /// Keeps strangers from sharing the root directory until the credentials are in force.
    _closed: Option<ClosedContext>,
}

impl Task {
    /// What the credentials become when this task executes `file`.
    ///
    /// # Errors
    /// `EPERM` where the file's capabilities are all or nothing and the bounding set withholds some.
    pub(super) fn creds_for_program(&self, file: &File) -> Result<ExecCreds> {
        let old = self.creds();
        let attr = file.path().inode().attr()?;
        let no_new_privs = self.details.lock().no_new_privs;
        let honours_bits = !file.path().mount.flags().contains(MountFlags::NOSUID) && !no_new_privs;
        let mut new = (*old).clone();
        if honours_bits {
            apply_set_id_bits(&mut new, &attr, self.kernel().config.hides_owners);
        }
        let file_caps = if honours_bits { read_file_capabilities(&old, file)? } else { None };
        let is_set_id = new.euid != old.uid || new.egid != old.gid;
        let is_effective = permitted_by(&mut new, &old, file_caps)?;
        let gains = !old.permitted.is_superset(new.permitted);
        let fs = self.fs();
        let closed = fs.close(self.own_users_of(&fs));
        if (is_set_id || gains) && (closed.is_none() || no_new_privs || self.is_held_back_by_tracer()) {
            if !new.has_in_own(Capability::Setuid) || no_new_privs {
                (new.euid, new.egid) = (new.uid, new.gid);
            }
            new.permitted = new.permitted.and(old.permitted);
        }
        (new.suid, new.fsuid) = (new.euid, new.euid);
        (new.sgid, new.fsgid) = (new.egid, new.egid);
        if file_caps.is_some() || is_set_id {
            new.ambient = CapabilitySet::EMPTY;
        }
        new.permitted = new.permitted.or(new.ambient);
        new.effective = if is_effective { new.permitted } else { new.ambient };
        new.securebits &= !securebits::KEEP_CAPS;
        let root = new.user_ns.to_kernel_uid(0);
        let grew = !new.ambient.is_superset(new.permitted);
        let is_secure = is_set_id || (Some(new.uid) != root && (is_effective || grew));
        let caller = Caller { creds: &old, task: Some(self) };
        let is_readable = check_access(&caller, file.path().inode(), MAY_READ).is_ok();
        let is_changed = new.euid != old.euid
            || new.egid != old.egid
            || new.fsuid != old.fsuid
            || new.fsgid != old.fsgid
            || !old.permitted.is_superset(new.permitted);
        let is_dumpable = is_readable && !is_changed && new.euid == new.uid && new.egid == new.gid;
        let guardian = guardian_of(&new.user_ns, &attr, is_readable);
        let dumpability = Dumpability { is_dumpable, guardian };
        Ok(ExecCreds { new, is_secure, is_changed, dumpability, _closed: closed })
    }

    /// How many threads of its process share `fs`, itself included.
    fn own_users_of(&self, fs: &Arc<FsContext>) -> usize {
        let others = self.thread_group().tasks().into_iter().filter(|task| task.id() != self.id());
        1 + others.filter(|task| Arc::ptr_eq(&task.fs(), fs)).count()
    }

    /// Whether a tracer without privilege keeps the task from gaining any.
    fn is_held_back_by_tracer(&self) -> bool {
        self.is_traced() && !self.tracer_may_privilege()
    }
}

/// Whose power the memory of a program is under: that of `user_ns`, or of the nearest above it that has power over the
/// file, where the file must not be read (`would_dump` in Linux's tree).
fn guardian_of(user_ns: &Arc<UserNamespace>, attr: &Attr, is_readable: bool) -> Arc<UserNamespace> {
    let has_power = |ns: &&Arc<UserNamespace>| {
        is_readable || ns.parent().is_none() || (ns.maps_uid(attr.uid) && ns.maps_gid(attr.gid))
    };
    let mut above = std::iter::successors(Some(user_ns), |ns| ns.parent());
    above.find(has_power).unwrap_or(user_ns).clone()
}

fn apply_set_id_bits(new: &mut Credentials, attr: &Attr, hides_owners: bool) {
    let is_hidden = hides_owners && (attr.uid == OVERFLOW_ID || attr.gid == OVERFLOW_ID);
    if is_hidden || !new.user_ns.maps_uid(attr.uid) || !new.user_ns.maps_gid(attr.gid) {
        return;
    }
    if attr.mode & S_ISUID != 0 {
        new.euid = attr.uid;
    }
    if attr.mode & S_ISGID != 0 && attr.mode & S_IXGRP != 0 {
        new.egid = attr.gid;
    }
}

fn read_file_capabilities(old: &Credentials, file: &File) -> Result<Option<FileCapabilities>> {
    let Some(xattr) = file.path().inode().xattr() else { return Ok(None) };
    let Ok(value) = xattr.get(FileCapabilities::XATTR) else { return Ok(None) };
    let caps = FileCapabilities::parse(&value)?;
    Ok(caps.count_in(&old.user_ns).then_some(caps))
}

/// Computes the permitted set; says whether it becomes effective.
fn permitted_by(new: &mut Credentials, old: &Credentials, caps: Option<FileCapabilities>) -> Result<bool> {
    let mut is_effective = false;
    new.permitted = CapabilitySet::EMPTY;
    if let Some(caps) = caps {
        new.permitted = caps.permitted.and(old.bounding).or(caps.inheritable.and(old.inheritable));
        is_effective = caps.is_effective;
        if is_effective && !new.permitted.is_superset(caps.permitted) {
            return Err(Errno::EPERM);
        }
    }
    let root = new.user_ns.to_kernel_uid(0);
    let is_set_user_root = Some(new.euid) == root && Some(new.uid) != root;
    let root_is_special = new.securebits & securebits::NOROOT == 0;
    if root_is_special && !(caps.is_some() && is_set_user_root) {
        if Some(new.euid) == root || Some(new.uid) == root {
            new.permitted = old.bounding.or(old.inheritable);
        }
        if Some(new.euid) == root {
            is_effective = true;
        }
    }
    Ok(is_effective)
}
