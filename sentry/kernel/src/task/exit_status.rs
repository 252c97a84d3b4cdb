//! How a process ended.

use abi::Signal;
use abi::signal::cld;

/// How a process or thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By exit(2), with the low eight bits of its argument.
    Exited(u8),
    /// By a signal.
    Killed {
        /// Which.
        signal: Signal,
        /// Whether the core-dump bit is set.
        core: bool,
    },
}

impl ExitStatus {
    /// The status word of wait4(2).
    #[must_use]
    pub fn wait_status(self) -> i32 {
        match self {
            Self::Exited(code) => i32::from(code) << 8,
            Self::Killed { signal, core } => signal.number() | if core { 0x80 } else { 0 },
        }
    }

    /// `si_code` and `si_status` of the `SIGCHLD` that tells of it.
    #[must_use]
    pub fn child_info(self) -> (i32, i32) {
        match self {
            Self::Exited(code) => (cld::EXITED, i32::from(code)),
            Self::Killed { signal, core: true } => (cld::DUMPED, signal.number()),
            Self::Killed { signal, core: false } => (cld::KILLED, signal.number()),
        }
    }
}
