//! What carries an interface's frames.

use super::bridge::Bridge;
use super::device::{Device, Offloads};
use super::nic::Nic;
use super::veth::{Peer, VethEnd};
use std::sync::Arc;

/// What is under an interface.
pub(crate) enum Wire {
    /// Nothing: what is sent is lost (loopback interfaces do not ask).
    None,
    /// A device of the stack's owner.
    Device(Arc<dyn Device>),
    /// One end of a pair.
    Veth(Arc<VethEnd>),
    /// The interface is a bridge.
    Bridge(Arc<Bridge>),
}

/// Types of links as Linux names them (`IFLA_INFO_KIND`).
#[derive(Clone, Debug)]
pub enum LinkType {
    /// The loopback interface.
    Loopback,
    /// A link to the outside.
    Device,
    /// A link whose other end is a program's, with its kind.
    Program(&'static str),
    /// `dummy`
    Dummy,
    /// `veth`, with the other end where that still is.
    Veth(Option<Peer>),
    /// `bridge`
    Bridge,
}

impl Wire {
    pub(super) fn offloads(&self) -> Offloads {
        match self {
            Self::None => Offloads::default(),
            Self::Device(device) => device.offloads(),
            // Frames stay as they are until they leave the sandbox or reach a socket.
            Self::Veth(_) | Self::Bridge(_) => Offloads { tx_checksum: true, segmentation: true },
        }
    }

    pub(super) fn has_carrier(&self) -> bool {
        match self {
            Self::None => true,
            Self::Device(device) => device.has_carrier(),
            Self::Veth(end) => end.peer().is_some_and(|peer| peer.nic.is_up()),
            Self::Bridge(bridge) => bridge.has_carrier(),
        }
    }

    pub(super) fn link_type(&self, nic: &Nic) -> LinkType {
        match self {
            Self::None if nic.is_loopback() => LinkType::Loopback,
            Self::None => LinkType::Dummy,
            Self::Device(device) => device.kind().map_or(LinkType::Device, LinkType::Program),
            Self::Veth(end) => LinkType::Veth(end.peer()),
            Self::Bridge(_) => LinkType::Bridge,
        }
    }
}
