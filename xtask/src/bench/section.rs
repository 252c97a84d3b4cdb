//! The parts of a session.

/// What is measured, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Section {
    /// Single operations of a guest.
    Calls,
    /// The same, done by several threads or processes at once.
    Crowds,
    /// Starting and stopping sandboxes, and programs in one.
    Starts,
    /// Memory, wake-ups and processor time of what does nothing.
    Idle,
    /// Servers, asked over a veth pair and over loopback.
    Network,
    /// Whole programs.
    Programs,
}
