//! What servers in a container give to clients outside it, over a veth pair, and beside them, over loopback.
//!
//! Every [`Case`] is a server and what is asked of it. The host's own figures come from the same server in a bare
//! network name space with the same pair of links. All figures are times, of one request or of one MiB, so that ratios
//! read as everywhere else: 2 is half the throughput.

mod cases;
mod wire;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use self::cases::{CASES, Case, From};
use self::wire::{INSIDE, Wire};
use super::bundle::{Bundle, Root};
use super::places::Places;
use super::program::work_dir;
use super::runner::{Runner, unique_id};

/// How long a server may take until it answers.
const START: Duration = Duration::from_secs(20);
/// How long a load may take: some sandboxes hang.
const TIMEOUT: &str = "40";

/// Lines of "name nanoseconds" for the cases that are `wanted`, with `milliseconds` for each load.
pub(crate) fn measure(
    runner: &Runner,
    places: &Places,
    milliseconds: u32,
    wanted: &[String],
) -> Result<String> {
    let mut text = String::new();
    for case in CASES.iter().filter(|case| wanted.is_empty() || wanted.iter().any(|name| name == case.name)) {
        match measure_case(runner, places, milliseconds, case) {
            Ok(lines) => text += &lines,
            Err(why) => text += &format!("{} - {why:#}\n", case.name),
        }
    }
    Ok(text)
}

fn measure_case(runner: &Runner, places: &Places, milliseconds: u32, case: &Case) -> Result<String> {
    for tool in case.tools {
        let found = Command::new("which").arg(tool).stdout(Stdio::null()).status()?;
        ensure!(found.success(), "no {tool} here");
    }
    let wire = Wire::lay()?;
    // A container's own /tmp is in memory and goes with it.
    let work = if runner.is_native() { work_dir()? } else { "/tmp".into() };
    let answer = places.program("answer");
    let settings = format!("ms={milliseconds} work={} answer={}; ", work.display(), answer.display());
    let server = Server::start(runner, places, &wire, &(settings.clone() + case.server))?;
    server.wait_for(&wire, case.port)?;
    let mut text = String::new();
    for load in case.loads {
        let script = format!("{settings}server={INSIDE}; {}", load.script);
        let mut command = match load.from {
            From::Peer => wire.outside(),
            From::Beside => server.beside(&wire)?,
        };
        command.args(["timeout", "-k1", TIMEOUT, "bash", "-c", &script]);
        let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output()?;
        match load.unit.nanoseconds(&String::from_utf8_lossy(&output.stdout)) {
            Some(figure) => text += &format!("{} {figure:.0}\n", load.name),
            None => text += &format!("{} - no figure\n", load.name),
        }
    }
    Ok(text)
}

/// A server in a container, or in a bare network name space. Dropping it ends it.
struct Server<'a> {
    runner: &'a Runner,
    id: String,
    child: Child,
}

impl<'a> Server<'a> {
    fn start(runner: &'a Runner, places: &Places, wire: &Wire, script: &str) -> Result<Self> {
        let id = unique_id("serve");
        let mut command = match runner.networked_runtime() {
            None => {
                let mut command = wire.inside();
                command.args(["bash", "-c", script]);
                command
            }
            Some(mut runtime) => {
                let argv = ["/bin/bash", "-c", script].map(ToOwned::to_owned);
                let bundle = Bundle::make("serve", &Root::Host(places), &argv)?;
                bundle.join_network(&wire.path())?;
                runtime.args(["run", "--bundle"]).arg(&bundle.dir).arg(&id);
                runtime
            }
        };
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Ok(Self { runner, id, child: child.with_context(|| format!("{command:?}"))? })
    }

    fn wait_for(&self, wire: &Wire, port: u16) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < START {
            let mut probe = wire.outside();
            let script = format!("exec 3<>/dev/tcp/{INSIDE}/{port}");
            let probe = probe.args(["timeout", "2", "bash", "-c", &script]).stderr(Stdio::null());
            if probe.status()?.success() {
                // What the probe left behind settles.
                std::thread::sleep(Duration::from_millis(300));
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the server does not answer")
    }

    /// For a program in the server's container.
    fn beside(&self, wire: &Wire) -> Result<Command> {
        let Some(mut runtime) = self.runner.networked_runtime() else { return Ok(wire.inside()) };
        runtime.args(["exec", &self.id]);
        Ok(runtime)
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        match self.runner.networked_runtime() {
            // Its name space goes next, and with it all that runs there.
            None => drop(self.child.kill()),
            Some(mut runtime) => {
                let delete = runtime.args(["delete", "--force", &self.id]).stderr(Stdio::null());
                let _ = delete.status();
            }
        }
        let _ = self.child.wait();
    }
}
