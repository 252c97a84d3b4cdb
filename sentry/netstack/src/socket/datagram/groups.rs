//! Multicast memberships of sockets, counted for each interface (man 7 ip, RFC 3376, RFC 3810).

use crate::base::addr::Family;
use crate::base::error::{Error, Result};
use crate::core::{Core, Via};
use crate::socket::options::Membership;
use std::net::IpAddr;

/// Most sources in one filter of a group (`igmp_max_msf`, `mld_max_msf`).
#[must_use]
pub const fn max_sources(group: IpAddr) -> usize {
    if group.is_ipv4() { 10 } else { 64 }
}

impl Core {
    /// Adds a membership to those of a socket.
    pub(crate) fn join(&self, own: &mut Vec<Membership>, mut membership: Membership) -> Result<()> {
        if !membership.group.is_multicast() {
            return Err(Error::Invalid);
        }
        if membership.sources.len() > max_sources(membership.group) {
            return Err(Error::NoBuffers);
        }
        if membership.interface == 0 {
            let path = self.path(membership.group, &Via::default());
            membership.interface = path.map_err(|_| Error::NoDevice)?.nic.index;
        } else if self.nic(membership.interface).is_none() {
            return Err(Error::NoDevice);
        }
        let same = |m: &Membership| m.group == membership.group && m.interface == membership.interface;
        if own.iter().any(same) {
            return Err(Error::AddrInUse);
        }
        let config = self.config();
        let of_family = own.iter().filter(|m| Family::of(m.group) == Family::of(membership.group)).count();
        if membership.group.is_ipv4() && of_family >= config.igmp_max_memberships as usize {
            return Err(Error::NoBuffers);
        }
        let (interface, group) = (membership.interface, membership.group);
        own.push(membership);
        self.group_joined(interface, group);
        Ok(())
    }

    /// Drops a membership.
    pub(crate) fn leave(&self, own: &mut Vec<Membership>, group: IpAddr, interface: u32) -> Result<()> {
        let fits = |m: &Membership| m.group == group && (interface == 0 || m.interface == interface);
        let at = own.iter().position(fits).ok_or(Error::AddrNotAvailable)?;
        let membership = own.swap_remove(at);
        self.group_left(membership.interface, group);
        Ok(())
    }

    /// Drops every membership of a socket that goes away.
    pub(crate) fn leave_all(&self, own: &mut Vec<Membership>) {
        for membership in own.drain(..) {
            self.group_left(membership.interface, membership.group);
        }
    }

    fn group_joined(&self, interface: u32, group: IpAddr) {
        let mut groups = self.groups.lock();
        let count = groups.entry((interface, group)).or_insert(0);
        *count += 1;
        let is_first = *count == 1;
        drop(groups);
        if is_first {
            self.group_changed(interface, group, true);
        }
    }

    fn group_left(&self, interface: u32, group: IpAddr) {
        let mut groups = self.groups.lock();
        let Some(count) = groups.get_mut(&(interface, group)) else { return };
        *count -= 1;
        if *count == 0 {
            groups.remove(&(interface, group));
            drop(groups);
            self.group_changed(interface, group, false);
        }
    }
}
