//! The socket around a connection over packets: calling it, and carrying out what it asks for.

use super::conn::{Connection, Env};
use super::segment::Segment;
use super::socket::{Inner, Role, TcpCore};
use super::state::TcpState;
use super::table::TimeWait;
use crate::base::error::{Error, Result};
use crate::base::ready::Readiness;
use crate::core::{Path, Timer, Tuple};
use crate::ip::icmp::Verdict;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl TcpCore {
    /// Runs `f` on the connection, if there is one, then settles what it has changed. Observers are told afterwards.
    pub(super) fn with_net<R>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut Connection, &mut Env<'_>) -> R,
    ) -> Option<R> {
        let mut inner = self.inner.lock();
        let (result, wake) = self.on_net(&mut inner, f)?;
        drop(inner);
        self.events.notify(wake);
        self.stack.run_backlog();
        Some(result)
    }

    /// As [`TcpCore::with_net`], with the lock held; the caller notifies.
    pub(super) fn on_net<R>(
        self: &Arc<Self>,
        inner: &mut Inner,
        f: impl FnOnce(&mut Connection, &mut Env<'_>) -> R,
    ) -> Option<(R, Readiness)> {
        let Inner { role: Role::Net(conn), options, .. } = inner else { return None };
        let mut env = Env::new(&self.stack, options);
        let result = f(conn, &mut env);
        let wake = env.wake;
        self.settle(inner);
        Some((result, wake))
    }

    /// Brings table, counters and timer in line with the connection.
    fn settle(self: &Arc<Self>, inner: &mut Inner) {
        let Inner { role: Role::Net(conn), user, options, .. } = inner else { return };
        let is_open = conn.state.is_open();
        if is_open != conn.is_counted {
            conn.is_counted = is_open;
            if is_open {
                self.stack.counters.tcp.curr_estab.inc();
            } else {
                self.stack.counters.tcp.curr_estab.dec();
            }
        }
        if conn.state == TcpState::Closed {
            if !std::mem::replace(&mut conn.is_settled, true) {
                self.leave_table(conn, user.take(), options.base.uid);
            }
            if conn.is_orphan {
                conn.discard(&self.stack);
            }
            return;
        }
        if let Some(at) = conn.next_deadline()
            && conn.armed.last().is_none_or(|earliest| at < *earliest)
        {
            conn.armed.push(at);
            self.stack.arm(at, Timer::Tcp(Arc::downgrade(self)));
        }
    }

    /// A connection was taken from its socket: it leaves the table and gives its memory back.
    pub(super) fn retire(&self, inner: &mut Inner, conn: &mut Connection) {
        if std::mem::take(&mut conn.is_counted) {
            self.stack.counters.tcp.curr_estab.dec();
        }
        if !std::mem::replace(&mut conn.is_settled, true) {
            self.leave_table(conn, inner.user.take(), inner.options.base.uid);
        }
        conn.discard(&self.stack);
    }

    fn leave_table(&self, conn: &mut Connection, user: Option<super::table::PortUser>, uid: u32) {
        let stack = &self.stack;
        if std::mem::take(&mut conn.is_counted_orphan) {
            stack.orphans.fetch_sub(1, Ordering::Relaxed);
        }
        if conn.ends_in_time_wait {
            let wait = TimeWait { since: stack.now(), user, uid, segments: Some(conn.late_segments()) };
            stack.enter_time_wait(conn.tuple, Some(self.id), wait);
            return;
        }
        stack.tcp.remove(&conn.tuple, self.id);
        if let Some(user) = user {
            user.release(stack);
        }
    }

    /// Begins a connection over packets.
    pub(super) fn open_remote(self: &Arc<Self>, inner: &mut Inner, path: &Path, tuple: Tuple) -> Result<()> {
        if !self.stack.register(tuple, self) {
            return Err(Error::AddrNotAvailable);
        }
        let mut env = Env::new(&self.stack, &mut inner.options);
        let conn = Connection::connect(&mut env, tuple, path.clone());
        inner.role = Role::Net(Box::new(conn));
        self.settle(inner);
        Ok(())
    }

    /// A segment arrives for this connection.
    pub(crate) fn on_segment(self: &Arc<Self>, segment: &Segment<'_>) {
        let mut inner = self.inner.lock();
        let min_ttl = match segment.tuple.local.ip {
            std::net::IpAddr::V4(_) => inner.options.ip4.min_ttl,
            std::net::IpAddr::V6(_) => inner.options.ip6.min_hop_count,
        };
        if segment.ttl < min_ttl {
            return;
        }
        let done = self.on_net(&mut inner, |conn, env| conn.on_segment(env, segment));
        drop(inner);
        match done {
            Some(((), wake)) => self.events.notify(wake),
            // The connection is within the stack, or just gone.
            None => self.stack.send_tcp_reset(segment),
        }
    }

    /// The socket's timer fired.
    pub(crate) fn on_timer(self: &Arc<Self>) {
        let mut inner = self.inner.lock();
        let ended = self.waited_too_long(&mut inner);
        self.on_listen_timer(&mut inner);
        let done = self.on_net(&mut inner, |conn, env| {
            conn.armed.retain(|at| *at > env.now);
            conn.on_timer(env);
        });
        drop(inner);
        let mut wake = done.map_or(Readiness::empty(), |((), wake)| wake);
        if ended {
            wake |= Readiness::OUT | Readiness::ERR | Readiness::HUP;
        }
        self.events.notify(wake);
    }

    /// An ICMP error concerns a segment of this connection.
    pub(crate) fn on_icmp(self: &Arc<Self>, seq: u32, verdict: &Verdict) {
        let to = {
            let inner = self.inner.lock();
            let Role::Net(conn) = &inner.role else { return };
            // RFC 5927: only what is on the way can have caused an error.
            if !conn.is_in_flight(seq) {
                return;
            }
            conn.tuple.remote.ip
        };
        if verdict.error.error == Error::MessageSize {
            if self.stack.learn_pmtu(to, verdict.error.info, 0) {
                self.with_net(|conn, env| conn.on_pmtu(env));
            }
            return;
        }
        self.with_net(|conn, env| conn.on_error(env, verdict.error.error, verdict.is_hard));
    }
}
