//! Who runs the programs: the host itself, or a sandbox.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::bundle::{Bundle, Root};
use super::places::Places;
use super::program::workspace;

/// One way of running a program.
pub(crate) struct Runner {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    Native,
    /// A `runsc` with its flags, those about the network apart.
    Sandbox(PathBuf, &'static [&'static str]),
    Runc,
}

/// All that this machine has: the host first, since ratios are to it.
pub(crate) fn find(options: &Options) -> Result<Vec<Runner>> {
    let is_wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|wanted| wanted == name);
    let mut runners = vec![Runner { name: "native", kind: Kind::Native }];
    if Command::new("runc").arg("--version").stdout(Stdio::null()).status().is_ok() {
        runners.push(Runner { name: "runc", kind: Kind::Runc });
    }
    if is_wanted("rampart") {
        let ours = options.runsc.clone().map_or_else(build_release, Ok)?;
        runners.push(Runner { name: "rampart", kind: Kind::Sandbox(ours, &[]) });
    }
    if let Some(gvisor) = options.gvisor.clone().or_else(installed_gvisor) {
        let flags = &["--platform=systrap", "--ignore-cgroups"];
        runners.push(Runner { name: "gvisor", kind: Kind::Sandbox(gvisor, flags) });
    }
    runners.retain(|runner| is_wanted(runner.name));
    Ok(runners)
}

impl Runner {
    /// As tables name it.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is the host itself.
    pub(crate) const fn is_native(&self) -> bool {
        matches!(self.kind, Kind::Native)
    }

    /// What a program prints that runs on the host's files; a sandbox keeps its changes of them in memory.
    pub(crate) fn output(&self, places: &Places, program: &Path, args: &[String]) -> Result<String> {
        let mut command = match &self.kind {
            Kind::Native => Command::new(program),
            Kind::Sandbox(runsc, flags) => {
                let mut command = Command::new(runsc);
                let mut volume = OsString::from(&places.bind);
                volume.push(":");
                volume.push(&places.bind);
                command.args(*flags).args([
                    "--network=none",
                    "--overlay2=root:memory",
                    "do",
                    "--force-overlay=false",
                ]);
                command.args([OsStr::new("--volume"), &volume]).arg(program);
                command
            }
            Kind::Runc => {
                let mut argv = vec![program.to_string_lossy().into_owned()];
                argv.extend_from_slice(args);
                let bundle = Bundle::make("host", &Root::Host(places), &argv)?;
                let mut command = Command::new("runc");
                command.args(["run", "--bundle"]).arg(&bundle.dir).arg(unique_id("out"));
                return output_of(command);
            }
        };
        output_of(command.args(args).envs(places.environment()))
    }

    /// The runtime with its flags, to run bundles with; `None` for the host.
    pub(crate) fn runtime(&self) -> Option<Command> {
        let mut command = self.networked_runtime()?;
        if let Kind::Sandbox(..) = self.kind {
            command.arg("--network=none");
        }
        Some(command)
    }

    /// As [`Self::runtime`], for containers on the network.
    pub(crate) fn networked_runtime(&self) -> Option<Command> {
        match &self.kind {
            Kind::Native => None,
            Kind::Sandbox(runsc, flags) => {
                let mut command = Command::new(runsc);
                command.args(*flags);
                Some(command)
            }
            Kind::Runc => Some(Command::new("runc")),
        }
    }
}

/// A container's name that nobody else has, and that no other one begins with.
pub(crate) fn unique_id(what: &str) -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("bench-{what}-{}-{}.", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn output_of(mut command: impl std::borrow::BorrowMut<Command>) -> Result<String> {
    let command = command.borrow_mut();
    let what = format!("{:?}", command.get_program());
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context(what.clone())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success() || !text.is_empty(), "{what}: {}", output.status);
    Ok(text)
}

fn build_release() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--package", "runtime"]).current_dir(workspace());
    ensure!(build.status().context("running cargo")?.success(), "the release build failed");
    Ok(workspace().join("target/x86_64-unknown-linux-gnu/release/runsc"))
}

fn installed_gvisor() -> Option<PathBuf> {
    let named = std::env::var_os("GVISOR_RUNSC").map(PathBuf::from);
    let usual = std::env::var_os("HOME").map(|home| Path::new(&home).join("go/bin/runsc"));
    named.or(usual).filter(|path| path.is_file())
}
