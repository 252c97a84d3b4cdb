//! Assembles a sandbox: kernel, mounts, first process, control socket.
#![forbid(unsafe_code)]

mod process;
