//! Unix domain sockets (`man 7 unix`).
//!
//! A [`UnixSocket`](socket::UnixSocket) owns an [`Inbox`](inbox::Inbox), the queue of what was sent to it; peers push
//! into each other's. Names are either *abstract* ([`names`]), in the network name space of who made the socket, or inodes of type socket, whose VFS part remembers who is
//! bound there. Files that are sent along and not yet received are in [`transit`](rights::Transit).

mod address;
mod connect;
mod file;
mod garbage;
mod identity;
mod inbox;
mod names;
mod rights;
mod room;
mod socket;
mod summary;
mod transfer;

use std::sync::Arc;

use abi::socket::{AF_UNIX, SocketType};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::SocketFamily;
use kernel::vfs::FileOps;

use crate::inet::NetNamespace;
pub(crate) use names::UnixSockets;
use rights::Transit;
use socket::UnixSocket;
pub(crate) use summary::{LinkState, Summary};

/// The family `AF_UNIX`.
#[derive(Debug, Default)]
pub struct UnixFamily {
    transit: Arc<Transit>,
}

impl UnixFamily {
    /// The family, with nothing in transit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl SocketFamily for UnixFamily {
    fn family(&self) -> u16 {
        AF_UNIX
    }

    fn create(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<Arc<dyn FileOps>> {
        let net = NetNamespace::of(task)?;
        Ok(UnixSocket::new(check_kind(kind, protocol)?, net.unix(), &self.transit))
    }

    fn create_pair(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<[Arc<dyn FileOps>; 2]> {
        let kind = check_kind(kind, protocol)?;
        let net = NetNamespace::of(task)?;
        let new = || UnixSocket::new(kind, net.unix(), &self.transit);
        let (a, b) = (new(), new());
        connect::pair(task, &a, &b);
        Ok([a, b])
    }

    fn table(&self, task: &Task, name: &str) -> Option<String> {
        const HEAD: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";
        let net = NetNamespace::of(task).ok().filter(|_| name == "unix")?;
        Some(net.unix().list().iter().map(Summary::line).fold(HEAD.to_owned(), |table, line| table + &line))
    }
}

/// Linux makes a datagram socket where a raw one is asked for.
fn check_kind(kind: SocketType, protocol: i32) -> Result<SocketType> {
    if protocol != 0 && protocol != i32::from(AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(if kind == SocketType::Raw { SocketType::Datagram } else { kind })
}
