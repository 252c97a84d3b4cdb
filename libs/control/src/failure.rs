//! Why a request or a start failed, in a form that survives a process boundary.

use serde::{Deserialize, Serialize};

/// What sort of failure it is; the command line tool picks the exit status from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureKind {
    /// No such container or process in this sandbox.
    NotFound,
    /// The container is not in a state that allows the request.
    WrongState,
    /// The program does not exist in the container (exit status 127).
    ProgramNotFound,
    /// The program exists and cannot be executed (exit status 126).
    ProgramNotExecutable,
    /// The request or the configuration makes no sense.
    Invalid,
    /// Something that this version does not do.
    Unsupported,
    /// The host refused something that is needed.
    Host,
    /// A defect of ours.
    Internal,
}

/// A failure: its kind and one sentence that names cause and remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its sort.
    pub kind: FailureKind,
    /// The sentence, without a full stop and without a program name before it.
    pub message: String,
}

impl Failure {
    /// A failure of `kind` with the given sentence.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// No container or process of that name.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(FailureKind::NotFound, message)
    }

    /// The wrong moment for this request.
    pub fn wrong_state(message: impl Into<String>) -> Self {
        Self::new(FailureKind::WrongState, message)
    }

    /// A request or configuration that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Invalid, message)
    }

    /// The host refused something.
    pub fn host(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Host, message)
    }

    /// A defect of ours.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Internal, message)
    }
}
