//! Failures, as containerd tells them apart: by the status code of an answer.

use containerd_shim_protos::ttrpc::{self, Code};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no such task or process, or it has ended. containerd is content with that where it wanted it to end.
    #[error("{0}: not found")]
    NotFound(String),
    /// There is one of that name already.
    #[error("{0}: already exists")]
    Exists(String),
    /// It is not in a state for that.
    #[error("{0}")]
    NotNow(String),
    /// What was sent cannot be understood.
    #[error("{0}")]
    Invalid(String),
    /// This shim does not do that.
    #[error("{0}: not implemented")]
    Absent(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// A result of this crate.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// A failure with a sentence of what was being done.
    pub(crate) fn other(what: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self::Other(format!("{what}: {cause}"))
    }

    fn code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NOT_FOUND,
            Self::Exists(_) => Code::ALREADY_EXISTS,
            Self::NotNow(_) => Code::FAILED_PRECONDITION,
            Self::Invalid(_) => Code::INVALID_ARGUMENT,
            Self::Absent(_) => Code::UNIMPLEMENTED,
            Self::Other(_) => Code::UNKNOWN,
        }
    }
}

impl From<Failure> for ttrpc::Error {
    fn from(failure: Failure) -> Self {
        Self::RpcStatus(ttrpc::get_status(failure.code(), failure))
    }
}

/// Adds what was being done to an error.
pub(crate) trait Context<T> {
    /// The error with `what` before it.
    fn context(self, what: impl std::fmt::Display) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for Result<T, E> {
    fn context(self, what: impl std::fmt::Display) -> Result<T> {
        self.map_err(|error| Failure::other(what, error))
    }
}
