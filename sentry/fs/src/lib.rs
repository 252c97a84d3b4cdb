//! The file systems a guest can see that need no host: proc, sysfs, devices, terminals, tmpfs, overlay.
#![forbid(unsafe_code)]

pub mod gofer;
pub mod synth;
pub mod tmpfs;
pub mod tty;
