//! The listening side of a socket: requests in the making, connections ready to be accepted, and sockets of this
//! stack that wait to get in.

use super::conn::{Connection, Env};
use super::request::Request;
use super::segment::{Flags, Segment};
use super::socket::{Inner, Phase, Role, TcpCore};
use super::table::PortUser;
use crate::base::hash::Key;
use crate::base::ready::Readiness;
use crate::base::time::Instant;
use crate::core::{Core, Timer, Tuple};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// State of a listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Connections ready to be accepted, oldest first.
    pub(crate) ready: VecDeque<Arc<TcpCore>>,
    /// Linux takes one connection more than this.
    pub(crate) backlog: u32,
    /// Sockets of this stack that found the queue full, by the places that they were given. Whoever stops waiting takes
    /// its place away, so there are never more than such sockets.
    pub(crate) waiting: BTreeMap<u64, Weak<TcpCore>>,
    requests: HashMap<Tuple, Request, Key>,
    armed: Option<Instant>,
}

impl Listener {
    pub(crate) fn new(backlog: u32, key: Key) -> Self {
        Self {
            ready: VecDeque::new(),
            backlog,
            waiting: BTreeMap::new(),
            requests: HashMap::with_hasher(key),
            armed: None,
        }
    }

    /// Whether no further connection fits.
    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() > self.backlog as usize
    }
}

/// A connect(2) that waits for room in the queue of a listener of this stack.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) tuple: Tuple,
    pub(crate) until: Instant,
    /// Its place among those who wait.
    pub(crate) place: u64,
    pub(crate) listener: Weak<TcpCore>,
}

impl Waiting {
    /// Gives the place up. The listener's lock comes after that of the socket that waits.
    pub(crate) fn leave(&self) {
        if let Some(listener) = self.listener.upgrade()
            && let Role::Listening(listener) = &mut listener.inner.lock().role
        {
            listener.waiting.remove(&self.place);
        }
    }
}

/// What became of a segment for a listener.
enum Outcome {
    Done,
    Reset,
    /// A connection came about; the listener is readable.
    Accepted(Arc<TcpCore>),
}

impl TcpCore {
    /// A segment arrives for a listening socket, from a peer that has no connection.
    pub(crate) fn on_listen_segment(self: &Arc<Self>, segment: &Segment<'_>) {
        let mut inner = self.inner.lock();
        if !matches!(inner.role, Role::Listening(_)) {
            drop(inner);
            return self.stack.send_tcp_reset(segment);
        }
        let outcome = self.listen_step(&mut inner, segment);
        self.arm_requests(&mut inner);
        drop(inner);
        match outcome {
            Outcome::Done => {}
            Outcome::Reset => self.stack.send_tcp_reset(segment),
            Outcome::Accepted(child) => {
                // The segment that finished the handshake may carry data.
                child.on_segment(segment);
                self.events.notify(Readiness::IN);
            }
        }
    }

    fn listen_step(self: &Arc<Self>, inner: &mut Inner, segment: &Segment<'_>) -> Outcome {
        let Inner { role: Role::Listening(listener), options, .. } = inner else { return Outcome::Done };
        let stack = &self.stack;
        if let Some(request) = listener.requests.get_mut(&segment.tuple) {
            return match check_request(stack, request, segment) {
                Check::Ignore => Outcome::Done,
                Check::Resend => {
                    stack.send_syn_ack(request, options);
                    Outcome::Done
                }
                Check::Drop => {
                    stack.counters.tcp_ext.embryonic_rsts.inc();
                    listener.requests.remove(&segment.tuple);
                    Outcome::Done
                }
                Check::Reset => Outcome::Reset,
                Check::Complete => self.complete(inner, segment, None),
            };
        }
        if segment.has(Flags::RST) {
            return Outcome::Done;
        }
        let config = stack.config();
        if segment.has(Flags::ACK) {
            let cookies = config.tcp_syncookies > 0 && !segment.has(Flags::SYN);
            return match cookies.then(|| stack.check_cookie(segment, options)).flatten() {
                Some(request) => self.complete(inner, segment, Some(request)),
                None => Outcome::Reset,
            };
        }
        if !segment.has(Flags::SYN) || segment.has(Flags::FIN) {
            return Outcome::Done;
        }
        if listener.is_full() {
            stack.counters.tcp_ext.listen_overflows.inc();
            stack.counters.tcp_ext.listen_drops.inc();
            return Outcome::Done;
        }
        let limit = config.tcp_max_syn_backlog.min(listener.backlog.max(8)) as usize;
        if listener.requests.len() >= limit || config.tcp_syncookies == 2 {
            if config.tcp_syncookies > 0 {
                stack.counters.tcp_ext.req_q_full_do_cookies.inc();
                stack.send_cookie(segment, options);
            } else {
                stack.counters.tcp_ext.req_q_full_drop.inc();
                stack.counters.tcp_ext.listen_drops.inc();
            }
            return Outcome::Done;
        }
        if let Some(request) = stack.new_request(segment, options) {
            stack.send_syn_ack(&request, options);
            listener.requests.insert(segment.tuple, request);
        }
        Outcome::Done
    }

    /// The handshake is over: the connection moves to the queue.
    fn complete(
        self: &Arc<Self>,
        inner: &mut Inner,
        segment: &Segment<'_>,
        cookie: Option<Request>,
    ) -> Outcome {
        let Inner { role: Role::Listening(listener), options, .. } = inner else { return Outcome::Done };
        let stack = &self.stack;
        let defers = options.tcp.defer_accept();
        if let Some(request) = listener.requests.get_mut(&segment.tuple).filter(|_| !defers.is_zero()) {
            // TCP_DEFER_ACCEPT: a bare acknowledgement is not yet worth waking the application for.
            let now = stack.now();
            let until = *request.deferred_until.get_or_insert(now + defers);
            if segment.payload.is_empty() && !segment.has(Flags::FIN) && now < until {
                request.accepted.sent_at = None;
                return Outcome::Done;
            }
        }
        if listener.is_full() {
            stack.counters.tcp_ext.listen_overflows.inc();
            if stack.config().tcp_abort_on_overflow {
                listener.requests.remove(&segment.tuple);
                return Outcome::Reset;
            }
            return Outcome::Done;
        }
        let request = match cookie {
            Some(request) => request,
            None => match listener.requests.remove(&segment.tuple) {
                Some(request) => request,
                None => return Outcome::Done,
            },
        };
        let mut options = options.clone();
        options.base.inode = 0;
        let child = Arc::new(Self::new(stack, self.family, options));
        let mut theirs = child.inner.lock();
        if !stack.register(request.tuple, &child) {
            return Outcome::Done;
        }
        let reuse = theirs.options.base.reuse_addr;
        let user = PortUser { port: request.tuple.local.port, ip: request.tuple.local.ip, reuse };
        stack.tcp_ports.add_user(user.port, user.ip, user.reuse);
        theirs.user = Some(user);
        theirs.local = request.tuple.local;
        theirs.peer = Some(request.tuple.remote);
        theirs.phase = Phase::Connected;
        if crate::base::addr::is_link_local(request.tuple.remote.ip) {
            theirs.options.base.device = segment.device;
        }
        let mut env = Env::new(stack, &mut theirs.options);
        let mut conn = Connection::accepted(&mut env, request.tuple, request.path, &request.accepted);
        conn.is_counted = true;
        stack.counters.tcp.curr_estab.inc();
        stack.counters.tcp.passive_opens.inc();
        theirs.role = Role::Net(Box::new(conn));
        drop(theirs);
        listener.ready.push_back(Arc::clone(&child));
        Outcome::Accepted(child)
    }

    /// Sends unanswered SYN-ACKs again, and gives requests up.
    pub(crate) fn on_listen_timer(self: &Arc<Self>, inner: &mut Inner) {
        let Inner { role: Role::Listening(listener), options, .. } = inner else { return };
        let stack = &self.stack;
        let (now, config) = (stack.now(), stack.config());
        listener.armed = None;
        listener.requests.retain(|_, request| {
            if request.next_at > now {
                return true;
            }
            request.retries += 1;
            if request.retries > config.tcp_synack_retries.into() {
                stack.counters.tcp.attempt_fails.inc();
                return false;
            }
            request.next_at = now + Duration::from_secs(1 << request.retries.min(6));
            request.accepted.sent_at = None;
            stack.counters.tcp.retrans_segs.inc();
            stack.send_syn_ack(request, options);
            true
        });
        self.arm_requests(inner);
    }

    fn arm_requests(self: &Arc<Self>, inner: &mut Inner) {
        let Role::Listening(listener) = &mut inner.role else { return };
        // Requests time out in the order they came, roughly; one second is soon enough for all.
        if listener.requests.is_empty() || listener.armed.is_some() {
            return;
        }
        let at = self.stack.now() + Duration::from_secs(1);
        listener.armed = Some(at);
        self.stack.arm(at, Timer::Tcp(Arc::downgrade(self)));
    }
}

/// What a segment means to a request.
enum Check {
    Ignore,
    Resend,
    Drop,
    Reset,
    Complete,
}

fn check_request(stack: &Core, request: &mut Request, segment: &Segment<'_>) -> Check {
    let accepted = &mut request.accepted;
    let offset = segment.seq.wrapping_sub(accepted.irs.wrapping_add(1));
    if segment.has(Flags::SYN) {
        // The same SYN again: our answer was lost. Another one is none of ours.
        return if segment.seq == accepted.irs && !segment.has(Flags::ACK) {
            Check::Resend
        } else {
            Check::Ignore
        };
    }
    if let (Some(_), Some((value, _))) = (accepted.peer.timestamp, segment.options.timestamp)
        && accepted.ts_recent.wrapping_sub(value).cast_signed() > 0
    {
        stack.counters.tcp_ext.paws_estab_rejected.inc();
        return Check::Ignore;
    }
    if segment.has(Flags::RST) {
        return if offset == 0 { Check::Drop } else { Check::Ignore };
    }
    if offset > accepted.rcv_wnd {
        return Check::Ignore;
    }
    if !segment.has(Flags::ACK) {
        return Check::Ignore;
    }
    if segment.ack != accepted.iss.wrapping_add(1) {
        return Check::Reset;
    }
    if offset == 0
        && let Some((value, _)) = segment.options.timestamp
    {
        accepted.ts_recent = value;
    }
    Check::Complete
}
