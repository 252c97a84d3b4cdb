//! The stack's sockets under one roof: what the file needs is the same for all of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Weak;

use abi::socket::SocketType;
use netstack::{
    DatagramSocket, Family, Observer, Options, PingSocket, RawSocket, Readiness, Received, RecvFlags, Result,
    SendMeta, Shutdown, Sink, Source, TcpSocket, UdpSocket,
};
use parking_lot::Mutex;

/// A socket of the stack.
#[derive(Debug)]
pub(super) enum AnySocket {
    Tcp(TcpSocket),
    Udp(UdpSocket),
    Ping(PingSocket),
    Raw(RawSocket),
}

/// The same call on whichever it is.
macro_rules! each {
    ($any:expr, $socket:ident => $call:expr) => {
        match $any {
            AnySocket::Tcp($socket) => $call,
            AnySocket::Udp($socket) => $call,
            AnySocket::Ping($socket) => $call,
            AnySocket::Raw($socket) => $call,
        }
    };
}

/// A socket of the stack with what it was made as.
#[derive(Debug)]
pub(super) struct InetSocket {
    pub(super) any: AnySocket,
    pub(super) family: Family,
    /// `SO_PROTOCOL`.
    pub(super) protocol: i32,
    /// Options (level, name) that are switched on and do nothing. A leaf lock.
    kept: Mutex<BTreeSet<(i32, i32)>>,
}

impl InetSocket {
    pub(super) fn new(any: AnySocket, family: Family, protocol: i32) -> Self {
        Self { any, family, protocol, kept: Mutex::default() }
    }

    /// Whether an option that does nothing is on.
    pub(super) fn keeps(&self, level: i32, name: i32) -> bool {
        self.kept.lock().contains(&(level, name))
    }

    /// Switches an option that does nothing on or off.
    pub(super) fn keep(&self, level: i32, name: i32, is_on: bool) {
        let mut kept = self.kept.lock();
        if is_on {
            kept.insert((level, name));
        } else {
            kept.remove(&(level, name));
        }
    }

    pub(super) fn kind(&self) -> SocketType {
        match self.any {
            AnySocket::Tcp(_) => SocketType::Stream,
            AnySocket::Udp(_) | AnySocket::Ping(_) => SocketType::Datagram,
            AnySocket::Raw(_) => SocketType::Raw,
        }
    }

    /// The socket where it is TCP's.
    pub(super) fn tcp(&self) -> Option<&TcpSocket> {
        match &self.any {
            AnySocket::Tcp(socket) => Some(socket),
            _ => None,
        }
    }

    /// The socket where it is one of datagrams.
    pub(super) fn datagrams(&self) -> Option<&DatagramSocket> {
        match &self.any {
            AnySocket::Tcp(_) => None,
            AnySocket::Udp(socket) => Some(socket),
            AnySocket::Ping(socket) => Some(socket),
            AnySocket::Raw(socket) => Some(socket),
        }
    }

    /// Whether its addresses have ports that somebody may have to be privileged for.
    pub(super) fn has_ports(&self) -> bool {
        matches!(self.any, AnySocket::Tcp(_) | AnySocket::Udp(_))
    }

    pub(super) fn read<R>(&self, f: impl FnOnce(&Options) -> R) -> R {
        each!(&self.any, socket => socket.options(f))
    }

    pub(super) fn change<R>(&self, f: impl FnOnce(&mut Options) -> R) -> R {
        each!(&self.any, socket => socket.set_options(f))
    }

    pub(super) fn set_observer(&self, observer: Weak<dyn Observer>) {
        each!(&self.any, socket => socket.set_observer(observer));
    }

    pub(super) fn readiness(&self) -> Readiness {
        each!(&self.any, socket => socket.readiness())
    }

    pub(super) fn bind(&self, address: SocketAddr) -> Result<()> {
        each!(&self.any, socket => socket.bind(address))
    }

    pub(super) fn connect(&self, address: SocketAddr) -> Result<()> {
        each!(&self.any, socket => socket.connect(address))
    }

    pub(super) fn disconnect(&self) {
        each!(&self.any, socket => socket.disconnect());
    }

    pub(super) fn send(&self, source: &mut dyn Source, meta: &SendMeta) -> Result<usize> {
        match &self.any {
            AnySocket::Tcp(socket) => socket.send(source, meta.flags),
            AnySocket::Udp(socket) => socket.send(source, meta),
            AnySocket::Ping(socket) => socket.send(source, meta),
            AnySocket::Raw(socket) => socket.send(source, meta),
        }
    }

    pub(super) fn recv(&self, sink: &mut dyn Sink, flags: RecvFlags) -> Result<Received> {
        each!(&self.any, socket => socket.recv(sink, flags))
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> Result<()> {
        each!(&self.any, socket => socket.shutdown(how))
    }

    pub(super) fn local_addr(&self) -> SocketAddr {
        each!(&self.any, socket => socket.local_addr())
    }

    pub(super) fn peer_addr(&self) -> Result<SocketAddr> {
        each!(&self.any, socket => socket.peer_addr())
    }

    pub(super) fn take_error(&self) -> Option<netstack::Error> {
        each!(&self.any, socket => socket.take_error())
    }

    /// Readable bytes (of the next datagram), and bytes not yet sent.
    pub(super) fn queues(&self) -> (usize, usize) {
        each!(&self.any, socket => socket.queues())
    }
}
