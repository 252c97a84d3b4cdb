//! Reads and writes of connections over packets. What is large is copied from and to the caller without the socket's
//! lock, so that segments arrive and leave meanwhile.
//!
//! Locks: `TcpCore::reader` and `TcpCore::writer` keep the calls of each direction in order; they come before the
//! socket's own.

use super::socket::TcpCore;
use crate::base::error::{Error, Result};
use crate::base::io::{Sink, Source};
use crate::buf::{LARGE, Loose};
use crate::socket::message::{Received, RecvFlags, SendFlags};
use std::sync::Arc;

/// The largest piece that is copied in one go.
const STEP: usize = 128 << 10;

impl TcpCore {
    /// recvmsg(2); `None` where the connection is not over packets.
    pub(super) fn recv_net(
        self: &Arc<Self>,
        sink: &mut dyn Sink,
        flags: RecvFlags,
    ) -> Option<Result<Received>> {
        let _in_order = self.reader.lock();
        let mut total = 0;
        let is_plain = !flags.intersects(RecvFlags::OOB | RecvFlags::PEEK | RecvFlags::TRUNC);
        while is_plain && sink.room() >= LARGE {
            let mut loose =
                self.with_net(|conn, env| conn.take_chunks(&env.core.pool, sink.room().min(STEP)))?;
            if loose.is_empty() {
                break;
            }
            total += loose.drain(&self.stack.pool, sink);
            let faulted = !loose.is_empty();
            let mut rest = Some(loose);
            let left = self.with_net(|conn, env| conn.give_back(env, rest.take()));
            if let Some(mut lost) = rest {
                lost.discard(&self.stack.pool);
            }
            match (faulted, left) {
                (true, _) if total == 0 => return Some(Err(Error::Fault)),
                (false, Some(1..)) => {}
                (_, left) => return Some(Ok(received(total, left.unwrap_or(0)))),
            }
        }
        let rest = self.with_net(|conn, env| {
            // What comes after the data, an error or the end, is for the next call.
            let is_over = total > 0 && conn.readable(env.options) == 0;
            if is_over { Err(Error::Again) } else { conn.recv(env, sink, flags) }
        })?;
        Some(match rest {
            Ok(rest) if total > 0 => Ok(received(total + rest.copied, rest.left)),
            Err(_) if total > 0 => Ok(received(total, 0)),
            other => other,
        })
    }

    /// sendmsg(2); `None` where the connection is not over packets.
    pub(super) fn send_net(
        self: &Arc<Self>,
        source: &mut dyn Source,
        flags: SendFlags,
    ) -> Option<Result<usize>> {
        let _in_order = self.writer.lock();
        let mut sent = 0;
        while !flags.contains(SendFlags::OOB) && source.remaining() >= LARGE {
            let room = self.with_net(|conn, env| conn.room(env))?;
            if room < LARGE {
                break;
            }
            let (loose, done) = Loose::fill(&self.stack.pool, source, room.min(STEP));
            let more = flags.contains(SendFlags::MORE) || source.remaining() > 0;
            let mut loose = Some(loose);
            let taken = self.with_net(|conn, env| conn.send_chunks(env, &mut loose, more));
            if let Some(mut lost) = loose {
                lost.discard(&self.stack.pool);
            }
            if taken == Some(true) {
                sent += done.bytes;
            }
            if taken != Some(true) || done.faulted || done.starved {
                break;
            }
        }
        if sent > 0 && source.remaining() == 0 {
            return Some(Ok(sent));
        }
        let rest = self.with_net(|conn, env| conn.send(env, source, flags))?;
        Some(match rest {
            Ok(rest) => Ok(sent + rest),
            Err(_) if sent > 0 => Ok(sent),
            Err(error) => Err(error),
        })
    }
}

fn received(copied: usize, left: usize) -> Received {
    Received { copied, full_len: copied, left, ..Received::default() }
}
