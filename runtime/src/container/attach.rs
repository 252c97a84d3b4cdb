//! Staying with a guest process until it ends: signals that we get go to it, the window's size too, and its exit
//! status becomes ours.

use std::os::fd::BorrowedFd;

use abi::Signal;
use control::{Client, Reply, Request, Target, WaitStatus};
use host::poll::any_readable;
use host::signal::SignalFd;

use crate::console::window;
use crate::error::{Context, Error, Result};
use crate::logging;

const SIGWINCH: i32 = Signal::WINCH.number();

/// Signals that are passed on: all that end or tell something, none that are about ourselves.
const FORWARDED: &[i32] = &[
    Signal::HUP.number(),
    Signal::INT.number(),
    Signal::QUIT.number(),
    Signal::USR1.number(),
    Signal::USR2.number(),
    Signal::ALRM.number(),
    Signal::TERM.number(),
    Signal::CONT.number(),
    Signal::TSTP.number(),
    SIGWINCH,
];

/// A guest process that we stay with.
#[derive(Debug)]
pub(crate) struct Attached<'a> {
    /// Its container.
    pub(crate) container: &'a str,
    /// Its pid as the container counts; the container's first process where absent.
    pub(crate) pid: Option<i32>,
    /// Its terminal on the host.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
}

/// Signals are blocked from now on and wait for [`Attached::wait`]: none gets lost between start and wait.
pub(crate) fn hold_signals() -> Result<SignalFd> {
    SignalFd::new(FORWARDED).context("cannot take signals")
}

impl Attached<'_> {
    /// Waits for its end. `waiter` and `teller` are two connections to its sandbox. `None` where the sandbox went away
    /// without an answer.
    pub(crate) fn wait(
        &self,
        waiter: &Client,
        teller: &Client,
        signals: &SignalFd,
    ) -> Result<Option<WaitStatus>> {
        let request = Request::Wait { container: self.container.into(), pid: self.pid };
        match waiter.send(&request, &[]) {
            Err(error) if error.is_gone() => return Ok(None),
            sent => sent?,
        }
        loop {
            let ready = any_readable([waiter.as_fd(), signals.as_fd()], None).context("cannot wait")?;
            if ready[1] {
                let signal = signals.next().context("cannot take a signal")?;
                self.forward(teller, signal);
            }
            if ready[0] {
                return match waiter.receive(&request) {
                    Ok(Reply::Exited(status)) => Ok(Some(status)),
                    Ok(_) => Err(Error::new("the sandbox answered \"wait\" with something else")),
                    Err(error) if error.is_gone() => Ok(None),
                    Err(error) => Err(error.into()),
                };
            }
        }
    }

    fn forward(&self, teller: &Client, signal: i32) {
        let sent = match (signal, self.terminal.and_then(window)) {
            (SIGWINCH, Some(size)) => teller.window_size(self.container, self.pid, size),
            (SIGWINCH, None) => Ok(()),
            _ => teller.signal(self.target(), signal),
        };
        if let Err(error) = sent {
            logging::debug(format!("signal {signal} was not passed on: {error}"));
        }
    }

    fn target(&self) -> Target {
        let container = self.container.to_string();
        match (self.terminal.is_some(), self.pid) {
            (true, pid) => Target::Foreground { container, pid },
            (false, Some(pid)) => Target::Process { container, pid },
            (false, None) => Target::Init { container },
        }
    }
}
