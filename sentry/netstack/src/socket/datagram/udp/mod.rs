//! UDP sockets (RFC 768; man 7 udp).
//!
//! Between two sockets of one stack a datagram goes straight into the receiver's queue; no packet is built. Locks:
//! `corked` alone; the rest as in [`super`].

pub(crate) mod deliver;
pub(crate) mod send;

use super::{DatagramSocket, State};
use crate::base::addr::{Endpoint, Family};
use crate::base::error::{Error, Result};
use crate::base::ready::Readiness;
use crate::core::Core;
use crate::socket::options::Options;
use crate::socket::ports::Binding;
use parking_lot::Mutex;
use send::Corked;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

/// Largest payload over IPv4; the field of the UDP header limits IPv6 to the same, without jumbograms.
pub(crate) const MAX_PAYLOAD: usize = 65_535 - 8;

/// A UDP socket. Dropping it closes it.
#[derive(Debug)]
pub struct UdpSocket {
    common: Arc<DatagramSocket>,
    /// What earlier sends with `MSG_MORE` have collected.
    corked: Mutex<Option<Corked>>,
}

impl Deref for UdpSocket {
    type Target = DatagramSocket;

    fn deref(&self) -> &DatagramSocket {
        &self.common
    }
}

impl UdpSocket {
    pub(crate) fn new(stack: &Arc<Core>, family: Family) -> Self {
        Self { common: Arc::new(DatagramSocket::new(stack, family, true)), corked: Mutex::new(None) }
    }

    /// bind(2). Port 0 picks one. The caller has checked privileges for low ports.
    ///
    /// # Errors
    /// What bind(2) says.
    pub fn bind(&self, addr: SocketAddr) -> Result<()> {
        self.bind_by(addr, |state, local| self.claim(state, local))
    }

    /// connect(2): fixes the peer.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn connect(&self, addr: SocketAddr) -> Result<()> {
        let mut state = self.state.lock();
        self.connect_by(&mut state, addr, |state, any| self.claim(state, any))?;
        self.stack.udp_ports.set_peer(self.id, state.local.port, state.local.ip, state.peer);
        Ok(())
    }

    /// connect(2) with `AF_UNSPEC`: forgets the peer.
    pub fn disconnect(&self) {
        let mut state = self.state.lock();
        if !state.disconnect(self.family) {
            return;
        }
        let ports = &self.stack.udp_ports;
        if state.is_port_bound {
            ports.set_peer(self.id, state.local.port, state.local.ip, None);
        } else {
            ports.unbind(self.id, state.local.port);
            state.local.port = 0;
        }
    }

    /// Changes options, those of the port's owner with them.
    pub fn set_options<R>(&self, f: impl FnOnce(&mut Options) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state.options);
        let base = &state.options.base;
        if state.local.port != 0 {
            self.stack.udp_ports.rebind(self.id, state.local.port, |binding| {
                binding.device = base.device;
                binding.reuse_addr = base.reuse_addr;
                binding.reuse_port = base.reuse_port;
            });
        }
        result
    }

    /// `SOCK_DESTROY` of sock_diag: the socket's calls fail with `ECONNABORTED`.
    pub fn abort(&self) {
        self.state.lock().error = Some(Error::ConnAborted);
        self.disconnect();
        self.events.notify(Readiness::all());
    }

    /// Claims an address and port.
    fn claim(&self, state: &mut State, local: Endpoint) -> Result<()> {
        let binding = Binding::new(local.ip, &state.options);
        let pick = (&self.stack.random, self.stack.config().ip_local_port_range);
        let port = self.stack.udp_ports.bind(self.id, &self.common, binding, local.port, pick)?;
        state.local = Endpoint { ip: local.ip, port };
        Ok(())
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let port = std::mem::take(&mut self.state.lock().local.port);
        if port != 0 {
            self.stack.udp_ports.unbind(self.id, port);
        }
        self.close();
    }
}
