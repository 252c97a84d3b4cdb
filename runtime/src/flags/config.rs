//! The global flags with types, as one invocation or one container sees them.

use std::path::{Path, PathBuf};

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
            network_channels: number(flags, "num-network-channels", 1..=16)?,
            overlay: overlay::parse(flags.get("overlay2"))?,
            root_access: access("file-access"),
            mount_access: access("file-access-mounts"),
            debug_log: flags.get("debug-log").into(),
            panic_log: flags.get("panic-log").into(),
            pcap_log: flags.get("pcap-log").into(),
            cpus_from_quota: flags.is_set("cpu-num-from-quota"),
            fd_limit: match flags.number("fdlimit") {
                -1 => None,
                _ => Some(number(flags, "fdlimit", 16..=u32::MAX)?.into()),
            },
            settings: settings(flags)?,
        })
    }
}

/// The value of a flag that is a number within limits.
fn number(flags: &Flags, name: &str, limits: std::ops::RangeInclusive<u32>) -> Result<u32> {
    let given = flags.number(name);
    u32::try_from(given).ok().filter(|number| limits.contains(number)).ok_or_else(|| {
        Error::new(format!("flag --{name}={given} is not between {} and {}", limits.start(), limits.end()))
    })
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
        strace_log_size: number(flags, "strace-log-size", 0..=1 << 20)?,
        oci_seccomp: flags.is_set("oci-seccomp"),
        net_raw: flags.is_set("net-raw"),
        log_packets: flags.is_set("log-packets"),
        packet_write: flags.is_set("allow-packet-socket-write"),
        disable_syscall_patching: flags.is_set("systrap-disable-syscall-patching"),
        disable_fast_path: flags.is_set("systrap-disable-fast-path"),
    })
}

/// Where state is kept, by the name that it has without symbolic links: processes are found by it again. Its last part
/// stays, since a link there is refused.
fn state_root(given: &str) -> Result<PathBuf> {
    let path = if given.is_empty() {
        default_root()
    } else {
        std::path::absolute(given)
            .map_err(|error| Error::new(format!("flag --root={given} is not a usable path: {error}")))?
    };
    Ok(match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => path,
    })
}

/// A directory by its name without symbolic links, as far as it is there.
fn canonical(dir: &Path) -> PathBuf {
    std::fs::canonicalize(dir).unwrap_or_else(|_| match (dir.parent(), dir.file_name()) {
        (Some(parent), Some(name)) => canonical(parent).join(name),
        _ => dir.into(),
    })
}

/// Where state is kept when `--root` does not say.
fn default_root() -> PathBuf {
    let (uid, _) = host::process::effective_ids();
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("runsc"),
        None if uid == 0 => "/var/run/runsc".into(),
        None => {
            let own = PathBuf::from(format!("/run/user/{uid}"));
            if own.is_dir() { own.join("runsc") } else { format!("/tmp/runsc-{uid}").into() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, state_root};
    use crate::flags::Flags;

    #[test]
    fn one_directory_has_one_name() {
        let base = std::env::temp_dir().join(format!("runsc-root-{}", std::process::id()));
        std::fs::create_dir_all(base.join("real")).unwrap();
        std::os::unix::fs::symlink(base.join("real"), base.join("link")).unwrap();
        let name = |path: &str| state_root(base.join(path).to_str().unwrap()).unwrap();
        assert_eq!(name("link/state"), name("real/state"));
        assert_eq!(name("link/not/there/state"), name("real/not/there/state"));
        assert!(name("link").ends_with("link"));
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn numbers_have_limits() {
        for (name, bad, good) in [
            ("num-network-channels", ["0", "17", "-1"], "16"),
            ("fdlimit", ["0", "-2", "99999999999"], "-1"),
            ("strace-log-size", ["-1", "4294967296", "1048577"], "0"),
        ] {
            let with = |value| {
                let mut flags = Flags::default();
                flags.set(name, value).unwrap();
                Config::new(&flags)
            };
            with(good).unwrap();
            for value in bad {
                let error = with(value).unwrap_err().to_string();
                assert!(error.contains(name) && error.contains("between"), "{error}");
            }
        }
    }
}
