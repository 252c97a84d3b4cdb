//! A connection between two sockets of one stack: two buffers and some flags instead of segments.
//!
//! The observable behaviour is that of TCP over loopback: states, half close, resets, `EPIPE` against `ECONNRESET`,
//! TIME-WAIT for the side that closed first. A `Pair` is shared by both sockets. Locks: a side's `writer` or
//! `reader` → `state`. Large copies are made under the writer's or reader's lock only.

use super::socket::TcpCore;
use super::state::TcpState;
use super::table::{PortUser, TimeWait};
use super::urgent::{self, Urgent};
use crate::base::error::Error;
use crate::base::ready::Readiness;
use crate::buf::StreamBuf;
use crate::core::{Core, Tuple};
use crate::socket::options::Options;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// What unset buffer sizes count as: enough to stream at full speed, little enough to stay in the cache.
const AUTO_BUFFER: usize = 256 << 10;

/// A connection.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(super) state: Mutex<PairState>,
    pub(super) writers: [Mutex<()>; 2],
    pub(super) readers: [Mutex<()>; 2],
    /// The socket's id and addresses on each side.
    pub(super) ends: [End; 2],
    /// A socket that is connected to itself has one side only.
    pub(super) is_self: bool,
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) socket: Weak<TcpCore>,
    pub(super) id: u64,
    pub(super) tuple: Tuple,
    pub(super) uid: u32,
}

/// One socket's hold on a connection.
#[derive(Debug, Clone)]
pub(crate) struct LocalEnd {
    pub(super) pair: Arc<Pair>,
    pub(super) side: usize,
}

#[derive(Debug)]
pub(super) struct PairState {
    pub(super) halves: [Half; 2],
    /// The side that shut its writing first.
    first_shut: Option<usize>,
    is_finished: bool,
}

/// What belongs to one side: what it receives, and its flags.
#[derive(Debug, Default)]
pub(super) struct Half {
    pub(super) rx: StreamBuf,
    pub(super) urgent: Option<Urgent>,
    /// The other side will send no more.
    pub(super) fin: bool,
    /// This side does not want to read any more.
    pub(super) shut_read: bool,
    /// This side's socket is closed.
    pub(super) is_closed: bool,
    /// The connection was reset, as this side sees it.
    pub(super) is_reset: bool,
    pub(super) error: Option<Error>,
    /// This side found no room to write.
    pub(super) wants_room: bool,
    /// Sizes of this side's buffers.
    pub(super) rcv_buf: usize,
    pub(super) snd_buf: usize,
    /// The port that this side occupies beside what is bound.
    pub(super) user: Option<PortUser>,
    /// Counted in `CurrEstab`.
    is_counted: bool,
}

/// How a side is made.
pub(super) struct EndConfig<'a> {
    pub(super) socket: &'a Arc<TcpCore>,
    pub(super) tuple: Tuple,
    pub(super) options: &'a Options,
    pub(super) user: Option<PortUser>,
}

impl Pair {
    /// A fresh connection. With no second end the socket is connected to itself.
    pub(super) fn new(first: &EndConfig<'_>, second: Option<&EndConfig<'_>>) -> Arc<Self> {
        let half = |config: &EndConfig<'_>| Half {
            rcv_buf: rcv_size(config.options),
            snd_buf: snd_size(config.options),
            user: config.user,
            is_counted: true,
            ..Half::default()
        };
        let end = |config: &EndConfig<'_>| End {
            socket: Arc::downgrade(config.socket),
            id: config.socket.id,
            tuple: config.tuple,
            uid: config.options.base.uid,
        };
        let other = second.unwrap_or(first);
        let mut halves = [half(first), half(other)];
        if second.is_none() {
            halves[1].user = None;
            halves[1].is_counted = false;
        }
        Arc::new(Self {
            state: Mutex::new(PairState { halves, first_shut: None, is_finished: false }),
            writers: [Mutex::new(()), Mutex::new(())],
            readers: [Mutex::new(()), Mutex::new(())],
            ends: [end(first), end(other)],
            is_self: second.is_none(),
        })
    }
}

fn rcv_size(options: &Options) -> usize {
    let base = &options.base;
    if base.is_rcv_locked() { base.rcv_buf() } else { base.rcv_buf().max(AUTO_BUFFER) }
}

fn snd_size(options: &Options) -> usize {
    let base = &options.base;
    if base.is_snd_locked() { base.snd_buf() } else { base.snd_buf().max(AUTO_BUFFER) }
}

impl PairState {
    /// Whether `side` has shut its writing.
    pub(super) const fn is_shut_write(&self, peer: usize) -> bool {
        self.halves[peer].fin
    }

    /// Whether `side` has shut both directions: data that comes then resets the connection (RFC 1122 4.2.2.13).
    pub(super) const fn refuses_data(&self, side: usize, peer: usize) -> bool {
        self.halves[side].shut_read && self.is_shut_write(peer)
    }

    /// Bytes that may be under way to `peer`.
    pub(super) const fn limit(&self, side: usize, peer: usize) -> usize {
        self.halves[peer].rcv_buf + self.halves[side].snd_buf
    }

    /// Room for `side` to write.
    pub(super) fn room(&self, side: usize, peer: usize) -> usize {
        self.limit(side, peer).saturating_sub(self.halves[peer].rx.len())
    }

    /// Linux calls a socket writable when a third of its buffer is free.
    pub(super) fn is_writable(&self, side: usize, peer: usize) -> bool {
        self.room(side, peer) >= self.limit(side, peer) / 3
    }

    fn state(&self, side: usize, peer: usize) -> TcpState {
        if self.halves[side].is_reset {
            return TcpState::Closed;
        }
        match (self.halves[peer].fin, self.halves[side].fin) {
            (false, false) => TcpState::Established,
            (false, true) => TcpState::CloseWait,
            (true, false) => TcpState::FinWait2,
            (true, true) => TcpState::Closed,
        }
    }
}

impl LocalEnd {
    pub(super) fn peer(&self) -> usize {
        if self.pair.is_self { self.side } else { 1 - self.side }
    }

    pub(crate) fn tuple(&self) -> Tuple {
        self.pair.ends[self.side].tuple
    }

    pub(super) fn notify_peer(&self, bits: Readiness) {
        if let Some(socket) = self.pair.ends[self.peer()].socket.upgrade() {
            socket.events.notify(bits);
        }
    }

    pub(crate) fn state(&self) -> TcpState {
        self.pair.state.lock().state(self.side, self.peer())
    }

    pub(crate) fn readiness(&self, options: &Options) -> Readiness {
        let (side, peer) = (self.side, self.peer());
        let mut state = self.pair.state.lock();
        let closed = state.state(side, peer) == TcpState::Closed;
        let shut_write = state.is_shut_write(peer) || closed;
        let writable = shut_write || state.is_writable(side, peer);
        let own = &mut state.halves[side];
        let shut_read = own.fin || own.shut_read || closed;
        own.wants_room |= !writable;
        let readable = urgent::readable(&own.rx, own.urgent, options.base.oob_inline);
        let lowat = options.base.rcv_lowat.clamp(1, own.rcv_buf.max(1));
        let mut ready = Readiness::empty();
        ready.set(Readiness::IN, shut_read || readable >= lowat);
        ready.set(Readiness::OUT, writable);
        ready.set(Readiness::RDHUP, shut_read);
        ready.set(Readiness::HUP, closed || shut_read && shut_write);
        ready.set(Readiness::PRI, urgent::is_pending(own.urgent));
        ready.set(Readiness::ERR, own.error.is_some());
        ready
    }

    pub(crate) fn take_error(&self) -> Option<Error> {
        self.pair.state.lock().halves[self.side].error.take()
    }

    /// Options changed: sizes of buffers.
    pub(crate) fn apply(&self, options: &Options) {
        let mut state = self.pair.state.lock();
        let half = &mut state.halves[self.side];
        half.rcv_buf = rcv_size(options);
        half.snd_buf = snd_size(options);
    }

    /// Bytes received and not yet read; bytes sent and still in the way of more.
    pub(crate) fn queues(&self, inline: bool) -> (usize, usize) {
        let state = self.pair.state.lock();
        let own = &state.halves[self.side];
        let peer = &state.halves[self.peer()];
        (urgent::readable(&own.rx, own.urgent, inline), peer.rx.len().saturating_sub(peer.rcv_buf))
    }

    /// Bytes ever received and sent.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let state = self.pair.state.lock();
        (state.halves[self.side].rx.end(), state.halves[self.peer()].rx.end())
    }

    pub(crate) fn at_mark(&self) -> bool {
        let state = self.pair.state.lock();
        let own = &state.halves[self.side];
        own.urgent.is_some_and(|urgent| urgent.at == own.rx.start())
    }

    /// shutdown(2), reading.
    pub(crate) fn shut_read(&self) {
        self.pair.state.lock().halves[self.side].shut_read = true;
    }

    /// shutdown(2), writing: the peer reads the end of the stream.
    pub(crate) fn shut_write(&self, core: &Core) {
        let mut state = self.pair.state.lock();
        let done = self.send_fin(core, &mut state);
        drop(state);
        self.after_fin(core, done);
    }

    /// Says that no more data follows. True where that was news.
    fn send_fin(&self, core: &Core, state: &mut PairState) -> bool {
        let (side, peer) = (self.side, self.peer());
        if state.halves[side].is_reset || state.halves[peer].fin {
            return false;
        }
        state.halves[peer].fin = true;
        state.first_shut.get_or_insert(side);
        uncount(core, &mut state.halves[side]);
        true
    }

    fn after_fin(&self, core: &Core, done: bool) {
        if !done {
            return;
        }
        self.finish_if_over(core);
        self.notify_peer(Readiness::IN | Readiness::RDHUP | Readiness::HUP);
    }

    /// The socket is closed. `user` takes over the port if the socket had it bound.
    pub(crate) fn close(&self, core: &Core, options: &Options, user: Option<PortUser>) {
        let mut state = self.pair.state.lock();
        let finished = state.is_finished;
        // Once both sides have said that they send no more there is nothing left to reset, whatever stays unread.
        let is_over = state.state(self.side, self.peer()) == TcpState::Closed;
        let own = &mut state.halves[self.side];
        own.is_closed = true;
        match user {
            Some(user) if finished => user.release(core),
            Some(_) => own.user = user,
            None => {}
        }
        let lingers_not = options.base.linger.is_some_and(|time| time.is_zero());
        let unread = urgent::readable(&own.rx, own.urgent, options.base.oob_inline) > 0;
        own.rx.clear(&core.pool);
        if is_over {
            drop(state);
            return self.finish_if_over(core);
        }
        if unread || lingers_not {
            drop(state);
            let counter = if unread {
                &core.counters.tcp_ext.abort_on_close
            } else {
                &core.counters.tcp_ext.abort_on_data
            };
            counter.inc();
            return self.reset(core);
        }
        let done = self.send_fin(core, &mut state);
        drop(state);
        self.after_fin(core, done);
        self.finish_if_over(core);
    }

    /// Resets the connection: the peer gets an error, this side is closed.
    pub(crate) fn reset(&self, core: &Core) {
        let (side, peer) = (self.side, self.peer());
        let mut state = self.pair.state.lock();
        if !state.halves[peer].is_reset {
            state.halves[peer].mark_reset(core);
            core.counters.tcp.out_rsts.inc();
            core.counters.tcp.estab_resets.inc();
        }
        state.halves[side].is_reset = true;
        uncount(core, &mut state.halves[side]);
        drop(state);
        self.finish_if_over(core);
        self.notify_peer(Readiness::all() - Readiness::PRI);
    }

    /// Takes both ends out of the tables once both directions are shut or the connection is reset.
    pub(super) fn finish_if_over(&self, core: &Core) {
        let mut state = self.pair.state.lock();
        let reset = state.halves.iter().any(|half| half.is_reset);
        let over = state.halves[0].fin && (state.halves[1].fin || self.pair.is_self);
        if state.is_finished || !(reset || over) {
            return;
        }
        state.is_finished = true;
        let first = state.first_shut;
        let users = [state.halves[0].user.take(), state.halves[1].user.take()];
        for half in &mut state.halves {
            uncount(core, half);
        }
        drop(state);
        let sides = if self.pair.is_self { 1 } else { 2 };
        for (side, end) in self.pair.ends.iter().enumerate().take(sides) {
            if !reset && first == Some(side) {
                let wait = TimeWait { since: core.now(), user: users[side], uid: end.uid, segments: None };
                core.enter_time_wait(end.tuple, Some(end.id), wait);
            } else {
                core.tcp.remove(&end.tuple, end.id);
                if let Some(user) = users[side] {
                    user.release(core);
                }
            }
        }
    }
}

fn uncount(core: &Core, half: &mut Half) {
    if std::mem::take(&mut half.is_counted) {
        core.counters.tcp.curr_estab.dec();
    }
}

impl Half {
    /// A reset arrives. What was received can still be read, what was sent and not read is the peer's to drop.
    pub(super) fn mark_reset(&mut self, core: &Core) {
        self.is_reset = true;
        self.error = Some(if self.fin { Error::Pipe } else { Error::ConnReset });
        uncount(core, self);
    }
}

impl LocalEnd {
    /// Drops what was received and not read.
    pub(crate) fn discard(&self, core: &Core) {
        let mut state = self.pair.state.lock();
        let own = &mut state.halves[self.side];
        own.is_closed = true;
        own.rx.clear(&core.pool);
    }
}
