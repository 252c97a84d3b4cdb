//! The netlink socket as a file.
//!
//! Lock: `state`; inside it only the table of ports is locked.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::fcntl::ioctl::FIONREAD;
use abi::netlink::{NLM_F_ACK, NLM_F_REQUEST, NLMSG_MIN_TYPE};
use abi::socket::{AF_NETLINK, MsgFlags, SOL_SOCKET, SocketType, so};
use abi::{Errno, Result};
use bpf::Program;
use host::heap::{self, Purpose};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::socket::{
    ControlMessage, Received, RecvRequest, SendRequest, ShutdownHow, Socket, SocketOptions,
};
use kernel::task::{Credentials, UserNamespace, is_current_killed};
use kernel::vfs::{File, FileOps, WriteAt};
use netstack::View;
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::message::{Replies, Requests};
use super::{Context, Protocol, diag, generic, netfilter, route};
use crate::bytes::{half, word};
use crate::filter;
use crate::inet::NetNamespace;

const SOL_NETLINK: i32 = 270;
const NETLINK_ADD_MEMBERSHIP: i32 = 1;
const NETLINK_DROP_MEMBERSHIP: i32 = 2;
const NETLINK_PKTINFO: i32 = 3;
const NETLINK_LIST_MEMBERSHIPS: i32 = 9;
const NETLINK_CAP_ACK: i32 = 10;
/// Switches that are kept: broadcast errors, no ENOBUFS, listening in all name spaces, long error replies, strict checks.
const SWITCHES: &[i32] = &[NETLINK_PKTINFO, 4, 5, 8, NETLINK_CAP_ACK, 11, 12];
/// The largest request.
const REQUEST_MAX: usize = 64 << 10;
/// The largest batch of changes to packet filters.
const BATCH_MAX: usize = 4 << 20;
/// Groups are numbered from 1; these are kept.
const GROUPS: u32 = 64;

/// A received datagram.
#[derive(Clone, Debug)]
struct Datagram {
    /// The group that it was sent to; 0 for a reply.
    group: u32,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    /// The number that `/proc` shows.
    inode: u64,
    /// 0 while not bound.
    port: u32,
    /// Bit *n*: member of group *n* + 1.
    groups: u64,
    /// Bit *n*: option *n* of [`SWITCHES`] is on.
    switches: u32,
    queue: VecDeque<Datagram>,
    bytes: usize,
    /// A change did not fit and was lost: told once, as `ENOBUFS`.
    overrun: bool,
    /// Which messages the socket wants, and how much of each.
    filter: Option<Arc<Program>>,
}

impl State {
    /// Queues what the socket's filter leaves of `datagram`.
    fn queue(&mut self, mut datagram: Datagram) {
        if let Some(filter) = &self.filter {
            match (View { data: &datagram.bytes, ..View::default() }).kept_by(filter) {
                0 => return,
                len => datagram.bytes.truncate(len),
            }
        }
        self.bytes += datagram.bytes.len();
        self.queue.push_back(datagram);
    }
}

/// What others see of a socket.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) kind: SocketType,
    pub(super) protocol: i32,
    pub(super) port: u32,
    pub(super) groups: u64,
    /// Bytes that wait to be read.
    bytes: usize,
    pub(super) inode: u64,
}

impl Shown {
    /// A line of `/proc/net/netlink`.
    pub(super) fn line(&self) -> String {
        format!(
            "0000000000000000 {:<3} {:<10} {:08x} {:<8} 0        0     2        0        {}\n",
            self.protocol, self.port, self.groups as u32, self.bytes, self.inode,
        )
    }
}

/// A netlink socket.
#[derive(Debug)]
pub(crate) struct NetlinkSocket {
    net: Arc<NetNamespace>,
    opener: Arc<Credentials>,
    kind: SocketType,
    protocol: Protocol,
    options: SocketOptions,
    waiters: WaitQueue,
    state: Mutex<State>,
}

impl NetlinkSocket {
    pub(super) fn create(
        net: Arc<NetNamespace>,
        opener: Arc<Credentials>,
        kind: SocketType,
        protocol: Protocol,
    ) -> Arc<Self> {
        let socket = Arc::new(Self {
            net: Arc::clone(&net),
            opener,
            kind,
            protocol,
            options: SocketOptions::default(),
            waiters: WaitQueue::new(),
            state: Mutex::default(),
        });
        net.netlink().add(&socket);
        socket
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) fn is_member(&self, group: u32) -> bool {
        self.state.lock().groups & group_bit(group) != 0
    }

    /// What `/proc/net/netlink` and sock_diag show of it.
    pub(super) fn shown(&self) -> Shown {
        let state = self.state.lock();
        Shown {
            kind: self.kind,
            protocol: self.protocol.raw(),
            port: state.port,
            groups: state.groups,
            bytes: state.bytes,
            inode: state.inode,
        }
    }

    /// Queues a message to a group; one that does not fit is lost.
    pub(super) fn hear(&self, group: u32, bytes: &[u8]) {
        let mut state = self.state.lock();
        let has_memory = heap::room_for(bytes.len() as u64, Purpose::Process).is_ok();
        if state.bytes + bytes.len() > self.options.receive_buffer() || !has_memory {
            state.overrun = true;
        } else {
            state.queue(Datagram { group, bytes: bytes.to_vec() });
        }
        drop(state);
        self.waiters.notify(Events::READABLE);
    }

    /// The port, taken at first use: the process id where it is free, as in Linux a number that no process has otherwise.
    fn bound_port(&self, task: &Task) -> u32 {
        let mut state = self.state.lock();
        self.take_port(task, &mut state)
    }

    fn take_port(&self, task: &Task, state: &mut State) -> u32 {
        if state.port == 0 {
            let wanted = task.thread_group().tgid().cast_unsigned();
            state.port = self.net.netlink().claim_any(self.protocol, wanted);
        }
        state.port
    }

    fn is_switched(&self, name: i32) -> bool {
        let at = SWITCHES.iter().position(|switch| *switch == name);
        at.is_some_and(|at| self.state.lock().switches & 1 << at != 0)
    }

    /// Answers the requests in a datagram. Who asks on without reading loses answers, and hears of it (`ENOBUFS`).
    fn answer(&self, task: &Task, bytes: &[u8], opener: Option<&Credentials>) {
        let port = self.bound_port(task);
        let context = Context { task, net: &self.net, opener };
        let is_capped = self.is_switched(NETLINK_CAP_ACK);
        if self.protocol == Protocol::Netfilter && netfilter::is_batch(bytes) {
            netfilter::batch(&context, bytes, |request, outcome| {
                let mut replies = Replies::to(port, request.seq);
                replies.outcome(request, outcome, is_capped);
                if self.has_room() {
                    self.queue_replies(replies);
                }
            });
            return self.waiters.notify(Events::READABLE);
        }
        for request in Requests(bytes) {
            if !request.has(NLM_F_REQUEST) || request.kind < NLMSG_MIN_TYPE {
                continue;
            }
            if is_current_killed() || !self.has_room() {
                break;
            }
            let empty = || Replies::to(port, request.seq);
            // A dump is as long as what it shows. Linux tells it piece by piece as it is read, so that the receive
            // buffer does not limit it; memory does.
            let mut replies = if request.is_dump() { empty() } else { empty().within(self.room()) };
            let outcome = match self.protocol {
                Protocol::Route => route::answer(&context, &request, &mut replies),
                Protocol::SocketDiag => diag::answer(&context, &request, &mut replies),
                Protocol::Netfilter => netfilter::answer(&context, &request, &mut replies),
                Protocol::Generic => generic::answer(&request, &mut replies),
                Protocol::Uevent => Err(Errno::EOPNOTSUPP),
            };
            let outcome = outcome.and_then(|()| replies.check());
            if replies.check().is_err() {
                // Half of an answer is none.
                replies = empty();
            }
            // The end of a dump is its acknowledgement.
            if outcome.is_err() || request.has(NLM_F_ACK) && !request.is_dump() {
                replies.outcome(&request, outcome, is_capped);
            }
            self.queue_replies(replies);
        }
        self.waiters.notify(Events::READABLE);
    }

    /// Bytes that the receive buffer still takes.
    fn room(&self) -> usize {
        self.options.receive_buffer().saturating_sub(self.state.lock().bytes)
    }

    /// Whether another request can be answered. The last message may reach beyond the receive buffer, and a dump may.
    fn has_room(&self) -> bool {
        let mut state = self.state.lock();
        let is_full = state.bytes > self.options.receive_buffer();
        state.overrun |= is_full;
        !is_full
    }

    fn queue_replies(&self, replies: Replies) {
        let mut state = self.state.lock();
        let Ok(datagrams) = replies.finish() else {
            state.overrun = true;
            return;
        };
        for bytes in datagrams {
            state.queue(Datagram { group: 0, bytes });
        }
    }

    fn send_bytes(&self, task: &Task, data: &mut IoSrc<'_>, address: Option<&[u8]>) -> Result<usize> {
        let address = address.filter(|address| !address.is_empty());
        if let Some(address) = address {
            let (port, groups) = parse_address(address)?;
            if port != 0 || groups != 0 {
                // Messages between processes: only the kernel speaks here.
                return Err(if groups != 0 { Errno::EPERM } else { Errno::ECONNREFUSED });
            }
        }
        let len = data.remaining();
        let max = if self.protocol == Protocol::Netfilter { BATCH_MAX } else { REQUEST_MAX };
        if len > max {
            return Err(Errno::EMSGSIZE);
        }
        heap::room_for(len as u64, Purpose::Process).map_err(|_| Errno::ENOBUFS)?;
        let mut bytes = vec![0; len];
        data.take(&mut bytes)?;
        self.answer(task, &bytes, if address.is_none() { Some(&*self.opener) } else { None });
        Ok(len)
    }

    fn receive_datagram(&self, data: &mut IoDst<'_>, flags: MsgFlags) -> Result<Received> {
        let tells_group = self.is_switched(NETLINK_PKTINFO);
        let mut state = self.state.lock();
        if std::mem::take(&mut state.overrun) {
            return Err(Errno::ENOBUFS);
        }
        let datagram = if flags.contains(MsgFlags::PEEK) {
            state.queue.front().cloned()
        } else {
            state.queue.pop_front()
        };
        let Datagram { group, bytes } = datagram.ok_or(Errno::EAGAIN)?;
        let full = bytes.len();
        if !flags.contains(MsgFlags::PEEK) {
            state.bytes -= full;
        }
        // Guest memory may have to be fetched: not under a lock.
        drop(state);
        let room = data.remaining().min(full);
        data.put(&bytes[..room])?;
        let mut received = Received {
            len: if flags.contains(MsgFlags::TRUNC) { full } else { room },
            address: encode_address(0, group_bit(group) as u32),
            ..Received::default()
        };
        received.flags.set(MsgFlags::TRUNC, room < full);
        if tells_group {
            let data = group.to_ne_bytes().to_vec();
            received.control.push(ControlMessage::Raw { level: SOL_NETLINK, kind: NETLINK_PKTINFO, data });
        }
        Ok(received)
    }

    fn change_membership(&self, group: u32, joins: bool) -> Result<()> {
        if !(1..=GROUPS).contains(&group) {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state.lock();
        if joins {
            state.groups |= group_bit(group);
        } else {
            state.groups &= !group_bit(group);
        }
        Ok(())
    }
}

impl Drop for NetlinkSocket {
    fn drop(&mut self) {
        let port = self.state.get_mut().port;
        if port != 0 {
            self.net.netlink().release(self.protocol, port);
        }
    }
}

/// The bit of a group; none for what is no group.
fn group_bit(group: u32) -> u64 {
    group.checked_sub(1).and_then(|at| 1u64.checked_shl(at)).unwrap_or(0)
}

/// (port, groups) of a `sockaddr_nl`.
fn parse_address(bytes: &[u8]) -> Result<(u32, u32)> {
    if bytes.len() < 12 || half(bytes, 0) != Some(AF_NETLINK) {
        return Err(Errno::EINVAL);
    }
    word(bytes, 4).zip(word(bytes, 8)).ok_or(Errno::EINVAL)
}

fn encode_address(port: u32, groups: u32) -> Vec<u8> {
    [&AF_NETLINK.to_ne_bytes()[..], &[0, 0], &port.to_ne_bytes(), &groups.to_ne_bytes()].concat()
}

impl FileOps for NetlinkSocket {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.receive_datagram(dst, MsgFlags::empty()).map(|received| received.len)
    }

    fn write(&self, task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        self.send_bytes(task, src, None).map(|count| (count, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let state = self.state.lock();
        let mut events = Events::WRITABLE;
        events.set(Events::READABLE, !state.queue.is_empty() || state.overrun);
        events.set(Events::ERR, state.overrun);
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.waiters)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        if command != FIONREAD {
            return crate::inet::interface_ioctl(task, &self.net, command, arg);
        }
        let len = self.state.lock().queue.front().map_or(0, |datagram| datagram.bytes.len());
        task.mm().write_object(abi::UserAddr(arg), &i32::try_from(len).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn socket(&self) -> Option<&dyn Socket> {
        Some(self)
    }
}

impl Socket for NetlinkSocket {
    fn family(&self) -> u16 {
        AF_NETLINK
    }

    fn socket_type(&self) -> SocketType {
        self.kind
    }

    fn protocol(&self) -> i32 {
        self.protocol.raw()
    }

    fn options(&self) -> &SocketOptions {
        &self.options
    }

    fn network_owner(&self) -> Option<&Arc<UserNamespace>> {
        Some(self.net.user_ns())
    }

    fn set_inode(&self, inode: u64) {
        self.state.lock().inode = inode;
    }

    fn bind(&self, task: &Task, address: &[u8]) -> Result<()> {
        let (port, groups) = parse_address(address)?;
        let mut state = self.state.lock();
        match (state.port, port) {
            (0, 0) => {
                self.take_port(task, &mut state);
            }
            (0, port) if self.net.netlink().claim(self.protocol, port) => state.port = port,
            (0, _) => return Err(Errno::EADDRINUSE),
            (own, port) if own != port => return Err(Errno::EINVAL),
            _ => {}
        }
        state.groups = state.groups & !u64::from(u32::MAX) | u64::from(groups);
        Ok(())
    }

    fn connect(&self, task: &Task, address: &[u8]) -> Result<()> {
        // The kernel is the only peer; AF_UNSPEC goes back to it as well.
        if half(address, 0) != Some(0) && parse_address(address)? != (0, 0) {
            return Err(Errno::EPERM);
        }
        self.bound_port(task);
        Ok(())
    }

    fn send(&self, task: &Task, request: &mut SendRequest<'_, '_>) -> Result<usize> {
        if request.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.send_bytes(task, request.data, request.address)
    }

    /// A message of the kernel's, without a header of its own (mq_notify(2)).
    fn deliver_from_kernel(&self, message: &[u8]) {
        self.hear(0, message);
    }

    fn receive(&self, _task: &Task, request: &mut RecvRequest<'_, '_>) -> Result<Received> {
        self.receive_datagram(request.data, request.flags)
    }

    fn shutdown(&self, _how: ShutdownHow) -> Result<()> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_address(&self) -> Result<Vec<u8>> {
        let state = self.state.lock();
        Ok(encode_address(state.port, state.groups as u32))
    }

    fn peer_address(&self) -> Result<Vec<u8>> {
        Ok(encode_address(0, 0))
    }

    fn get_option(&self, _task: &Task, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
        match (level, name) {
            (SOL_NETLINK, _) => {}
            (SOL_SOCKET, so::ATTACH_FILTER) => {
                return Some(Ok(filter::encode(self.state.lock().filter.as_deref())));
            }
            _ => return None,
        }
        Some(match name {
            NETLINK_LIST_MEMBERSHIPS => Ok(self.state.lock().groups.to_ne_bytes().to_vec()),
            _ if SWITCHES.contains(&name) => Ok(i32::from(self.is_switched(name)).to_ne_bytes().to_vec()),
            _ => Err(Errno::ENOPROTOOPT),
        })
    }

    fn set_option(&self, task: &Task, level: i32, name: i32, value: &[u8]) -> Option<Result<()>> {
        match (level, name) {
            (SOL_NETLINK, _) => {}
            (SOL_SOCKET, so::ATTACH_FILTER) => {
                return Some(filter::read(task, value).map(|filter| self.state.lock().filter = Some(filter)));
            }
            (SOL_SOCKET, so::DETACH_FILTER) => {
                return Some(self.state.lock().filter.take().map(drop).ok_or(Errno::ENOENT));
            }
            _ => return None,
        }
        let Some(value) = word(value, 0) else { return Some(Err(Errno::EINVAL)) };
        Some(match (name, SWITCHES.iter().position(|switch| *switch == name)) {
            (NETLINK_ADD_MEMBERSHIP | NETLINK_DROP_MEMBERSHIP, _) => {
                self.change_membership(value, name == NETLINK_ADD_MEMBERSHIP)
            }
            (_, Some(at)) => {
                let mut state = self.state.lock();
                state.switches = state.switches & !(1 << at) | u32::from(value != 0) << at;
                Ok(())
            }
            _ => Err(Errno::ENOPROTOOPT),
        })
    }
}
