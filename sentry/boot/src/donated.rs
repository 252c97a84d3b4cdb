//! Descriptors that came with a configuration or a request.

use std::os::fd::OwnedFd;

use control::Failure;

/// Descriptors by index.
pub(crate) struct Donated(Vec<OwnedFd>);

impl Donated {
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds)
    }

    /// A duplicate of descriptor `index`, which may be named several times: one terminal as three streams.
    pub(crate) fn take(&self, index: u32) -> Result<OwnedFd, Failure> {
        let missing = || Failure::invalid(format!("descriptor {index} is named but was not sent"));
        let fd = self.0.get(index as usize).ok_or_else(missing)?;
        fd.try_clone().map_err(|error| Failure::host(format!("cannot duplicate a descriptor: {error}")))
    }
}
