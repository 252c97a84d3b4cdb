//! The control socket of a sandbox: what is only asked for needs no `runsc` process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use abi::Errno;
use control::client::CallError;
use control::{Client, SOCKET_FILE};

use crate::error::{Context, Failure, Result};
use crate::log;
use crate::reaper::Exit;

/// How long a sandbox may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long to wait before a sandbox that could not be asked is asked again.
const WAIT_AGAIN: Duration = Duration::from_millis(200);

/// A container's sandbox.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    container: String,
    /// The state directory of the sandbox's first container.
    dir: PathBuf,
}

impl Link {
    /// The sandbox with the id `sandbox`, whose state is below `root`, as far as it concerns `container`.
    pub(crate) fn new(root: &Path, sandbox: &str, container: &str) -> Self {
        Self { container: container.into(), dir: root.join(sandbox) }
    }

    /// Whether both containers are in one sandbox.
    pub(crate) fn is_same_sandbox(&self, other: &Self) -> bool {
        self.dir == other.dir
    }

    /// Connects, for answers that come at once.
    pub(crate) fn ask(&self) -> Result<Client> {
        self.connect(Some(TIMEOUT)).map_err(|errno| {
            let what = format!("the sandbox of {:?} cannot be reached", self.container);
            match errno {
                Errno::ENOENT | Errno::ECONNREFUSED => Failure::NotFound(what),
                errno => Failure::other(what, errno),
            }
        })
    }

    fn connect(&self, limit: Option<Duration>) -> abi::Result<Client> {
        Client::connect(&self.dir.join(SOCKET_FILE), limit)
    }

    /// Waits until the container has ended. It ends with its sandbox at the latest.
    pub(crate) fn wait(&self) -> Exit {
        loop {
            let client = match self.connect(None) {
                Ok(client) => client,
                Err(Errno::ENOENT | Errno::ECONNREFUSED) => return Exit::killed(),
                Err(errno) => {
                    log::warning(format_args!("the sandbox of {:?} is not reached: {errno}", self.container));
                    std::thread::sleep(WAIT_AGAIN);
                    continue;
                }
            };
            match client.wait(&self.container, None) {
                Ok(status) => return Exit::now(status.exit_status().into()),
                // It is there and knows no such container (any more).
                Err(CallError::Refused(_)) => return Exit::killed(),
                // It is gone, which the next attempt shows, or has too many connections.
                Err(CallError::Wire { .. } | CallError::Unexpected { .. }) => std::thread::sleep(WAIT_AGAIN),
            }
        }
    }

    /// What the container uses, as its sandbox counts.
    pub(crate) fn stats(&self) -> Result<control::stats::Stats> {
        self.ask()?.stats(&self.container).context("the sandbox tells no statistics")
    }

    /// The container's processes.
    pub(crate) fn processes(&self) -> Result<Vec<control::ProcessRow>> {
        self.ask()?.processes(&self.container).context("the sandbox lists no processes")
    }
}
