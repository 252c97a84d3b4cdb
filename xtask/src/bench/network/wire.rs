//! Two network name spaces with a veth pair between them (`man 8 ip-netns`, `man 4 veth`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The server's address.
pub(super) const INSIDE: &str = "10.77.0.2";

/// A pair of name spaces, which goes when this value goes, with all that runs in them.
pub(super) struct Wire {
    inside: String,
    outside: String,
}

impl Wire {
    /// Makes both ends.
    pub(super) fn lay() -> Result<Self> {
        let number = std::process::id();
        let wire = Self { inside: format!("bench-in-{number}"), outside: format!("bench-out-{number}") };
        let Self { inside, outside } = &wire;
        for name in [inside, outside] {
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
        }
        ip(&format!("link add name eth0 netns {inside} type veth peer name eth0 netns {outside}"))?;
        for (name, address) in [(inside, INSIDE), (outside, "10.77.0.1")] {
            ip(&format!("-n {name} addr add {address}/24 dev eth0"))?;
            ip(&format!("-n {name} link set eth0 up"))?;
        }
        ip(&format!("-n {inside} route add default via 10.77.0.1"))?;
        Ok(wire)
    }

    /// Begins a command in the container's name space.
    pub(super) fn inside(&self) -> Command {
        within(&self.inside)
    }

    /// Begins a command at the other end.
    pub(super) fn outside(&self) -> Command {
        within(&self.outside)
    }

    /// The container's name space, for a bundle.
    pub(super) fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.inside)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in [&self.inside, &self.outside] {
            let pids = Command::new("ip").args(["netns", "pids", name]).output();
            let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            let mut kill = Command::new("kill");
            kill.arg("-9").args(pids.unwrap_or_default().split_whitespace());
            let _ = kill.stderr(Stdio::null()).status();
            let _ = ip(&format!("netns del {name}"));
        }
    }
}

fn within(name: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", name]);
    command
}

fn ip(args: &str) -> Result<()> {
    let status = Command::new("ip").args(args.split_whitespace()).status().context("running ip")?;
    ensure!(status.success(), "ip {args} failed: this takes root");
    Ok(())
}
