//! The `runsc` binary: an OCI runtime that runs every container inside a kernel of its own.
//!
//! One binary, three roles: the command line tool (short-lived), `runsc-sandbox` ([`cli`]'s hidden command `boot`) and
//! `runsc-gofer` (`gofer`). The tool sets the other two up in [`sandbox`], keeps a container's life in [`container`],
//! and talks to sandboxes by the `control` crate.
#![forbid(unsafe_code)]

mod cgroup;
mod cli;
mod console;
mod container;
mod error;
mod flags;
mod hooks;
mod logging;
mod network;
mod sandbox;
mod spec;
mod undo;

fn main() -> std::process::ExitCode {
    let argv = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
    std::process::ExitCode::from(cli::main(argv))
}
