//! A UDP socket as a file.

use std::sync::Arc;

use abi::socket::{MsgFlags, SocketType, so};
use abi::{Errno, Result};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::socket::{Received, RecvRequest, SendRequest, ShutdownHow, Socket, SocketOptions};
use kernel::vfs::{File, FileOps, WriteAt};
use netstack::{RecvFlags, SendFlags, SendMeta, Shutdown, UdpSocket};
use waiter::{Events, WaitQueue};

use super::address::{Parsed, encode, parse, parse_address};
use super::namespace::NetNamespace;
use super::options::{self, Handle};
use super::transfer::{Announcer, GuestSink, GuestSource, events};
use super::{IPPROTO_UDP, errno, family_number};

const FIONREAD: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;

/// A UDP socket.
#[derive(Debug)]
pub(super) struct UdpFile {
    socket: UdpSocket,
    announcer: Arc<Announcer>,
    options: SocketOptions,
    net: Arc<NetNamespace>,
}

impl UdpFile {
    pub(super) fn create(socket: UdpSocket, net: Arc<NetNamespace>) -> Arc<Self> {
        let announcer = Arc::new(Announcer::default());
        let as_observer: Arc<dyn netstack::Observer> = announcer.clone();
        socket.set_observer(Arc::downgrade(&as_observer));
        Arc::new(Self { socket, announcer, options: SocketOptions::default(), net })
    }

    fn send_datagram(&self, data: &mut IoSrc<'_>, meta: &SendMeta) -> Result<usize> {
        self.socket.send(&mut GuestSource(data), meta).map_err(errno)
    }

    fn receive_datagram(&self, data: &mut IoDst<'_>, flags: MsgFlags) -> Result<netstack::Received> {
        self.socket.recv(&mut GuestSink(data), RecvFlags::from_bits_truncate(flags.bits())).map_err(errno)
    }
}

impl FileOps for UdpFile {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.receive_datagram(dst, MsgFlags::empty()).map(|received| received.copied)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        self.send_datagram(src, &SendMeta::default()).map(|count| (count, 0))
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
        let value = match command {
            FIONREAD => self.socket.next_len(),
            // Datagrams leave at once.
            SIOCOUTQ => 0,
            _ => return super::interfaces::ioctl(task, &self.net, command, arg),
        };
        task.mm().write_object(abi::UserAddr(arg), &i32::try_from(value).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for UdpFile {
    fn family(&self) -> u16 {
        family_number(self.socket.family())
    }

    fn socket_type(&self) -> SocketType {
        SocketType::Datagram
    }

    fn protocol(&self) -> i32 {
        IPPROTO_UDP
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
            Parsed::Address(address) => self.socket.connect(address).map_err(errno),
        }
    }

    fn send(&self, _task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        let to = match request.address {
            Some(bytes) => match parse(self.socket.family(), bytes)? {
                Parsed::Address(address) => Some(address),
                Parsed::Unspecified => None,
            },
            None => None,
        };
        let flags = SendFlags::from_bits_truncate(request.flags.bits());
        let mut meta = SendMeta { to, flags, ..SendMeta::default() };
        options::apply_control(&mut meta, &request.control)?;
        self.send_datagram(request.data, &meta)
    }

    fn receive(&self, _task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        let got = self.receive_datagram(request.data, request.flags)?;
        let whole = request.flags.contains(MsgFlags::TRUNC);
        let mut received =
            Received { len: if whole { got.full_len } else { got.copied }, ..Received::default() };
        received.flags.set(MsgFlags::TRUNC, got.is_truncated());
        received.flags.set(MsgFlags::ERRQUEUE, got.error.is_some());
        received.address = got.from.map(encode).unwrap_or_default();
        received.control = options::control_messages(&Handle::Udp(&self.socket), &got);
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
        self.socket.take_error().map(errno)
    }

    fn get_option(&self, _task: &Task, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
        options::get(&Handle::Udp(&self.socket), &self.net, level, name)
    }

    fn set_option(&self, task: &Task, level: i32, name: i32, value: &[u8]) -> Option<Result<()>> {
        if level == abi::socket::SOL_SOCKET && name != so::BINDTODEVICE {
            options::apply_common(&Handle::Udp(&self.socket), &self.net, &self.options);
            return Some(Ok(())).filter(|_| self.options.get(name).is_some());
        }
        options::set(task, &Handle::Udp(&self.socket), &self.net, level, name, value)
    }
}
