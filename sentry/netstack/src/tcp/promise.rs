//! What a socket's owner may do later without asking again: it is told what there is to read and how much can be sent,
//! and says afterwards what it has made of that. Between the two it must make no other call on the socket.

use super::socket::TcpSocket;
use crate::socket::message::SendFlags;

/// What was promised. Nothing by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Promise {
    /// Bytes that can be read: all that there are.
    pub input: usize,
    /// Bytes that can be sent.
    pub credit: usize,
}

impl TcpSocket {
    /// Copies what can be read into `buffer`, if all of it fits, and says how much could be sent. Promises nothing for
    /// connections that stay within the sandbox: who has seen their data sent expects to find it at the other end.
    pub fn promise(&self, buffer: &mut [u8]) -> Promise {
        let mut inner = self.core.inner.lock();
        if inner.error.is_some() {
            return Promise::default();
        }
        let promised = self.core.on_net(&mut inner, |conn, env| conn.promise(env, buffer));
        promised.map_or_else(Promise::default, |(promise, _)| promise)
    }

    /// The first `len` of the promised bytes were read.
    pub fn keep_read(&self, len: usize) {
        let _in_order = self.core.reader.lock();
        self.core.with_net(|conn, env| conn.keep_read(env, len));
    }

    /// `data` was sent, which is no more than was promised, with [`SendFlags::MORE`] or no flag. Where the connection has ended meanwhile it is lost, as if it
    /// had been on its way then; the next call hears of that.
    pub fn keep_sent(&self, data: &[u8], flags: SendFlags) {
        let _in_order = self.core.writer.lock();
        self.core.with_net(|conn, env| conn.keep_sent(env, data, flags));
    }
}
