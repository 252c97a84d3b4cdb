//! What is kept of a container between invocations: `state.json` in its directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::CgroupRecord;
use crate::process_id::ProcessId;

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
    /// The broker of its sandbox, with `--network=host`.
    #[serde(default)]
    pub(crate) broker: Option<ProcessId>,
    /// Its cgroup.
    pub(crate) cgroup: Option<CgroupRecord>,
}

impl State {
    /// Whether it is the one that its sandbox was made for.
    pub(crate) fn is_root(&self) -> bool {
        self.id == self.sandbox_id
    }
}
