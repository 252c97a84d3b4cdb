//! The global flags with types, as one invocation or one container sees them.

use std::path::PathBuf;

use control::Settings;
use control::network::NetworkMode;

use super::{Flags, OverlaySetting, overlay};
use crate::error::{Error, Result};

/// The form of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// The JSON lines that Docker and containerd read.
    Json,
    /// The JSON lines that Kubernetes' log collectors read.
    JsonKubernetes,
}

/// Who changes files of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileAccess {
    /// This sandbox alone.
    Exclusive,
    /// Others too.
    Shared,
}

/// The flags that the runtime acts on.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Where state is kept.
    pub(crate) root: PathBuf,
    /// `--systemd-cgroup`.
    pub(crate) systemd_cgroup: bool,
    /// `--ignore-cgroups`.
    pub(crate) ignore_cgroups: bool,
    /// `--rootless`.
    pub(crate) rootless: bool,
    /// `--network`.
    pub(crate) network: NetworkMode,
    /// `--gso`: frames to and from a link may be larger than its MTU, with checksums left open.
    pub(crate) gso: bool,
    /// `--num-network-channels`: packet sockets of a link.
    pub(crate) network_channels: u32,
    /// `--overlay2`.
    pub(crate) overlay: Option<OverlaySetting>,
    /// `--file-access`.
    pub(crate) root_access: FileAccess,
    /// `--file-access-mounts`.
    pub(crate) mount_access: FileAccess,
    /// `--debug-log`, as given.
    pub(crate) debug_log: String,
    /// `--panic-log`, as given.
    pub(crate) panic_log: String,
    /// `--pcap-log`.
    pub(crate) pcap_log: String,
    /// `--cpu-num-from-quota`.
    pub(crate) cpus_from_quota: bool,
    /// `--fdlimit`, where given.
    pub(crate) fd_limit: Option<u64>,
    /// What the sentry gets.
    pub(crate) settings: Settings,
}

impl Config {
    /// Reads the flags.
    pub(crate) fn new(flags: &Flags) -> Result<Self> {
        let access = |name| match flags.get(name) {
            "shared" => FileAccess::Shared,
            _ => FileAccess::Exclusive,
        };
        Ok(Self {
            root: state_root(flags.get("root"))?,
            systemd_cgroup: flags.is_set("systemd-cgroup"),
            ignore_cgroups: flags.is_set("ignore-cgroups"),
            rootless: flags.is_set("rootless"),
            network: network(flags.get("network"))?,
            gso: flags.is_set("gso"),
            network_channels: u32::try_from(flags.number("num-network-channels")).unwrap_or(1).clamp(1, 16),
            overlay: overlay::parse(flags.get("overlay2"))?,
            root_access: access("file-access"),
            mount_access: access("file-access-mounts"),
            debug_log: flags.get("debug-log").into(),
            panic_log: flags.get("panic-log").into(),
            pcap_log: flags.get("pcap-log").into(),
            cpus_from_quota: flags.is_set("cpu-num-from-quota"),
            fd_limit: u64::try_from(flags.number("fdlimit")).ok(),
            settings: settings(flags)?,
        })
    }
}

fn network(value: &str) -> Result<NetworkMode> {
    match value {
        "host" => Ok(NetworkMode::Host),
        "none" => Ok(NetworkMode::None),
        "plugin" => Err(Error::new("flag --network=plugin is not supported: there are no stack plug-ins")),
        _ => Ok(NetworkMode::Sandbox),
    }
}

fn settings(flags: &Flags) -> Result<Settings> {
    let platform = flags.get("platform");
    if platform != "systrap" {
        let why = "only systrap exists so far: leave the flag out";
        return Err(Error::new(format!("flag --platform={platform} is not supported: {why}")));
    }
    let strace_syscalls = flags
        .get("strace-syscalls")
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(Into::into);
    Ok(Settings {
        platform: platform.into(),
        strace: flags.is_set("strace"),
        strace_syscalls: strace_syscalls.collect(),
        strace_log_size: u32::try_from(flags.number("strace-log-size")).unwrap_or(1024),
        oci_seccomp: flags.is_set("oci-seccomp"),
        net_raw: flags.is_set("net-raw"),
        log_packets: flags.is_set("log-packets"),
        packet_write: flags.is_set("allow-packet-socket-write"),
        disable_syscall_patching: flags.is_set("systrap-disable-syscall-patching"),
        disable_fast_path: flags.is_set("systrap-disable-fast-path"),
    })
}

/// Where state is kept when `--root` does not say.
fn state_root(given: &str) -> Result<PathBuf> {
    if !given.is_empty() {
        return std::path::absolute(given)
            .map_err(|error| Error::new(format!("flag --root={given} is not a usable path: {error}")));
    }
    let (uid, _) = host::process::effective_ids();
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => Ok(PathBuf::from(dir).join("runsc")),
        None if uid == 0 => Ok("/var/run/runsc".into()),
        None => {
            let own = PathBuf::from(format!("/run/user/{uid}"));
            Ok(if own.is_dir() { own.join("runsc") } else { format!("/tmp/runsc-{uid}").into() })
        }
    }
}
