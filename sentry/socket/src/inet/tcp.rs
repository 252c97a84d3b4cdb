//! A TCP socket as a file.

use std::sync::Arc;

use abi::socket::{MsgFlags, SocketType, so};
use abi::{Errno, Result};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::socket::{Accepted, Received, RecvRequest, SendRequest, ShutdownHow, Socket, SocketOptions};
use kernel::vfs::{File, FileOps, WriteAt};
use netstack::{Discard, RecvFlags, SendFlags, Shutdown, TcpSocket};
use waiter::{Events, WaitQueue};

use super::address::{Parsed, encode, parse, parse_address};
use super::namespace::NetNamespace;
use super::options::{self, Handle};
use super::transfer::{Announcer, GuestSink, GuestSource, events};
use super::{IPPROTO_TCP, errno, family_number};

const FIONREAD: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;
const SIOCATMARK: u32 = 0x8905;

/// A TCP socket.
pub(super) struct TcpFile {
    socket: TcpSocket,
    announcer: Arc<Announcer>,
    options: SocketOptions,
    net: Arc<NetNamespace>,
}

impl TcpFile {
    pub(super) fn create(socket: TcpSocket, net: Arc<NetNamespace>) -> Arc<Self> {
        let announcer = Arc::new(Announcer::default());
        let as_observer: Arc<dyn netstack::Observer> = announcer.clone();
        socket.set_observer(Arc::downgrade(&as_observer));
        Arc::new(Self { socket, announcer, options: SocketOptions::default(), net })
    }

    fn send_bytes(&self, data: &mut IoSrc<'_>, flags: MsgFlags) -> Result<usize> {
        let flags = SendFlags::from_bits_truncate(flags.bits());
        self.socket.send(&mut GuestSource(data), flags).map_err(errno)
    }

    fn receive_bytes(&self, data: &mut IoDst<'_>, flags: MsgFlags) -> Result<netstack::Received> {
        let mut recv_flags = RecvFlags::from_bits_truncate(flags.bits());
        if recv_flags.contains(RecvFlags::TRUNC) {
            recv_flags -= RecvFlags::TRUNC;
            return self.socket.recv(&mut Discard(data.remaining()), recv_flags).map_err(errno);
        }
        self.socket.recv(&mut GuestSink(data), recv_flags).map_err(errno)
    }
}

impl FileOps for TcpFile {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.receive_bytes(dst, MsgFlags::empty()).map(|received| received.copied)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        self.send_bytes(src, MsgFlags::empty()).map(|count| (count, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        events(self.socket.readiness())
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.announcer.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        let (readable, unsent) = self.socket.queues();
        let value = match command {
            FIONREAD if self.socket.is_listening() => return Err(Errno::EINVAL),
            FIONREAD => i32::try_from(readable).unwrap_or(i32::MAX),
            SIOCOUTQ => i32::try_from(unsent).unwrap_or(i32::MAX),
            SIOCATMARK => i32::from(self.socket.is_at_mark()),
            _ => return super::interfaces::ioctl(task, &self.net, command, arg),
        };
        task.mm().write_object(abi::UserAddr(arg), &value)?;
        Ok(0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for TcpFile {
    fn family(&self) -> u16 {
        family_number(self.socket.family())
    }

    fn socket_type(&self) -> SocketType {
        SocketType::Stream
    }

    fn protocol(&self) -> i32 {
        IPPROTO_TCP
    }

    fn options(&self) -> &SocketOptions {
        &self.options
    }

    fn bind(&self, task: &Task, address: &[u8]) -> Result<()> {
        let address = parse_address(self.socket.family(), address)?;
        options::check_port(task, &self.net, address.port())?;
        self.socket.set_options(|all| all.base.uid = task.creds().euid);
        self.socket.bind(address).map_err(errno)
    }

    fn connect(&self, _task: &Task, address: &[u8]) -> Result<()> {
        match parse(self.socket.family(), address)? {
            Parsed::Unspecified => {
                self.socket.disconnect();
                Ok(())
            }
            Parsed::Address(address) => match self.socket.connect(address) {
                // Between two sockets of one stack the outcome is there at once.
                Err(netstack::Error::InProgress) => self.socket.finish_connect().map_err(errno),
                other => other.map_err(errno),
            },
        }
    }

    fn listen(&self, _task: &Task, backlog: i32) -> Result<()> {
        self.socket.listen(backlog).map_err(errno)
    }

    fn accept(&self, _task: &Task) -> Result<Accepted> {
        let socket = self.socket.accept().map_err(errno)?;
        let peer = socket.peer_addr().map_or_else(|_| Vec::new(), encode);
        Ok(Accepted { ops: Self::create(socket, Arc::clone(&self.net)), peer })
    }

    fn send(&self, _task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        self.send_bytes(request.data, request.flags)
    }

    fn receive(&self, _task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        let got = self.receive_bytes(request.data, request.flags)?;
        let mut received = Received { len: got.copied, ..Received::default() };
        received.flags.set(MsgFlags::OOB, got.is_oob);
        received.control = options::control_messages(&Handle::Tcp(&self.socket), &got);
        Ok(received)
    }

    fn shutdown(&self, how: ShutdownHow) -> Result<()> {
        let how = match (how.read, how.write) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            _ => Shutdown::Write,
        };
        self.socket.shutdown(how).map_err(errno)
    }

    fn local_address(&self) -> Result<Vec<u8>> {
        Ok(encode(self.socket.local_addr()))
    }

    fn peer_address(&self) -> Result<Vec<u8>> {
        self.socket.peer_addr().map(encode).map_err(errno)
    }

    fn take_error(&self) -> Option<Errno> {
        // A connection attempt's outcome is told once, here or by connect(2).
        self.socket.take_error().map(errno)
    }

    fn is_listening(&self) -> bool {
        self.socket.is_listening()
    }

    fn get_option(&self, _task: &Task, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
        options::get(&Handle::Tcp(&self.socket), &self.net, level, name)
    }

    fn set_option(&self, task: &Task, level: i32, name: i32, value: &[u8]) -> Option<Result<()>> {
        if level == abi::socket::SOL_SOCKET && name != so::BINDTODEVICE {
            options::apply_common(&Handle::Tcp(&self.socket), &self.net, &self.options);
            return Some(Ok(())).filter(|_| self.options.get(name).is_some());
        }
        options::set(task, &Handle::Tcp(&self.socket), &self.net, level, name, value)
    }
}

impl std::fmt::Debug for TcpFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TcpFile({})", self.socket.id())
    }
}
