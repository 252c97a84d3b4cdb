//! A socket of the host as a guest's file.
//!
//! Nothing is kept here but what the host does not tell: the common options that the sentry itself acts on. No locks.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use abi::fcntl::ioctl::{FIONREAD, SIOCATMARK, SIOCOUTQ};
use abi::socket::{MsgFlags, SOL_SOCKET, SocketType, so};
use abi::{Errno, Result, UserAddr};
use host::memory::VolatileSlice;
use kernel::Task;
use kernel::host_events::{HostSource, normalize};
use kernel::mm::{IoDst, IoSrc};
use kernel::socket::{Accepted, Received, RecvRequest, SendRequest, ShutdownHow, Socket, SocketOptions};
use kernel::task::UserNamespace;
use kernel::vfs::{File, FileOps, WriteAt};
use netstack::Family;
use waiter::{Events, WaitQueue};

use super::{HostNetwork, control, options};
use crate::inet::{NetNamespace, check_port, interface_ioctl, parse, parse_address};

/// The largest datagram, with room for one byte more, so that the host says that it is too long.
const DATAGRAM_MAX: usize = (64 << 10) + 1;
/// Flags that go to the host with a message that is sent.
const SENT: MsgFlags = MsgFlags::OOB
    .union(MsgFlags::DONTROUTE)
    .union(MsgFlags::EOR)
    .union(MsgFlags::CONFIRM)
    .union(MsgFlags::MORE)
    .union(MsgFlags::FASTOPEN);
/// Flags that go to the host with a request to receive. Waiting, `MSG_WAITALL` included, is the sentry's.
const RECEIVED: MsgFlags =
    MsgFlags::OOB.union(MsgFlags::PEEK).union(MsgFlags::TRUNC).union(MsgFlags::ERRQUEUE);

/// A host socket.
pub(super) struct HostSocket {
    fd: OwnedFd,
    family: Family,
    kind: SocketType,
    protocol: i32,
    options: SocketOptions,
    is_listening: AtomicBool,
    queue: WaitQueue,
    net: Arc<NetNamespace>,
    host: Arc<HostNetwork>,
}

impl HostSocket {
    /// Wraps `fd`, a socket of this family, type and protocol.
    ///
    /// # Errors
    /// What the host says to watching it.
    pub(super) fn create(
        fd: OwnedFd,
        (family, kind, protocol): (Family, SocketType, i32),
        options: SocketOptions,
        net: Arc<NetNamespace>,
        host: Arc<HostNetwork>,
    ) -> Result<Arc<Self>> {
        let mut watched = Ok(true);
        let socket = Arc::new_cyclic(|this: &Weak<Self>| {
            let source: Weak<dyn HostSource> = this.clone();
            watched = host.readiness.watch(fd.as_fd(), &source);
            let (queue, is_listening) = (WaitQueue::new(), AtomicBool::new(false));
            Self { fd, family, kind, protocol, options, is_listening, queue, net, host }
        });
        watched.map(|_| socket)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn is_stream(&self) -> bool {
        self.kind == SocketType::Stream
    }

    fn send_bytes(
        &self,
        src: &mut IoSrc<'_>,
        address: &[u8],
        control: &[u8],
        flags: MsgFlags,
    ) -> Result<usize> {
        let flags = flags & SENT;
        let send =
            |from: &[VolatileSlice<'_>]| host::socket::send(self.fd(), from, address, control, flags.bits());
        if !self.is_stream() || src.remaining() == 0 {
            // In one call, whatever pages the data lies on.
            let mut datagram = vec![0; src.remaining().min(DATAGRAM_MAX)];
            let len = src.take(&mut datagram)?;
            return send(&[VolatileSlice::from_mut(&mut datagram[..len])]);
        }
        let mut sent = false;
        src.drain_with(src.remaining(), &mut |from| {
            // A second call would repeat what came with the first.
            if std::mem::replace(&mut sent, true) { Ok(0) } else { send(from) }
        })
    }

    fn receive_bytes(&self, dst: &mut IoDst<'_>, flags: MsgFlags) -> Result<host::socket::Received> {
        let flags = flags & RECEIVED;
        let receive = |to: &[VolatileSlice<'_>]| host::socket::receive(self.fd(), to, flags.bits());
        if !self.is_stream() || flags.intersects(MsgFlags::ERRQUEUE | MsgFlags::OOB) || dst.remaining() == 0 {
            let mut datagram = vec![0; dst.remaining().min(DATAGRAM_MAX)];
            let room = datagram.len();
            let received = receive(&[VolatileSlice::from_mut(&mut datagram)])?;
            dst.put(&datagram[..received.len.min(room)])?;
            return Ok(received);
        }
        let mut got = None;
        let len = dst.fill_with(dst.remaining(), &mut |to| {
            if got.is_some() {
                return Ok(0);
            }
            let received = receive(to)?;
            let len = received.len;
            got = Some(received);
            Ok(len)
        })?;
        got.map(|received| host::socket::Received { len, ..received }).ok_or(Errno::EFAULT)
    }
}

impl std::fmt::Debug for HostSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostSocket({:?}, {:?}, {})", self.family, self.kind, self.protocol)
    }
}

impl HostSource for HostSocket {
    fn ready(&self, events: Events) {
        self.queue.notify(events);
    }
}

impl FileOps for HostSocket {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.receive_bytes(dst, MsgFlags::empty()).map(|received| received.len)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        self.send_bytes(src, &[], &[], MsgFlags::empty()).map(|count| (count, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        host::poll::events_now(self.fd()).map_or(Events::ERR, normalize)
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        let value = match command {
            FIONREAD => host::poll::readable_bytes(self.fd())?,
            SIOCOUTQ => host::socket::unsent_bytes(self.fd())?,
            SIOCATMARK if self.is_stream() => i32::from(host::socket::is_at_mark(self.fd())?),
            _ => return interface_ioctl(task, &self.net, command, arg),
        };
        task.mm().write_object(UserAddr(arg), &value)?;
        Ok(0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for HostSocket {
    fn family(&self) -> u16 {
        match self.family {
            Family::V4 => abi::socket::AF_INET,
            Family::V6 => abi::socket::AF_INET6,
        }
    }

    fn socket_type(&self) -> SocketType {
        self.kind
    }

    fn protocol(&self) -> i32 {
        self.protocol
    }

    fn options(&self) -> &SocketOptions {
        &self.options
    }

    fn network_owner(&self) -> Option<&Arc<UserNamespace>> {
        Some(self.net.user_ns())
    }

    fn bind(&self, task: &Task, address: &[u8]) -> Result<()> {
        let parsed = parse_address(self.family, address)?;
        if self.kind != SocketType::Raw {
            check_port(task, &self.net, parsed.port())?;
        }
        self.host.broker.bind(self.fd(), address)
    }

    fn connect(&self, _task: &Task, address: &[u8]) -> Result<()> {
        parse(self.family, address)?;
        host::socket::connect(self.fd(), address)
    }

    fn listen(&self, _task: &Task, backlog: i32) -> Result<()> {
        host::unix::start_listening(self.fd(), backlog)?;
        self.is_listening.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn accept(&self, _task: &Task) -> Result<Accepted> {
        let (fd, peer) = host::socket::accept(self.fd())?;
        let what = (self.family, self.kind, self.protocol);
        let options = SocketOptions::inherited(&self.options);
        let ops = Self::create(fd, what, options, Arc::clone(&self.net), Arc::clone(&self.host))?;
        Ok(Accepted { ops, peer })
    }

    fn send(&self, _task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        let address = request.address.unwrap_or_default();
        if !address.is_empty() {
            parse(self.family, address)?;
        }
        let control = control::encode(&request.control)?;
        self.send_bytes(request.data, address, &control, request.flags)
    }

    fn receive(&self, _task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        let got = self.receive_bytes(request.data, request.flags)?;
        let told = MsgFlags::TRUNC | MsgFlags::EOR | MsgFlags::OOB | MsgFlags::ERRQUEUE;
        Ok(Received {
            len: got.len,
            address: got.address,
            control: control::decode(&got.control),
            flags: MsgFlags::from_bits_truncate(got.flags) & told,
        })
    }

    fn shutdown(&self, how: ShutdownHow) -> Result<()> {
        use std::net::Shutdown;
        let how = match (how.read, how.write) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            _ => Shutdown::Write,
        };
        let done = host::unix::shutdown(self.fd(), how);
        // A listener that was shut down listens no more.
        if done.is_ok() && how != Shutdown::Write {
            self.is_listening.store(false, Ordering::Relaxed);
        }
        done
    }

    fn local_address(&self) -> Result<Vec<u8>> {
        host::socket::local_address(self.fd())
    }

    fn peer_address(&self) -> Result<Vec<u8>> {
        host::socket::peer_address(self.fd())
    }

    fn take_error(&self) -> Option<Errno> {
        let value = host::socket::option(self.fd(), SOL_SOCKET, so::ERROR, 4).ok()?;
        let errno = i32::from_ne_bytes(*value.first_chunk()?);
        (errno != 0).then(|| Errno::from_raw(errno))
    }

    fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }

    fn get_option(&self, _task: &Task, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
        Some(options::get(self.fd(), level, name))
    }

    fn set_option(&self, _task: &Task, level: i32, name: i32, value: &[u8]) -> Option<Result<()>> {
        // Called for the options that the sentry keeps as well.
        if level == SOL_SOCKET && self.options.get(name).is_some() {
            return Some(options::apply_common(self.fd(), name, value, self.options.linger()));
        }
        Some(options::set(self.fd(), level, name, value))
    }
}
