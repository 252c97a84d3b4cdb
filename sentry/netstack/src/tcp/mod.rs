//! TCP: sockets, listeners, connections between two sockets of one stack, and connections over packets.

pub(crate) mod info;
mod input;
pub(crate) mod listen;
pub(crate) mod local;
mod local_io;
pub(crate) mod socket;
mod socket_open;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod urgent;
