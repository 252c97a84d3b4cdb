//! Netlink sockets (`man 7 netlink`): the guest asks the network stack, and hears of changes.
//!
//! A request is answered while it is sent: the replies wait in the socket's queue. Changes go to every socket of the
//! name space that has joined the group. Lock order: [`Listeners`], then a socket's queue, a leaf.

mod diag;
mod generic;
mod listeners;
mod message;
mod netfilter;
mod route;
mod socket;

use std::sync::Arc;

use abi::socket::{AF_NETLINK, SocketType};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::SocketFamily;
use kernel::task::{Capability, Credentials};
use kernel::vfs::FileOps;

use crate::inet::NetNamespace;
pub(crate) use listeners::Listeners;
pub(crate) use route::{Numbers, announce_link, main_table};
use socket::NetlinkSocket;

/// What a netlink socket speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    /// `NETLINK_ROUTE`.
    Route,
    /// `NETLINK_SOCK_DIAG`.
    SocketDiag,
    /// `NETLINK_NETFILTER`: packet filters.
    Netfilter,
    /// `NETLINK_KOBJECT_UEVENT`: nothing is plugged in or out here.
    Uevent,
    /// `NETLINK_GENERIC`: the controller alone.
    Generic,
}

impl Protocol {
    fn from_raw(raw: i32) -> Option<Self> {
        Some(match raw {
            0 => Self::Route,
            4 => Self::SocketDiag,
            12 => Self::Netfilter,
            15 => Self::Uevent,
            16 => Self::Generic,
            _ => return None,
        })
    }

    const fn raw(self) -> i32 {
        match self {
            Self::Route => 0,
            Self::SocketDiag => 4,
            Self::Netfilter => 12,
            Self::Uevent => 15,
            Self::Generic => 16,
        }
    }
}

/// Who asks, and of which name space.
struct Context<'a> {
    task: &'a Task,
    net: &'a NetNamespace,
    /// Who made the socket, where the message went through it without an address: as if written to any file, by
    /// somebody who need not know what it is.
    opener: Option<&'a Credentials>,
}

impl Context<'_> {
    /// Changing the network takes CAP_NET_ADMIN over the socket's name space (`netlink_net_capable`).
    ///
    /// # Errors
    /// `EPERM`.
    fn check_admin(&self) -> Result<()> {
        self.net.check_admin(self.task)?;
        let may = self.opener.is_none_or(|opener| self.net.allows(opener, Capability::NetAdmin));
        if may { Ok(()) } else { Err(Errno::EPERM) }
    }
}

/// The family `AF_NETLINK`.
#[derive(Clone, Copy, Debug)]
pub struct NetlinkFamily;

impl SocketFamily for NetlinkFamily {
    fn family(&self) -> u16 {
        AF_NETLINK
    }

    fn create(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<Arc<dyn FileOps>> {
        if !matches!(kind, SocketType::Raw | SocketType::Datagram) {
            return Err(Errno::ESOCKTNOSUPPORT);
        }
        let protocol = Protocol::from_raw(protocol).ok_or(Errno::EPROTONOSUPPORT)?;
        Ok(NetlinkSocket::create(NetNamespace::of(task)?, task.creds(), kind, protocol))
    }

    fn table(&self, task: &Task, name: &str) -> Option<String> {
        let net = NetNamespace::of(task).ok().filter(|_| name == "netlink")?;
        Some(net.netlink().table())
    }
}
