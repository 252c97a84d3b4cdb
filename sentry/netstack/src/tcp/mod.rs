//! TCP: sockets, listeners, connections between two sockets of one stack, and connections over packets.

mod assembler;
mod congestion;
mod conn;
pub(crate) mod info;
pub(crate) mod input;
pub(crate) mod listen;
pub(crate) mod local;
mod local_io;
pub(crate) mod promise;
mod request;
mod rtt;
mod scoreboard;
pub(crate) mod segment;
pub(crate) mod socket;
mod socket_bulk;
mod socket_net;
mod socket_open;
pub(crate) mod state;
pub(crate) mod table;
pub(crate) mod urgent;
