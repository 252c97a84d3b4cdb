//! `containerd-shim-runsc-v1`: containerd's shim for the runtime `io.containerd.runsc.v1`.
//!
//! containerd starts one shim per container, or per pod; it lives as long as the containers do, whatever becomes of
//! containerd, and has its calls of the task service executed by `runsc`. What is only asked for it answers itself or
//! by a call on the sandbox's control socket.
//!
//! | file | what |
//! |---|---|
//! | `args`, `bootstrap` | the command line; `start`, `delete`, and the shim's own beginning |
//! | `options`, `bundle` | what is configured, and what a bundle says of its pod |
//! | `service` | the calls of the task service |
//! | `task`, `process` | a container, its processes |
//! | `runsc`, `link` | the runtime's command line; a sandbox's control socket |
//! | `io`, `terminal` | standard streams |
//! | `events`, `oom` | what containerd is told without asking |
//! | `cgroup`, `stats` | what a container uses |
//! | `reaper`, `mounts`, `log`, `error` | helpers |
#![forbid(unsafe_code)]

mod args;
mod bootstrap;
mod bundle;
mod cgroup;
mod error;
mod events;
mod info;
mod io;
mod link;
mod log;
mod mounts;
mod oom;
mod options;
mod process;
mod reaper;
mod runsc;
mod service;
mod stats;
mod task;
mod terminal;

use std::io::Write;
use std::process::ExitCode;

use args::{Action, Args};

fn main() -> ExitCode {
    let outcome = Args::parse(std::env::args().skip(1)).and_then(|args| match args.action {
        Action::Serve => bootstrap::serve(&args),
        Action::Start => bootstrap::start(&args),
        Action::Delete => bootstrap::delete(&args),
        Action::Version => info::print_version(),
        Action::Info => info::print_info(),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // containerd quotes it.
            let _ = writeln!(std::io::stderr(), "containerd-shim-runsc-v1: {failure}");
            ExitCode::FAILURE
        }
    }
}
