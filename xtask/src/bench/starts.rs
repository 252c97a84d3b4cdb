//! How long it takes to start and to stop a sandbox, and a program in one that runs.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use super::bundle::{Bundle, Root};
use super::places::Places;
use super::runner::{Runner, unique_id};

/// Lines of "name nanoseconds"; none of the host, which has no sandboxes.
pub(crate) fn measure(runner: &Runner, places: &Places) -> Result<String> {
    if runner.is_native() {
        return Ok(String::new());
    }
    let brief = Bundle::make("true", &Root::Small(places), &["/bin/true".into()])?;
    let run = timed(call(runner)?.args(["run", "--bundle"]).arg(&brief.dir).arg(unique_id("run")))?;
    let idle = Bundle::make("idle", &Root::Small(places), &["/bin/idle".into()])?;
    let id = unique_id("idle");
    let create = timed(call(runner)?.args(["create", "--bundle"]).arg(&idle.dir).arg(&id))?;
    let stages = || -> Result<String> {
        let start = timed(call(runner)?.arg("start").arg(&id))?;
        let exec = timed(call(runner)?.arg("exec").args([&id, "/bin/true"]))?;
        Ok(format!("start {start}\nexec-true {exec}\n"))
    }();
    let delete = timed(call(runner)?.args(["delete", "--force", &id]));
    Ok(format!("run-true {run}\ncreate {create}\n{}delete-force {}\n", stages?, delete?))
}

fn call(runner: &Runner) -> Result<Command> {
    runner.runtime().context("the host has no runtime")
}

/// Nanoseconds until a command has ended, well.
fn timed(command: &mut Command) -> Result<u128> {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(start.elapsed().as_nanos())
}
