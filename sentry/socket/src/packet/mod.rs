//! Packet sockets: frames as links carry them (`man 7 packet`), for tcpdump, arping, DHCP clients.
//!
//! A socket sees the links of the sentry's own stack, loopback included. Receiving takes CAP_NET_RAW; sending also
//! `--allow-packet-socket-write`, since a guest that writes frames can claim to be anybody on its link.

mod address;
mod file;
mod options;
mod ring;

use std::sync::Arc;

use abi::socket::{AF_PACKET, SocketType};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::SocketFamily;
use kernel::vfs::FileOps;
use netstack::PacketKind;

use crate::inet::{NetNamespace, check_raw};
use file::PacketFile;

/// `AF_PACKET`.
#[derive(Debug)]
pub struct PacketFamily {
    may_write: bool,
}

impl PacketFamily {
    /// The family; whether guests may send is `--allow-packet-socket-write`.
    #[must_use]
    pub fn new(may_write: bool) -> Self {
        Self { may_write }
    }
}

impl SocketFamily for PacketFamily {
    fn family(&self) -> u16 {
        AF_PACKET
    }

    fn create(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<Arc<dyn FileOps>> {
        check_raw(task)?;
        let packets = match kind {
            SocketType::Raw => PacketKind::Raw,
            SocketType::Datagram => PacketKind::Cooked,
            _ => return Err(Errno::ESOCKTNOSUPPORT),
        };
        let net = NetNamespace::of(task)?;
        // The number is given in network order; what is beyond 16 bits means nothing.
        let protocol = u16::from_be(protocol as u16);
        let socket = net.stack().packet_socket(packets, protocol);
        Ok(PacketFile::create(socket, kind, net, self.may_write))
    }
}
