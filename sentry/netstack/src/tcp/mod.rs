//! TCP: sockets, listeners, connections between two sockets of one stack, and connections over packets.

pub mod info;
pub(crate) mod listen;
pub(crate) mod local;
mod local_io;
pub mod socket;
mod socket_open;
pub mod state;
pub(crate) mod table;
pub(crate) mod urgent;
