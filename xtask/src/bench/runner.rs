//! Who runs the program: the host itself, or a sandbox.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::Options;
use super::program::{Program, work_dir, workspace};

/// One way of running a program.
pub(crate) struct Runner {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    Native,
    /// A `runsc` with its flags, running `do`.
    Do(PathBuf, &'static [&'static str]),
    /// A container of this bundle.
    Runc(Bundle),
}

/// All that this machine has: the host first, since ratios are to it.
pub(crate) fn find(options: &Options) -> Result<Vec<Runner>> {
    let ours = options.runsc.clone().map_or_else(build_release, Ok)?;
    let mut runners = vec![
        Runner { name: "native", kind: Kind::Native },
        Runner { name: "rampart", kind: Kind::Do(ours, &["--network=none"]) },
    ];
    if let Some(gvisor) = options.gvisor.clone().or_else(installed_gvisor) {
        let flags = &["--platform=systrap", "--network=none", "--ignore-cgroups"];
        runners.push(Runner { name: "gvisor", kind: Kind::Do(gvisor, flags) });
    }
    if options.only.iter().any(|name| name == "runc") {
        runners.push(Runner { name: "runc", kind: Kind::Runc(Bundle::make()?) });
    }
    Ok(runners)
}

impl Runner {
    /// As tables name it.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// What the program prints.
    pub(crate) fn run(&self, program: &Program, milliseconds: u32, names: &[String]) -> Result<String> {
        let mut command = match &self.kind {
            Kind::Native => Command::new(&program.path),
            Kind::Do(runsc, flags) => {
                let mut command = Command::new(runsc);
                command.args(*flags).arg("do").arg(&program.path);
                command
            }
            Kind::Runc(bundle) => return bundle.run(program, milliseconds, names),
        };
        command.arg(milliseconds.to_string()).args(names);
        output_of(command)
    }
}

fn output_of(mut command: Command) -> Result<String> {
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

/// A bundle for runc: a root file system with the program in it and nothing else.
struct Bundle {
    dir: PathBuf,
}

impl Bundle {
    fn make() -> Result<Self> {
        let dir = work_dir()?.join("bundle");
        for folder in ["bin", "etc", "tmp", "proc", "dev", "sys"] {
            std::fs::create_dir_all(dir.join("rootfs").join(folder))?;
        }
        std::fs::write(dir.join("rootfs/etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        let source = dir.join("true.c");
        std::fs::write(&source, "int main(void) { return 0; }\n")?;
        let mut cc = Command::new("cc");
        cc.args(["-static", "-o"]).arg(dir.join("rootfs/bin/true")).arg(&source);
        ensure!(cc.status()?.success(), "cc could not build `true`");
        Ok(Self { dir })
    }

    fn run(&self, program: &Program, milliseconds: u32, names: &[String]) -> Result<String> {
        std::fs::copy(&program.path, self.dir.join("rootfs/ops"))?;
        let config = self.dir.join("config.json");
        if config.exists() {
            std::fs::remove_file(&config)?;
        }
        output_of_spec(&self.dir)?;
        let mut spec: serde_json::Value = serde_json::from_slice(&std::fs::read(&config)?)?;
        let mut args = vec!["/ops".to_owned(), milliseconds.to_string()];
        args.extend_from_slice(names);
        spec["process"]["args"] = args.into();
        spec["process"]["terminal"] = false.into();
        spec["root"]["readonly"] = false.into();
        std::fs::write(&config, serde_json::to_vec(&spec)?)?;
        let mut command = Command::new("runc");
        command.arg("run").arg("--bundle").arg(&self.dir).arg(format!("bench-{}", std::process::id()));
        output_of(command)
    }
}

fn output_of_spec(dir: &Path) -> Result<()> {
    let status = Command::new("runc").args(["spec", "--bundle"]).arg(dir).status().context("running runc")?;
    ensure!(status.success(), "runc spec failed");
    Ok(())
}
