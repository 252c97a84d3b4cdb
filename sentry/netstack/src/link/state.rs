//! An interface's state and addresses, with what follows from a change for routes and neighbours.

use super::nic::{IfAddr, Nic, NicKind};
use crate::base::addr::{Family, Prefix};
use crate::base::config::NicSettings;
use crate::base::error::{Error, Result};
use crate::core::Core;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses that one interface may have. Looking for one of them takes time for each.
const MAX_ADDRS: usize = 4096;

impl Core {
    /// The settings that hold for an interface, with those for all.
    pub(crate) fn settings_of(&self, nic: &Nic) -> NicSettings {
        let (own, all) = (nic.settings(), self.config().nic_all);
        NicSettings {
            rp_filter: own.rp_filter.max(all.rp_filter),
            send_redirects: own.send_redirects || all.send_redirects,
            route_localnet: own.route_localnet || all.route_localnet,
            ..own
        }
    }

    /// Switches an interface on or off; see [`crate::Stack::set_up`].
    pub(crate) fn set_up(&self, nic: &Arc<Nic>, up: bool) {
        let was_up = nic.is_up();
        nic.set_up(up);
        if !up {
            self.routes.write().remove_all(|route| route.interface == nic.index);
            self.neighbours.lock().remove_interface(nic.index);
        } else if !was_up {
            if nic.kind == NicKind::Loopback {
                self.add_loopback_addrs(nic);
            }
            self.start_ipv6(nic);
        }
        if was_up != up {
            self.carrier_changed(nic);
        }
    }

    fn add_loopback_addrs(&self, nic: &Nic) {
        for (family, len) in [(Family::V4, 8), (Family::V6, 128)] {
            let loopback = family.loopback();
            let has_one = nic.addrs().iter().any(|addr| addr.ip().is_ipv4() == loopback.is_ipv4());
            if !has_one {
                let _added_meanwhile = self.add_addr(nic, IfAddr::new(Prefix { addr: loopback, len }));
            }
        }
    }

    /// Gives an interface an address.
    pub(crate) fn add_addr(&self, nic: &Nic, addr: IfAddr) -> Result<()> {
        if addr.ip().is_unspecified() || addr.ip().is_multicast() {
            return Err(Error::Invalid);
        }
        nic.with_addrs_mut(|addrs| {
            if addrs.iter().any(|old| old.ip() == addr.ip() && old.prefix.len == addr.prefix.len) {
                return Err(Error::Exists);
            }
            if addrs.len() >= MAX_ADDRS {
                return Err(Error::NoBuffers);
            }
            addrs.push(addr);
            Ok(())
        })?;
        self.locals.write().insert(addr.ip(), nic.index);
        Ok(())
    }

    /// Takes an address from an interface.
    pub(crate) fn remove_addr(&self, nic: &Nic, ip: IpAddr) -> Result<()> {
        let left = nic.with_addrs_mut(|addrs| {
            let at = addrs.iter().position(|addr| addr.ip() == ip).ok_or(Error::AddrNotAvailable)?;
            addrs.remove(at);
            Ok(addrs.iter().any(|addr| addr.ip() == ip))
        })?;
        if !left {
            // Another interface may have it too: a bridge has the link address of one of its ports.
            let other =
                self.nics.read().iter().find(|other| other.index != nic.index && other.has_addr(ip)).cloned();
            let mut locals = self.locals.write();
            match other {
                Some(other) => locals.insert(ip, other.index),
                None => locals.remove(&ip),
            };
        }
        self.routes.write().remove_all(|route| route.source == Some(ip) && route.interface == nic.index);
        Ok(())
    }
}
