//! The socket as a file and as a [`Socket`]: thin, the work is in the other modules.

use std::sync::Arc;

use abi::fcntl::ioctl::{FIONREAD, SIOCOUTQ};
use abi::socket::{AF_UNIX, MsgFlags, SOL_SOCKET, SocketType, so};
use abi::{Errno, Result};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::socket::{Accepted, Received, RecvRequest, SendRequest, ShutdownHow, Socket, SocketOptions};
use kernel::task::Pid;
use kernel::vfs::{File, FileOps, WriteAt};
use waiter::{Events, WaitQueue};
use zerocopy::IntoBytes;

use super::address::UnixAddress;
use super::socket::{Link, UnixSocket};
use crate::inet::{NetNamespace, interface_ioctl};

impl FileOps for UnixSocket {
    fn read(&self, task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let mut request = RecvRequest { data: dst, flags: MsgFlags::empty() };
        self.receive_message(task, &mut request).map(|received| received.len)
    }

    fn write(&self, task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let mut request =
            SendRequest { data: src, address: None, control: Vec::new(), flags: MsgFlags::empty() };
        self.send_message(task, &mut request).map(|count| (count, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let mut events = Events::empty();
        let (has_data, ended) = {
            let inbox = self.inbox.lock();
            (!inbox.is_empty(), inbox.ended)
        };
        let peer = {
            let state = self.state.lock();
            events.set(Events::ERR, state.error.is_some());
            match &state.link {
                Link::Listening { backlog, .. } => {
                    events.set(Events::READABLE, !backlog.is_empty());
                    return events;
                }
                Link::None if self.is_connection() => {
                    events.set(Events::READABLE | Events::RDHUP, ended);
                    return events | Events::WRITABLE | Events::HUP;
                }
                Link::None => None,
                Link::Connected { peer, .. } => Some((peer.upgrade(), state.write_shut)),
            }
        };
        events.set(Events::READABLE, has_data || ended);
        events.set(Events::RDHUP, ended);
        let writable = match peer {
            None => true,
            Some((None, _)) => {
                events.set(Events::HUP, self.is_connection());
                true
            }
            Some((Some(peer), write_shut)) => {
                let inbox = peer.inbox.lock();
                // Linux: both directions are shut, each by either side.
                events.set(Events::HUP, ended && (write_shut || inbox.refused) && self.is_connection());
                inbox.room(self.options.send_buffer()) > self.options.send_buffer() / 4
            }
        };
        events.set(Events::WRITABLE, writable);
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        let count = match command {
            FIONREAD => {
                let inbox = self.inbox.lock();
                if self.kind == SocketType::Stream {
                    inbox.bytes()
                } else {
                    inbox.get(0).map_or(0, |message| message.rest().len())
                }
            }
            SIOCOUTQ => self.peer().map_or(0, |peer| peer.inbox.lock().bytes()),
            // Interfaces can be asked about by any socket, and C libraries do it by one of these.
            _ => return interface_ioctl(task, &*NetNamespace::of(task)?, command, arg),
        };
        task.mm().write_object(abi::UserAddr(arg), &i32::try_from(count).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for UnixSocket {
    fn family(&self) -> u16 {
        AF_UNIX
    }

    fn socket_type(&self) -> SocketType {
        self.kind
    }

    fn protocol(&self) -> i32 {
        0
    }

    fn options(&self) -> &SocketOptions {
        &self.options
    }

    fn set_inode(&self, inode: u64) {
        self.state.lock().inode = inode;
    }

    fn bind(&self, task: &Task, address: &[u8]) -> Result<()> {
        self.bind_to(task, &UnixAddress::parse(address)?)
    }

    fn connect(&self, task: &Task, address: &[u8]) -> Result<()> {
        if self.kind == SocketType::Datagram {
            // AF_UNSPEC dissolves the association.
            let unspecified = address.len() >= 2 && address[..2] == [0, 0];
            let parsed = if unspecified { None } else { Some(UnixAddress::parse(address)?) };
            return self.connect_datagram(task, parsed.as_ref());
        }
        self.connect_stream(task, &UnixAddress::parse(address)?)
    }

    fn listen(&self, task: &Task, backlog: i32) -> Result<()> {
        self.start_listening(task, backlog)
    }

    fn accept(&self, _task: &Task) -> Result<Accepted> {
        self.take_connection()
    }

    fn send(&self, task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        self.send_message(task, request)
    }

    fn receive(&self, task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        self.receive_message(task, request)
    }

    fn shutdown(&self, how: ShutdownHow) -> Result<()> {
        self.shut_down(how)
    }

    fn local_address(&self) -> Result<Vec<u8>> {
        Ok(self.state.lock().local.encode())
    }

    fn peer_address(&self) -> Result<Vec<u8>> {
        match &self.state.lock().link {
            Link::Connected { address, .. } => Ok(address.encode()),
            _ => Err(Errno::ENOTCONN),
        }
    }

    fn peer_process(&self) -> Option<Arc<Pid>> {
        self.peer_identity()?.process()
    }

    fn take_error(&self) -> Option<Errno> {
        self.state.lock().error.take()
    }

    fn is_listening(&self) -> bool {
        matches!(self.state.lock().link, Link::Listening { .. })
    }

    fn get_option(&self, task: &Task, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
        if level != SOL_SOCKET || ![so::PEERCRED, so::PEERGROUPS].contains(&name) {
            return None;
        }
        let peer = self.peer_identity()?;
        Some(Ok(match name {
            so::PEERGROUPS => peer.groups_seen_by(task),
            _ => peer.seen_by(task).as_bytes().to_vec(),
        }))
    }

    fn send_queue(&self, task: &Task, address: Option<&[u8]>) -> Option<WaitQueue> {
        let target = match address {
            Some(address) => self.find(task, &UnixAddress::parse(address).ok()?).ok()?,
            None if self.kind == SocketType::Datagram => self.peer()?,
            None => return None,
        };
        Some(target.queue.clone())
    }
}
