//! The netlink sockets of a name space: their ports, and who hears of which changes.

use std::collections::HashSet;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Protocol;
use super::message::Replies;
use super::socket::{NetlinkSocket, Shown};

/// Ports for sockets of processes whose number is taken, from the last down: those are no numbers of processes.
const LAST_PORT: u32 = 0xffff_efff;
const SPAN: u32 = 0x7fff_f000;

/// The netlink sockets of a name space.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    sockets: Mutex<Vec<Weak<NetlinkSocket>>>,
    ports: Mutex<PortTable>,
}

/// The ports that are taken. A leaf lock.
#[derive(Debug, Default)]
struct PortTable {
    taken: HashSet<(Protocol, u32)>,
    /// How many ports were searched for, so that the next search begins behind the last.
    rover: u32,
}

impl PortTable {
    /// Takes `wanted`, or the next free port below [`LAST_PORT`].
    fn take_any(&mut self, protocol: Protocol, wanted: u32) -> u32 {
        let mut port = wanted;
        // There are more ports than there can be sockets.
        while !self.taken.insert((protocol, port)) {
            port = LAST_PORT - self.rover;
            self.rover = (self.rover + 1) % SPAN;
        }
        port
    }
}

impl Listeners {
    /// Adds a socket.
    pub(super) fn add(&self, socket: &Arc<NetlinkSocket>) {
        let mut sockets = self.sockets.lock();
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(socket));
    }

    /// All sockets.
    pub(super) fn all(&self) -> Vec<Arc<NetlinkSocket>> {
        self.sockets.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Takes a port that nobody else of the protocol has; says whether it was free.
    pub(super) fn claim(&self, protocol: Protocol, port: u32) -> bool {
        self.ports.lock().taken.insert((protocol, port))
    }

    /// Takes the port `wanted`, or another where somebody has that.
    pub(super) fn claim_any(&self, protocol: Protocol, wanted: u32) -> u32 {
        self.ports.lock().take_any(protocol, wanted)
    }

    /// Gives a port back.
    pub(super) fn release(&self, protocol: Protocol, port: u32) {
        self.ports.lock().taken.remove(&(protocol, port));
    }

    /// What is shown of the sockets: of those that have a port.
    pub(super) fn shown(&self) -> Vec<Shown> {
        self.all().iter().map(|socket| socket.shown()).filter(|socket| socket.port != 0).collect()
    }

    /// The text of `/proc/net/netlink`.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
        );
        for socket in self.shown() {
            text.push_str(&socket.line());
        }
        text
    }

    /// Tells the members of a routing group (`RTNLGRP_*`) of a change that `write` describes.
    pub(super) fn announce(&self, group: u32, write: impl FnOnce(&mut Replies)) {
        let members: Vec<_> = self
            .all()
            .into_iter()
            .filter(|socket| socket.protocol() == Protocol::Route && socket.is_member(group))
            .collect();
        if members.is_empty() {
            return;
        }
        let mut replies = Replies::to(0, 0);
        write(&mut replies);
        // A change that finds no memory is not told; nobody waits for it.
        for datagram in replies.finish().unwrap_or_default() {
            for member in &members {
                member.hear(group, &datagram);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_at_once_and_come_back() {
        let listeners = Listeners::default();
        let own = listeners.claim_any(Protocol::Route, 7);
        let others: HashSet<_> = (0..100_000).map(|_| listeners.claim_any(Protocol::Route, 7)).collect();
        assert!(own == 7 && others.len() == 100_000 && !others.contains(&7));
        assert!(listeners.claim(Protocol::Generic, 7) && !listeners.claim(Protocol::Route, 7));
        listeners.release(Protocol::Route, 7);
        assert_eq!(listeners.claim_any(Protocol::Route, 7), 7);
    }
}
