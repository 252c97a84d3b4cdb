//! What the command line tool and a sandbox say to each other.
//!
//! * [`boot`]: what a sandbox is started with: one JSON document in a memfd, and descriptors in a fixed order.
//! * [`start`]: the socket on which a process that is being set up says what it is doing and why it failed.
//! * [`request`], [`reply`]: the calls on a running sandbox's control socket.
//! * [`broker`]: the socket on which a sandbox with `--network=host` asks for sockets of the host.
//! * [`annotations`]: those of a container's configuration that several programs know.
//! * [`stats`]: what a container uses; [`cgroup`] is the host's part of it.
//! * [`client`], [`server`]: both ends of that socket; [`wire`] is the framing (length, JSON, descriptors).
//!
//! The socket is a stream socket in the container's state directory (mode 0700), so whoever may open it may also
//! manage the container. Nothing here trusts lengths, counts or JSON from the other side.
#![forbid(unsafe_code)]

pub mod annotations;
pub mod boot;
pub mod broker;
pub mod cgroup;
pub mod client;
pub mod failure;
pub mod names;
pub mod network;
pub mod reply;
pub mod request;
pub mod server;
pub mod start;
pub mod stats;
pub mod wire;

/// The name of the control socket in the state directory of a sandbox's first container.
pub const SOCKET_FILE: &str = "control.sock";

pub use boot::{
    BootConfig, ContainerConfig, Launch, MountKind, MountPlan, Overlay, RootPlan, Settings, SharedNamespaces,
};
pub use client::Client;
pub use failure::{Failure, FailureKind};
pub use reply::{ContainerState, ProcessRow, Reply, WaitStatus};
pub use request::{Exec, Request, Target};
pub use server::{Handler, Server};
