//! The commands that are one call: `start`, `state`, `kill`, `delete`, `pause`, `resume`.

use abi::Signal;
use clap::Args;

use crate::container::life::{Container, KillTarget, force_delete};
use crate::container::{Store, current_status, oci_state};
use crate::error::{Error, Result};
use crate::flags::Config;

/// `runsc start`.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// The container's id.
    pub(crate) id: String,
}

impl Start {
    /// Starts it.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        Container::open(config, &self.id)?.start().map(|()| 0)
    }
}

/// `runsc state`.
#[derive(Debug, Args)]
pub(crate) struct State {
    /// The container's id.
    pub(crate) id: String,
}

impl State {
    /// Prints it.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        // Without the lock: whoever holds it may be a hook's caller, and the hook may ask.
        let store = Store::new(&config.root);
        let mut state = store.peek(&self.id)?;
        state.status = current_status(&state, &store);
        say!("{:#}", oci_state(&state, None));
        Ok(0)
    }
}

/// `runsc kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Send it to every process of the container.
    #[arg(long, short = 'a')]
    all: bool,
    /// Send it to one process of the container, by its pid in the sandbox.
    #[arg(long, conflicts_with_all = ["all", "pgid"])]
    pid: Option<i32>,
    /// Send it to a process group of the container.
    #[arg(long, conflicts_with = "all")]
    pgid: Option<i32>,
    /// The container's id.
    pub(crate) id: String,
    /// The signal, by name or number.
    #[arg(default_value = "SIGTERM")]
    signal: String,
}

impl Kill {
    /// Sends it.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        let signal = parse_signal(&self.signal)?;
        let target = match (self.all, self.pid, self.pgid) {
            (true, ..) => KillTarget::All,
            (_, Some(pid), _) => KillTarget::Process(pid),
            (.., Some(pgid)) => KillTarget::Group(pgid),
            _ => KillTarget::Init,
        };
        Container::open(config, &self.id)?.kill(target, signal).map(|()| 0)
    }
}

/// A signal by number or name, with or without `SIG`, in any case; `RTMIN+n` too.
pub(super) fn parse_signal(text: &str) -> Result<i32> {
    let bad = || {
        Error::new(format!("unknown signal \"{text}\": give a number from 1 to 64 or a name such as TERM"))
    };
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let name = match name {
        "IOT" => "ABRT",
        "POLL" => "IO",
        "CLD" => "CHLD",
        name => name,
    };
    if let Some(signal) = Signal::from_name(name) {
        return Ok(signal.number());
    }
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest.parse::<i32>().ok() };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => offset(rest).map(|n| n.saturating_add(34)),
        (_, Some(rest)) => offset(rest).map(|n| n.saturating_add(64)),
        _ => None,
    };
    number.filter(|number| (34..=64).contains(number)).ok_or_else(bad)
}

/// `runsc delete`.
#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// End the container first; no error where there is none.
    #[arg(long, short = 'f')]
    force: bool,
    /// The containers' ids.
    #[arg(required = true)]
    ids: Vec<String>,
}

impl Delete {
    /// Removes them; all are tried, and each that fails says why.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        let mut failures = Vec::new();
        for id in &self.ids {
            let deleted = if self.force {
                force_delete(config, id)
            } else {
                Container::open(config, id).and_then(|container| container.delete())
            };
            failures.extend(deleted.err().map(|error| error.to_string()));
        }
        if failures.is_empty() { Ok(0) } else { Err(Error::new(failures.join("; "))) }
    }
}

/// `runsc pause`.
#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// The container's id.
    pub(crate) id: String,
}

impl Pause {
    /// Pauses it.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        Container::open(config, &self.id)?.pause().map(|()| 0)
    }
}

/// `runsc resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// The container's id.
    pub(crate) id: String,
}

impl Resume {
    /// Lets it go on.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        Container::open(config, &self.id)?.resume().map(|()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::parse_signal;

    #[test]
    fn signals() {
        for (text, number) in
            [("TERM", 15), ("sigkill", 9), ("1", 1), ("RTMIN+1", 35), ("SIGRTMAX-1", 63), ("CLD", 17)]
        {
            assert_eq!(parse_signal(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "65", "-9", "FOO", "RTMIN-1", "RTMAX+1", "SIG"] {
            assert!(parse_signal(bad).is_err(), "{bad}");
        }
    }
}
