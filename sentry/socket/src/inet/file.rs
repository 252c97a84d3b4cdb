//! An internet socket as a file: TCP, UDP, ping and raw alike.

use std::sync::Arc;

use abi::fcntl::ioctl::{FIONREAD, SIOCATMARK, SIOCOUTQ};
use abi::socket::{MsgFlags, SocketType, so};
use abi::{Errno, Result};
use host::heap::{self, Purpose};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::socket::{Accepted, Received, RecvRequest, SendRequest, ShutdownHow, Socket, SocketOptions};
use kernel::task::UserNamespace;
use kernel::vfs::{File, FileOps, Promise, Promising, Push, WriteAt};
use netstack::{Discard, RecvFlags, SendFlags, SendMeta, Shutdown, TcpSocket};
use waiter::{Events, WaitQueue};

use super::address::{Parsed, encode, parse, parse_address};
use super::any::{AnySocket, InetSocket};
use super::namespace::NetNamespace;
use super::transfer::{Announcer, GuestSink, GuestSource, events};
use super::{control, errno, family_number, iptables, options, owner};

/// An internet socket.
#[derive(Debug)]
pub(super) struct InetFile {
    socket: InetSocket,
    announcer: Arc<Announcer>,
    options: SocketOptions,
    net: Arc<NetNamespace>,
}

/// Memory that a send has to find free at most, bytes.
const SEND_ROOM: usize = 64 << 10;

impl InetFile {
    pub(super) fn create(socket: InetSocket, options: SocketOptions, net: Arc<NetNamespace>) -> Arc<Self> {
        let announcer = Arc::new(Announcer::default());
        let as_observer: Arc<dyn netstack::Observer> = announcer.clone();
        socket.set_observer(Arc::downgrade(&as_observer));
        Arc::new(Self { socket, announcer, options, net })
    }

    fn is_raw(&self) -> bool {
        matches!(self.socket.any, AnySocket::Raw(_))
    }

    fn tcp(&self) -> Result<&TcpSocket> {
        self.socket.tcp().ok_or(Errno::EOPNOTSUPP)
    }

    fn send_bytes(&self, data: &mut IoSrc<'_>, meta: &SendMeta) -> Result<usize> {
        heap::room_for(data.remaining().min(SEND_ROOM) as u64, Purpose::Process)
            .map_err(|_| Errno::ENOBUFS)?;
        self.socket.send(&mut GuestSource(data), meta).map_err(errno)
    }

    fn receive_bytes(&self, data: &mut IoDst<'_>, flags: MsgFlags) -> Result<netstack::Received> {
        let flags = RecvFlags::from_bits_truncate(flags.bits());
        // On a stream it means to throw away instead of copying.
        if flags.contains(RecvFlags::TRUNC) && self.socket.tcp().is_some() {
            let mut sink = Discard(data.remaining());
            return self.socket.recv(&mut sink, flags - RecvFlags::TRUNC).map_err(errno);
        }
        self.socket.recv(&mut GuestSink(data), flags).map_err(errno)
    }
}

impl FileOps for InetFile {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.receive_bytes(dst, MsgFlags::empty()).map(|received| received.copied)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        self.send_bytes(src, &SendMeta::default()).map(|count| (count, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn promising(&self) -> Option<&dyn Promising> {
        self.socket.tcp().map(|_| self as &dyn Promising)
    }

    fn poll(&self, _file: &File) -> Events {
        events(self.socket.readiness())
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.announcer.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        let tcp = self.socket.tcp();
        let number = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
        let value = match command {
            FIONREAD if tcp.is_some_and(TcpSocket::is_listening) => return Err(Errno::EINVAL),
            FIONREAD => number(self.socket.queues().0),
            SIOCOUTQ => number(self.socket.queues().1),
            SIOCATMARK if tcp.is_some() => i32::from(tcp.is_some_and(TcpSocket::is_at_mark)),
            _ => return super::interfaces::ioctl(task, &self.net, command, arg),
        };
        task.mm().write_object(abi::UserAddr(arg), &value)?;
        Ok(0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Promising for InetFile {
    fn promise(&self, buffer: &mut [u8]) -> Promise {
        let promise = self.socket.tcp().map_or_else(Default::default, |tcp| tcp.promise(buffer));
        Promise { input: promise.input, credit: promise.credit }
    }

    fn keep_read(&self, len: usize) {
        if let Some(tcp) = self.socket.tcp() {
            tcp.keep_read(len);
        }
    }

    fn keep_written(&self, data: &[u8], push: Push) {
        if let Some(tcp) = self.socket.tcp() {
            let flags = if push == Push::WithNext { SendFlags::MORE } else { SendFlags::empty() };
            tcp.keep_sent(data, flags);
        }
    }
}

impl Socket for InetFile {
    fn family(&self) -> u16 {
        family_number(self.socket.family)
    }

    fn socket_type(&self) -> SocketType {
        self.socket.kind()
    }

    fn protocol(&self) -> i32 {
        self.socket.protocol
    }

    fn options(&self) -> &SocketOptions {
        &self.options
    }

    fn network_owner(&self) -> Option<&Arc<UserNamespace>> {
        Some(self.net.user_ns())
    }

    fn set_inode(&self, inode: u64) {
        self.socket.change(|all| all.base.inode = inode as u32);
    }

    fn bind(&self, task: &Task, address: &[u8]) -> Result<()> {
        let address = parse_address(self.socket.family, address)?;
        if self.socket.has_ports() {
            options::check_port(task, &self.net, address.port())?;
        }
        self.socket.bind(address).map_err(errno)
    }

    fn connect(&self, _task: &Task, address: &[u8]) -> Result<()> {
        match parse(self.socket.family, address)? {
            Parsed::Unspecified => {
                self.socket.disconnect();
                Ok(())
            }
            Parsed::Address(address) => self.socket.connect(address).map_err(errno),
        }
    }

    fn listen(&self, _task: &Task, backlog: i32) -> Result<()> {
        self.tcp()?.listen(backlog).map_err(errno)
    }

    fn accept(&self, task: &Task) -> Result<Accepted> {
        let socket = self.tcp()?.accept().map_err(errno)?;
        socket.set_owner(owner(task));
        let peer = socket.peer_addr().map_or_else(|_| Vec::new(), encode);
        let socket = InetSocket::new(AnySocket::Tcp(socket), self.socket.family, self.socket.protocol);
        let options = SocketOptions::inherited(&self.options);
        Ok(Accepted { ops: Self::create(socket, options, Arc::clone(&self.net)), peer })
    }

    fn send(&self, _task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        let flags = SendFlags::from_bits_truncate(request.flags.bits());
        let mut meta = SendMeta { flags, ..SendMeta::default() };
        if self.socket.tcp().is_none() {
            if let Some(bytes) = request.address
                && let Parsed::Address(address) = parse(self.socket.family, bytes)?
            {
                meta.to = Some(address);
            }
            control::apply(&mut meta, &request.control)?;
        }
        self.send_bytes(request.data, &meta)
    }

    fn receive(&self, _task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        let got = self.receive_bytes(request.data, request.flags)?;
        let control = control::of_received(&self.socket, &got);
        let mut received = Received { len: got.copied, control, ..Received::default() };
        received.flags.set(MsgFlags::OOB, got.is_oob);
        received.flags.set(MsgFlags::ERRQUEUE, got.error.is_some());
        if self.socket.tcp().is_none() {
            if request.flags.contains(MsgFlags::TRUNC) {
                received.len = got.full_len;
            }
            received.flags.set(MsgFlags::TRUNC, got.is_truncated());
            received.address = got.from.map(encode).unwrap_or_default();
        }
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
        self.socket.tcp().is_some_and(TcpSocket::is_listening)
    }

    fn get_option(&self, _task: &Task, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
        options::get(&self.socket, &self.net, level, name)
    }

    fn get_option_for(&self, task: &Task, level: i32, name: i32, given: &[u8]) -> Option<Result<Vec<u8>>> {
        let filters = self.is_raw().then(|| iptables::get(task, &self.net, (level, name), given));
        filters.flatten().or_else(|| self.get_option(task, level, name))
    }

    fn set_option(&self, task: &Task, level: i32, name: i32, value: &[u8]) -> Option<Result<()>> {
        if self.is_raw()
            && let Some(result) = iptables::set(task, &self.net, (level, name), value)
        {
            return Some(result);
        }
        // What the common part keeps has been set there; the stack is told.
        let is_common = self.options.get(name).is_some() || matches!(name, so::SNDBUFFORCE | so::RCVBUFFORCE);
        if level == abi::socket::SOL_SOCKET && is_common {
            options::apply_common(&self.socket, &self.net, &self.options);
            return Some(Ok(()));
        }
        options::set(task, &self.socket, &self.net, level, name, value)
    }
}
