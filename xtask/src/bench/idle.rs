//! What a sandbox takes whose program does nothing: memory, processor time, wake-ups.
//!
//! Memory is the PSS of all its processes, in which a page that several share counts in parts (proc_pid_smaps(5)). The
//! processes are those whose command line has the container's name, and their descendants.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::bundle::{Bundle, Root};
use super::places::Places;
use super::proc::{Processes, Usage};
use super::runner::{Runner, unique_id};

/// How long a sandbox is left alone before it is looked at.
const SETTLED: Duration = Duration::from_secs(2);
/// How long its wake-ups are counted.
const WATCHED: Duration = Duration::from_secs(5);
/// Further processes or threads, of which the mean is taken.
const FURTHER: u32 = 50;

/// Lines of "name figure unit".
pub(crate) fn measure(runner: &Runner, places: &Places) -> Result<String> {
    let alone = Resting::start(runner, places, [0, 0])?;
    let base = alone.usage()?;
    std::thread::sleep(WATCHED);
    let later = alone.usage()?;
    drop(alone);
    let each = |extra: [u32; 2]| -> Result<u64> {
        let more = Resting::start(runner, places, extra)?.usage()?;
        Ok(more.memory.saturating_sub(base.memory) / u64::from(FURTHER))
    };
    let (process, thread) = (each([FURTHER, 0])?, each([0, FURTHER])?);
    Ok(format!(
        "idle-sandbox {} bytes\nfurther-process {process} bytes\nfurther-thread {thread} bytes\n\
         idle-5s-ticks {} times\nidle-5s-switches {} times\n",
        base.memory,
        later.ticks.saturating_sub(base.ticks),
        later.switches.saturating_sub(base.switches)
    ))
}

/// Starts `count` sandboxes that do nothing, one after the other; what they take altogether.
pub(crate) fn crowd(runner: &Runner, places: &Places, count: usize) -> Result<String> {
    let mut sandboxes = Vec::with_capacity(count);
    for number in 1..=count {
        sandboxes.push(Resting::launch(runner, places, [0, 0])?);
        eprint!("\r{} {number}/{count}", runner.name());
    }
    eprintln!();
    std::thread::sleep(SETTLED);
    let sum = || -> Result<Usage> {
        let processes = Processes::now()?;
        Ok(sandboxes.iter().map(|sandbox| sandbox.usage_among(&processes)).sum())
    };
    let base = sum()?;
    std::thread::sleep(WATCHED);
    let later = sum()?;
    Ok(format!(
        "{count}-sandboxes {} bytes\n{count}-sandboxes-5s-ticks {} times\n{count}-sandboxes-5s-switches {} times\n",
        base.memory,
        later.ticks.saturating_sub(base.ticks),
        later.switches.saturating_sub(base.switches)
    ))
}

/// A program that does nothing, and is ended when this value goes.
struct Resting<'a> {
    runner: &'a Runner,
    id: String,
    native: Option<Child>,
}

impl<'a> Resting<'a> {
    /// Starts it with further processes and threads, and leaves it alone for a while.
    fn start(runner: &'a Runner, places: &Places, further: [u32; 2]) -> Result<Self> {
        let resting = Self::launch(runner, places, further)?;
        std::thread::sleep(SETTLED);
        Ok(resting)
    }

    fn launch(runner: &'a Runner, places: &Places, further: [u32; 2]) -> Result<Self> {
        let counts = further.map(|count| count.to_string());
        let id = unique_id("rest");
        let Some(mut runtime) = runner.runtime() else {
            let native = Command::new(places.program("idle")).args(&counts).spawn()?;
            return Ok(Self { runner, id, native: Some(native) });
        };
        let argv: Vec<String> = std::iter::once("/bin/idle".to_owned()).chain(counts).collect();
        let bundle = Bundle::make("rest", &Root::Small(places), &argv)?;
        runtime.args(["run", "--detach", "--bundle"]).arg(&bundle.dir).arg(&id);
        // What it inherits it would hold open.
        let status = runtime.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
        ensure!(status.success(), "{runtime:?}: {status}");
        Ok(Self { runner, id, native: None })
    }

    fn usage(&self) -> Result<Usage> {
        Ok(self.usage_among(&Processes::now()?))
    }

    fn usage_among(&self, processes: &Processes) -> Usage {
        let seeds = match &self.native {
            Some(child) => vec![child.id()],
            None => processes.named(&self.id).chain(self.first_process()).collect(),
        };
        processes.usage_below(&seeds)
    }

    /// The process that the runtime names; it need not have the container's name in its command line.
    fn first_process(&self) -> Option<u32> {
        let output = self.runner.runtime()?.args(["state", &self.id]).output().ok()?;
        let state: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        state["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.native {
            let processes = Processes::now().context("reading /proc");
            let family = processes.map(|processes| processes.family(&[child.id()])).unwrap_or_default();
            let _ = Command::new("kill").args(family.iter().map(ToString::to_string)).status();
            let _ = child.wait();
        }
        if let Some(mut runtime) = self.runner.runtime() {
            let _ = runtime.args(["delete", "--force", &self.id]).stderr(Stdio::null()).status();
        }
    }
}
