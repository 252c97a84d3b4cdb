//! Internet sockets of the host's own stack (`--network=host`).
//!
//! A guest's socket is a socket of the host. The sandbox can neither make nor bind one: a [`Broker`] outside does both;
//! connecting, listening, accepting, transferring and the options of [`calls`] are host calls that the sandbox may make
//! in this mode alone. Host sockets never wait; guests wait on a queue that the host's readiness is passed on to.
//!
//! Interfaces, addresses and routes as netlink, ioctls and `/proc/net` tell them are those that the host's name space
//! had at start, kept in the sentry's own stack. Guests that make network name spaces of their own get sockets of
//! that stack there.

mod calls;
mod control;
mod file;
mod options;

use std::sync::{Arc, Weak};

use ::control::broker::Broker;
use abi::socket::SocketType;
use abi::{Errno, Result};
use kernel::Task;
use kernel::host_events::Readiness;
use kernel::socket::{SocketFamily, SocketOptions};
use kernel::task::OtherNamespace;
use kernel::vfs::FileOps;
use netstack::Family;

use crate::inet::{InetFamily, NetNamespace, Transport};
use file::HostSocket;

pub use calls::HOST_CALLS;

/// What host sockets need of the sandbox.
#[derive(Debug)]
pub(crate) struct HostNetwork {
    broker: Broker,
    readiness: Arc<Readiness>,
    /// The name space whose sockets are the host's.
    namespace: Weak<OtherNamespace>,
}

/// `AF_INET` or `AF_INET6` on the host.
#[derive(Debug)]
pub struct HostInetFamily {
    own: InetFamily,
    family: Family,
    host: Arc<HostNetwork>,
}

impl HostInetFamily {
    /// Both families. Sockets of tasks in `namespace` are the host's.
    #[must_use]
    pub fn both(broker: Broker, readiness: &Arc<Readiness>, namespace: &Arc<OtherNamespace>) -> [Self; 2] {
        let (readiness, namespace) = (Arc::clone(readiness), Arc::downgrade(namespace));
        let host = Arc::new(HostNetwork { broker, readiness, namespace });
        let v6 = Self { own: InetFamily::v6(), family: Family::V6, host: Arc::clone(&host) };
        [Self { own: InetFamily::v4(), family: Family::V4, host }, v6]
    }

    fn is_on_host(&self, task: &Task) -> bool {
        std::ptr::eq(Arc::as_ptr(&task.namespaces().net), self.host.namespace.as_ptr())
    }
}

impl SocketFamily for HostInetFamily {
    fn family(&self) -> u16 {
        self.own.family()
    }

    fn create(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<Arc<dyn FileOps>> {
        if !self.is_on_host(task) {
            return self.own.create(task, kind, protocol);
        }
        let net = NetNamespace::of(task)?;
        let (_, protocol) = Transport::choose(task, &net, self.family, kind, protocol)?;
        let socket = self.host.broker.create(i32::from(self.family()), kind as i32, protocol);
        // What the host refuses its broker, such as ping sockets, is refused for lack of privilege.
        let socket = socket.map_err(|errno| if errno == Errno::EPERM { Errno::EACCES } else { errno })?;
        let what = (self.family, kind, protocol);
        HostSocket::create(socket, what, SocketOptions::default(), net, Arc::clone(&self.host))
            .map(|file| file as Arc<dyn FileOps>)
    }

    fn table(&self, task: &Task, name: &str) -> Option<String> {
        self.own.table(task, name)
    }

    fn settings(&self) -> Vec<&'static str> {
        self.own.settings()
    }

    fn interface_settings(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        self.own.interface_settings()
    }

    fn interfaces(&self, task: &Task, tree: &str) -> Option<Vec<String>> {
        self.own.interfaces(task, tree)
    }

    fn links(&self, task: &Task) -> Option<Vec<String>> {
        self.own.links(task)
    }

    fn link_file(&self, task: &Task, link: &str, file: &str) -> Option<String> {
        self.own.link_file(task, link, file)
    }

    fn setting(&self, task: &Task, path: &str) -> Option<String> {
        self.own.setting(task, path)
    }

    fn change_setting(&self, task: &Task, path: &str, value: &str) -> Result<()> {
        self.own.change_setting(task, path, value)
    }
}
