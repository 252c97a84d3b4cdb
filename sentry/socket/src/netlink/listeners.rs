//! The netlink sockets of a name space: their ports, and who hears of which changes.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::Protocol;
use super::message::Replies;
use super::socket::NetlinkSocket;

/// The netlink sockets of a name space.
#[derive(Debug, Default)]
pub(crate) struct Listeners(Mutex<Vec<Weak<NetlinkSocket>>>);

impl Listeners {
    /// Adds a socket.
    pub(super) fn add(&self, socket: &Arc<NetlinkSocket>) {
        let mut sockets = self.0.lock();
        sockets.retain(|socket| socket.strong_count() > 0);
        sockets.push(Arc::downgrade(socket));
    }

    /// All sockets.
    pub(super) fn all(&self) -> Vec<Arc<NetlinkSocket>> {
        self.0.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// Gives `socket` a port that nobody else of its protocol has; says whether it got it.
    pub(super) fn claim(&self, socket: &NetlinkSocket, port: u32) -> bool {
        let sockets = self.0.lock();
        let is_taken =
            |other: Arc<NetlinkSocket>| other.protocol() == socket.protocol() && other.port() == port;
        if sockets.iter().filter_map(Weak::upgrade).any(is_taken) {
            return false;
        }
        socket.set_port(port);
        true
    }

    /// The text of `/proc/net/netlink`.
    pub(super) fn table(&self) -> String {
        let mut text = String::from(
            "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
        );
        for socket in self.all() {
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
        for datagram in replies.finish() {
            for member in &members {
                member.hear(group, &datagram);
            }
        }
    }
}
