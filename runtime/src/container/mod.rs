//! Containers: their life from `create` to `delete`, and what is written down of them in between.
//!
//! Whoever changes a container holds its lock (`store.rs`), and may be killed at any moment. What is left then:
//!
//! | command | lock | writes down | killed in between |
//! |---|---|---|---|
//! | `create` | all the time | creating, with each process before it may go on; at last created | stopped: `delete` ends what is there |
//! | `start` | all the time | running | what the sandbox says: created or running |
//! | `pause`, `resume` | all the time | paused, running | what the sandbox says |
//! | `exec` | until it is connected | nothing | the guest's process runs on, `kill --pid` ends it |
//! | `update` | all the time | the limits, when they hold | the host's limits are the new ones already |
//! | `kill` | all the time | nothing | the signal is sent or not |
//! | `delete` | all the time | nothing; the directory goes last | stopped: the next `delete` goes on |
//! | `state`, `list` | none | nothing | |

pub(crate) mod attach;
pub(crate) mod create;
pub(crate) mod exec;
pub(crate) mod life;
pub(crate) mod manager;
mod remains;
pub(crate) mod stand_in;
pub(crate) mod state;
pub(crate) mod store;

use std::time::Duration;

use abi::Signal;
use control::{ContainerState, FailureKind};
use serde_json::{Value, json};

pub(crate) use state::{State, Status};
pub(crate) use store::Store;

use crate::error::Result;
use crate::logging;
use crate::process_id::ProcessId;
use crate::sandbox::{self, ConnectError, ReplyTimeout};

/// How long the host may take to end a killed process.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A container's state as the OCI specification wants it, with what runc adds.
pub(crate) fn oci_state(state: &State, pid: Option<i32>) -> Value {
    let mut value = json!({
        "ociVersion": state.oci_version,
        "id": state.id,
        "status": state.status.name(),
        "bundle": state.bundle,
        "annotations": state.annotations,
        "created": state.created,
        "owner": state.owner.to_string(),
    });
    if state.status != Status::Stopped {
        value["pid"] = pid.or(state.sandbox.map(|sandbox| sandbox.pid)).unwrap_or(0).into();
    }
    value
}

/// What a container is doing now. The sandbox decides, not what was written down: whoever was to write may have been
/// killed in between, and the sandbox of a pod lives on when a container in it ends. One that cannot be asked is
/// believed to do what was written down.
pub(crate) fn current_status(state: &State, store: &Store) -> Status {
    let is_alive = || state.sandbox.and_then(|sandbox| sandbox.open()).is_some();
    match state.status {
        Status::Stopped => Status::Stopped,
        // Its `create` is still at work, or was killed: the directory's lock tells.
        Status::Creating if state.sandbox.is_none() => Status::Creating,
        _ if !is_alive() => Status::Stopped,
        Status::Creating => Status::Creating,
        recorded => told_status(state, store).unwrap_or_else(|error| {
            if !is_alive() {
                return Status::Stopped;
            }
            let name = recorded.name();
            logging::warning(format!("container \"{}\" is taken to be {name} still: {error}", state.id));
            recorded
        }),
    }
}

/// What a container's sandbox says that it is doing.
fn told_status(state: &State, store: &Store) -> Result<Status> {
    let client = match sandbox::connect(&store.socket(&state.sandbox_id), &state.id, ReplyTimeout::Short) {
        Err(ConnectError::Gone { .. }) => return Ok(Status::Stopped),
        other => other?,
    };
    match client.state(&state.id) {
        Ok(ContainerState::Created) => Ok(Status::Created),
        Ok(ContainerState::Running) => Ok(Status::Running),
        Ok(ContainerState::Paused) => Ok(Status::Paused),
        Ok(ContainerState::Stopped) => Ok(Status::Stopped),
        Err(error) if error.kind() == FailureKind::NotFound => Ok(Status::Stopped),
        Err(error) => Err(error.into()),
    }
}

/// Kills a process and waits until it has ended; reaps it where it is our child.
pub(crate) fn end_process(id: ProcessId) {
    let Some(process) = id.open_any() else { return };
    // One whose first thread has ended may still have others: the descriptor tells when the last one is gone.
    let _ = process.signal(SIGKILL);
    if !process.wait_ended(Some(END_TIMEOUT)).unwrap_or(true) {
        logging::warning(format!("process {} does not end although it was killed", id.pid));
        return;
    }
    let _ = process.reap_now();
}

/// Number of the signal that cannot be caught.
pub(crate) const SIGKILL: i32 = Signal::KILL.number();
