//! What a socket's owner may do later without asking again: it is told what there is to read and how much can be sent,
//! and says afterwards what it has made of that. Between the two it must make no other call on the socket.
//!
//! What was sent reaches the other end later than the sender believes. Over packets that is as it always may be. Within a
//! stack it could be seen by a program that has both ends: so their owners must be known, and differ.

use super::local::LocalEnd;
use super::socket::{Role, TcpSocket};
use crate::base::io::{Discard, Sink};
use crate::base::ready::Readiness;
use crate::buf::LARGE;
use crate::core::Core;
use crate::socket::message::{RecvFlags, SendFlags};
use std::sync::atomic::Ordering;

/// What was promised. Nothing by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Promise {
    /// Bytes that can be read: all that there are.
    pub input: usize,
    /// Bytes that can be sent.
    pub credit: usize,
}

impl TcpSocket {
    /// Says who has the socket, by a number of the caller's that is not 0.
    pub fn set_owner(&self, owner: u64) {
        self.core.owner.store(owner, Ordering::Relaxed);
    }

    /// Copies what can be read into `buffer`, if all of it fits, and says how much could be sent.
    pub fn promise(&self, buffer: &mut [u8]) -> Promise {
        let mut inner = self.core.inner.lock();
        if inner.error.is_some() {
            return Promise::default();
        }
        if let Role::Local(end) = &inner.role {
            let end = end.clone();
            let is_plain = inner.options.base.rcv_lowat <= 1;
            drop(inner);
            return if is_plain { end.promise(&self.core.stack, buffer) } else { Promise::default() };
        }
        let promised = self.core.on_net(&mut inner, |conn, env| conn.promise(env, buffer));
        promised.map_or_else(Promise::default, |(promise, _)| promise)
    }

    /// The first `len` of the promised bytes were read.
    pub fn keep_read(&self, len: usize) {
        if let Some((end, inline)) = self.core.local_end() {
            return end.keep_read(&self.core.stack, len, inline);
        }
        let _in_order = self.core.reader.lock();
        self.core.with_net(|conn, env| conn.keep_read(env, len));
    }

    /// `data` was sent, which is no more than was promised, with [`SendFlags::MORE`] or no flag. Where the connection has ended meanwhile it is lost, as if it
    /// had been on its way then; the next call hears of that.
    pub fn keep_sent(&self, data: &[u8], flags: SendFlags) {
        if let Some((end, _)) = self.core.local_end() {
            return end.keep_sent(&self.core.stack, data);
        }
        let _in_order = self.core.writer.lock();
        self.core.with_net(|conn, env| conn.keep_sent(env, data, flags));
    }
}

impl LocalEnd {
    /// Whether the two ends belong to different owners, as far as is known.
    fn is_between_owners(&self) -> bool {
        let owner = |side: usize| {
            self.pair.ends[side].socket.upgrade().map_or(0, |core| core.owner.load(Ordering::Relaxed))
        };
        let (own, peer) = (owner(self.side), owner(self.peer()));
        own != 0 && peer != 0 && own != peer
    }

    /// See [`TcpSocket::promise`].
    fn promise(&self, core: &Core, mut buffer: &mut [u8]) -> Promise {
        if !self.is_between_owners() {
            return Promise::default();
        }
        let (side, peer) = (self.side, self.peer());
        let state = self.pair.state.lock();
        let own = &state.halves[side];
        let is_plain = own.urgent.is_none() && !own.shut_read && !own.is_reset && own.error.is_none();
        if !is_plain || own.rx.len() > buffer.room() {
            return Promise::default();
        }
        let input = own.rx.peek(own.rx.start(), own.rx.len(), &mut buffer);
        let is_heard = !state.is_shut_write(peer)
            && !state.halves[peer].is_closed
            && !state.refuses_data(peer, side)
            && core.pool.has_room(LARGE);
        Promise { input, credit: if is_heard { state.room(side, peer).min(LARGE) } else { 0 } }
    }

    /// See [`TcpSocket::keep_read`].
    fn keep_read(&self, core: &Core, len: usize, inline: bool) {
        let mut rest = Discard(len);
        // Urgent data that came meanwhile divides it.
        while rest.0 > 0 && self.queues(inline).0 > 0 {
            if self.recv(core, &mut rest, RecvFlags::empty(), inline).is_err() {
                break;
            }
        }
    }

    /// See [`TcpSocket::keep_sent`].
    fn keep_sent(&self, core: &Core, data: &[u8]) {
        let _in_order = self.pair.writers[self.side].lock();
        let (side, peer) = (self.side, self.peer());
        let mut state = self.pair.state.lock();
        if data.is_empty() || state.halves[side].is_reset || state.is_shut_write(peer) {
            return;
        }
        if state.halves[peer].is_closed || state.refuses_data(peer, side) {
            drop(state);
            self.send_to_deaf(core, &mut &data[..]);
            return;
        }
        state.halves[peer].rx.append_promised(&core.pool, data);
        drop(state);
        core.counters.tcp_ext.loopback_bytes.add(data.len() as u64);
        self.notify_peer(Readiness::IN);
    }
}
