//! The `runsc` binary: an OCI runtime that runs every container inside a kernel of its own.
//!
//! One binary, four roles: the command line tool (short-lived), `runsc-sandbox` ([`cli`]'s hidden command `boot`),
//! `runsc-gofer` (`gofer`) and, with `--network=host`, `runsc-broker` (`broker`). The tool sets the others up in [`sandbox`], keeps a container's life in [`container`],
//! and talks to sandboxes by the `control` crate.
#![forbid(unsafe_code)]

mod cgroup;
mod cli;
mod console;
mod container;
mod docker;
mod doctor;
mod error;
mod flags;
mod hooks;
mod logging;
mod network;
mod process_id;
mod sandbox;
mod spec;
mod undo;

pub use cli::main;

/// Entrances for the fuzzer in `tests/fuzz`.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    use std::path::Path;

    use crate::spec::Spec;

    /// Checks a bundle's configuration.
    pub fn config(bytes: &[u8]) {
        if let Ok(json) = serde_json::from_slice(bytes) {
            // What it says about it is not the question here.
            let _ = Spec::from_json(json, Path::new("/bundle"), "config.json");
        }
    }
}
