//! What a connection promises its owner ([`Promise`]).

use super::output::Push;
use super::{Connection, Env};
use crate::base::io::{Discard, Sink};
use crate::buf::LARGE;
use crate::socket::message::{RecvFlags, SendFlags};
use crate::tcp::promise::Promise;

impl Connection {
    /// See [`TcpSocket::promise`](crate::TcpSocket::promise).
    pub(crate) fn promise(&self, env: &Env<'_>, mut buffer: &mut [u8]) -> Promise {
        if self.error.is_some() || !self.path.nic.leads_outside() {
            return Promise::default();
        }
        let waiting = self.readable(env.options);
        let is_plain = self.urgent_in.is_none() && !self.shut_read && env.options.base.rcv_lowat <= 1;
        if !is_plain || waiting > buffer.room() {
            return Promise::default();
        }
        let input = self.rx.peek(self.rx.start(), waiting, &mut buffer);
        // What is promised may take the budget beyond its end: by what is promised at a time, and no further.
        let credit = if env.core.pool.has_room(LARGE) { self.room(env).min(LARGE) } else { 0 };
        Promise { input, credit }
    }

    /// Takes what was read.
    pub(crate) fn keep_read(&mut self, env: &mut Env<'_>, len: usize) {
        let mut rest = Discard(len);
        // Urgent data that came meanwhile divides it.
        while rest.0 > 0 && self.readable(env.options) > 0 {
            if self.recv(env, &mut rest, RecvFlags::empty()).is_err() {
                break;
            }
        }
    }

    /// Takes what was sent, whatever room there is now.
    pub(crate) fn keep_sent(&mut self, env: &mut Env<'_>, data: &[u8], flags: SendFlags) {
        if self.is_shut_write() {
            return;
        }
        self.tx.append_promised(&env.core.pool, data);
        self.holds_more = flags.contains(SendFlags::MORE);
        self.output(env, Push::Normal);
    }
}
