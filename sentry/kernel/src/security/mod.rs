//! Capabilities' arithmetic, guest seccomp filters, yama.
