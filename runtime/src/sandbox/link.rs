//! Reaching a sandbox by its control socket.

use std::path::Path;
use std::time::Duration;

use abi::Errno;
use control::Client;

use crate::error::Error;

/// How long a sandbox may take, to connect and for each answer: one that is stuck holds up nobody for ever, least of
/// all who holds the container's lock meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyTimeout {
    /// For what it knows or does at once.
    Short,
    /// For what loads a program, makes a container, or has to wait for guests to stand still.
    Work,
    /// For ever: the answer is the end of a process.
    Wait,
}

impl ReplyTimeout {
    fn limit(self) -> Option<Duration> {
        match self {
            Self::Short => Some(Duration::from_secs(5)),
            Self::Work => Some(Duration::from_secs(60)),
            Self::Wait => None,
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody listens any more.
    #[error("container \"{id}\" is not running: container not running: its sandbox is gone")]
    Gone {
        /// The container.
        id: String,
    },
    /// It listens, and does not get to us.
    #[error(
        "the sandbox of container \"{id}\" does not answer: see what it does with `runsc debug --stacks`, or end it \
         with `runsc delete --force {id}`"
    )]
    Stuck {
        /// The container.
        id: String,
    },
    /// The host is in the way.
    #[error("cannot reach the sandbox of container \"{id}\": {errno}")]
    Host {
        /// The container.
        id: String,
        /// What it says.
        errno: Errno,
    },
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Self::new(error.to_string())
    }
}

/// Connects to the sandbox that listens at `socket`, for container `id`.
pub(crate) fn connect(socket: &Path, id: &str, timeout: ReplyTimeout) -> Result<Client, ConnectError> {
    let id = || id.to_string();
    match Client::connect(socket, timeout.limit()) {
        Ok(client) => Ok(client),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Err(ConnectError::Gone { id: id() }),
        Err(Errno::EAGAIN) => Err(ConnectError::Stuck { id: id() }),
        Err(errno) => Err(ConnectError::Host { id: id(), errno }),
    }
}

#[cfg(test)]
mod tests {
    use super::{ConnectError, ReplyTimeout, connect};

    #[test]
    fn only_a_socket_without_a_listener_is_gone() {
        let dir = std::env::temp_dir().join(format!("runsc-link-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("control.sock");
        let attempt = || connect(&path, "c", ReplyTimeout::Short);
        assert!(matches!(attempt(), Err(ConnectError::Gone { .. })));
        let listener = host::unix::listen(&path, host::unix::Kind::Stream, 1).unwrap();
        attempt().unwrap();
        drop(listener);
        assert!(matches!(attempt(), Err(ConnectError::Gone { .. })));
        let missing = dir.join("control.sock/x");
        assert!(matches!(connect(&missing, "c", ReplyTimeout::Short), Err(ConnectError::Host { .. })));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
