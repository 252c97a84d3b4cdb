//! `runsc boot`: the process that becomes a sandbox. Only this program runs it.

use std::fs::File;
use std::io::Read;

use clap::Args;
use control::boot::{CONFIG_FD, CONTROL_FD, FIRST_DONATED_FD};
use control::start::{StartSocket, Starter};
use control::{BootConfig, Failure, Launch};

use crate::error::{Context, Error, Result};

/// `runsc boot`.
#[derive(Debug, Args)]
pub(crate) struct Boot {
    /// The sandbox's id, for who looks at the process list.
    #[arg(default_value = "")]
    pub(super) id: String,
    /// The state directory that it is in, for the same reader.
    #[arg(default_value = "")]
    pub(super) _state_root: String,
}

impl Boot {
    /// Becomes the sandbox.
    pub(crate) fn run(&self) -> Result<u8> {
        // First of all: every sandbox of the host runs as the same user.
        host::process::forbid_tracing();
        host::process::set_name(c"runsc-sandbox");
        host::process::tame_allocator();
        let missing = format!("`runsc boot {}` is for runsc itself: use `runsc run`", self.id);
        let fixed = host::process::take_inherited(CONFIG_FD, (CONTROL_FD - CONFIG_FD) as u32 + 1)
            .map_err(|_| Error::new(missing.clone()))?;
        let Ok([document, start, control]) = <[_; 3]>::try_from(fixed) else {
            return Err(Error::new(missing));
        };
        let start = Starter::new(StartSocket::new(start));
        let mut text = String::new();
        let read =
            File::from(document).read_to_string(&mut text).context("cannot read the boot configuration");
        let config = read.and_then(|_| {
            serde_json::from_str::<BootConfig>(&text)
                .context("the boot configuration is of another version of runsc")
        });
        let taken = config.and_then(|config| {
            let fds = host::process::take_inherited(FIRST_DONATED_FD, config.donated_fds)
                .context("a donated descriptor is missing")?;
            Ok((config, fds))
        });
        match taken {
            Ok((config, fds)) => Ok(boot::run(Launch { config, start, control, fds })),
            Err(error) => {
                start.failed(Failure::internal(error.to_string()));
                Ok(1)
            }
        }
    }
}
