//! Assembles a sandbox: the kernel, a container's mounts and first process, the control socket, the closed jail.
//!
//! [`run`] is the sentry's entry point. Order matters: the platform forks its first stub while the process is still
//! single-threaded; host resources are taken before the seccomp filter closes the jail; guest code runs only after it.
#![forbid(unsafe_code)]

mod capture;
mod container;
mod controller;
mod donated;
mod filesystems;
pub mod filter;
mod log;
mod machine;
mod mounts;
mod network;
mod outcome;
mod process;
mod sandbox;
mod seccomp;
mod set_up;
mod stdio;
mod surroundings;
mod waits;
mod window;

use std::sync::Arc;

use control::network::NetworkMode;
use control::{Failure, Launch, Server};

use controller::Controller;
use sandbox::Sandbox;
use window::Window;

/// Runs a sandbox until its first container has ended; returns the status that the process exits with.
///
/// Failures before the sandbox is ready go through the start socket; the status is then 128.
#[must_use]
pub fn run(launch: Launch) -> u8 {
    let Launch { config, mut start, control, fds } = launch;
    start.stage("starting the kernel");
    let window = match Window::of(&config, &fds) {
        Ok(window) => window,
        Err(failure) => return give_up(start, failure),
    };
    let network = if config.broker_fd.is_some() { NetworkMode::Host } else { NetworkMode::Sandbox };
    let sandbox = match Sandbox::new(config, fds) {
        Ok(sandbox) => sandbox,
        Err(failure) => return give_up(start, failure),
    };
    if let Some(Err(failure)) = window.map(|window| window.follow(sandbox.clone())) {
        return give_up(start, failure);
    }
    start.stage("closing the jail");
    if let Err(failure) = filter::close_jail(network) {
        return give_up(start, failure);
    }
    let server = Server::new(control);
    let handler = Arc::new(Controller(sandbox.clone()));
    let kernel = sandbox.kernel().clone();
    let serve = move || {
        // The socket cannot fail while the process holds it; where it does, nobody can reach us any more.
        if let Err(errno) = server.run(handler) {
            kernel.log.line(&format!("the control socket failed: {errno}"));
        }
    };
    if let Err(error) = std::thread::Builder::new().name("control".into()).stack_size(256 << 10).spawn(serve)
    {
        return give_up(start, Failure::host(format!("cannot make a thread: {error}")));
    }
    start.ready();
    sandbox.wait_for_end()
}

fn give_up<W: std::io::Write>(start: control::start::Starter<W>, failure: Failure) -> u8 {
    start.failed(failure);
    128
}
