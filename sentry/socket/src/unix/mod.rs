//! Unix domain sockets (`man 7 unix`).
//!
//! A [`UnixSocket`](socket::UnixSocket) owns an [`Inbox`](inbox::Inbox), the queue of what was sent to it; peers push
//! into each other's. Names are either *abstract* ([`names`]) or inodes of type socket, whose VFS part remembers who is
//! bound there. Files that are sent along and not yet received are in [`transit`](rights::Transit).

mod address;
mod connect;
mod file;
mod garbage;
mod inbox;
mod names;
mod rights;
mod socket;
mod summary;
mod transfer;

use std::sync::Arc;

use abi::socket::{AF_UNIX, SocketType};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::SocketFamily;
use kernel::vfs::FileOps;

use names::AbstractNames;
use rights::Transit;
use socket::UnixSocket;
pub(crate) use summary::{LinkState, Summary, UnixSockets};

/// The family `AF_UNIX`.
#[derive(Debug, Default)]
pub struct UnixFamily {
    names: Arc<AbstractNames>,
    transit: Arc<Transit>,
}

impl UnixFamily {
    /// The family, with an empty abstract name space.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Its sockets, for who lists them.
    pub(crate) fn sockets(&self) -> UnixSockets {
        UnixSockets(Arc::clone(&self.names))
    }
}

impl SocketFamily for UnixFamily {
    fn family(&self) -> u16 {
        AF_UNIX
    }

    fn create(&self, _task: &Task, kind: SocketType, protocol: i32) -> Result<Arc<dyn FileOps>> {
        Ok(UnixSocket::new(check_kind(kind, protocol)?, &self.names, &self.transit))
    }

    fn create_pair(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<[Arc<dyn FileOps>; 2]> {
        let kind = check_kind(kind, protocol)?;
        let new = || UnixSocket::new(kind, &self.names, &self.transit);
        let (a, b) = (new(), new());
        connect::pair(task, &a, &b);
        Ok([a, b])
    }

    fn table(&self, _task: &Task, name: &str) -> Option<String> {
        const HEAD: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";
        let lines = || self.sockets().list().iter().map(Summary::line).collect::<String>();
        (name == "unix").then(|| HEAD.to_owned() + &lines())
    }
}

/// Linux makes a datagram socket where a raw one is asked for.
fn check_kind(kind: SocketType, protocol: i32) -> Result<SocketType> {
    if protocol != 0 && protocol != i32::from(AF_UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(if kind == SocketType::Raw { SocketType::Datagram } else { kind })
}
