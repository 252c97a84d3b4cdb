//! What the runtime tells a gofer, and why one ends.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use abi::Errno;
use gofer_protocol::TransportError;

/// Everything that [`crate::serve`] needs.
#[derive(Debug)]
pub struct Config {
    /// The connection to the sandbox: `SOCK_SEQPACKET`.
    pub socket: OwnedFd,
    /// The trees (or single files) that the sandbox may reach, by index; the root is number 0.
    pub mounts: Vec<MountConfig>,
    /// How much a client can make this process hold.
    pub limits: Limits,
}

/// One tree or file.
#[derive(Clone, Debug)]
pub struct MountConfig {
    /// Where, in this process's own root. Trusted.
    pub path: PathBuf,
    /// Whether nothing in it may be changed.
    pub read_only: bool,
    /// Whether others may change it: the client is then told of changes.
    pub shared: bool,
}

/// Bounds on what one client's requests can make the gofer keep.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Nodes: `ENFILE` beyond it.
    pub nodes: usize,
    /// Descriptors kept open for nodes that could be found again by name.
    pub descriptors: usize,
    /// Directories watched for changes; what cannot be watched is not cacheable. The host counts watches by user, and
    /// the gofers of all containers are one.
    pub watches: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 1 << 20, descriptors: 4096, watches: 2048 }
    }
}

/// Why a gofer cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A mount is not there.
    #[error("gofer: cannot open the mount {path}: {error}")]
    Mount {
        /// Its path in the gofer's root.
        path: String,
        /// What the host said.
        error: Errno,
    },
    /// The process could not be confined.
    #[error("gofer: cannot {what}: {error}")]
    Jail {
        /// The step.
        what: &'static str,
        /// What the host said.
        error: Errno,
    },
    /// The filter of system calls could not be armed.
    #[error("gofer: {0}")]
    Filter(#[from] host::seccomp::Error),
    /// The client broke the protocol, or the socket failed.
    #[error(transparent)]
    Connection(#[from] TransportError),
}
