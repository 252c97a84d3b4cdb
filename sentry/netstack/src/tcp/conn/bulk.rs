//! Data in whole chunks, which callers fill and empty without the socket's lock.

use super::output::Push;
use super::{Connection, Env};
use crate::buf::{Loose, Pool};

impl Connection {
    /// Takes chunks from the front of what was received; none where urgent data wants care.
    pub(crate) fn take_chunks(&mut self, pool: &Pool, max: usize) -> Loose {
        if self.urgent_in.is_some() { Loose::default() } else { self.rx.take_loose(pool, max) }
    }

    /// What was taken has been read, but for `rest`; returns how much more there is.
    pub(crate) fn give_back(&mut self, env: &mut Env<'_>, rest: Option<Loose>) -> usize {
        if let Some(rest) = rest {
            self.rx.untake(rest);
        }
        self.after_read(env);
        self.readable(env.options)
    }

    /// How much a writer may add; nothing where the call is to fail or to wait.
    pub(crate) fn room(&self, env: &Env<'_>) -> usize {
        if !self.state.is_synchronized() || self.is_shut_write() {
            return 0;
        }
        env.options.base.snd_buf().saturating_sub(self.tx.len())
    }

    /// Appends chunks and sends what may leave; false, and nothing taken, where the connection has ended meanwhile.
    pub(crate) fn send_chunks(&mut self, env: &mut Env<'_>, chunks: &mut Option<Loose>, more: bool) -> bool {
        if self.is_shut_write() {
            return false;
        }
        if let Some(chunks) = chunks.take() {
            self.tx.append_loose(chunks);
        }
        self.holds_more = more;
        self.output(env, Push::Normal);
        true
    }
}
