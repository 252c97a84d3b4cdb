//! Resource limits of a process (`man 2 getrlimit`). Enforced by whoever owns the resource.

use abi::resource::{RLIM_INFINITY, Resource, Rlimit};
use abi::{Errno, Result};

use super::{Capability, Task, ThreadGroup};
use crate::vfs::MAX_FDS;

/// The limits of a process, by resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits([Rlimit; 16]);

impl Limits {
    /// The limit of `resource`.
    #[must_use]
    pub fn get(&self, resource: Resource) -> Rlimit {
        self.0[resource as usize]
    }

    /// The soft limit of `resource`: what is enforced.
    #[must_use]
    pub fn soft(&self, resource: Resource) -> u64 {
        self.get(resource).cur
    }

    /// All of them, soft and hard, by number.
    pub(super) fn pairs(&self) -> [[u64; 2]; 16] {
        self.0.map(|limit| [limit.cur, limit.max])
    }

    /// Replaces a limit.
    pub fn set(&mut self, resource: Resource, limit: Rlimit) {
        self.0[resource as usize] = limit;
    }
}

impl Default for Limits {
    /// Those of a fresh Linux system's first process.
    fn default() -> Self {
        let mut limits = Self([Rlimit { cur: RLIM_INFINITY, max: RLIM_INFINITY }; 16]);
        let mut set = |resource, cur, max| limits.set(resource, Rlimit { cur, max });
        set(Resource::Stack, 8 << 20, RLIM_INFINITY);
        set(Resource::Core, 0, RLIM_INFINITY);
        set(Resource::Nofile, 1024, MAX_FDS);
        set(Resource::Memlock, 8 << 20, 8 << 20);
        set(Resource::Sigpending, 32768, 32768);
        set(Resource::Msgqueue, 819_200, 819_200);
        set(Resource::Nice, 0, 0);
        set(Resource::Rtprio, 0, 0);
        limits
    }
}

impl Task {
    /// Whether this task may look at the limits of `target`'s process and change them.
    #[must_use]
    pub fn may_limit(&self, target: &Self) -> bool {
        if self.thread_group().id() == target.thread_group().id() {
            return true;
        }
        let (own, other) = (self.creds(), target.creds());
        other.has_only_ids(own.uid, own.gid) || own.has_in(&other.user_ns, Capability::SysResource)
    }

    /// Replaces a limit of `group`, which this task may do ([`Self::may_limit`]); returns the old one.
    ///
    /// # Errors
    /// As setrlimit(2).
    pub fn replace_limit(&self, group: &ThreadGroup, resource: Resource, new: Rlimit) -> Result<Rlimit> {
        if new.cur > new.max {
            return Err(Errno::EINVAL);
        }
        if resource == Resource::Nofile && new.max > MAX_FDS {
            return Err(Errno::EPERM);
        }
        let may_raise = self.creds().has_in(&self.kernel().user_ns, Capability::SysResource);
        let old = group.update_limits(|limits| {
            let old = limits.get(resource);
            if new.max > old.max && !may_raise {
                return Err(Errno::EPERM);
            }
            limits.set(resource, new);
            Ok(old)
        })?;
        group.limits_changed(resource);
        Ok(old)
    }
}
