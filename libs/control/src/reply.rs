//! What a sandbox answers on its control socket.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::stats::Stats;

/// One answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "reply", content = "with")]
pub enum Reply {
    /// It is done.
    Done,
    /// A process runs: its pid in the root pid name space of the sandbox.
    Started {
        /// The pid.
        pid: i32,
    },
    /// A process has ended.
    Exited(WaitStatus),
    /// A container's processes.
    Processes(Vec<ProcessRow>),
    /// A container's state.
    State(ContainerState),
    /// A container's counters.
    Stats(Box<Stats>),
    /// Text for a person.
    Text(String),
    /// It failed.
    Failed(Failure),
}

/// How a process ended, as `wait(2)` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitStatus {
    /// It exited with this status.
    Code(u8),
    /// This signal ended it.
    Signal(u8),
}

impl WaitStatus {
    /// The exit status that a shell would report: 128 and the signal's number for a signal.
    #[must_use]
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128u8.saturating_add(signal),
        }
    }
}

/// One process, as `runsc ps` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Its user.
    pub uid: u32,
    /// Its pid in the root pid name space of the sandbox.
    pub pid: i32,
    /// Its parent.
    pub ppid: i32,
    /// Its process group.
    pub pgid: i32,
    /// The pids of its threads.
    pub threads: Vec<i32>,
    /// Percent of a processor over its life.
    pub cpu_percent: u32,
    /// When it started, in seconds since 1970.
    pub start_time: i64,
    /// Nanoseconds of processor time.
    pub cpu_time_ns: u64,
    /// Its terminal, `pts/0` or `?`.
    pub tty: String,
    /// Its command (`comm`).
    pub command: String,
}

/// What a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerState {
    /// Created, not started.
    Created,
    /// Running.
    Running,
    /// Its tasks are stopped by `pause`.
    Paused,
    /// Its first process has ended.
    Stopped,
}
