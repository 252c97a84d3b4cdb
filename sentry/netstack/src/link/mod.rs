//! Interfaces and the devices under them.

pub(crate) mod device;
pub(crate) mod nic;
