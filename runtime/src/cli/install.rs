//! `runsc install` and `runsc uninstall`: Docker learns of this runtime and forgets it.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use crate::docker::{DAEMON_JSON, Runtime, change, own_path, remove_from};
use crate::error::{Error, Result};

/// `runsc install`.
#[derive(Debug, Args)]
pub(crate) struct Install {
    /// Docker's configuration file.
    #[arg(long = "config_file", alias = "config-file", default_value = DAEMON_JSON)]
    config_file: PathBuf,
    /// The name that `docker run --runtime` takes.
    #[arg(long, default_value = "runsc", value_parser = runtime_name)]
    runtime: String,
    /// Replace a runtime of that name that says something else.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
        default_missing_value = "true")]
    clobber: bool,
    /// Switch on Docker's experimental features.
    #[arg(long)]
    experimental: bool,
    /// Docker's cgroup driver: cgroupfs or systemd.
    #[arg(long, value_parser = ["cgroupfs", "systemd"])]
    cgroupdriver: Option<String>,
    /// Accepted; there are no side cars.
    #[arg(long, hide = true)]
    download_sidecars: bool,
    /// Accepted; there are no side cars.
    #[arg(long, hide = true)]
    require_sidecars: bool,
    /// Accepted; there are no side cars.
    #[arg(long, hide = true)]
    sidecar_url: Option<String>,
    /// Global flags that Docker is to pass to the runtime.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// A name that Docker takes: with one of its own it would not start again.
fn runtime_name(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() || text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return Err("a runtime's name has no spaces and no slashes, and is not empty".into());
    }
    if text == "runc" || text.starts_with("io.containerd.") {
        return Err("the name is Docker's own: choose another, such as runsc".into());
    }
    Ok(text.into())
}

impl Install {
    /// Writes the entry.
    pub(crate) fn run(self) -> Result<u8> {
        // What Docker will pass must be understood then.
        let (split, outcome) = super::args::split_globals(&self.args);
        outcome?;
        if let Some(rest) = split.rest.first() {
            return Err(Error::new(format!("\"{rest}\" is no global flag: only those may stand after --")));
        }
        let path = own_path()?;
        let Some(path) = path.to_str() else {
            return Err(Error::new("the path of this binary is not UTF-8, which daemon.json needs"));
        };
        let runtime = Runtime {
            name: self.runtime,
            path: path.into(),
            args: self.args,
            clobber: self.clobber,
            experimental: self.experimental,
            cgroup_driver: self.cgroupdriver,
        };
        let (name, file) = (&runtime.name, self.config_file.display());
        if change(&self.config_file, |config| runtime.add_to(config))? {
            say!("Added runtime {name} with path {path} to {file}.");
            say!("Restart Docker for it to take effect: systemctl restart docker");
        } else {
            say!("Runtime {name} is in {file} already: nothing has been changed.");
        }
        Ok(0)
    }
}

/// `runsc uninstall`.
#[derive(Debug, Args)]
pub(crate) struct Uninstall {
    /// Docker's configuration file.
    #[arg(long = "config_file", alias = "config-file", default_value = DAEMON_JSON)]
    config_file: PathBuf,
    /// The runtime's name.
    #[arg(long, default_value = "runsc")]
    runtime: String,
}

impl Uninstall {
    /// Removes the entry.
    pub(crate) fn run(self) -> Result<u8> {
        let (name, file) = (&self.runtime, self.config_file.display());
        let changed = self.config_file.exists()
            && change(&self.config_file, |config| {
                remove_from(config, name);
                Ok(())
            })?;
        if changed {
            say!("Removed runtime {name} from {file}.");
            say!("Restart Docker for it to take effect: systemctl restart docker");
        } else {
            say!("Runtime {name} is not in {file}: nothing has been changed.");
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::runtime_name;

    #[test]
    fn names_that_docker_takes() {
        assert_eq!(runtime_name("runsc-kvm"), Ok("runsc-kvm".into()));
        for bad in ["", "runc", "io.containerd.runsc.v1", "two words", "a/b", "line\n"] {
            assert!(runtime_name(bad).is_err(), "{bad:?}");
        }
    }
}
