//! Data through a connection between two sockets of one stack.

use super::local::LocalEnd;
use super::urgent::{self, Urgent};
use crate::base::error::{Error, Result};
use crate::base::io::{Discard, Sink, Source};
use crate::base::ready::Readiness;
use crate::buf::{Appended, LARGE, Loose};
use crate::core::Core;
use crate::socket::message::{Received, RecvFlags, SendFlags};

/// Most bytes that are moved at once, so that the other side can begin meanwhile.
const STEP: usize = 64 << 10;

impl LocalEnd {
    /// Sends as much as fits.
    pub(crate) fn send(&self, core: &Core, source: &mut dyn Source, flags: SendFlags) -> Result<usize> {
        let _in_order = self.pair.writers[self.side].lock();
        let mut sent = 0;
        loop {
            let step = self.send_step(core, source, sent == 0);
            match step {
                Ok(0) => break,
                Ok(n) => {
                    sent += n;
                    core.counters.tcp_ext.loopback_bytes.add(n as u64);
                    let last = source.remaining() == 0;
                    let urgent = last && flags.contains(SendFlags::OOB);
                    if urgent {
                        let mut state = self.pair.state.lock();
                        let half = &mut state.halves[self.peer()];
                        half.urgent = Some(Urgent { at: half.rx.end().saturating_sub(1), is_read: false });
                    }
                    self.notify_peer(if urgent { Readiness::IN | Readiness::PRI } else { Readiness::IN });
                    if last {
                        break;
                    }
                }
                Err(_) if sent > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn send_step(&self, core: &Core, source: &mut dyn Source, is_first: bool) -> Result<usize> {
        let (side, peer) = (self.side, self.peer());
        let mut state = self.pair.state.lock();
        if state.halves[side].is_reset || state.is_shut_write(peer) {
            // After a partial success the error stays for the next call.
            let error = if is_first { state.halves[side].error.take() } else { None };
            return Err(error.unwrap_or(Error::Pipe));
        }
        if state.halves[peer].is_closed || state.refuses_data(peer, side) && source.remaining() > 0 {
            drop(state);
            return Ok(self.send_to_deaf(core, source));
        }
        if source.remaining() == 0 {
            return Ok(0);
        }
        let room = state.room(side, peer).min(STEP);
        if room == 0 {
            state.halves[side].wants_room = true;
            return Err(Error::Again);
        }
        let want = source.remaining().min(room);
        if want < LARGE {
            let done = state.halves[peer].rx.append(&core.pool, source, want);
            return appended(done, &mut state.halves[side].wants_room);
        }
        // A large piece is copied without holding up the reader. Only we add to the queue, so the room stays.
        drop(state);
        let (mut loose, done) = Loose::fill(&core.pool, source, want);
        let mut state = self.pair.state.lock();
        if state.halves[side].is_reset || state.halves[peer].is_closed {
            loose.discard(&core.pool);
        } else {
            state.halves[peer].rx.append_loose(loose);
        }
        appended(done, &mut state.halves[side].wants_room)
    }

    /// The peer has closed, or shut both directions: the data goes nowhere, and a reset comes back before more than
    /// [`STEP`] bytes are away.
    pub(super) fn send_to_deaf(&self, core: &Core, source: &mut dyn Source) -> usize {
        let mut sent = 0;
        let mut scratch = [0; 4096];
        while source.remaining() > 0 && sent < STEP {
            let n = source.fill(&mut scratch);
            if n == 0 {
                break;
            }
            sent += n;
        }
        let peer = self.peer();
        let mut state = self.pair.state.lock();
        let hears = !state.halves[peer].is_closed && !state.halves[peer].is_reset;
        if hears {
            state.halves[peer].mark_reset(core);
            core.counters.tcp_ext.abort_on_data.inc();
        }
        if !state.halves[self.side].is_reset {
            state.halves[self.side].mark_reset(core);
            core.counters.tcp.out_rsts.inc();
            core.counters.tcp.estab_resets.inc();
        }
        drop(state);
        self.finish_if_over(core);
        if hears {
            self.notify_peer(Readiness::all() - Readiness::PRI);
        }
        if let Some(socket) = self.pair.ends[self.side].socket.upgrade() {
            socket.events.notify(Readiness::all() - Readiness::PRI);
        }
        sent
    }

    /// Receives what there is.
    pub(crate) fn recv(
        &self,
        core: &Core,
        sink: &mut dyn Sink,
        flags: RecvFlags,
        inline: bool,
    ) -> Result<Received> {
        let _in_order = self.pair.readers[self.side].lock();
        if flags.contains(RecvFlags::OOB) {
            return self.recv_urgent(sink, flags, inline);
        }
        let mut total = 0;
        loop {
            if total > 0 && self.queues(inline).0 == 0 {
                // What comes next (an error, the end) is for the next call.
                break;
            }
            let step = if flags.contains(RecvFlags::TRUNC) {
                // The data is dropped, and counts as read.
                self.recv_step(core, &mut Discard(sink.room()), flags, inline)
            } else {
                self.recv_step(core, sink, flags, inline)
            };
            match step {
                Ok(n) if n > 0 && !flags.contains(RecvFlags::PEEK) && !flags.contains(RecvFlags::TRUNC) => {
                    total += n;
                    if sink.room() == 0 || self.at_mark() {
                        break;
                    }
                }
                Ok(n) => {
                    total += n;
                    break;
                }
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Received { copied: total, full_len: total, left: self.queues(inline).0, ..Received::default() })
    }

    fn recv_urgent(&self, sink: &mut dyn Sink, flags: RecvFlags, inline: bool) -> Result<Received> {
        let mut state = self.pair.state.lock();
        let half = &mut state.halves[self.side];
        let mut mark = half.urgent;
        let result = urgent::read_urgent(&half.rx, &mut mark, inline, sink, flags);
        half.urgent = mark;
        let copied = result?;
        Ok(Received { copied, full_len: copied, is_oob: true, ..Received::default() })
    }

    fn recv_step(&self, core: &Core, sink: &mut dyn Sink, flags: RecvFlags, inline: bool) -> Result<usize> {
        let mut state = self.pair.state.lock();
        let want = sink.room().min(STEP);
        let half = &mut state.halves[self.side];
        if want >= LARGE && half.urgent.is_none() && !flags.contains(RecvFlags::PEEK) {
            let mut loose = half.rx.take_loose(&core.pool, want);
            if !loose.is_empty() {
                drop(state);
                let n = loose.drain(&core.pool, sink);
                if !loose.is_empty() {
                    self.pair.state.lock().halves[self.side].rx.untake(loose);
                }
                self.made_room();
                return if n == 0 { Err(Error::Fault) } else { Ok(n) };
            }
        }
        let mut mark = half.urgent;
        let read = urgent::read(&mut half.rx, &mut mark, inline, &core.pool, sink, flags);
        half.urgent = mark;
        match read {
            Some(0) if want > 0 => Err(Error::Fault),
            Some(n) => {
                drop(state);
                self.made_room();
                Ok(n)
            }
            // The end of the stream outlasts errors, as Linux has it.
            None if half.fin => Ok(0),
            None => match half.error.take() {
                Some(error) => Err(error),
                None if half.is_reset || half.shut_read => Ok(0),
                None => Err(Error::Again),
            },
        }
    }

    /// Wakes a writer that waits, once there is room worth waking for.
    fn made_room(&self) {
        let (side, peer) = (self.side, self.peer());
        let mut state = self.pair.state.lock();
        if state.halves[peer].wants_room && state.is_writable(peer, side) {
            state.halves[peer].wants_room = false;
            drop(state);
            self.notify_peer(Readiness::OUT);
        }
    }
}

fn appended(done: Appended, wants_room: &mut bool) -> Result<usize> {
    match done {
        Appended { bytes: 0, faulted: true, .. } => Err(Error::Fault),
        Appended { bytes: 0, starved: true, .. } => {
            *wants_room = true;
            Err(Error::NoBuffers)
        }
        Appended { bytes, .. } => Ok(bytes),
    }
}
