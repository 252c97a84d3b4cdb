//! What is kept of a container between invocations: `state.json` in its directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use host::process::Process;
use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupRecord;
use crate::error::{Error, Result};

/// The form of the file; another number is another version of this program.
pub(crate) const STATE_VERSION: u32 = 1;

/// How far a container has come, as the OCI specification calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// `create` is at work, or died.
    Creating,
    /// It waits for `start`.
    Created,
    /// It runs.
    Running,
    /// It runs and stands still.
    Paused,
    /// Its first process has ended.
    Stopped,
}

impl Status {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

/// A process of the host, named so that another one with its pid is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    /// Its pid.
    pub(crate) pid: i32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub(crate) start_time: u64,
}

impl ProcessId {
    /// Notes a process that is there.
    pub(crate) fn of(process: &Process) -> Result<Self> {
        let pid = process.pid();
        let (_, start_time) = stat(pid)
            .ok_or_else(|| Error::new(format!("process {pid} ended before it could be looked at")))?;
        Ok(Self { pid, start_time })
    }

    /// The process, where it is still there; one that has ended and waits to be reaped is not.
    pub(crate) fn open(&self) -> Option<Process> {
        self.open_if(|state| !matches!(state, 'Z' | 'X'))
    }

    /// The process, also one that has ended and waits to be reaped.
    pub(crate) fn open_any(&self) -> Option<Process> {
        self.open_if(|_| true)
    }

    fn open_if(&self, wanted: impl Fn(char) -> bool) -> Option<Process> {
        let process = Process::open(self.pid).ok()?;
        // The descriptor is had first: what /proc says next is about the same process or a later one.
        let (state, start_time) = stat(self.pid)?;
        (start_time == self.start_time && wanted(state)).then_some(process)
    }
}

/// State letter and start time from `/proc/PID/stat` (`man 5 proc`).
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

fn parse_stat(text: &str) -> Option<(char, u64)> {
    // The command is in parentheses and may contain any byte, parentheses too: the last one ends it.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// A container as it is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// [`STATE_VERSION`].
    pub(crate) version: u32,
    /// Its id.
    pub(crate) id: String,
    /// The version of the specification that its configuration names.
    pub(crate) oci_version: String,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// Its annotations.
    pub(crate) annotations: BTreeMap<String, String>,
    /// The flags it was made with, annotations applied. They hold for it, whatever later invocations are given.
    #[serde(default)]
    pub(crate) flags: BTreeMap<String, String>,
    /// When it was made (RFC 3339).
    pub(crate) created: String,
    /// The user that made it.
    pub(crate) owner: u32,
    /// How far it came as far as it is known.
    pub(crate) status: Status,
    /// The sandbox it runs in: its own id, or its pod's.
    pub(crate) sandbox_id: String,
    /// The sandbox's process.
    pub(crate) sandbox: Option<ProcessId>,
    /// Its gofer.
    pub(crate) gofer: Option<ProcessId>,
    /// Its cgroup.
    pub(crate) cgroup: Option<CgroupRecord>,
    /// Whether its process has a terminal.
    #[serde(default)]
    pub(crate) terminal: bool,
}

impl State {
    /// Whether it is the one that its sandbox was made for.
    pub(crate) fn is_root(&self) -> bool {
        self.id == self.sandbox_id
    }
}

#[cfg(test)]
mod tests {
    use host::process::Process;

    use super::{ProcessId, parse_stat};

    #[test]
    fn stat_with_a_hostile_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(parse_stat(&format!("7 (a) R (b)) {tail}")), Some(('S', 4242)));
        assert_eq!(parse_stat("7 (a"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn another_process_with_the_pid_is_not_it() {
        let me = Process::open(std::process::id() as i32).unwrap();
        let id = ProcessId::of(&me).unwrap();
        assert!(id.open().is_some());
        assert!(ProcessId { start_time: id.start_time + 1, ..id }.open().is_none());
    }
}
