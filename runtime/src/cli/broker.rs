//! `runsc broker`: the process that makes and binds sockets of the host for a sandbox. Only this program runs it.

use std::os::fd::AsFd;

use clap::Args;
use control::Failure;
use control::broker::{RULES, serve};
use control::start::{StartSocket, Starter};
use host::capability::{self, Capabilities};
use host::process;
use host::seccomp::{Action, InstallFlags, compile};

use crate::error::{Error, Result};
use crate::sandbox::broker::{FD_COUNT, START_FD};

/// CAP_NET_BIND_SERVICE.
const BIND_SERVICE: u32 = 10;
/// CAP_NET_RAW.
const NET_RAW: u32 = 13;

/// `runsc broker`.
#[derive(Debug, Args)]
pub(crate) struct Broker {
    /// The sandbox's id, for who looks at the process list.
    #[arg(default_value = "")]
    pub(super) id: String,
    /// The state directory that it is in, for the same reader.
    #[arg(default_value = "")]
    pub(super) _state_root: String,
    /// Make raw sockets as well.
    #[arg(long)]
    pub(super) raw: bool,
}

impl Broker {
    /// Becomes the broker.
    pub(crate) fn run(&self) -> Result<u8> {
        // First of all: brokers of one user share it.
        process::forbid_tracing();
        process::set_name(c"runsc-broker");
        process::tame_allocator();
        let missing =
            || Error::new(format!("`runsc broker {}` is for runsc itself: use `runsc run`", self.id));
        let fds = process::take_inherited(START_FD, FD_COUNT).map_err(|_| missing())?;
        let Ok([start, socket]) = <[_; 2]>::try_from(fds) else { return Err(missing()) };
        let start = Starter::new(StartSocket::new(start));
        if let Err(failure) = self.confine() {
            start.failed(failure);
            return Ok(1);
        }
        start.ready();
        // A sandbox that ends abruptly is no failure of ours.
        Ok(u8::from(serve(socket.as_fd(), self.raw).is_err()))
    }

    /// Gives up what making and binding sockets does not need.
    fn confine(&self) -> std::result::Result<(), Failure> {
        let step = |what: &str, result: abi::Result<()>| {
            result.map_err(|errno| Failure::host(format!("cannot {what} for the broker: {errno}")))
        };
        let wanted = if self.raw { &[BIND_SERVICE, NET_RAW][..] } else { &[BIND_SERVICE] };
        let has = capability::effective()
            .map_err(|errno| Failure::host(format!("cannot read the broker's capabilities: {errno}")))?;
        let keep = Capabilities(Capabilities::of(wanted).0 & has.0);
        step("limit the bounding set", capability::limit_bounding(keep))?;
        step("drop capabilities", capability::set(keep))?;
        step("set no_new_privs", process::no_new_privileges())?;
        compile(RULES, Action::KillProcess)
            .and_then(|filter| filter.install(InstallFlags::ALL_THREADS))
            .map_err(|error| Failure::host(format!("cannot install the broker's filter: {error}")))
    }
}
