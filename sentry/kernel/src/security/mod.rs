//! Capabilities' arithmetic, guest seccomp filters, yama.

mod access;
mod program;
mod seccomp;
mod seccomp_notify;

pub use access::AccessIds;
pub use program::read_program;
pub(crate) use seccomp::{Filter, Seccomp};
pub(crate) use seccomp_notify::ListenerFile;
