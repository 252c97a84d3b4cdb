//! The file systems that a guest can see: from the host through a gofer, in memory, and made up.
#![forbid(unsafe_code)]

pub mod gofer;
pub mod host;
pub mod overlay;
pub mod synth;
pub mod tmpfs;
pub mod tty;
