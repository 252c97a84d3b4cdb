//! The runtime's command line, which does all that changes a container.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::error::{Failure, Result};
use crate::options::Options;
use crate::reaper::Reaper;

/// How to call it, for the containers of one bundle.
#[derive(Clone, Debug)]
pub(crate) struct Runsc {
    binary: PathBuf,
    root: PathBuf,
    log: PathBuf,
    flags: Vec<String>,
    reaper: Reaper,
}

/// Standard input, output and error for what runs in a container.
#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) stdin: Stdio,
    pub(crate) stdout: Stdio,
    pub(crate) stderr: Stdio,
}

impl Streams {
    /// None at all.
    pub(crate) fn null() -> Self {
        Self { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() }
    }
}

impl Runsc {
    /// The program that `options` name, with the state of `namespace`; its messages go to the bundle's log file.
    pub(crate) fn new(options: &Options, namespace: &str, bundle: &Path, reaper: &Reaper) -> Self {
        let flags = options.runsc_config.iter().map(|(name, value)| format!("--{name}={value}"));
        Self {
            binary: options.binary_name.clone(),
            root: options.root.join(namespace),
            log: bundle.join("log.json"),
            flags: flags.collect(),
            reaper: reaper.clone(),
        }
    }

    /// Where it keeps the state of containers.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A call with its global flags.
    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--root").arg(&self.root).arg("--log").arg(&self.log).arg("--log-format=json");
        command.args(&self.flags).arg(name).current_dir("/");
        command
    }

    /// Makes a call. Its failure is what it wrote to the log last.
    pub(crate) fn call(&self, mut command: Command, streams: Streams) -> Result<()> {
        let before = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        command.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);
        let exit = self.reaper.run(&mut command).map_err(|error| {
            let binary = self.binary.display();
            Failure::Other(format!(
                "cannot execute {binary}: {error}; binary_name in the runtime's options says where runsc is"
            ))
        })?;
        // The ends of our streams that a container does not hold must not stay open here.
        drop(command);
        match exit.status {
            0 => Ok(()),
            status => Err(self.failure(before, status)),
        }
    }

    /// Makes a call without streams.
    pub(crate) fn quiet(&self, command: Command) -> Result<()> {
        self.call(command, Streams::null())
    }

    fn failure(&self, before: u64, status: u32) -> Failure {
        let mut said = String::new();
        if let Ok(mut log) = File::open(&self.log) {
            let _ = log.seek(SeekFrom::Start(before)).and_then(|_| log.read_to_string(&mut said));
        }
        let message = last_error(&said).unwrap_or_else(|| format!("runsc ended with exit status {status}"));
        if is_gone(&message) {
            Failure::NotFound(message)
        } else if message.contains("container with id exists") {
            Failure::Exists(message)
        } else {
            Failure::Other(message)
        }
    }
}

/// The last error in a log in the form of JSON.
fn last_error(log: &str) -> Option<String> {
    let lines = log.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let message = |line: Value| line["msg"].as_str().map(str::trim).map(String::from);
    lines.filter(|line| line["level"] == "error").find_map(message)
}

/// Whether a message says that a container or a process is not there (any more).
fn is_gone(message: &str) -> bool {
    ["does not exist", "container not running", "process already finished", "no such process"]
        .iter()
        .any(|sign| message.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::{is_gone, last_error};

    #[test]
    fn the_last_error_is_told() {
        let log = "{\"level\":\"error\",\"msg\":\"first\"}\n{\"level\":\"error\",\"msg\":\"second \"}\n\
                   {\"level\":\"warning\",\"msg\":\"third\"}\nnot json\n";
        assert_eq!(last_error(log).unwrap(), "second");
        assert_eq!(last_error(""), None);
        assert!(
            is_gone("container \"x\" is stopped: container not running: gone")
                && !is_gone("permission denied")
        );
    }
}
