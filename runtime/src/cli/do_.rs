//! `runsc do`: a command on the host's own files, in a sandbox that is gone afterwards.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::absent;
use super::args::as_flag;
use super::run::run;
use super::state_dir::StateDir;
use crate::container::create::CreateOptions;
use crate::error::{Context, Error, Result};
use crate::flags::Flags;
use crate::sandbox::identity::settle_privilege;
use crate::spec::{default, names};

/// `runsc do`.
#[derive(Debug, Args)]
pub(crate) struct Do {
    /// Root file system.
    #[arg(long, default_value = "/")]
    root: PathBuf,
    /// Working directory; the current one by default.
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// Address of the sandbox; accepted, the sandbox has a loopback interface only.
    #[arg(long, hide = true, default_value = "192.168.10.2")]
    ip: String,
    /// Say nothing of our own.
    #[arg(long)]
    quiet: bool,
    /// Keep all changes in memory, whatever --overlay2 says.
    #[arg(long = "force-overlay", num_args = 0..=1, default_value_t = true, default_missing_value = "true",
          require_equals = true, action = clap::ArgAction::Set)]
    force_overlay: bool,
    /// Directory to show, SOURCE[:DESTINATION[:ro]]; may be repeated. What is written there reaches the host with
    /// --force-overlay=false only.
    #[arg(long, short = 'v')]
    volume: Vec<String>,
    /// Name of the host in the sandbox.
    #[arg(long, hide = true)]
    hostname: Option<String>,
    /// The command with its arguments.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

impl Do {
    /// Runs the command.
    pub(crate) fn run(&self, flags: &Flags) -> Result<u8> {
        // The parser takes a flag that it does not know for the program.
        if let Some((name, _)) = as_flag(&self.command[0]) {
            let unknown = || format!("do: there is no flag --{name}: see `runsc help do`");
            let advice = absent::advice_on_flag("do", name).unwrap_or_else(unknown);
            return Err(Error::new(advice));
        }
        let mut flags = flags.clone();
        let state = StateDir::new(&mut flags)?;
        settle_privilege(&mut flags)?;
        flags.set("ignore-cgroups", "true")?;
        if self.force_overlay {
            flags.set("overlay2", "all:memory")?;
        }
        let options = CreateOptions {
            id: format!("runsc-{:06}", std::process::id()),
            bundle: state.path().to_path_buf(),
            config: Some(self.config()?),
            attached: true,
            ..CreateOptions::default()
        };
        let outcome = run(&flags, options);
        drop(state);
        outcome
    }

    fn config(&self) -> Result<Value> {
        let root = std::fs::canonicalize(&self.root)
            .with_context(|| format!("cannot use the root {}", self.root.display()))?;
        let cwd = match &self.cwd {
            Some(cwd) => cwd.clone(),
            None => std::env::current_dir().context("the current directory is gone: give --cwd")?,
        };
        let root = root.to_str().ok_or_else(|| Error::new("the root's path is not UTF-8"))?;
        let cwd = cwd
            .to_str()
            .ok_or_else(|| Error::new("the working directory's path is not UTF-8: give --cwd"))?;
        let mut config = default::config(&self.command, cwd, root, None);
        config["root"]["readonly"] = false.into();
        config["annotations"] = json!({control::annotations::NO_INIT: "true"});
        config["hostname"] = self.hostname.clone().unwrap_or_else(own_hostname).into();
        let process = &mut config["process"];
        process["env"] = std::env::vars_os()
            .filter_map(|(key, value)| Some(format!("{}={}", key.to_str()?, value.to_str()?)))
            .collect();
        for set in ["bounding", "effective", "permitted", "inheritable"] {
            process["capabilities"][set] = json!(names::CAPABILITIES);
        }
        process["terminal"] = has_terminal().into();
        if let Some(object) = process.as_object_mut() {
            // The caller's own limits hold.
            object.remove("rlimits");
        }
        let mounts = config["mounts"].as_array_mut().ok_or_else(|| Error::new("no mounts"))?;
        for volume in &self.volume {
            mounts.push(bind(volume)?);
        }
        Ok(config)
    }
}

fn bind(volume: &str) -> Result<Value> {
    let bad = || Error::new(format!("--volume \"{volume}\" is not SOURCE[:DESTINATION[:ro]]"));
    let parts: Vec<&str> = volume.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [source] => (source, source, "rw"),
        [source, destination] => (source, destination, "rw"),
        [source, destination, mode @ ("ro" | "rw")] => (source, destination, mode),
        _ => return Err(bad()),
    };
    if source.is_empty() || !destination.starts_with('/') {
        return Err(bad());
    }
    let source = std::path::absolute(source).with_context(|| format!("--volume \"{volume}\""))?;
    Ok(json!({"destination": destination, "type": "bind", "source": source, "options": ["rbind", mode]}))
}

fn has_terminal() -> bool {
    use std::io::IsTerminal;
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal()
}

fn own_hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "runsc".into() } else { name.into() }
}
