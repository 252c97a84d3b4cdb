//! Interfaces and what is under them: devices of the owner, and links within the sandbox.

pub(crate) mod bridge;
pub(crate) mod device;
mod fdb;
pub(crate) mod inbox;
pub(crate) mod nic;
pub(crate) mod offload;
mod state;
pub(crate) mod topology;
pub(crate) mod veth;
pub(crate) mod wire;
