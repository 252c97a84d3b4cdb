//! The network of a sandbox as the runtime found it in the container's name space.
//!
//! At `start` the runtime reads links, addresses and routes there, opens packet sockets on each link and donates them:
//! the sandbox itself can make no socket.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Where the guest's sockets end (`--network`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// The sentry's own stack on the container's links.
    #[default]
    Sandbox,
    /// The host's sockets: the sandbox shares the network name space it was started in.
    Host,
    /// A loopback interface and nothing else.
    None,
}

/// What the guest's network looks like ([`NetworkMode::Sandbox`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// The links, loopback not among them.
    #[serde(default)]
    pub links: Vec<LinkPlan>,
    /// The routes of the main table.
    #[serde(default)]
    pub routes: Vec<RoutePlan>,
    /// A descriptor of a UDP socket connected to a name server that only the name space's loopback reaches
    /// (Docker's 127.0.0.11), by index.
    #[serde(default)]
    pub dns_fd: Option<u32>,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPlan {
    /// Its name, `eth0`.
    pub name: String,
    /// Its index in the container's name space.
    pub index: u32,
    /// The link-layer address.
    pub mac: [u8; 6],
    /// The largest packet.
    pub mtu: u32,
    /// The packet sockets (one per channel), by index in the donated descriptors.
    pub fds: Vec<u32>,
    /// Its addresses.
    pub addresses: Vec<AddressPlan>,
    /// Known neighbours.
    #[serde(default)]
    pub neighbours: Vec<NeighbourPlan>,
    /// Whether frames may be larger than the MTU, with offload headers before them.
    #[serde(default)]
    pub gso: bool,
}

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPlan {
    /// The address.
    pub address: IpAddr,
    /// Bits of its network.
    pub prefix: u8,
    /// The other end of a link between two points.
    #[serde(default)]
    pub peer: Option<IpAddr>,
    /// The broadcast address, where it has one.
    #[serde(default)]
    pub broadcast: Option<IpAddr>,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutePlan {
    /// The destination network, `0.0.0.0` or `::` for the default route.
    pub destination: IpAddr,
    /// Bits of the destination.
    pub prefix: u8,
    /// The next hop, `None` on the link.
    pub gateway: Option<IpAddr>,
    /// The link, by its index in the container's name space.
    pub link: u32,
    /// The preferred source address.
    #[serde(default)]
    pub source: Option<IpAddr>,
    /// Lower wins.
    #[serde(default)]
    pub metric: u32,
    /// The largest packet, where the route limits it.
    #[serde(default)]
    pub mtu: u32,
}

/// An entry of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NeighbourPlan {
    /// The address.
    pub address: IpAddr,
    /// Who has it.
    pub mac: [u8; 6],
}
