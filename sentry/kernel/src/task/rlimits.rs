//! Resource limits of a process (`man 2 getrlimit`). Enforced by whoever owns the resource.

use abi::resource::{RLIM_INFINITY, Resource, Rlimit};

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
        set(Resource::Nofile, 1024, 1 << 20);
        set(Resource::Memlock, 8 << 20, 8 << 20);
        set(Resource::Sigpending, 32768, 32768);
        set(Resource::Msgqueue, 819_200, 819_200);
        set(Resource::Nice, 0, 0);
        set(Resource::Rtprio, 0, 0);
        limits
    }
}
