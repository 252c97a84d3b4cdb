//! Capabilities' arithmetic, guest seccomp filters, yama.

mod access;
mod bpf;
mod seccomp;
mod seccomp_notify;

pub use access::AccessIds;
pub(crate) use seccomp::{Filter, Seccomp};
pub(crate) use seccomp_notify::ListenerFile;
