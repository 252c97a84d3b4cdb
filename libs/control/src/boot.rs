//! What a sandbox process is started with.
//!
//! The command line tool executes itself as `runsc-sandbox boot`. Descriptors are at fixed places:
//!
//! | number | what |
//! |---|---|
//! | 0, 1, 2 | `/dev/null`, or the debug log where there is one (1 and 2) |
//! | [`CONFIG_FD`] | a memfd with a [`BootConfig`] as JSON |
//! | [`START_FD`] | the [start socket](crate::start) |
//! | [`CONTROL_FD`] | the listening control socket |
//! | [`FIRST_DONATED_FD`] … | the descriptors that the configuration refers to by index (0 is this one) |
//!
//! A descriptor *index* in this module counts from [`FIRST_DONATED_FD`]; in a request on the control socket it counts
//! in the message's own descriptors.

use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::start::{StartSocket, Starter};

/// Where the boot configuration is.
pub const CONFIG_FD: i32 = 3;
/// Where the start socket is.
pub const START_FD: i32 = 4;
/// Where the control socket is.
pub const CONTROL_FD: i32 = 5;
/// The first of the donated descriptors.
pub const FIRST_DONATED_FD: i32 = 6;

/// What the runtime hands to the sentry's entry point, in the process that becomes the sandbox: it has its name
/// spaces, its empty root and no capabilities; no thread but the calling one runs, and no seccomp filter is installed.
/// The sentry says [`Starter::ready`] when the jail is closed and the control socket is served.
#[derive(Debug)]
pub struct Launch {
    /// What to run.
    pub config: BootConfig,
    /// Where progress and failure are told.
    pub start: Starter<StartSocket>,
    /// The listening control socket, for [`Server::new`](crate::Server::new).
    pub control: OwnedFd,
    /// The donated descriptors; the configuration's indexes count in here.
    pub fds: Vec<OwnedFd>,
}

/// Everything that a new sandbox needs to know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootConfig {
    /// The flags that concern the sentry.
    pub settings: Settings,
    /// What the host gives.
    pub host: HostPlan,
    /// The socket of the [broker](crate::broker), by index, where the guest's sockets are the host's.
    #[serde(default)]
    pub broker_fd: Option<u32>,
    /// Where packets are written to (`--pcap-log`), by index.
    #[serde(default)]
    pub pcap_fd: Option<u32>,
    /// The first container.
    pub root: ContainerConfig,
    /// How many descriptors are donated from [`FIRST_DONATED_FD`] on.
    pub donated_fds: u32,
    /// The debug log, by index; appended to.
    #[serde(default)]
    pub debug_log_fd: Option<u32>,
    /// The log that the user sees (`--user-log`): unimplemented calls and the like, by index.
    #[serde(default)]
    pub user_log_fd: Option<u32>,
}

/// What the sandbox may take of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// Bytes of memory that the guest sees: the cgroup's limit, or the host's memory.
    pub total_memory: u64,
    /// Bytes of memory that the sentry lets its guests use. More than [`Self::total_memory`] where the host enforces
    /// that one, and kills guest processes for it.
    #[serde(default)]
    pub memory_capacity: u64,
    /// Processors that the guest sees.
    pub cpu_count: u32,
    /// Limits of the calling user that a guest process starts with where the specification has none:
    /// (resource number, soft, hard).
    #[serde(default)]
    pub rlimits: Vec<(u32, u64, u64)>,
    /// The containers' ids do not reach all users of the host, nor nobody's, as whose the files of the others appear.
    #[serde(default)]
    pub hides_owners: bool,
}

/// The flags that concern the sentry, with their defaults resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// `--platform`.
    pub platform: String,
    /// `--strace`.
    pub strace: bool,
    /// `--strace-syscalls`: the names to trace, all when empty.
    pub strace_syscalls: Vec<String>,
    /// `--strace-log-size`: bytes of a buffer that are shown.
    pub strace_log_size: u32,
    /// `--oci-seccomp`.
    pub oci_seccomp: bool,
    /// `--net-raw`.
    pub net_raw: bool,
    /// `--log-packets`
    pub log_packets: bool,
    /// `--allow-packet-socket-write`
    pub packet_write: bool,
    /// `--systrap-disable-syscall-patching`.
    pub disable_syscall_patching: bool,
    /// `--systrap-disable-fast-path`.
    pub disable_fast_path: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            platform: "systrap".into(),
            strace: false,
            strace_syscalls: Vec::new(),
            strace_log_size: 1024,
            oci_seccomp: false,
            net_raw: false,
            log_packets: false,
            packet_write: false,
            disable_syscall_patching: false,
            disable_fast_path: false,
        }
    }
}

/// One container: what is to run in it and what it sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    /// Its id.
    pub id: String,
    /// Its name for Kubernetes, where there is one.
    #[serde(default)]
    pub name: Option<String>,
    /// The OCI configuration, checked and resolved by the runtime: the sentry may rely on its form.
    pub spec: Value,
    /// The root.
    pub root: RootPlan,
    /// The other mounts, in the order in which they are made.
    pub mounts: Vec<MountPlan>,
    /// The gofer's socket, by index. `None` where no mount needs it.
    pub gofer_fd: Option<u32>,
    /// Standard input, output and error, by index. With [`Self::terminal`] all three are the same terminal.
    pub stdio: [u32; 3],
    /// Further descriptors of the first process: (number in the guest, index).
    #[serde(default)]
    pub pass_fds: Vec<(i32, u32)>,
    /// Whether the process gets a terminal. The donated descriptor is then a host terminal in *raw* mode, and the
    /// guest sees a terminal of the sentry's own behind it: line discipline, job control and Ctrl-C are the sentry's.
    #[serde(default)]
    pub terminal: bool,
    /// Whether the sandbox process leads a session whose controlling terminal that is (`--console-socket`): the host
    /// then sends it SIGWINCH and SIGHUP. Otherwise a command line process relays the window's size.
    #[serde(default)]
    pub owns_terminal: bool,
    /// The window's size at the start: rows, columns.
    #[serde(default)]
    pub window: Option<(u16, u16)>,
    /// The name spaces of the sandbox's first container that this one shares.
    #[serde(default)]
    pub shares: SharedNamespaces,
}

/// Name spaces that a container shares with the first one of its sandbox. The network is always shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SharedNamespaces {
    /// Process ids.
    pub pid: bool,
    /// System V IPC and message queues.
    pub ipc: bool,
    /// Host and domain name.
    pub uts: bool,
}

/// The root of a container. It is the gofer's mount 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPlan {
    /// Whether the guest may not write to it.
    pub readonly: bool,
    /// What is laid over it.
    #[serde(default)]
    pub overlay: Option<Overlay>,
}

/// A writable layer that the sandbox keeps to itself (`--overlay2`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The largest size in bytes.
    #[serde(default)]
    pub size: Option<u64>,
}

/// One mount besides the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPlan {
    /// Where, as an absolute path in the container.
    pub destination: String,
    /// What.
    pub kind: MountKind,
    /// What `/proc/mounts` shows as its source; of host files nothing is said.
    #[serde(default)]
    pub source: Option<String>,
    /// Whether the guest may not write to it.
    #[serde(default)]
    pub readonly: bool,
    /// `nosuid`, `nodev`, `noexec`, `noatime` and other options that change how the mount behaves.
    #[serde(default)]
    pub options: Vec<String>,
    /// A writable layer above it.
    #[serde(default)]
    pub overlay: Option<Overlay>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum MountKind {
    /// A file or directory of the host.
    Gofer {
        /// Which of the gofer's mounts.
        mount: u32,
        /// Whether it is a directory; otherwise the destination is a file.
        directory: bool,
    },
    /// Memory of the sandbox.
    Tmpfs {
        /// The largest size in bytes.
        size: Option<u64>,
        /// The root directory's mode.
        mode: Option<u32>,
        /// Its owner.
        uid: Option<u32>,
        /// Its group.
        gid: Option<u32>,
        /// Containers of the pod that mount the same name see the same files.
        shared_name: Option<String>,
    },
    /// `/proc`.
    Proc,
    /// `/sys`.
    Sysfs,
    /// `/dev` and the device nodes that every container has.
    Devtmpfs,
    /// `/dev/pts`.
    Devpts,
    /// `/dev/mqueue`.
    Mqueue,
    /// `/sys/fs/cgroup`: the guest's own cgroups, the unified hierarchy whatever the host has.
    Cgroup,
    /// An EROFS image in a donated file, by index.
    Erofs {
        /// Which descriptor.
        image: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_json() {
        let config = ContainerConfig {
            id: "c".into(),
            name: None,
            spec: serde_json::json!({"ociVersion": "1.2.0"}),
            root: RootPlan { overlay: Some(Overlay::default()), ..RootPlan::default() },
            mounts: vec![MountPlan {
                destination: "/data".into(),
                kind: MountKind::Gofer { mount: 1, directory: true },
                source: None,
                readonly: true,
                options: vec!["nosuid".into()],
                overlay: None,
            }],
            gofer_fd: Some(0),
            stdio: [1, 2, 3],
            pass_fds: vec![(5, 4)],
            terminal: false,
            owns_terminal: false,
            window: Some((24, 80)),
            shares: SharedNamespaces::default(),
        };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ContainerConfig>(&text).unwrap(), config);
        assert!(serde_json::from_str::<Settings>("{}").unwrap() == Settings::default());
    }
}
