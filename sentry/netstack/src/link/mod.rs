//! Interfaces and the devices under them.

pub mod device;
pub mod nic;
