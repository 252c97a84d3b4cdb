//! Links, addresses, routes and neighbours of this process's network name space (`man 7 rtnetlink`).
//!
//! Only what a sandbox's network is made from: dumps, and the removal of an address. Replies come from the kernel and
//! are still read with every length checked.

mod parse;

use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use abi::netlink::{
    NDA_DST, NDA_LLADDR, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, RTAX_MTU,
    RTM_DELADDR, RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH, RTM_GETROUTE, RTM_NEWADDR, RTM_NEWLINK,
    RTM_NEWNEIGH, RTM_NEWROUTE,
};
use abi::{Errno, Result};

use crate::check;
use parse::{Attributes, Messages, address};

/// A link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its link-layer address; none for tunnels and loopback.
    pub mac: Option<[u8; 6]>,
    /// The largest packet.
    pub mtu: u32,
    /// Whether it is a loopback.
    pub is_loopback: bool,
    /// Whether it is up.
    pub is_up: bool,
}

/// An address of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkAddress {
    /// The link.
    pub link: u32,
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// The other end of a link between two points.
    pub peer: Option<IpAddr>,
    /// The broadcast address, where it has one.
    pub broadcast: Option<IpAddr>,
}

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destination network.
    pub destination: IpAddr,
    /// Bits of it.
    pub prefix: u8,
    /// The next hop, where there is one.
    pub gateway: Option<IpAddr>,
    /// The link.
    pub link: u32,
    /// The preferred source address.
    pub source: Option<IpAddr>,
    /// Lower wins.
    pub metric: u32,
    /// The largest packet, where the route limits it.
    pub mtu: u32,
}

/// A neighbour whose link-layer address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link.
    pub link: u32,
    /// Its address.
    pub address: IpAddr,
    /// Its link-layer address.
    pub mac: [u8; 6],
}

/// A routing netlink socket in the name space that this process was in when it was made.
#[derive(Debug)]
pub struct Netlink(OwnedFd);

impl Netlink {
    /// Opens one.
    ///
    /// # Errors
    /// What `socket(2)` says.
    pub fn open() -> Result<Self> {
        // SAFETY: a plain system call without pointers.
        let fd = unsafe {
            libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE)
        };
        let fd = check(i64::from(fd))?;
        // SAFETY: the call just made this descriptor, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// All links.
    ///
    /// # Errors
    /// What the kernel says; `EPROTO` where it makes no sense.
    pub fn links(&self) -> Result<Vec<Link>> {
        let mut links = Vec::new();
        self.dump(RTM_GETLINK, RTM_NEWLINK, 16, |body| {
            let (header, attributes) = body.split_at_checked(16).ok_or(Errno::EPROTO)?;
            let flags = word(header, 8)?;
            let mut link = Link {
                index: word(header, 4)?,
                name: String::new(),
                mac: None,
                mtu: 0,
                is_loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
                is_up: flags & libc::IFF_UP as u32 != 0,
            };
            for (kind, value) in Attributes(attributes) {
                match kind {
                    libc::IFLA_IFNAME => {
                        link.name = String::from_utf8_lossy(value).trim_end_matches('\0').into();
                    }
                    libc::IFLA_ADDRESS => link.mac = value.try_into().ok(),
                    libc::IFLA_MTU => link.mtu = word(value, 0)?,
                    _ => {}
                }
            }
            links.push(link);
            Ok(())
        })?;
        Ok(links)
    }

    /// All addresses.
    ///
    /// # Errors
    /// As [`Self::links`].
    pub fn addresses(&self) -> Result<Vec<LinkAddress>> {
        let mut addresses = Vec::new();
        self.dump(RTM_GETADDR, RTM_NEWADDR, 8, |body| {
            let (header, attributes) = body.split_at_checked(8).ok_or(Errno::EPROTO)?;
            let (mut own, mut peer, mut broadcast) = (None, None, None);
            for (kind, value) in Attributes(attributes) {
                match kind {
                    libc::IFA_LOCAL => own = address(value),
                    libc::IFA_ADDRESS => peer = address(value),
                    libc::IFA_BROADCAST => broadcast = address(value),
                    _ => {}
                }
            }
            // On a link between two points IFA_ADDRESS is the other end; IPv6 has no IFA_LOCAL elsewhere.
            if let Some(address) = own.or(peer) {
                let peer = peer.filter(|peer| *peer != address);
                let (link, prefix) = (word(header, 4)?, header[1]);
                addresses.push(LinkAddress { link, address, prefix, peer, broadcast });
            }
            Ok(())
        })?;
        Ok(addresses)
    }

    /// The unicast routes of the main table.
    ///
    /// # Errors
    /// As [`Self::links`].
    pub fn routes(&self) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        self.dump(RTM_GETROUTE, RTM_NEWROUTE, 12, |body| {
            let (header, attributes) = body.split_at_checked(12).ok_or(Errno::EPROTO)?;
            let (family, prefix, mut table, kind) = (header[0], header[1], u32::from(header[4]), header[7]);
            let (mut destination, mut gateway, mut link) = (unspecified(family), None, None);
            let (mut source, mut metric, mut mtu) = (None, 0, 0);
            for (kind, value) in Attributes(attributes) {
                match kind {
                    libc::RTA_DST => destination = address(value),
                    libc::RTA_GATEWAY => gateway = address(value),
                    libc::RTA_OIF => link = Some(word(value, 0)?),
                    libc::RTA_PREFSRC => source = address(value),
                    libc::RTA_PRIORITY => metric = word(value, 0)?,
                    libc::RTA_METRICS => mtu = metrics_mtu(value)?,
                    libc::RTA_TABLE => table = word(value, 0)?,
                    _ => {}
                }
            }
            if let (Some(destination), Some(link)) = (destination, link)
                && table == u32::from(libc::RT_TABLE_MAIN)
                && kind == libc::RTN_UNICAST
            {
                routes.push(Route { destination, prefix, gateway, link, source, metric, mtu });
            }
            Ok(())
        })?;
        Ok(routes)
    }

    /// The neighbours whose link-layer address is known.
    ///
    /// # Errors
    /// As [`Self::links`].
    pub fn neighbours(&self) -> Result<Vec<Neighbour>> {
        let mut neighbours = Vec::new();
        self.dump(RTM_GETNEIGH, RTM_NEWNEIGH, 12, |body| {
            let (header, attributes) = body.split_at_checked(12).ok_or(Errno::EPROTO)?;
            let (mut who, mut mac) = (None, None);
            for (kind, value) in Attributes(attributes) {
                match kind {
                    NDA_DST => who = address(value),
                    NDA_LLADDR => mac = value.try_into().ok(),
                    _ => {}
                }
            }
            if let (Some(address), Some(mac)) = (who, mac) {
                neighbours.push(Neighbour { link: word(header, 4)?, address, mac });
            }
            Ok(())
        })?;
        Ok(neighbours)
    }

    /// Takes an address away from its link.
    ///
    /// # Errors
    /// `EADDRNOTAVAIL` where it is not there, `EPERM` without CAP_NET_ADMIN in the name space.
    pub fn remove_address(&self, which: &LinkAddress) -> Result<()> {
        let (family, bytes) = match which.address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let mut body = vec![family as u8, which.prefix, 0, 0];
        body.extend(which.link.to_ne_bytes());
        body.extend((4 + bytes.len() as u16).to_ne_bytes());
        body.extend(libc::IFA_LOCAL.to_ne_bytes());
        body.extend(bytes);
        self.send(RTM_DELADDR, NLM_F_REQUEST | NLM_F_ACK, &body)?;
        let mut buffer = vec![0; 4096];
        let len = self.receive(&mut buffer)?;
        match Messages(&buffer[..len]).next() {
            Some((NLMSG_ERROR, body)) => acknowledged(body),
            _ => Err(Errno::EPROTO),
        }
    }

    /// Asks for all objects of a kind and hands each one's body to `each`.
    fn dump(
        &self,
        request: u16,
        reply: u16,
        header_len: usize,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.send(request, NLM_F_REQUEST | NLM_F_DUMP, &vec![0; header_len])?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let len = self.receive(&mut buffer)?;
            if len == 0 {
                return Err(Errno::EPROTO);
            }
            for (kind, body) in Messages(&buffer[..len]) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => return acknowledged(body),
                    kind if kind == reply => each(body)?,
                    _ => {}
                }
            }
        }
    }

    fn send(&self, kind: u16, flags: u16, body: &[u8]) -> Result<()> {
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend([1, 0, 0, 0, 0, 0, 0, 0]);
        message.extend_from_slice(body);
        // SAFETY: the message is a live buffer of the length given.
        check(unsafe { libc::send(self.0.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) } as i64)
            .map(|_| ())
    }

    fn receive(&self, buffer: &mut [u8]) -> Result<usize> {
        loop {
            // SAFETY: the buffer is live, exclusive and of the length given.
            let got = unsafe { libc::recv(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            match check(got as i64) {
                Err(Errno::EINTR) => {}
                other => return other,
            }
        }
    }
}

/// The result in an acknowledgement.
fn acknowledged(body: &[u8]) -> Result<()> {
    match word(body, 0)?.cast_signed() {
        0 => Ok(()),
        error => Err(Errno::from_raw(error.wrapping_neg())),
    }
}

/// The `u32` at an offset.
fn word(bytes: &[u8], at: usize) -> Result<u32> {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EPROTO)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// The MTU among a route's metrics.
fn metrics_mtu(metrics: &[u8]) -> Result<u32> {
    Attributes(metrics).find(|(kind, _)| *kind == RTAX_MTU).map_or(Ok(0), |(_, value)| word(value, 0))
}

/// The address that a missing destination stands for.
fn unspecified(family: u8) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => Some(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
        libc::AF_INET6 => Some(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Netlink;

    #[test]
    fn the_loopback_is_there() {
        let netlink = Netlink::open().unwrap();
        let links = netlink.links().unwrap();
        let loopback = links.iter().find(|link| link.is_loopback).unwrap();
        assert_eq!((loopback.name.as_str(), loopback.index), ("lo", 1));
        netlink.neighbours().unwrap();
        let indexes: Vec<u32> = links.iter().map(|link| link.index).collect();
        assert!(netlink.addresses().unwrap().iter().all(|address| indexes.contains(&address.link)));
        assert!(netlink.routes().unwrap().iter().all(|route| indexes.contains(&route.link)));
    }
}
