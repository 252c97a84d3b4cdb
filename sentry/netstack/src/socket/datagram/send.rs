//! What is settled about a datagram before it leaves: destination, source, path, fields of the header.

use super::{DatagramSocket, State};
use crate::base::addr::{Endpoint, Family, UserAddr};
use crate::base::error::{Error, Result};
use crate::core::{Path, PathKind, Via};
use crate::ip::output::IpHeader;
use crate::socket::message::{SendFlags, SendMeta};
use crate::socket::options::{MtuDiscover, Sender};

/// Everything that is settled about a datagram before it leaves.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    pub(crate) path: Path,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) loops_back: bool,
    pub(crate) has_checksum: bool,
    pub(crate) sender: Sender,
    /// DF is set, and nothing is cut here.
    is_whole: bool,
}

impl Outgoing {
    /// The network header of its packet.
    pub(crate) fn header(&self, protocol: u8) -> IpHeader<'_> {
        IpHeader {
            path: &self.path,
            from: self.from.ip,
            to: self.to.ip,
            protocol,
            ttl: self.ttl,
            tos: self.tos,
            dont_fragment: self.is_whole,
            may_fragment: !self.is_whole,
            options: &[],
            sender: Some(self.sender),
        }
    }
}

impl State {
    /// The error that waits, or that the socket was shut.
    pub(super) fn check_writable(&mut self) -> Result<()> {
        match self.error.take() {
            Some(error) => Err(error),
            None if self.shut_write => Err(Error::Pipe),
            None => Ok(()),
        }
    }
}

impl DatagramSocket {
    /// Where a datagram goes: to the address of the call, else to the peer.
    pub(super) fn destination(&self, state: &State, meta: &SendMeta) -> Result<UserAddr> {
        let mut to = match meta.to {
            Some(addr) => self.parse(state, addr)?,
            None => UserAddr { at: state.peer.ok_or(Error::DestAddrRequired)?, scope: 0 },
        };
        if to.at.ip.is_unspecified() {
            to.at.ip = Family::of(to.at.ip).loopback();
        }
        Ok(to)
    }

    /// Settles source and path of a datagram, and the fields of its header.
    pub(super) fn settle(&self, state: &State, to: UserAddr, meta: &SendMeta) -> Result<Outgoing> {
        let UserAddr { at: to, scope } = to;
        let (family, options) = (Family::of(to.ip), &state.options);
        let mut path = self.stack.path(to.ip, &self.via(state, (to, scope), meta)?)?;
        if path.kind == PathKind::Broadcast && !options.base.broadcast {
            return Err(Error::Access);
        }
        let discover = options.mtu_discover(family);
        if matches!(discover, MtuDiscover::Probe | MtuDiscover::Interface | MtuDiscover::Omit) {
            path.mtu = path.nic.mtu();
        }
        let default_ttl = if to.ip.is_multicast() {
            options.multicast_ttl(family)
        } else {
            options.ttl(family, &self.stack.config())
        };
        Ok(Outgoing {
            from: Endpoint { ip: path.source, port: state.local.port },
            to,
            ttl: meta.ttl.unwrap_or(default_ttl),
            tos: meta.tos.unwrap_or_else(|| options.tos(family)),
            loops_back: options.multicast_loop(family),
            sender: options.sender(),
            has_checksum: !(options.base.no_check && family == Family::V4),
            is_whole: matches!(discover, MtuDiscover::Do | MtuDiscover::Probe),
            path,
        })
    }

    /// What the call and the options say of the way.
    fn via(&self, state: &State, (to, scope): (Endpoint, u32), meta: &SendMeta) -> Result<Via> {
        let (family, options) = (Family::of(to.ip), &state.options);
        let is_multicast = to.ip.is_multicast();
        let chosen = meta.source.filter(|ip| !ip.is_unspecified());
        if let Some(ip) = chosen
            && !options.may_bind_foreign()
            && !options.ip4.hdr_incl
            && !self.stack.is_local(ip)
        {
            return Err(Error::Invalid);
        }
        let fits = |ip: &std::net::IpAddr| !ip.is_unspecified() && Family::of(*ip) == family;
        let bound = Some(state.local.ip).filter(|ip| fits(ip) && !ip.is_multicast());
        let multicast_source = Some(options.ip4.multicast_addr.into()).filter(|ip| is_multicast && fits(ip));
        let devices = [
            meta.interface,
            scope,
            options.base.device,
            if is_multicast { options.multicast_if(family) } else { 0 },
        ];
        Ok(Via {
            source: chosen.or(bound).or(multicast_source),
            device: devices.into_iter().find(|index| *index != 0).unwrap_or(0),
            on_link_only: options.base.dont_route || meta.flags.contains(SendFlags::DONTROUTE),
        })
    }
}
