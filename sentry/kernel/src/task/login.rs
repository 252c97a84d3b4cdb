//! The login that a task goes back to, as `pam_loginuid` notes it (`/proc/[pid]/loginuid`, `sessionid`).

use std::sync::atomic::Ordering;

use abi::{Errno, Result};

use super::{Capability, Task};

/// Whose login, and which one. Inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Login {
    /// The user, in the sandbox's own numbers.
    pub uid: Option<u32>,
    /// A number for each login.
    pub session: Option<u32>,
}

impl Task {
    /// Notes the user that has logged in; `None` forgets the login. The first time everybody may.
    ///
    /// # Errors
    /// `EPERM` without `CAP_AUDIT_CONTROL` where there was a login.
    pub fn set_login(&self, uid: Option<u32>) -> Result<()> {
        let mut details = self.details.lock();
        if details.login.uid.is_some() && !self.creds().capable(Capability::AuditControl) {
            return Err(Errno::EPERM);
        }
        let session = uid.map(|_| self.kernel().tasks.logins.fetch_add(1, Ordering::Relaxed) + 1);
        details.login = Login { uid, session };
        Ok(())
    }
}
