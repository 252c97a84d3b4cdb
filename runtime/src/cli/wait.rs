//! `runsc wait`.

use clap::Args;

use crate::container::Status;
use crate::container::life::Container;
use crate::error::{Error, Result};
use crate::flags::Config;
use crate::sandbox::ReplyTimeout;

/// `runsc wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Wait for a process of the container, by its pid in the sandbox.
    #[arg(long, conflicts_with = "pid", value_parser = clap::value_parser!(i32).range(1..))]
    rootpid: Option<i32>,
    /// Wait for a process of the container, by its pid in the container.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..))]
    pid: Option<i32>,
    /// Wait for a checkpoint.
    #[arg(long)]
    checkpoint: bool,
    /// Wait for a restore.
    #[arg(long)]
    restore: bool,
    /// The container's id.
    pub(crate) id: String,
}

impl Wait {
    /// Waits.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        if self.checkpoint || self.restore {
            return Err(Error::new("checkpoint and restore are not there yet: there is nothing to wait for"));
        }
        let container = Container::open(config, &self.id)?;
        // A sandbox that is still there knows how its containers ended; that of a pod outlives its members.
        let has_sandbox = container.state.sandbox.and_then(|sandbox| sandbox.open()).is_some();
        if container.state.status == Status::Stopped && !has_sandbox {
            return Err(Error::new(format!(
                "container \"{}\" has ended and its sandbox with it: its exit status is that of process {}",
                self.id,
                container.state.sandbox.map_or(0, |sandbox| sandbox.pid)
            )));
        }
        let client = container.connect(ReplyTimeout::Wait)?;
        drop(container);
        // A container's pid name space is a root, or its pod's: there is no further one in which it has other numbers.
        let status = client.wait(&self.id, self.pid.or(self.rootpid))?;
        say!("{}", serde_json::json!({"id": self.id, "exitStatus": status.exit_status()}));
        Ok(0)
    }
}
