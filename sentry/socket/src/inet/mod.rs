//! Internet sockets on the sentry's own TCP/IP stack (`man 7 ip`, `man 7 ipv6`, `man 7 tcp`, `man 7 udp`).
//!
//! The stack ([`netstack`]) knows nothing of tasks or guest memory. This is the adapter: `sockaddr` and option codecs,
//! privileges, readiness as wait queues, and the stack's timer on the kernel's.

mod address;
mod any;
mod channel;
mod conf;
mod control;
mod file;
mod interface_set;
mod interfaces;
mod iptables;
mod link;
mod link_files;
mod namespace;
mod options;
mod resolver;
mod settings;
mod tables;
mod transfer;
mod turn;

use std::sync::Arc;

use abi::socket::{AF_INET, AF_INET6, SocketType};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::{SocketFamily, SocketOptions};
use kernel::task::Capability;
use kernel::vfs::FileOps;
use netstack::Family;

use any::{AnySocket, InetSocket};
use file::InetFile;

pub(crate) use address::{parse, parse_address};
pub(crate) use control::time_stamp;
pub(crate) use interfaces::{flags as link_flags, hardware_type, ioctl as interface_ioctl, oper_state};
pub use link::LinkSetup;
pub(crate) use link::{decode, encode};
pub use namespace::NetNamespace;
pub(crate) use options::{check_port, timestamps};
pub(crate) use transfer::{GuestSink, GuestSource, events};

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

/// Who owns the connections that a task makes: whoever shares its memory sees at once what it does.
fn owner(task: &Task) -> u64 {
    Arc::as_ptr(&task.mm()).addr() as u64
}

impl SocketFamily for InetFamily {
    fn family(&self) -> u16 {
        family_number(self.0)
    }

    fn create(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<Arc<dyn FileOps>> {
        let net = NetNamespace::of(task)?;
        let (stack, family) = (net.stack(), self.0);
        let (transport, protocol) = Transport::choose(task, &net, family, kind, protocol)?;
        let any = match transport {
            Transport::Tcp => {
                let socket = stack.tcp_socket(family);
                socket.set_owner(owner(task));
                AnySocket::Tcp(socket)
            }
            Transport::Udp => AnySocket::Udp(stack.udp_socket(family)),
            Transport::Ping => AnySocket::Ping(stack.ping_socket(family)),
            Transport::Raw(number) => AnySocket::Raw(stack.raw_socket(family, number)),
        };
        let socket = InetSocket::new(any, family, protocol);
        let creds = task.creds();
        socket.change(|all| (all.base.uid, all.base.gid) = (creds.fsuid, creds.fsgid));
        Ok(InetFile::create(socket, SocketOptions::default(), net))
    }

    // One of the two families tells for both.
    fn table(&self, task: &Task, name: &str) -> Option<String> {
        let net = NetNamespace::of(task).ok().filter(|_| self.0 == Family::V4)?;
        tables::text(&net, name)
    }

    fn settings(&self) -> Vec<&'static str> {
        if self.0 == Family::V4 { settings::paths() } else { Vec::new() }
    }

    fn interface_settings(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        if self.0 == Family::V4 { conf::trees() } else { Vec::new() }
    }

    fn interfaces(&self, task: &Task, tree: &str) -> Option<Vec<String>> {
        let net =
            NetNamespace::of(task).ok().filter(|_| conf::trees().iter().any(|(own, _)| *own == tree))?;
        Some(conf::interfaces(&net, tree))
    }

    fn links(&self, task: &Task) -> Option<Vec<String>> {
        let net = NetNamespace::of(task).ok().filter(|_| self.0 == Family::V4)?;
        Some(link_files::names(&net))
    }

    fn link_file(&self, task: &Task, link: &str, file: &str) -> Option<String> {
        let net = NetNamespace::of(task).ok().filter(|_| self.0 == Family::V4)?;
        link_files::text(&net, link, file)
    }

    fn setting(&self, task: &Task, path: &str) -> Option<String> {
        settings::get(&*NetNamespace::of(task).ok()?, path)
    }

    fn change_setting(&self, task: &Task, path: &str, value: &str) -> Result<()> {
        settings::set(&*NetNamespace::of(task)?, path, value)
    }
}

/// What an internet socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    Ping,
    /// With the number of its protocol.
    Raw(u8),
}

impl Transport {
    /// What socket(2) asks for with `kind` and `protocol`, where `task` may have it, and the protocol's number.
    ///
    /// # Errors
    /// `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`; `EPERM` and `EACCES` for raw and ping sockets.
    pub(crate) fn choose(
        task: &Task,
        net: &NetNamespace,
        family: Family,
        kind: SocketType,
        protocol: i32,
    ) -> Result<(Self, i32)> {
        match (kind, protocol) {
            (SocketType::Stream, 0 | IPPROTO_TCP) => Ok((Self::Tcp, IPPROTO_TCP)),
            (SocketType::Datagram, 0 | IPPROTO_UDP) => Ok((Self::Udp, IPPROTO_UDP)),
            (SocketType::Datagram, number) if number == icmp_of(family) => {
                check_ping(task, net).map(|()| (Self::Ping, number))
            }
            (SocketType::Raw, number @ 1..=255) => {
                check_raw(task).map(|()| (Self::Raw(number as u8), number))
            }
            (SocketType::SeqPacket, _) => Err(Errno::ESOCKTNOSUPPORT),
            _ => Err(Errno::EPROTONOSUPPORT),
        }
    }
}

/// The protocol that ping sockets speak.
const fn icmp_of(family: Family) -> i32 {
    match family {
        Family::V4 => 1,
        Family::V6 => 58,
    }
}

/// Ping sockets are for the groups in `ping_group_range`.
fn check_ping(task: &Task, net: &NetNamespace) -> Result<()> {
    let creds = task.creds();
    let (first, last) = net.stack().config().ping_group_range;
    let is_in = |group: &u32| (first..=last).contains(group);
    if is_in(&creds.egid) || creds.groups.iter().any(is_in) { Ok(()) } else { Err(Errno::EACCES) }
}

/// Raw and packet sockets take CAP_NET_RAW over the network name space.
pub(crate) fn check_raw(task: &Task) -> Result<()> {
    let namespaces = task.namespaces();
    let may = task.creds().has_in(namespaces.net.user_ns(), Capability::NetRaw);
    if may { Ok(()) } else { Err(Errno::EPERM) }
}

fn family_number(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

/// The stack's error as a guest sees it.
pub(crate) fn errno(error: netstack::Error) -> Errno {
    Errno::from_raw(error.errno())
}
