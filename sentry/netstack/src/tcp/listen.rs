//! The listening side of a socket: its queue of accepted connections and those waiting to get in.

use super::socket::TcpCore;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

/// State of a listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Connections ready to be accepted, oldest first.
    pub(crate) ready: VecDeque<Arc<TcpCore>>,
    /// Linux takes one connection more than this.
    pub(crate) backlog: u32,
    /// Sockets of this stack that found the queue full.
    pub(crate) waiting: VecDeque<Weak<TcpCore>>,
}

impl Listener {
    pub(crate) const fn new(backlog: u32) -> Self {
        Self { ready: VecDeque::new(), backlog, waiting: VecDeque::new() }
    }

    /// Whether no further connection fits.
    pub(crate) fn is_full(&self) -> bool {
        self.ready.len() > self.backlog as usize
    }
}
