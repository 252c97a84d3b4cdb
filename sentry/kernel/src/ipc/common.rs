//! What the System V objects of one IPC name space share.

use std::sync::Arc;

use super::{IpcLimit, IpcLimits, Perm};
use crate::task::{Credentials, UserNamespace};
use crate::time::Timekeeper;

/// The name space's clock, bounds and owner.
#[derive(Clone, Debug)]
pub(super) struct IpcCommon {
    timekeeper: Arc<Timekeeper>,
    limits: Arc<IpcLimits>,
    user_ns: Arc<UserNamespace>,
}

impl IpcCommon {
    pub(super) fn new(
        timekeeper: &Arc<Timekeeper>,
        limits: &Arc<IpcLimits>,
        user_ns: &Arc<UserNamespace>,
    ) -> Self {
        Self { timekeeper: timekeeper.clone(), limits: limits.clone(), user_ns: user_ns.clone() }
    }

    /// The time that objects are stamped with, seconds.
    pub(super) fn now(&self) -> i64 {
        self.timekeeper.now().tv_sec
    }

    /// A bound as it stands now.
    pub(super) fn limit(&self, which: IpcLimit) -> u64 {
        self.limits.get(which)
    }

    /// The permissions of a new object; `flags` are those of the call that makes it.
    pub(super) fn perm(&self, key: i32, creds: &Credentials, flags: u32) -> Perm {
        Perm::new(key, creds, &self.user_ns, flags)
    }
}
