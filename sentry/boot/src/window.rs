//! The window of the terminal that the sandbox's session has.
//!
//! A sandbox whose caller has gone (`docker run -it` goes through containerd) leads a session with the host's terminal,
//! so the host tells it of a new size by SIGWINCH (`man 4 tty_ioctl`). A thread of its own waits for that.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::Signal;
use control::{BootConfig, Failure};
use host::signal::SignalFd;

use crate::sandbox::Sandbox;

/// The host's terminal and the signals about its window.
#[derive(Debug)]
pub(crate) struct Window {
    signals: SignalFd,
    terminal: OwnedFd,
}

impl Window {
    /// The first container's, where its terminal is the sandbox's. To be made before there is any other thread: they
    /// all must have the signal blocked.
    pub(crate) fn of(config: &BootConfig, fds: &[OwnedFd]) -> Result<Option<Self>, Failure> {
        let index = config.root.stdio[0] as usize;
        let Some(terminal) = fds.get(index).filter(|_| config.root.owns_terminal) else { return Ok(None) };
        let failed = |what: String| Failure::host(format!("cannot watch the terminal's window: {what}"));
        let signals = SignalFd::new(&[Signal::WINCH.number()]).map_err(|errno| failed(errno.to_string()))?;
        let terminal = terminal.try_clone().map_err(|error| failed(error.to_string()))?;
        Ok(Some(Self { signals, terminal }))
    }

    /// Hands new sizes on to the guest's terminal from now on.
    pub(crate) fn follow(self, sandbox: Arc<Sandbox>) -> Result<(), Failure> {
        let watch = move || {
            while self.signals.next().is_ok() {
                self.tell(&sandbox);
            }
        };
        let thread = std::thread::Builder::new().name("window".into()).stack_size(128 << 10).spawn(watch);
        thread.map(drop).map_err(|error| Failure::host(format!("cannot make a thread: {error}")))
    }

    fn tell(&self, sandbox: &Sandbox) {
        let Ok(size) = host::terminal::window_size(self.terminal.as_fd()) else { return };
        // A program that has not been started yet finds the size when it is.
        let terminal = sandbox.root().and_then(|root| root.init()).map(|init| init.session().terminal());
        if let Ok(Some(terminal)) = terminal {
            terminal.set_window_size(size.rows, size.columns);
        }
    }
}
