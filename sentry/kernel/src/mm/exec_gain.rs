//! `PR_SET_MDWE`: memory that is not executable stays so (`man 2 PR_SET_MDWE`).

use abi::{Errno, Result};
use bitflags::bitflags;
use platform::Protection;

use super::MemoryManager;

bitflags! {
    /// `PR_MDWE_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct ExecGain: u32 {
        /// Nothing becomes executable after it was mapped, or is writable and executable at once.
        const REFUSED = 1;
        /// Neither children nor other programs inherit that.
        const NOT_INHERITED = 2;
    }
}

impl ExecGain {
    /// What a child of fork(2) and a program get.
    pub(super) fn inherited(self) -> Self {
        if self.contains(Self::NOT_INHERITED) { Self::empty() } else { self }
    }

    /// Whether memory with the rights `old` may have `new`; a new mapping asks with both the same.
    pub(super) fn check(self, old: Protection, new: Protection) -> Result<()> {
        let gains = new.execute && (new.write || !old.execute);
        if gains && self.contains(Self::REFUSED) { Err(Errno::EACCES) } else { Ok(()) }
    }
}

impl MemoryManager {
    /// What `PR_GET_MDWE` tells.
    #[must_use]
    pub fn exec_gain(&self) -> ExecGain {
        self.read_mappings().exec_gain
    }

    /// `PR_SET_MDWE`.
    ///
    /// # Errors
    /// `EPERM` where something else is set already.
    pub fn set_exec_gain(&self, wanted: ExecGain) -> Result<()> {
        let mut mappings = self.write_mappings();
        if !mappings.exec_gain.is_empty() && mappings.exec_gain != wanted {
            return Err(Errno::EPERM);
        }
        mappings.exec_gain = wanted;
        Ok(())
    }

    /// Takes over what execve(2) does not take off.
    pub fn inherit_exec_gain(&self, old: &Self) {
        let inherited = old.exec_gain().inherited();
        self.write_mappings().exec_gain = inherited;
    }
}
