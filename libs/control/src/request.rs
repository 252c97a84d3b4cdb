//! The calls on a sandbox's control socket.
//!
//! A connection carries one call after the other; the reply to [`Request::Wait`] comes when it has something to say.
//! Descriptors of a request travel with it and are named by their index.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::boot::ContainerConfig;
use crate::network::NetworkPlan;

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "call", content = "with")]
pub enum Request {
    /// Adds a container to the sandbox. Descriptors: as the configuration's indexes say. Reply: `Done`.
    CreateContainer(Box<ContainerConfig>),
    /// Gives the sandbox its network: links, addresses, routes as the runtime found them. Comes once, before the first
    /// `Start`. Descriptors: as the plan's indexes say. Reply: `Done`.
    Network(Box<NetworkPlan>),
    /// Starts a created container's process. Reply: `Started` with its guest pid, or why the program cannot run.
    Start {
        /// Which.
        container: String,
    },
    /// Runs a further process in a running container. Reply: `Started`.
    Exec(Box<Exec>),
    /// Sends a signal. Reply: `Done`.
    Signal {
        /// To whom.
        target: Target,
        /// Which.
        signal: i32,
    },
    /// Waits until a process has ended. Reply: `Exited`. The root process's status can be asked for any number of
    /// times, that of a process made by `Exec` until it was told once.
    Wait {
        /// The container.
        container: String,
        /// The process in the root pid name space of the sandbox; the container's first process where absent.
        pid: Option<i32>,
    },
    /// Lists a container's processes. Reply: `Processes`.
    Processes {
        /// Which container.
        container: String,
    },
    /// Stops every task of a container in its tracks. Reply: `Done` when they stand.
    Pause {
        /// Which.
        container: String,
    },
    /// The opposite.
    Resume {
        /// Which.
        container: String,
    },
    /// What a container is doing. Reply: `State`.
    State {
        /// Which.
        container: String,
    },
    /// Counters of a container. Reply: `Stats`.
    Stats {
        /// Which.
        container: String,
    },
    /// The window of a process's terminal has a new size. Reply: `Done`.
    WindowSize {
        /// The container.
        container: String,
        /// The process that [`Request::Exec`] started; the container's first process where absent.
        pid: Option<i32>,
        /// Rows.
        rows: u16,
        /// Columns.
        columns: u16,
    },
    /// Kills what is left of a container and forgets it. Reply: `Done` when its files are closed. The end of a
    /// sandbox's first container ends the sandbox.
    Destroy {
        /// Which.
        container: String,
    },
    /// Changes which system calls are traced in the debug log. Reply: `Done`.
    Strace {
        /// Their names, all where empty; none where absent.
        calls: Option<Vec<String>>,
    },
    /// New limits for a running container, `linux.resources` of the OCI specification. Reply: `Done`.
    Update {
        /// Which.
        container: String,
        /// The limits that change.
        resources: Value,
        /// The processors that guests see from now on.
        cpu_count: Option<u32>,
    },
    /// What each guest task is doing, for `runsc debug`. Reply: `Text`.
    Stacks,
}

impl Request {
    /// Its name, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateContainer(_) => "create-container",
            Self::Network(_) => "network",
            Self::Start { .. } => "start",
            Self::Exec(_) => "exec",
            Self::Signal { .. } => "signal",
            Self::Wait { .. } => "wait",
            Self::Processes { .. } => "processes",
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::State { .. } => "state",
            Self::Stats { .. } => "stats",
            Self::WindowSize { .. } => "window-size",
            Self::Destroy { .. } => "destroy",
            Self::Strace { .. } => "strace",
            Self::Update { .. } => "update",
            Self::Stacks => "stacks",
        }
    }
}

/// A process to run in a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exec {
    /// The container.
    pub container: String,
    /// The process, in the form of the OCI specification's `process`, checked by the runtime.
    pub process: Value,
    /// Standard input, output and error, by index; one terminal three times where `process.terminal` is set (see
    /// [`ContainerConfig::terminal`]).
    pub stdio: [u32; 3],
    /// Further descriptors: (number in the guest, index).
    #[serde(default)]
    pub pass_fds: Vec<(i32, u32)>,
    /// The window's size: rows, columns.
    #[serde(default)]
    pub window: Option<(u16, u16)>,
}

/// Whom a signal is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "to")]
pub enum Target {
    /// The container's first process.
    Init {
        /// Which container.
        container: String,
    },
    /// One process, by its pid in the root pid name space of the sandbox.
    Process {
        /// Which container.
        container: String,
        /// Which process.
        pid: i32,
    },
    /// A process group.
    Group {
        /// Which container.
        container: String,
        /// The group.
        pgid: i32,
    },
    /// The foreground process group of a process's terminal.
    Foreground {
        /// Which container.
        container: String,
        /// The process; the container's first where absent.
        pid: Option<i32>,
    },
    /// Every process of the container.
    All {
        /// Which container.
        container: String,
    },
}

impl Target {
    /// The container meant.
    #[must_use]
    pub fn container(&self) -> &str {
        match self {
            Self::Init { container }
            | Self::Process { container, .. }
            | Self::Group { container, .. }
            | Self::Foreground { container, .. }
            | Self::All { container } => container,
        }
    }
}
