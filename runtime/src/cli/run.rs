//! `runsc run`.

use std::os::fd::AsFd;

use clap::Args;

use super::create::CreateArgs;
use crate::container::SIGKILL;
use crate::container::attach::{Attached, hold_signals};
use crate::container::create::{CreateOptions, create};
use crate::container::life::{Container, force_delete};
use crate::error::Result;
use crate::flags::{Config, Flags};
use crate::logging;
use crate::process_id::ProcessId;
use crate::sandbox::ReplyTimeout;
use crate::sandbox::identity::settle_privilege;
use host::process::Ended;

/// `runsc run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(super) create: CreateArgs,
    /// Return when the program runs.
    #[arg(long, short = 'd')]
    detach: bool,
}

impl Run {
    /// Runs a container.
    pub(crate) fn run(&self, flags: &Flags) -> Result<u8> {
        let mut flags = flags.clone();
        settle_privilege(&mut flags)?;
        run(&flags, self.create.options(!self.detach)?)
    }
}

/// Makes a container, starts it and, when `options.attached`, waits for it and removes it.
pub(super) fn run(flags: &Flags, options: CreateOptions) -> Result<u8> {
    let config = Config::new(flags)?;
    // The signals of a caller that is impatient wait until the container can be told.
    let signals = hold_signals()?;
    let created = create(flags, &options)?;
    let outcome = start_and_wait(&config, &options, &created, &signals);
    // The terminal is the caller's again before anything else is said.
    drop(created);
    if outcome.is_err() || options.attached {
        let removed = force_delete(&config, &options.id);
        // Why it failed matters more than that something could not be removed.
        outcome.and_then(|status| removed.map(|()| status))
    } else {
        outcome
    }
}

fn start_and_wait(
    config: &Config,
    options: &CreateOptions,
    created: &crate::container::create::Created,
    signals: &host::signal::SignalFd,
) -> Result<u8> {
    let mut container = Container::open(config, &options.id)?;
    let (waiter, teller) = (container.connect(ReplyTimeout::Wait)?, container.connect(ReplyTimeout::Short)?);
    container.start()?;
    if !options.attached {
        return Ok(0);
    }
    let (sandbox, is_root) = (container.state.sandbox, container.state.is_root());
    drop(container);
    let terminal = created.streams.terminal.then(|| created.streams.fds[0].as_fd());
    let attached = Attached { container: &options.id, pid: None, terminal };
    match attached.wait(&waiter, &teller, signals)? {
        Some(status) => Ok(status.exit_status()),
        None => {
            let said = Container::open(config, &options.id).map(|container| container.last_words());
            if let Some(said) = said.ok().filter(|said| !said.is_empty()) {
                logging::warning(format!("the sandbox printed: {said}"));
            }
            Ok(last_status(sandbox.filter(|_| is_root)))
        }
    }
}

/// The exit status of a sandbox that went away before it answered: it ends with its first program's status.
fn last_status(sandbox: Option<ProcessId>) -> u8 {
    let ended = sandbox.and_then(|id| id.open_any()).and_then(|process| process.reap().ok());
    match ended {
        Some(Ended::Code(code)) => u8::try_from(code).unwrap_or(u8::MAX),
        Some(Ended::Signal(signal)) => {
            logging::warning(format!("the sandbox was ended by signal {signal}"));
            u8::try_from(128 + signal).unwrap_or(u8::MAX)
        }
        None => 128 + SIGKILL as u8,
    }
}
