//! The debug log: what the sentry writes for whoever looks after the sandbox. Not the guest's dmesg.

use std::fmt;
use std::sync::Arc;

/// Where lines of the debug log go.
pub trait LogSink: Send + Sync {
    /// Takes one line without its newline. Must not block for long.
    fn line(&self, text: &str);
}

/// A handle to the debug log.
#[derive(Clone, Default)]
pub struct DebugLog(Option<Arc<dyn LogSink>>);

impl DebugLog {
    /// A log that `sink` takes.
    #[must_use]
    pub fn new(sink: Arc<dyn LogSink>) -> Self {
        Self(Some(sink))
    }

    /// Whether anybody reads it.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Writes one line.
    pub fn line(&self, text: &str) {
        if let Some(sink) = &self.0 {
            sink.line(text);
        }
    }
}

impl fmt::Debug for DebugLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DebugLog({})", if self.is_on() { "on" } else { "off" })
    }
}
