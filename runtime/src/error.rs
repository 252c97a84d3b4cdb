//! The command line tool's error: one sentence for the user, and an exit status.

use std::fmt::Display;

use control::FailureKind;
use control::client::CallError;

/// The exit status for failures of ours.
pub(crate) const FAILED: u8 = 128;
/// The exit status where the program does not exist.
pub(crate) const NOT_FOUND: u8 = 127;
/// The exit status where the program cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;

/// A failure: a sentence that names cause and remedy, and the exit status that scripts see.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub(crate) struct Error {
    sentence: String,
    status: u8,
}

/// What every operation of the tool returns.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure with the given sentence (no full stop) and the usual status.
    pub(crate) fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), status: FAILED }
    }

    /// The same with another exit status.
    pub(crate) fn with_status(self, status: u8) -> Self {
        Self { status, ..self }
    }

    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        self.status
    }
}

impl From<control::Failure> for Error {
    fn from(failure: control::Failure) -> Self {
        let status = match failure.kind {
            FailureKind::ProgramNotFound => NOT_FOUND,
            FailureKind::ProgramNotExecutable => NOT_EXECUTABLE,
            _ => FAILED,
        };
        Self { sentence: failure.message, status }
    }
}

impl From<CallError> for Error {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(failure) => failure.into(),
            other => Self::new(other.to_string()),
        }
    }
}

/// Says what was being done when something failed.
pub(crate) trait Context<T> {
    /// Puts `what` before the cause: "cannot open /x: no such file or directory".
    fn context(self, what: impl Display) -> Result<T>;
    /// The same, where the words cost something.
    fn with_context<S: Display>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Display> Context<T> for std::result::Result<T, E> {
    fn context(self, what: impl Display) -> Result<T> {
        self.with_context(|| what)
    }

    fn with_context<S: Display>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|cause| Error::new(format!("{}: {cause}", what())))
    }
}
