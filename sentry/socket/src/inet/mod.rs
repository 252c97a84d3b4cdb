//! Internet sockets on the sentry's own TCP/IP stack (`man 7 ip`, `man 7 ipv6`, `man 7 tcp`, `man 7 udp`).
//!
//! The stack ([`netstack`]) knows nothing of tasks or guest memory. This is the adapter: `sockaddr` and option codecs,
//! privileges, readiness as wait queues, and the stack's timer on the kernel's.

mod address;
mod interfaces;
mod link;
mod namespace;
mod options;
mod resolver;
mod tcp;
mod transfer;
mod udp;

use std::sync::Arc;

use abi::socket::{AF_INET, AF_INET6, SocketType};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::SocketFamily;
use kernel::vfs::FileOps;
use netstack::Family;

pub use link::LinkSetup;
pub use namespace::NetNamespace;

/// `IPPROTO_TCP`.
const IPPROTO_TCP: i32 = 6;
/// `IPPROTO_UDP`.
const IPPROTO_UDP: i32 = 17;

/// `AF_INET` or `AF_INET6`.
#[derive(Clone, Copy, Debug)]
pub struct InetFamily(Family);

impl InetFamily {
    /// `AF_INET`.
    #[must_use]
    pub const fn v4() -> Self {
        Self(Family::V4)
    }

    /// `AF_INET6`.
    #[must_use]
    pub const fn v6() -> Self {
        Self(Family::V6)
    }
}

impl SocketFamily for InetFamily {
    fn family(&self) -> u16 {
        family_number(self.0)
    }

    fn create(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<Arc<dyn FileOps>> {
        let net = NetNamespace::of(task)?;
        match (kind, protocol) {
            (SocketType::Stream, 0 | IPPROTO_TCP) => {
                Ok(tcp::TcpFile::create(net.stack().tcp_socket(self.0), net))
            }
            (SocketType::Datagram, 0 | IPPROTO_UDP) => {
                Ok(udp::UdpFile::create(net.stack().udp_socket(self.0), net))
            }
            (SocketType::Stream | SocketType::Datagram, _) => Err(Errno::EPROTONOSUPPORT),
            (SocketType::Raw | SocketType::SeqPacket, _) => Err(Errno::ESOCKTNOSUPPORT),
        }
    }
}

fn family_number(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

/// The stack's error as a guest sees it.
fn errno(error: netstack::Error) -> Errno {
    Errno::from_raw(error.errno())
}
