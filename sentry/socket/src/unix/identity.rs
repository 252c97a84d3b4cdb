//! Who is at the other end: what `SO_PEERCRED` and `SCM_CREDENTIALS` tell (`man 7 unix`).
//!
//! An [`Identity`] holds kernel ids and the process itself, not its number: whoever asks sees both as its own user and
//! pid name spaces number them, as with `struct scm_cookie` of Linux.

use std::sync::Arc;

use abi::socket::Ucred;
use abi::{Errno, Result};
use kernel::Task;
use kernel::task::{Capability, Pid};

/// A process and its ids, at the time of a call.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    process: Option<Arc<Pid>>,
    uid: u32,
    gid: u32,
    /// Supplementary groups, of a peer.
    groups: Arc<[u32]>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        let process = |identity: &Self| identity.process.as_ref().map(Arc::as_ptr);
        (process(self), self.uid, self.gid) == (process(other), other.uid, other.gid)
    }
}

impl Identity {
    /// Who connects or listens: the effective ids.
    pub(super) fn of_peer(task: &Task) -> Self {
        let creds = task.creds();
        Self { process: process_of(task), uid: creds.euid, gid: creds.egid, groups: creds.groups.clone() }
    }

    /// Who sends: the real ids.
    pub(super) fn of_sender(task: &Task) -> Self {
        let creds = task.creds();
        Self { process: process_of(task), uid: creds.uid, gid: creds.gid, groups: Arc::default() }
    }

    /// Whom `task` says it is, in its own name spaces; only the privileged may claim to be somebody else
    /// (`scm_check_creds`).
    ///
    /// # Errors
    /// `EINVAL` for an id that its user name space does not map, `EPERM`, `ESRCH` where no such process is.
    pub(super) fn claimed(task: &Task, claimed: Ucred) -> Result<Self> {
        let (creds, pid_ns) = (task.creds(), task.pid_ns());
        let uid = creds.user_ns.to_kernel_uid(claimed.uid).ok_or(Errno::EINVAL)?;
        let gid = creds.user_ns.to_kernel_gid(claimed.gid).ok_or(Errno::EINVAL)?;
        let is_own_pid = claimed.pid == task.thread_group().tgid_in(&pid_ns);
        let may_pid = is_own_pid || creds.has_in(pid_ns.user_ns(), Capability::SysAdmin);
        let may_uid =
            [creds.uid, creds.euid, creds.suid].contains(&uid) || creds.has_in_own(Capability::Setuid);
        let may_gid =
            [creds.gid, creds.egid, creds.sgid].contains(&gid) || creds.has_in_own(Capability::Setgid);
        if !(may_pid && may_uid && may_gid) {
            return Err(Errno::EPERM);
        }
        let process =
            if is_own_pid { process_of(task) } else { Some(pid_ns.pid(claimed.pid).ok_or(Errno::ESRCH)?) };
        Ok(Self { process, uid, gid, groups: Arc::default() })
    }

    /// The process itself.
    pub(super) fn process(&self) -> Option<Arc<Pid>> {
        self.process.clone()
    }

    /// Its supplementary groups as `reader` sees them.
    pub(super) fn groups_seen_by(&self, reader: &Task) -> Vec<u8> {
        let user_ns = reader.creds().user_ns.clone();
        self.groups.iter().flat_map(|gid| user_ns.from_kernel_gid(*gid).to_ne_bytes()).collect()
    }

    /// How `reader` sees it: no number and the overflow ids for what its name spaces do not show.
    pub(super) fn seen_by(&self, reader: &Task) -> Ucred {
        let (user_ns, pid_ns) = (reader.creds().user_ns.clone(), reader.pid_ns());
        let pid = self.process.as_ref().and_then(|process| process.number_in(&pid_ns)).unwrap_or(0);
        Ucred { pid, uid: user_ns.from_kernel_uid(self.uid), gid: user_ns.from_kernel_gid(self.gid) }
    }
}

fn process_of(task: &Task) -> Option<Arc<Pid>> {
    task.thread_group().leader().map(|leader| leader.pid())
}
