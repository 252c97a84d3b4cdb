//! What every socket can be asked to do.

use std::sync::Arc;

use abi::socket::{MsgFlags, SocketType};
use abi::{Errno, Result};
use waiter::WaitQueue;

use super::{ControlMessage, SocketOptions};
use crate::Task;
use crate::mm::{IoDst, IoSrc};
use crate::task::{Pid, UserNamespace};
use crate::vfs::FileOps;

/// Which directions shutdown(2) closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownHow {
    /// No more receiving.
    pub read: bool,
    /// No more sending.
    pub write: bool,
}

/// A connection taken from a listener.
pub struct Accepted {
    /// The new socket.
    pub ops: Arc<dyn FileOps>,
    /// The peer's address, as a `sockaddr`.
    pub peer: Vec<u8>,
}

/// One message to send.
#[derive(Debug)]
pub struct SendRequest<'a, 'b> {
    /// The data. What was taken of it is what was sent.
    pub data: &'a mut IoSrc<'b>,
    /// The destination as a `sockaddr`, where one was given.
    pub address: Option<&'a [u8]>,
    /// Control messages, already checked against the sender's rights.
    pub control: Vec<ControlMessage>,
    /// `MSG_*`.
    pub flags: MsgFlags,
}

/// Where to put a received message.
#[derive(Debug)]
pub struct RecvRequest<'a, 'b> {
    /// The data.
    pub data: &'a mut IoDst<'b>,
    /// `MSG_*`.
    pub flags: MsgFlags,
}

/// What came with a received message.
#[derive(Debug, Default)]
pub struct Received {
    /// Bytes; with `MSG_TRUNC` the length of the whole message where the family knows it.
    pub len: usize,
    /// The sender's address as a `sockaddr`; empty where it has none.
    pub address: Vec<u8>,
    /// Control messages.
    pub control: Vec<ControlMessage>,
    /// `MSG_TRUNC`, `MSG_EOR`, `MSG_OOB`, `MSG_ERRQUEUE`.
    pub flags: MsgFlags,
}

/// A socket. Addresses are `sockaddr` bytes as the guest gave them, at most `SOCKADDR_MAX`, unchecked.
pub trait Socket: Send + Sync {
    /// `AF_*`.
    fn family(&self) -> u16;

    /// The type.
    fn socket_type(&self) -> SocketType;

    /// The protocol number, as `SO_PROTOCOL` tells it.
    fn protocol(&self) -> i32;

    /// The options of level `SOL_SOCKET` that all families keep.
    fn options(&self) -> &SocketOptions;

    /// The socket got a file: the number that `/proc` and sock_diag show for it.
    fn set_inode(&self, inode: u64) {
        let _ = inode;
    }

    /// bind(2).
    ///
    /// # Errors
    /// `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL`.
    fn bind(&self, task: &Task, address: &[u8]) -> Result<()>;

    /// Starts to connect. `EINPROGRESS`: it goes on by itself; the socket becomes writable when it is decided, and
    /// [`Self::take_error`] tells how. `EAGAIN`: try again when writable (a full unix backlog).
    ///
    /// # Errors
    /// Those two; `ECONNREFUSED`, `EISCONN`, `EALREADY`, …
    fn connect(&self, task: &Task, address: &[u8]) -> Result<()>;

    /// listen(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP`, `EINVAL`.
    fn listen(&self, task: &Task, backlog: i32) -> Result<()> {
        let _ = (task, backlog);
        Err(Errno::EOPNOTSUPP)
    }

    /// Takes a connection.
    ///
    /// # Errors
    /// `EAGAIN` where there is none; `EINVAL` where it does not listen.
    fn accept(&self, task: &Task) -> Result<Accepted> {
        let _ = task;
        Err(Errno::EOPNOTSUPP)
    }

    /// Sends. Streams may take a part.
    ///
    /// # Errors
    /// `EAGAIN` where there is no room; `EPIPE` (the caller raises SIGPIPE), `ENOTCONN`, `EMSGSIZE`, …
    fn send(&self, task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize>;

    /// Receives.
    ///
    /// # Errors
    /// `EAGAIN` where there is nothing; `ENOTCONN`, …
    fn receive(&self, task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received>;

    /// shutdown(2).
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn shutdown(&self, how: ShutdownHow) -> Result<()>;

    /// getsockname(2), as a `sockaddr`.
    ///
    /// # Errors
    /// Rarely any.
    fn local_address(&self) -> Result<Vec<u8>>;

    /// getpeername(2), as a `sockaddr`.
    ///
    /// # Errors
    /// `ENOTCONN`.
    fn peer_address(&self) -> Result<Vec<u8>>;

    /// The process at the other end (`SO_PEERPIDFD`); `None` where that is not known.
    fn peer_process(&self) -> Option<Arc<Pid>> {
        None
    }

    /// Takes the pending error (`SO_ERROR`).
    fn take_error(&self) -> Option<Errno> {
        None
    }

    /// Whether it listens (`SO_ACCEPTCONN`).
    fn is_listening(&self) -> bool {
        false
    }

    /// An option that [`SocketOptions`] does not keep; `None` where the family does not know it.
    fn get_option(&self, task: &Task, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
        let _ = (task, level, name);
        None
    }

    /// As [`Self::get_option`], for options whose value depends on what the caller's buffer holds before: the start of
    /// it is `given`.
    fn get_option_for(&self, task: &Task, level: i32, name: i32, given: &[u8]) -> Option<Result<Vec<u8>>> {
        let _ = given;
        self.get_option(task, level, name)
    }

    /// Sets an option that [`SocketOptions`] does not keep; `None` where the family does not know it. Called as well
    /// after a common option was changed, so that a family can react.
    fn set_option(&self, task: &Task, level: i32, name: i32, value: &[u8]) -> Option<Result<()>> {
        let _ = (task, level, name, value);
        None
    }

    /// Who owns the network name space that it was made in; `None` for a family whose sockets do not care.
    fn network_owner(&self) -> Option<&Arc<UserNamespace>> {
        None
    }

    /// Puts a message of the kernel's own into its receive buffer (netlink); without room it is lost.
    fn deliver_from_kernel(&self, message: &[u8]) {
        let _ = message;
    }

    /// What to wait on when [`Self::send`] to `address` had no room: another socket's queue where that one is full.
    fn send_queue(&self, task: &Task, address: Option<&[u8]>) -> Option<WaitQueue> {
        let _ = (task, address);
        None
    }
}
