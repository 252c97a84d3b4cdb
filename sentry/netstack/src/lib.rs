//! A TCP/IP stack as a pure library: packets and time in, packets and readiness out.
//!
//! It knows nothing of the kernel above it or of the devices below. [`Stack`] is one network name space; sockets are
//! objects that never block ([`TcpSocket`], [`UdpSocket`]) and tell an [`Observer`] when they become ready. Given the
//! same seed, clock and packets it does the same. `docs/netstack.md` has the guide.
//!
//! Everything that arrives from a link is hostile: nothing here panics on it, and what it can make the stack hold
//! is bounded.

#![forbid(unsafe_code)]

mod base;
mod buf;
mod core;
mod ip;
mod link;
pub mod netfilter;
mod socket;
mod stack;
mod tcp;

pub use base::addr::{Endpoint, Family, Prefix};
pub use base::config::{BufferSizes, Config, Congestion, Ecn, NicSettings};
pub use base::counters::{Counter, Counters};
pub use base::error::{Error, Result};
pub use base::filter::View;
pub use base::io::{Discard, Sink, SinkFn, Source, SourceFn};
pub use base::ready::{Observer, Readiness};
pub use base::time::{Clock, Instant, ManualClock};
pub use buf::FrameBuffer;
pub use buf::budget::{Budget, Hold};
pub use core::TimerWaker;
pub use ip::neighbour::{Neighbour, NeighbourState};
pub use ip::route::{Route, RouteKind};
pub use link::bridge::{Bridge, BridgeSettings, FdbEntry, Port, PortSettings};
pub use link::device::{Device, Offloads, RxMeta, TxFrame, TxMeta};
pub use link::nic::{AddrState, IfAddr, Mac, Nic, NicConfig, NicKind, NicStats};
pub use link::topology::{LinkConfig, LinkWatcher, StackId};
pub use link::veth::Peer;
pub use link::wire::LinkType;
pub use socket::datagram::DatagramSocket;
pub use socket::datagram::groups::max_sources;
pub use socket::datagram::ping::PingSocket;
pub use socket::datagram::raw::RawSocket;
pub use socket::datagram::udp::UdpSocket;
pub use socket::message::{
    ErrorOrigin, ExtendedError, LinkAddr, PacketInfo, Received, RecvFlags, SendFlags, SendMeta,
};
pub use socket::options::{
    BaseOptions, Ip4Options, Ip6Options, Membership, MtuDiscover, Options, TcpOptions, Timestamps,
};
pub use socket::packet::{PacketKind, PacketSocket, PacketSummary};
pub use socket::{Shutdown, SocketSummary};
pub use stack::{FoundRoute, Stack};
pub use tcp::info::TcpInfo;
pub use tcp::promise::Promise;
pub use tcp::socket::TcpSocket;
pub use tcp::state::TcpState;
