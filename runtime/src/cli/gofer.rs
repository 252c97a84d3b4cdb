//! `runsc gofer`: the process that opens files for a sandbox. Only this program runs it.

use std::fs::File;
use std::io::Read;

use clap::Args;
use control::Failure;
use control::start::{StartSocket, Starter};
use gofer::{Config, Limits, MountConfig, ServeError};

use crate::error::{Context, Error, Result};
use crate::sandbox::gofer::{CONFIG_FD, FD_COUNT, GoferBoot};

/// `runsc gofer`.
#[derive(Debug, Args)]
pub(crate) struct Gofer {
    /// The container's id, for who looks at the process list.
    #[arg(default_value = "")]
    pub(super) id: String,
    /// The state directory that it is in, for the same reader.
    #[arg(default_value = "")]
    pub(super) _state_root: String,
}

impl Gofer {
    /// Becomes the gofer.
    pub(crate) fn run(&self) -> Result<u8> {
        // First of all: containers of one user share it.
        host::process::forbid_tracing();
        host::process::set_name(c"runsc-gofer");
        host::process::tame_allocator();
        let missing = format!("`runsc gofer {}` is for runsc itself: use `runsc run`", self.id);
        let fds =
            host::process::take_inherited(CONFIG_FD, FD_COUNT).map_err(|_| Error::new(missing.clone()))?;
        let Ok([document, start, socket]) = <[_; 3]>::try_from(fds) else { return Err(Error::new(missing)) };
        let start = Starter::new(StartSocket::new(start));
        let mut text = String::new();
        let read =
            File::from(document).read_to_string(&mut text).context("cannot read the gofer's configuration");
        let boot = read.and_then(|_| {
            serde_json::from_str::<GoferBoot>(&text)
                .context("the configuration is of another version of runsc")
        });
        let boot = match boot {
            Ok(boot) => boot,
            Err(error) => {
                start.failed(Failure::internal(error.to_string()));
                return Ok(1);
            }
        };
        let config = Config {
            socket,
            mounts: boot.mounts.iter().map(mount).collect(),
            // Nothing in the sentry asks for them yet.
            limits: limits(boot.fd_limit),
        };
        serve(config, start)
    }
}

fn mount(mount: &crate::sandbox::gofer::GoferBootMount) -> MountConfig {
    MountConfig { path: mount.path.clone(), read_only: mount.read_only, shared: mount.shared }
}

fn limits(fd_limit: Option<u64>) -> Limits {
    let mut limits = Limits::default();
    if let Some(limit) = fd_limit {
        limits.descriptors = limits.descriptors.min(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    limits
}

fn serve(config: Config, start: Starter<StartSocket>) -> Result<u8> {
    let mut start = Some(start);
    let served = gofer::serve_then(config, || {
        if let Some(start) = start.take() {
            start.ready();
        }
    });
    match (served, start) {
        (Ok(()), _) => Ok(0),
        (Err(error), Some(start)) => {
            start.failed(Failure::host(error.to_string()));
            Ok(1)
        }
        // A sandbox that ends abruptly is no failure of the gofer's.
        (Err(ServeError::Connection(_)), None) => Ok(0),
        (Err(error), None) => Err(Error::new(error.to_string())),
    }
}
