//! A packet socket as a file.
//!
//! With a ring, what arrives is moved into the ring's frames as soon as it is there, and where those are all the
//! guest's, when the guest next asks. Lock: `ring`, held while frames are moved; the stack's own locks come after it.

use std::sync::{Arc, Weak};

use abi::fcntl::ioctl::FIONREAD;
use abi::socket::{MsgFlags, SOL_PACKET, SOL_SOCKET, SocketType, so};
use abi::{Errno, Result, UserAddr};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc, Mappable};
use kernel::socket::{
    ControlMessage, Received, RecvRequest, SendRequest, ShutdownHow, Socket, SocketOptions,
};
use kernel::task::UserNamespace;
use kernel::vfs::{File, FileOps, WriteAt};
use netstack::{LinkAddr, Observer, PacketSocket, Readiness, RecvFlags};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::ring::{Frame, Ring};
use super::{address, options};
use crate::filter;
use crate::inet::{GuestSink, GuestSource, NetNamespace, errno, interface_ioctl, time_stamp};

/// The longest frame: a segment with all its headers.
const FRAME_MAX: usize = (64 << 10) + 64;

/// A packet socket.
pub(super) struct PacketFile {
    shared: Arc<Shared>,
    kind: SocketType,
    protocol: u16,
    options: SocketOptions,
    net: Arc<NetNamespace>,
    may_write: bool,
}

/// What the stack's reports reach.
pub(super) struct Shared {
    pub(super) socket: PacketSocket,
    pub(super) settings: Mutex<options::Settings>,
    ring: Mutex<Option<Ring>>,
    queue: WaitQueue,
    is_cooked: bool,
}

impl PacketFile {
    pub(super) fn create(
        socket: PacketSocket,
        kind: SocketType,
        net: Arc<NetNamespace>,
        may_write: bool,
    ) -> Arc<Self> {
        let protocol = socket.local_addr().protocol;
        let is_cooked = kind == SocketType::Datagram;
        let shared = Arc::new(Shared {
            socket,
            settings: Mutex::default(),
            ring: Mutex::new(None),
            queue: WaitQueue::new(),
            is_cooked,
        });
        let observer: Weak<Shared> = Arc::downgrade(&shared);
        shared.socket.set_observer(observer);
        Arc::new(Self { shared, kind, protocol, options: SocketOptions::default(), net, may_write })
    }

    fn send_bytes(&self, data: &mut IoSrc<'_>, to: Option<&LinkAddr>) -> Result<usize> {
        if !self.may_write {
            return Err(Errno::EPERM);
        }
        self.shared.socket.send(&mut GuestSource(data), to).map_err(errno)
    }

    fn receive_bytes(&self, data: &mut IoDst<'_>, flags: MsgFlags) -> Result<netstack::Received> {
        let flags = RecvFlags::from_bits_truncate(flags.bits());
        self.shared.socket.recv(&mut GuestSink(data), flags).map_err(errno)
    }

    fn control(&self, got: &netstack::Received) -> Vec<ControlMessage> {
        let mut messages = Vec::new();
        let mut add = |level, kind, data| messages.push(ControlMessage::Raw { level, kind, data });
        let form = self.shared.socket.options(|all| all.base.timestamps);
        if let Some((kind, data)) = time_stamp(form, &got.info) {
            add(SOL_SOCKET, kind, data);
        }
        if self.shared.settings.lock().aux_data {
            let header = if self.shared.is_cooked { 0 } else { self.header_len(got.link.as_ref()) };
            add(SOL_PACKET, options::AUXDATA, options::aux_data(got, header));
        }
        messages
    }

    fn header_len(&self, link: Option<&LinkAddr>) -> usize {
        link.map_or(0, header_of)
    }
}

/// Bytes of the header of a link's frames.
fn header_of(link: &LinkAddr) -> usize {
    const ARPHRD_NONE: u16 = 0xfffe;
    if link.hardware == ARPHRD_NONE { 0 } else { 14 }
}

impl Shared {
    /// Makes the ring, or with `None` does away with it.
    pub(super) fn set_ring(&self, ring: Option<Ring>) {
        *self.ring.lock() = ring;
        self.fill();
    }

    /// Moves what has arrived into the ring, as far as it has room.
    fn fill(&self) {
        let mut slot = self.ring.lock();
        let Some(ring) = slot.as_mut() else { return };
        let reserve = self.settings.lock().reserve;
        let mut data = Vec::new();
        while ring.has_room() && self.socket.next_len() > 0 {
            data.resize(FRAME_MAX, 0);
            let Ok(got) = self.socket.recv(&mut &mut data[..], RecvFlags::empty()) else { return };
            let link = got.link.unwrap_or_default();
            let header = if self.is_cooked { 0 } else { header_of(&link) };
            let stamp_ns = got.info.stamp_ns;
            let frame = Frame { data: &data[..got.copied], len: got.full_len, header, link, stamp_ns };
            if ring.put(&frame, reserve).is_err() {
                return;
            }
        }
    }

    fn events(&self) -> Events {
        self.fill();
        let mut events = crate::inet::events(self.socket.readiness());
        if let Some(ring) = &*self.ring.lock() {
            events.set(Events::IN | Events::RDNORM, ring.has_frames());
        }
        events
    }
}

impl Observer for Shared {
    fn ready(&self, bits: Readiness) {
        self.fill();
        self.queue.notify(crate::inet::events(bits));
    }
}

impl FileOps for PacketFile {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.receive_bytes(dst, MsgFlags::empty()).map(|received| received.copied)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        self.send_bytes(src, None).map(|count| (count, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        self.shared.events()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        if command != FIONREAD {
            return interface_ioctl(task, &self.net, command, arg);
        }
        let len = i32::try_from(self.shared.socket.next_len()).unwrap_or(i32::MAX);
        task.mm().write_object(UserAddr(arg), &len)?;
        Ok(0)
    }

    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        let ring = self.shared.ring.lock();
        ring.as_ref().map(|ring| ring.pages() as Arc<dyn Mappable>).ok_or(Errno::EINVAL)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for PacketFile {
    fn family(&self) -> u16 {
        abi::socket::AF_PACKET
    }

    fn socket_type(&self) -> SocketType {
        self.kind
    }

    fn protocol(&self) -> i32 {
        i32::from(self.protocol.to_be())
    }

    fn options(&self) -> &SocketOptions {
        &self.options
    }

    fn network_owner(&self) -> Option<&Arc<UserNamespace>> {
        Some(self.net.user_ns())
    }

    fn set_inode(&self, inode: u64) {
        self.shared.socket.set_options(|all| all.base.inode = inode as u32);
    }

    fn bind(&self, _task: &Task, address: &[u8]) -> Result<()> {
        let address = address::parse(address)?;
        self.shared.socket.bind(address.interface, address.protocol).map_err(errno)
    }

    fn connect(&self, _task: &Task, _address: &[u8]) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn send(&self, _task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        let to = request.address.map(address::parse).transpose()?;
        self.send_bytes(request.data, to.as_ref())
    }

    fn receive(&self, _task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        let got = self.receive_bytes(request.data, request.flags)?;
        let mut received = Received { len: got.copied, control: self.control(&got), ..Received::default() };
        if request.flags.contains(MsgFlags::TRUNC) {
            received.len = got.full_len;
        }
        received.flags.set(MsgFlags::TRUNC, got.is_truncated());
        received.address = got.link.as_ref().map(address::encode).unwrap_or_default();
        Ok(received)
    }

    fn shutdown(&self, _how: ShutdownHow) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_address(&self) -> Result<Vec<u8>> {
        Ok(address::encode(&self.shared.socket.local_addr()))
    }

    fn peer_address(&self) -> Result<Vec<u8>> {
        Err(Errno::EOPNOTSUPP)
    }

    fn take_error(&self) -> Option<Errno> {
        self.shared.socket.take_error().map(errno)
    }

    fn get_option(&self, _task: &Task, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
        match (level, name) {
            (SOL_SOCKET, so::ATTACH_FILTER) => {
                Some(Ok(self.shared.socket.read_options(|all| filter::encode(all.base.filter.as_deref()))))
            }
            (SOL_PACKET, _) => Some(options::get(&self.shared, name)),
            _ => None,
        }
    }

    fn get_option_for(&self, task: &Task, level: i32, name: i32, given: &[u8]) -> Option<Result<Vec<u8>>> {
        if (level, name) == (SOL_PACKET, options::HDRLEN) {
            return Some(options::header_len(given));
        }
        self.get_option(task, level, name)
    }

    fn set_option(&self, task: &Task, level: i32, name: i32, value: &[u8]) -> Option<Result<()>> {
        let socket = &self.shared.socket;
        match (level, name) {
            (SOL_SOCKET, so::ATTACH_FILTER) => Some(
                filter::read(task, value)
                    .map(|filter| socket.set_options(|all| all.base.filter = Some(filter))),
            ),
            (SOL_SOCKET, so::DETACH_FILTER) => {
                let old = socket.set_options(|all| all.base.filter.take());
                Some(old.map(drop).ok_or(Errno::ENOENT))
            }
            (SOL_SOCKET, _) => {
                let options = &self.options;
                let config = self.net.stack().config();
                socket.set_options(|all| {
                    all.base.timestamps = crate::inet::timestamps(options);
                    if options.is_receive_buffer_locked() {
                        let size = i32::try_from(options.receive_buffer() / 2).unwrap_or(i32::MAX);
                        all.base.set_rcv_buf(size, &config);
                    }
                });
                Some(Ok(())).filter(|_| options.get(name).is_some())
            }
            (SOL_PACKET, _) => Some(options::set(task, &self.shared, name, value)),
            _ => None,
        }
    }
}
