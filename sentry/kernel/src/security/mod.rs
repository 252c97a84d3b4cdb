//! Capabilities' arithmetic, guest seccomp filters, yama.

mod access;
