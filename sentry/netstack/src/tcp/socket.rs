//! TCP sockets as their owner uses them. man 7 tcp; the order of checks is Linux's.

use super::conn::Connection;
use super::info::TcpInfo;
use super::listen::{Listener, Waiting};
use super::local::LocalEnd;
use super::state::TcpState;
use super::table::PortUser;
use crate::base::addr::{Endpoint, Family, to_user};
use crate::base::error::{Error, Result};
use crate::base::io::{Sink, Source};
use crate::base::ready::{Observer, ObserverSlot, Readiness};
use crate::core::Core;
use crate::socket::Shutdown;
use crate::socket::message::{Received, RecvFlags, SendFlags};
use crate::socket::options::Options;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// A TCP socket, connected or listening. Dropping it closes it.
#[derive(Debug)]
pub struct TcpSocket {
    pub(super) core: Arc<TcpCore>,
}

/// The socket as the stack knows it.
#[derive(Debug)]
pub(crate) struct TcpCore {
    pub(crate) stack: Arc<Core>,
    pub(crate) id: u64,
    pub(crate) family: Family,
    pub(crate) events: ObserverSlot,
    /// Who has the socket; 0 while that is not known.
    pub(super) owner: AtomicU64,
    pub(crate) inner: Mutex<Inner>,
    /// Keeps readers of a connection over packets in order.
    pub(super) reader: Mutex<()>,
    /// Keeps its writers in order.
    pub(super) writer: Mutex<()>,
}

/// `sock->state`: what connect(2) has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Unconnected,
    Connecting,
    Connected,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) options: Options,
    /// Bound or connected address; port 0 while there is none.
    pub(crate) local: Endpoint,
    pub(crate) peer: Option<Endpoint>,
    /// The address was given to bind(2).
    pub(crate) is_ip_bound: bool,
    /// The socket has an entry of its own in the port table.
    pub(crate) is_port_bound: bool,
    /// The connection's claim on a port that is not bound.
    pub(crate) user: Option<PortUser>,
    pub(crate) phase: Phase,
    pub(crate) role: Role,
    pub(crate) error: Option<Error>,
    pub(crate) shut_read: bool,
    pub(crate) shut_write: bool,
}

/// What the socket is at the moment.
#[derive(Debug)]
pub(crate) enum Role {
    /// Neither listening nor connected.
    Idle,
    Listening(Listener),
    /// Waits for room in the queue of a listener of this stack.
    Waiting(Waiting),
    /// Connected to a socket of this stack.
    Local(LocalEnd),
    /// Connected over packets, or trying to.
    Net(Box<Connection>),
}

impl TcpCore {
    pub(crate) fn new(stack: &Arc<Core>, family: Family, options: Options) -> Self {
        let inner = Inner {
            options,
            local: Endpoint::any(family),
            peer: None,
            is_ip_bound: false,
            is_port_bound: false,
            user: None,
            phase: Phase::Unconnected,
            role: Role::Idle,
            error: None,
            shut_read: false,
            shut_write: false,
        };
        Self {
            stack: Arc::clone(stack),
            id: stack.new_id(),
            family,
            events: ObserverSlot::default(),
            owner: AtomicU64::new(0),
            inner: Mutex::new(inner),
            reader: Mutex::new(()),
            writer: Mutex::new(()),
        }
    }

    /// The connection within the stack, if that is what the socket has. Data calls work on it without the
    /// socket's lock.
    pub(super) fn local_end(&self) -> Option<(LocalEnd, bool)> {
        let inner = self.inner.lock();
        match &inner.role {
            Role::Local(end) => Some((end.clone(), inner.options.base.oob_inline)),
            _ => None,
        }
    }

    /// For `/proc/net/tcp` and sock_diag.
    pub(crate) fn summary(&self) -> crate::socket::SocketSummary {
        let inner = self.inner.lock();
        let state = inner.state();
        let (recv_queue, send_queue) = match &inner.role {
            Role::Listening(listener) => (listener.ready.len(), listener.backlog as usize),
            Role::Local(end) => end.queues(inner.options.base.oob_inline),
            Role::Net(conn) => conn.queues(&inner.options),
            Role::Idle | Role::Waiting(_) => (0, 0),
        };
        crate::socket::SocketSummary {
            id: self.id,
            family: self.family,
            local: to_user(self.family, inner.local, 0),
            peer: inner.peer.map(|peer| to_user(self.family, peer, 0)),
            state: state as u8,
            send_queue,
            recv_queue,
            uid: inner.options.base.uid,
            inode: inner.options.base.inode,
        }
    }
}

impl Inner {
    pub(crate) fn state(&self) -> TcpState {
        match &self.role {
            Role::Idle => TcpState::Closed,
            Role::Listening(_) => TcpState::Listen,
            Role::Waiting(_) => TcpState::SynSent,
            Role::Local(end) => end.state(),
            Role::Net(conn) => conn.state,
        }
    }

    /// Takes the pending error from wherever it is.
    pub(crate) fn take_error(&mut self) -> Option<Error> {
        match &mut self.role {
            Role::Local(end) => self.error.take().or_else(|| end.take_error()),
            Role::Net(conn) => self.error.take().or_else(|| conn.error.take()),
            _ => self.error.take(),
        }
    }
}

impl TcpSocket {
    pub(crate) fn new(stack: &Arc<Core>, family: Family) -> Self {
        let options = Options::new(&stack.config(), true);
        Self { core: Arc::new(TcpCore::new(stack, family, options)) }
    }

    pub(crate) const fn from_core(core: Arc<TcpCore>) -> Self {
        Self { core }
    }

    /// A number that identifies the socket in its stack.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.core.id
    }

    /// The socket's family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.core.family
    }

    /// Sets who hears of readiness; the first call counts.
    pub fn set_observer(&self, observer: Weak<dyn Observer>) {
        self.core.events.set(observer);
    }

    /// sendmsg(2): as much as fits now. `EPIPE` is for the caller to accompany with a signal.
    ///
    /// # Errors
    /// [`Error::Again`], [`Error::Pipe`], what sendmsg(2) says otherwise, and what has happened to the connection.
    pub fn send(&self, source: &mut dyn Source, flags: SendFlags) -> Result<usize> {
        if let Some((end, _)) = self.core.local_end() {
            return end.send(&self.core.stack, source, flags);
        }
        if let Some(sent) = self.core.send_net(source, flags) {
            return sent;
        }
        let mut inner = self.core.inner.lock();
        let refusal = match &inner.role {
            Role::Waiting(_) if !inner.shut_write => Error::Again,
            _ => Error::Pipe,
        };
        Err(inner.error.take().unwrap_or(refusal))
    }

    /// recvmsg(2): what there is now. Zero bytes into a sink with room mean the end of the stream.
    ///
    /// # Errors
    /// [`Error::Again`], [`Error::NotConnected`], [`Error::Invalid`] where no urgent data is there, and what has
    /// happened to the connection.
    pub fn recv(&self, sink: &mut dyn Sink, flags: RecvFlags) -> Result<Received> {
        if flags.contains(RecvFlags::ERRQUEUE) {
            return Err(Error::Again);
        }
        if let Some((end, inline)) = self.core.local_end() {
            return end.recv(&self.core.stack, sink, flags, inline);
        }
        if let Some(received) = self.core.recv_net(sink, flags) {
            return received;
        }
        let mut inner = self.core.inner.lock();
        match &inner.role {
            Role::Listening(_) => return Err(Error::NotConnected),
            _ if flags.contains(RecvFlags::OOB) => return Err(Error::Invalid),
            _ => {}
        }
        if let Some(error) = inner.error.take() {
            return Err(error);
        }
        match &inner.role {
            _ if inner.shut_read => Ok(Received::default()),
            Role::Waiting(_) => Err(Error::Again),
            _ => Err(Error::NotConnected),
        }
    }

    /// shutdown(2).
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let core = &self.core;
        let mut inner = core.inner.lock();
        match &inner.role {
            Role::Idle => return Err(Error::NotConnected),
            Role::Listening(_) => {
                if how.reads() {
                    drop(inner);
                    core.stop_listening();
                    core.events.notify(Readiness::all() - Readiness::PRI);
                }
                return Ok(());
            }
            Role::Waiting(_) => {
                drop(inner);
                core.disconnect();
            }
            Role::Net(conn) => {
                let state = conn.state;
                if state == TcpState::Closed {
                    return Err(Error::NotConnected);
                }
                if state == TcpState::SynSent {
                    drop(inner);
                    core.disconnect();
                } else {
                    inner.shut_read |= how.reads();
                    inner.shut_write |= how.writes();
                    drop(inner);
                    core.with_net(|conn, env| {
                        conn.shut_read |= how.reads();
                        if how.writes() {
                            conn.shut_write(env);
                        }
                    });
                }
            }
            Role::Local(end) => {
                let end = end.clone();
                if end.state() == TcpState::Closed {
                    return Err(Error::NotConnected);
                }
                inner.shut_read |= how.reads();
                inner.shut_write |= how.writes();
                drop(inner);
                if how.reads() {
                    end.shut_read();
                }
                if how.writes() {
                    end.shut_write(&core.stack);
                }
            }
        }
        core.events.notify(self.readiness());
        Ok(())
    }

    /// What can be done without waiting.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let mut inner = self.core.inner.lock();
        let inner = &mut *inner;
        let pending = if inner.error.is_some() { Readiness::ERR } else { Readiness::empty() };
        let ready = match &mut inner.role {
            Role::Net(conn) => conn.readiness(&inner.options, &self.core.stack.config()),
            Role::Idle => {
                let mut ready = Readiness::OUT | Readiness::HUP;
                // After a connection, both directions are shut; a fresh socket is only hung up.
                ready.set(Readiness::IN | Readiness::RDHUP, inner.shut_read);
                ready
            }
            Role::Listening(listener) => {
                if listener.ready.is_empty() {
                    Readiness::empty()
                } else {
                    Readiness::IN
                }
            }
            Role::Waiting(_) => Readiness::empty(),
            Role::Local(end) => end.readiness(&inner.options),
        };
        ready | pending
    }

    /// getsockname(2).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let inner = self.core.inner.lock();
        to_user(self.core.family, inner.local, inner.options.base.device)
    }

    /// getpeername(2).
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let inner = self.core.inner.lock();
        if matches!(inner.state(), TcpState::Closed | TcpState::SynSent | TcpState::Listen) {
            return Err(Error::NotConnected);
        }
        let peer = inner.peer.ok_or(Error::NotConnected)?;
        Ok(to_user(self.core.family, peer, inner.options.base.device))
    }

    /// `SO_ERROR`: the pending error, which is cleared.
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        self.core.inner.lock().take_error()
    }

    /// `SO_ACCEPTCONN`
    #[must_use]
    pub fn is_listening(&self) -> bool {
        matches!(self.core.inner.lock().role, Role::Listening(_))
    }

    /// The connection's state.
    #[must_use]
    pub fn state(&self) -> TcpState {
        self.core.inner.lock().state()
    }

    /// `TCP_INFO`
    #[must_use]
    pub fn info(&self) -> TcpInfo {
        TcpInfo::of(&self.core)
    }

    /// `TCP_MAXSEG` of a connection: what a full segment carries. `None` where there is no connection.
    #[must_use]
    pub fn segment_size(&self) -> Option<u32> {
        let info = self.info();
        info.state.is_synchronized().then_some(info.snd_mss)
    }

    /// `SIOCINQ`: bytes to read. `SIOCOUTQ`: bytes that the peer has not acknowledged.
    #[must_use]
    pub fn queues(&self) -> (usize, usize) {
        let inner = self.core.inner.lock();
        match &inner.role {
            Role::Local(end) => end.queues(inner.options.base.oob_inline),
            Role::Net(conn) => conn.queues(&inner.options),
            _ => (0, 0),
        }
    }

    /// `SIOCOUTQNSD`: bytes not yet sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        match &self.core.inner.lock().role {
            Role::Net(conn) => conn.unsent(),
            _ => 0,
        }
    }

    /// `SIOCATMARK`
    #[must_use]
    pub fn is_at_mark(&self) -> bool {
        match &self.core.inner.lock().role {
            Role::Local(end) => end.at_mark(),
            Role::Net(conn) => conn.at_mark(),
            _ => false,
        }
    }

    /// Reads options.
    pub fn options<R>(&self, f: impl FnOnce(&Options) -> R) -> R {
        f(&self.core.inner.lock().options)
    }

    /// Changes options and applies them.
    pub fn set_options<R>(&self, f: impl FnOnce(&mut Options) -> R) -> R {
        let mut inner = self.core.inner.lock();
        let result = f(&mut inner.options);
        self.core.apply_options(&mut inner);
        drop(inner);
        self.core.with_net(|conn, env| conn.apply_options(env));
        result
    }

    /// How long close(2) is to wait for data to be delivered (`SO_LINGER`). The caller shuts the socket down, waits
    /// until [`TcpSocket::is_drained`], at most this long, then drops it.
    #[must_use]
    pub fn linger(&self) -> Option<Duration> {
        self.core.inner.lock().options.base.linger
    }

    /// Whether nothing that was sent waits for an acknowledgement any more.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        let inner = self.core.inner.lock();
        match &inner.role {
            Role::Net(conn) => conn.is_drained(),
            Role::Local(_) | Role::Idle | Role::Listening(_) | Role::Waiting(_) => true,
        }
    }

    /// connect(2) with `AF_UNSPEC`: resets the connection; the socket can be used again.
    pub fn disconnect(&self) {
        self.core.disconnect();
        self.core.events.notify(Readiness::all() - Readiness::PRI);
    }

    /// `SOCK_DESTROY` of sock_diag: as [`TcpSocket::disconnect`], and calls fail with `ECONNABORTED`.
    pub fn abort(&self) {
        self.core.disconnect();
        self.core.inner.lock().error = Some(Error::ConnAborted);
        self.core.events.notify(Readiness::all() - Readiness::PRI);
    }
}

impl Drop for TcpSocket {
    fn drop(&mut self) {
        self.core.close();
    }
}

impl TcpCore {
    fn apply_options(&self, inner: &mut Inner) {
        if inner.is_port_bound {
            let base = &inner.options.base;
            let (device, reuse_addr, reuse_port) = (base.device, base.reuse_addr, base.reuse_port);
            self.stack.tcp_ports.rebind(self.id, inner.local.port, |binding| {
                binding.device = device;
                binding.reuse_addr = reuse_addr;
                binding.reuse_port = reuse_port;
            });
        }
        if let Role::Local(end) = &inner.role {
            end.apply(&inner.options);
        }
    }

    /// The last reference from user space is gone.
    pub(crate) fn close(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        if matches!(inner.role, Role::Net(_)) {
            drop(inner);
            return self.close_net();
        }
        let role = std::mem::replace(&mut inner.role, Role::Idle);
        match role {
            Role::Listening(_) => {
                inner.role = role;
                drop(inner);
                self.stop_listening();
                inner = self.inner.lock();
            }
            Role::Waiting(waiting) => waiting.leave(),
            Role::Local(end) => {
                let base = &inner.options.base;
                let user = inner.is_port_bound.then_some(PortUser {
                    port: inner.local.port,
                    ip: end.tuple().local.ip,
                    reuse: base.reuse_addr,
                });
                if let Some(user) = user {
                    self.stack.tcp_ports.add_user(user.port, user.ip, user.reuse);
                }
                let options = inner.options.clone();
                drop(inner);
                end.close(&self.stack, &options, user);
                inner = self.inner.lock();
            }
            Role::Net(_) | Role::Idle => {}
        }
        self.release_port(&mut inner);
    }

    /// Closes a connection over packets: it goes on by itself, and keeps its port until it is over.
    fn close_net(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        if std::mem::take(&mut inner.is_port_bound) {
            let user =
                PortUser { port: inner.local.port, ip: inner.local.ip, reuse: inner.options.base.reuse_addr };
            self.stack.tcp_ports.unbind(self.id, user.port);
            let over = matches!(&inner.role, Role::Net(conn) if conn.is_settled);
            if !over {
                self.stack.tcp_ports.add_user(user.port, user.ip, user.reuse);
                inner.user = Some(user);
            }
        }
        let _not_watched_any_more = self.on_net(&mut inner, |conn, env| conn.close(env));
        drop(inner);
        self.stack.run_backlog();
    }

    /// Gives up what the socket claims in the port table.
    pub(super) fn release_port(&self, inner: &mut Inner) {
        if std::mem::take(&mut inner.is_port_bound) {
            self.stack.tcp_ports.unbind(self.id, inner.local.port);
            inner.local.port = 0;
        }
        if let Some(user) = inner.user.take() {
            user.release(&self.stack);
        }
    }
}
