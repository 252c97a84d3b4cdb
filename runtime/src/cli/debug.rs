//! `runsc debug`: a look into a sandbox that runs.

use clap::Args;
use kernel::syscalls::table::rows;

use super::commands::parse_signal;
use super::ps::print_table;
use crate::container::Store;
use crate::container::life::Container;
use crate::error::{Context, Error, Result};
use crate::flags::Config;
use crate::sandbox::ReplyTimeout;

/// `runsc debug`.
#[derive(Debug, Args)]
pub(crate) struct Debug {
    /// Print what each guest task is doing.
    #[arg(long)]
    stacks: bool,
    /// List the processes of the container.
    #[arg(long)]
    ps: bool,
    /// Trace system calls in the debug log from now on: all, off, or names separated by commas.
    #[arg(long)]
    strace: Option<String>,
    /// Send a signal to the sandbox's own process, by name or number.
    #[arg(long)]
    signal: Option<String>,
    /// The sandbox with this process, instead of a container's id.
    #[arg(long)]
    pid: Option<i32>,
    /// The container's id.
    #[arg(default_value = "", required_unless_present = "pid", conflicts_with = "pid")]
    pub(crate) id: String,
}

impl Debug {
    /// Does all that is asked for.
    pub(crate) fn run(&self, config: &Config) -> Result<u8> {
        if !self.stacks && !self.ps && self.strace.is_none() && self.signal.is_none() {
            return Err(Error::new("say what to do: --stacks, --ps, --strace=CALLS or --signal=SIGNAL"));
        }
        let id = match self.pid {
            Some(pid) => container_of(config, pid)?,
            None => self.id.clone(),
        };
        let calls = self.strace.as_deref().map(parse_calls).transpose()?;
        let signal = self.signal.as_deref().map(parse_signal).transpose()?;
        let container = Container::open(config, &id)?;
        container.require_not_stopped("there is nothing to look into")?;
        let client = container.connect(ReplyTimeout::Short)?;
        if let Some(signal) = signal {
            let sandbox = container.state.sandbox.and_then(|sandbox| sandbox.open());
            let sandbox = sandbox.ok_or_else(|| Error::new("the sandbox is gone"))?;
            sandbox.signal(signal).context("cannot send the signal to the sandbox")?;
        }
        if let Some(calls) = calls {
            client.strace(calls)?;
        }
        if self.ps {
            print_table(&client.processes(&id)?);
        }
        if self.stacks {
            say_raw!("{}", client.stacks()?);
        }
        Ok(0)
    }
}

/// The container whose sandbox is this process.
fn container_of(config: &Config, pid: i32) -> Result<String> {
    let store = Store::new(&config.root);
    let states = store.ids()?.into_iter().filter_map(|id| store.peek(&id).ok());
    let mut own = states.filter(|state| state.is_root());
    let found = own.find(|state| state.sandbox.is_some_and(|sandbox| sandbox.pid == pid));
    found
        .map(|state| state.id)
        .ok_or_else(|| Error::new(format!("process {pid} is no sandbox of this --root")))
}

/// Which calls to trace: `None` for none, an empty list for all.
fn parse_calls(text: &str) -> Result<Option<Vec<String>>> {
    match text {
        "off" => return Ok(None),
        "all" => return Ok(Some(Vec::new())),
        _ => {}
    }
    let names: Vec<String> = text.split(',').map(|name| name.trim().to_string()).collect();
    match names.iter().find(|name| !rows().any(|row| row.name == name.as_str())) {
        Some(unknown) => {
            Err(Error::new(format!("unknown system call \"{unknown}\": `runsc help syscalls` lists them")))
        }
        None => Ok(Some(names)),
    }
}

#[cfg(test)]
mod tests {
    use super::parse_calls;

    #[test]
    fn calls_to_trace() {
        assert_eq!(parse_calls("off").unwrap(), None);
        assert_eq!(parse_calls("all").unwrap(), Some(Vec::new()));
        assert_eq!(parse_calls("read, openat").unwrap(), Some(vec!["read".into(), "openat".into()]));
        for bad in ["", "reed", "read,"] {
            assert!(parse_calls(bad).unwrap_err().to_string().contains("unknown system call"));
        }
    }
}
