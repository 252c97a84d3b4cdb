//! A name server that only the host's loopback in the container's name space reaches (Docker's 127.0.0.11): queries to
//! that address inside are passed on over a connected socket that the runtime has donated.
//!
//! Queries leave from the guest thread that sends them; one thread sleeps in the host for the answers. Many guest sockets
//! share the one host socket, so each query gets an identifier of our own under way. Lock: `waiting`, a leaf.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use abi::{Errno, Result};
use netstack::{Family, Observer, Readiness, RecvFlags, SendMeta, UdpSocket};
use parking_lot::Mutex;

use super::errno;
use super::namespace::NetNamespace;

/// Queries under way; the oldest are forgotten beyond.
const MAX_WAITING: usize = 256;
/// The longest message that is passed on (EDNS over UDP stays below).
const MESSAGE_MAX: usize = 4096;

/// Wait after an error of the host that may last.
const PAUSE: Duration = Duration::from_millis(100);

/// A query under way.
struct Query {
    /// The identifier on the way.
    id: u16,
    /// The guest's own.
    original: [u8; 2],
    /// Who asks.
    from: SocketAddr,
}

/// The relay.
struct Resolver {
    inside: UdpSocket,
    outside: OwnedFd,
    waiting: Mutex<(u16, VecDeque<Query>)>,
}

impl Resolver {
    /// Passes on one query; `None` when there is no more.
    fn ask(&self) -> Option<()> {
        let mut message = [0; MESSAGE_MAX];
        let got = self.inside.recv(&mut &mut message[..], RecvFlags::empty()).ok()?;
        let (Some(from), Some(original)) = (got.from, message.first_chunk::<2>().copied()) else {
            return Some(());
        };
        if got.copied < 12 {
            return Some(());
        }
        let mut waiting = self.waiting.lock();
        let (next, queries) = &mut *waiting;
        *next = next.wrapping_add(1);
        let id = *next;
        if queries.len() >= MAX_WAITING {
            queries.pop_front();
        }
        queries.push_back(Query { id, original, from });
        drop(waiting);
        message[..2].copy_from_slice(&id.to_be_bytes());
        // A query that cannot leave is lost, as on a wire; the guest asks again.
        let _ = host::packet::send(self.outside.as_fd(), None, &message[..got.copied]);
        Some(())
    }

    /// Passes answers back until the host's socket fails for good.
    fn answer(&self) {
        let mut message = [0; MESSAGE_MAX];
        loop {
            let len = match host::packet::receive(self.outside.as_fd(), &mut message) {
                Ok(len) => len,
                Err(error) if is_final(error) => return,
                // What an ICMP message said of an earlier query.
                Err(Errno::ECONNREFUSED | Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::EINTR) => {
                    continue;
                }
                // A state of the host that passes: short of memory, an interface that is down.
                Err(_) => {
                    std::thread::sleep(PAUSE);
                    continue;
                }
            };
            let Some(id) = message[..len].first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes)) else {
                continue;
            };
            let mut waiting = self.waiting.lock();
            let at = waiting.1.iter().position(|query| query.id == id);
            let Some(query) = at.and_then(|at| waiting.1.remove(at)) else { continue };
            drop(waiting);
            message[..2].copy_from_slice(&query.original);
            let to = SendMeta { to: Some(query.from), ..SendMeta::default() };
            let _ = self.inside.send(&mut &message[..len], &to);
        }
    }
}

/// Whether an error of the host's socket will not pass: there is no such socket any more, or none that is connected.
fn is_final(error: Errno) -> bool {
    matches!(error, Errno::EBADF | Errno::ENOTSOCK | Errno::ENOTCONN)
}

impl Observer for Resolver {
    fn ready(&self, _bits: Readiness) {
        while self.ask().is_some() {}
    }
}

impl NetNamespace {
    /// Answers at `address` by way of `outside`, a host socket that is connected to the name server.
    ///
    /// # Errors
    /// `EADDRINUSE`; `EAGAIN` where the host has no thread to give.
    pub fn add_resolver(&self, address: SocketAddr, outside: OwnedFd) -> Result<()> {
        let inside = self.stack().udp_socket(Family::V4);
        inside.bind(address).map_err(errno)?;
        let resolver = Arc::new(Resolver { inside, outside, waiting: Mutex::default() });
        let observer: Weak<Resolver> = Arc::downgrade(&resolver);
        resolver.inside.set_observer(observer);
        std::thread::Builder::new()
            .name("resolver".into())
            .stack_size(128 << 10)
            .spawn(move || resolver.answer())
            .map_err(|_| Errno::EAGAIN)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_that_may_pass_do_not_end_the_relay() {
        for error in [Errno::ENOMEM, Errno::ENOBUFS, Errno::ENETDOWN, Errno::EHOSTDOWN, Errno::EPERM] {
            assert!(!is_final(error), "{error:?}");
        }
        assert!(is_final(Errno::EBADF) && is_final(Errno::ENOTCONN));
    }
}
