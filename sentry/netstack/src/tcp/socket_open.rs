//! How TCP sockets come to be bound, listening and connected.

use super::conn::Env;
use super::listen::{Listener, Waiting};
use super::local::{EndConfig, LocalEnd, Pair};
use super::socket::{Inner, Phase, Role, TcpCore, TcpSocket};
use super::state::TcpState;
use super::table::PortUser;
use crate::base::addr::{Endpoint, Family, UserAddr, is_link_local};
use crate::base::error::{Error, Result};
use crate::base::ready::Readiness;
use crate::core::{Path, PathKind, Timer, Tuple, Via};
use crate::socket::ports::{Arrival, Binding, Wanted};
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

impl TcpSocket {
    /// bind(2). Port 0 picks one. The caller has checked privileges for low ports.
    ///
    /// # Errors
    /// What bind(2) says.
    pub fn bind(&self, addr: SocketAddr) -> Result<()> {
        let core = &self.core;
        let mut inner = core.inner.lock();
        if !matches!(inner.role, Role::Idle) || inner.local.port != 0 {
            return Err(Error::Invalid);
        }
        let user = UserAddr::parse(core.family, inner.options.ip6.v6_only, addr)?;
        if user.at.ip.is_multicast() {
            return Err(Error::AddrNotAvailable);
        }
        if is_link_local(user.at.ip) {
            if user.scope == 0 && inner.options.base.device == 0 {
                return Err(Error::Invalid);
            }
            if user.scope != 0 {
                inner.options.base.device = user.scope;
            }
        }
        let foreign = inner.options.may_bind_foreign() || core.stack.config().ip_nonlocal_bind;
        if !foreign && !core.stack.may_bind(user.at.ip) {
            return Err(Error::AddrNotAvailable);
        }
        let is_any = user.at.ip.is_unspecified();
        let local = if is_any { Endpoint { ip: core.family.any(), ..user.at } } else { user.at };
        if local.port == 0 && inner.options.ip4.bind_address_no_port {
            inner.local = local;
        } else {
            core.claim(&mut inner, local)?;
        }
        inner.is_ip_bound = !is_any;
        Ok(())
    }

    /// listen(2). On a socket that listens already only the backlog changes.
    ///
    /// # Errors
    /// What listen(2) says.
    pub fn listen(&self, backlog: i32) -> Result<()> {
        let core = &self.core;
        let mut inner = core.inner.lock();
        let limit = core.stack.config().somaxconn;
        // A negative backlog is a large one, since Linux compares without sign.
        let backlog = (backlog.cast_unsigned()).min(limit);
        let phase = inner.phase;
        match &mut inner.role {
            Role::Listening(listener) => {
                listener.backlog = backlog;
                drop(inner);
                core.admit_next();
                return Ok(());
            }
            Role::Idle if phase == Phase::Unconnected => {}
            _ => return Err(Error::Invalid),
        }
        if !inner.is_port_bound {
            let local = Endpoint { port: 0, ..inner.local };
            core.claim(&mut inner, local)?;
        }
        core.stack.tcp_ports.listen(core.id, inner.local.port)?;
        inner.shut_read = false;
        inner.shut_write = false;
        inner.role = Role::Listening(Listener::new(backlog, core.stack.key));
        Ok(())
    }

    /// accept(2): the oldest connection that is ready.
    ///
    /// # Errors
    /// [`Error::Again`], [`Error::Invalid`] where it does not listen.
    pub fn accept(&self) -> Result<Self> {
        let core = &self.core;
        let mut inner = core.inner.lock();
        let Role::Listening(listener) = &mut inner.role else { return Err(Error::Invalid) };
        let Some(child) = listener.ready.pop_front() else {
            return Err(inner.error.take().unwrap_or(Error::Again));
        };
        drop(inner);
        core.admit_next();
        Ok(Self::from_core(child))
    }

    /// connect(2). Begins a connection and says `InProgress`, as Linux does for non-blocking sockets; when the
    /// socket is ready to write, [`TcpSocket::finish_connect`] (or calling this again) tells the outcome, which
    /// within one stack is at once.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn connect(&self, addr: SocketAddr) -> Result<()> {
        let core = &self.core;
        let mut inner = core.inner.lock();
        match inner.phase {
            Phase::Connected => return Err(Error::IsConnected),
            Phase::Connecting => {
                drop(inner);
                return self
                    .finish_connect()
                    .map_err(|e| if e == Error::InProgress { Error::Already } else { e });
            }
            Phase::Unconnected if matches!(inner.role, Role::Listening(_)) => return Err(Error::IsConnected),
            Phase::Unconnected => {}
        }
        let user = UserAddr::parse(core.family, inner.options.ip6.v6_only, addr)?;
        let mut remote = user.at;
        if remote.ip.is_unspecified() {
            remote.ip = Family::of(remote.ip).loopback();
        }
        let source = inner.is_ip_bound.then_some(inner.local.ip);
        if source.is_some_and(|ip| Family::of(ip) != Family::of(remote.ip)) {
            return Err(Error::NetUnreachable);
        }
        let device = if user.scope != 0 { user.scope } else { inner.options.base.device };
        if device == 0 && is_link_local(remote.ip) {
            return Err(Error::Invalid);
        }
        let path = core
            .stack
            .path(remote.ip, &Via { source, device, on_link_only: inner.options.base.dont_route })?;
        match path.kind {
            PathKind::Multicast => return Err(Error::NetUnreachable),
            PathKind::Broadcast => return Err(Error::Access),
            PathKind::Local | PathKind::Unicast => {}
        }
        core.choose_port(&mut inner, &path, remote)?;
        inner.peer = Some(remote);
        inner.shut_read = false;
        inner.shut_write = false;
        let listener = core.open(&mut inner, &path, remote);
        drop(inner);
        if let Some(listener) = listener? {
            listener.events.notify(Readiness::IN);
        }
        core.stack.run_backlog();
        core.events.notify(self.readiness());
        Err(Error::InProgress)
    }

    /// What has become of connect(2): done, the error that it failed with, or still `InProgress`.
    ///
    /// # Errors
    /// [`Error::InProgress`], and what the attempt failed with; [`Error::NotConnected`] where there was none.
    pub fn finish_connect(&self) -> Result<()> {
        let mut inner = self.core.inner.lock();
        match inner.phase {
            Phase::Connected => return Ok(()),
            Phase::Unconnected => return Err(inner.error.take().unwrap_or(Error::NotConnected)),
            Phase::Connecting => {}
        }
        match inner.state() {
            TcpState::SynSent | TcpState::SynReceived => Err(Error::InProgress),
            TcpState::Closed => {
                // As on Linux, what is left of the attempt goes: the socket may be bound, listen or connect again.
                let error = inner.take_error().unwrap_or(Error::ConnAborted);
                drop(inner);
                self.core.disconnect();
                Err(error)
            }
            _ => {
                inner.phase = Phase::Connected;
                Ok(())
            }
        }
    }
}

impl TcpCore {
    /// Binds an address and port in the table.
    fn claim(self: &Arc<Self>, inner: &mut Inner, local: Endpoint) -> Result<()> {
        let binding = Binding::new(local.ip, &inner.options);
        let range = self.stack.config().ip_local_port_range;
        let port =
            self.stack.tcp_ports.bind(self.id, self, binding, local.port, (&self.stack.random, range))?;
        inner.local = Endpoint { ip: local.ip, port };
        inner.is_port_bound = true;
        Ok(())
    }

    /// Settles the local end of a connection to `remote`.
    fn choose_port(&self, inner: &mut Inner, path: &Path, remote: Endpoint) -> Result<()> {
        let stack = &self.stack;
        let config = stack.config();
        let now = stack.now();
        let ip = path.source;
        let may_reuse = match config.tcp_tw_reuse {
            0 => false,
            1 => true,
            _ => path.kind == PathKind::Local,
        };
        let is_free = |port| {
            let tuple = Tuple { local: Endpoint { ip, port }, remote };
            stack.tcp.is_free(&tuple, now, may_reuse)
        };
        if inner.is_port_bound {
            if !is_free(inner.local.port) {
                return Err(Error::AddrNotAvailable);
            }
        } else {
            let reuse = inner.options.base.reuse_addr;
            let pick = (&stack.random, config.ip_local_port_range);
            let port = stack.tcp_ports.connect_from(ip, reuse, pick, is_free)?;
            inner.user = Some(PortUser { port, ip, reuse });
            inner.local.port = port;
        }
        inner.local.ip = ip;
        Ok(())
    }

    /// Begins a connection. The listener of this stack that got it, if one did, is to be notified.
    fn open(self: &Arc<Self>, inner: &mut Inner, path: &Path, remote: Endpoint) -> Result<Option<Arc<Self>>> {
        self.stack.counters.tcp.active_opens.inc();
        let tuple = Tuple { local: inner.local, remote };
        if path.kind == PathKind::Local && !self.stack.is_loopback_observed(remote.ip) {
            inner.phase = Phase::Connecting;
            return Ok(self.open_local(inner, tuple));
        }
        self.open_remote(inner, path, tuple)?;
        inner.phase = Phase::Connecting;
        Ok(None)
    }

    /// Connects to a listener of this stack.
    fn open_local(self: &Arc<Self>, inner: &mut Inner, tuple: Tuple) -> Option<Arc<Self>> {
        let stack = &self.stack;
        let device = stack.loopback().map_or(0, |nic| nic.index);
        let arrival = Arrival { to: tuple.remote, from: tuple.local, device };
        let Some(listener) = stack.tcp_ports.lookup(&arrival, Wanted::Listening) else {
            if tuple.local == tuple.remote {
                self.connect_to_self(inner, tuple);
            } else {
                self.refuse(inner);
            }
            return None;
        };
        if listener.id == self.id {
            self.refuse(inner);
            return None;
        }
        let mut theirs = listener.inner.lock();
        let options = theirs.options.clone();
        let Role::Listening(queue) = &mut theirs.role else {
            drop(theirs);
            self.refuse(inner);
            return None;
        };
        if queue.is_full() {
            stack.counters.tcp_ext.listen_overflows.inc();
            stack.counters.tcp_ext.listen_drops.inc();
            let place = stack.new_id();
            queue.waiting.insert(place, Arc::downgrade(self));
            drop(theirs);
            self.wait_for_room(inner, tuple, (place, Arc::downgrade(&listener)));
            return None;
        }
        let child = Arc::new(Self::new(stack, listener.family, options));
        if !self.join_local(inner, tuple, &child) {
            drop(theirs);
            self.refuse(inner);
            return None;
        }
        queue.ready.push_back(child);
        drop(theirs);
        Some(listener)
    }

    /// Makes both ends of a connection within the stack and registers them.
    fn join_local(self: &Arc<Self>, inner: &mut Inner, tuple: Tuple, child: &Arc<Self>) -> bool {
        let stack = &self.stack;
        let mut theirs = child.inner.lock();
        let reuse = theirs.options.base.reuse_addr;
        let user = PortUser { port: tuple.remote.port, ip: tuple.remote.ip, reuse };
        let own = EndConfig { socket: self, tuple, options: &inner.options, user: inner.user };
        let other =
            EndConfig { socket: child, tuple: tuple.flipped(), options: &theirs.options, user: Some(user) };
        let pair = Pair::new(&own, Some(&other));
        if !stack.register(tuple, self) {
            return false;
        }
        if !stack.register(tuple.flipped(), child) {
            stack.tcp.remove(&tuple, self.id);
            return false;
        }
        stack.tcp_ports.add_user(user.port, user.ip, user.reuse);
        inner.user = None;
        theirs.local = tuple.remote;
        theirs.peer = Some(tuple.local);
        theirs.phase = Phase::Connected;
        theirs.role = Role::Local(LocalEnd { pair: Arc::clone(&pair), side: 1 });
        inner.role = Role::Local(LocalEnd { pair, side: 0 });
        stack.counters.tcp.passive_opens.inc();
        stack.counters.tcp.curr_estab.add(2);
        true
    }

    fn connect_to_self(self: &Arc<Self>, inner: &mut Inner, tuple: Tuple) {
        if !self.stack.register(tuple, self) {
            return self.refuse(inner);
        }
        let own = EndConfig { socket: self, tuple, options: &inner.options, user: inner.user.take() };
        let pair = Pair::new(&own, None);
        inner.role = Role::Local(LocalEnd { pair, side: 0 });
        self.stack.counters.tcp.curr_estab.inc();
    }

    fn refuse(&self, inner: &mut Inner) {
        self.stack.counters.tcp.attempt_fails.inc();
        self.stack.counters.tcp.out_rsts.inc();
        inner.error = Some(Error::ConnRefused);
        inner.role = Role::Idle;
        inner.shut_read = true;
        inner.shut_write = true;
    }

    /// The listener's queue is full: on Linux the SYN would be dropped and sent again.
    fn wait_for_room(
        self: &Arc<Self>,
        inner: &mut Inner,
        tuple: Tuple,
        (place, listener): (u64, Weak<Self>),
    ) {
        let retries = inner.options.tcp.syn_count(&self.stack.config()).min(16);
        let patience = Duration::from_secs((1 << (retries + 1)) - 1);
        let until = self.stack.now() + patience;
        inner.role = Role::Waiting(Waiting { tuple, until, place, listener });
        self.stack.arm(until, Timer::Tcp(Arc::downgrade(self)));
    }

    /// There is room in the listener's queue: those who wait get in, in their order.
    fn admit_next(&self) {
        loop {
            let mut inner = self.inner.lock();
            let Role::Listening(listener) = &mut inner.role else { return };
            if listener.is_full() {
                return;
            }
            let Some((_, next)) = listener.waiting.pop_first() else { return };
            drop(inner);
            if let Some(next) = next.upgrade() {
                next.retry_local();
            }
        }
    }

    /// There is room in the listener's queue, or the listener is gone.
    fn retry_local(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        let Role::Waiting(waiting) = &inner.role else { return };
        waiting.leave();
        let tuple = waiting.tuple;
        inner.role = Role::Idle;
        let listener = self.open_local(&mut inner, tuple);
        let still_waits = matches!(inner.role, Role::Waiting(_));
        drop(inner);
        if let Some(listener) = listener {
            listener.events.notify(Readiness::IN);
        }
        if !still_waits {
            self.events.notify(Readiness::OUT | Readiness::ERR | Readiness::HUP);
        }
    }

    /// The timer of a waiting connect fired.
    pub(super) fn waited_too_long(&self, inner: &mut Inner) -> bool {
        let now = self.stack.now();
        match &inner.role {
            Role::Waiting(waiting) if waiting.until <= now => {
                waiting.leave();
                self.stack.counters.tcp.attempt_fails.inc();
                inner.error = Some(Error::TimedOut);
                inner.role = Role::Idle;
                inner.shut_read = true;
                inner.shut_write = true;
                true
            }
            _ => false,
        }
    }

    /// Ends listening: connections that nobody accepted are reset.
    pub(super) fn stop_listening(&self) {
        let mut inner = self.inner.lock();
        let Role::Listening(listener) = std::mem::replace(&mut inner.role, Role::Idle) else { return };
        self.stack.tcp_ports.unlisten(self.id, inner.local.port);
        inner.shut_read = true;
        inner.shut_write = true;
        drop(inner);
        for child in listener.ready {
            child.disconnect();
            child.close();
        }
        for waiting in listener.waiting.values().filter_map(Weak::upgrade) {
            waiting.retry_local();
        }
    }

    /// Resets whatever connection there is and makes the socket fresh, except for what bind(2) gave it.
    pub(crate) fn disconnect(&self) {
        let mut inner = self.inner.lock();
        match std::mem::replace(&mut inner.role, Role::Idle) {
            listening @ Role::Listening(_) => {
                inner.role = listening;
                drop(inner);
                self.stop_listening();
                inner = self.inner.lock();
            }
            Role::Local(end) => {
                drop(inner);
                if end.state() != TcpState::Closed {
                    end.reset(&self.stack);
                }
                end.discard(&self.stack);
                inner = self.inner.lock();
            }
            Role::Net(mut conn) => {
                let Inner { options, .. } = &mut *inner;
                conn.abort(&mut Env::new(&self.stack, options), None);
                self.retire(&mut inner, &mut conn);
            }
            Role::Waiting(waiting) => waiting.leave(),
            Role::Idle => {}
        }
        self.forget_peer(&mut inner);
        inner.shut_read = true;
        inner.shut_write = true;
        drop(inner);
        self.stack.run_backlog();
    }

    fn forget_peer(&self, inner: &mut Inner) {
        inner.phase = Phase::Unconnected;
        inner.peer = None;
        if let Some(user) = inner.user.take() {
            user.release(&self.stack);
        }
        if !inner.is_ip_bound {
            inner.local.ip = self.family.any();
        }
        if !inner.is_port_bound {
            inner.local.port = 0;
        }
    }
}
