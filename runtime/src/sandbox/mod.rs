//! The processes of a sandbox: how they are told what to do, made, and reached.

pub(crate) mod broker;
pub(crate) mod fds;
pub(crate) mod gofer;
pub(crate) mod identity;
pub(crate) mod jail;
mod link;
pub(crate) mod machine;
pub(crate) mod overlay;
mod role;
pub(crate) mod spawn;

use std::convert::Infallible;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use control::boot::HostPlan;
use control::network::NetworkMode;
use control::{BootConfig, ContainerConfig, Failure, SharedNamespaces};
use host::mount::Propagation;
use host::process::Namespaces;
use host::unix::{self, Kind};
use oci_spec::runtime::LinuxNamespaceType;

use crate::cgroup::CgroupRecord;
use crate::console::Streams;
use crate::error::{Context, Error, Result};
use crate::flags::Config;
use crate::hooks::HookSet;
use crate::logging::{self, LogStart, open_log};
use crate::network::NetworkVisit;
use crate::spec::Spec;
use crate::spec::annotations::container_name;
use crate::spec::mounts::FilePlan;
use broker::BrokerPlan;
use fds::FdTable;
use gofer::{GoferBoot, GoferBootMount, GoferPlan};
use identity::{IdMaps, IdRange};
use jail::JailPlan;
pub(crate) use link::{ConnectError, ReplyTimeout, connect};
pub(crate) use spawn::told_end;
use spawn::{Pending, document, own_binary, spawn};

/// How many connections may wait on a control socket.
const CONTROL_BACKLOG: i32 = 64;

/// What the processes of one container are made from.
#[derive(Debug)]
pub(crate) struct ContainerPlan<'a> {
    /// The container's id.
    pub(crate) id: &'a str,
    /// The flags that hold for it.
    pub(crate) config: &'a Config,
    /// Its configuration.
    pub(crate) spec: &'a Spec,
    /// Its files.
    pub(crate) files: &'a FilePlan,
    /// Its cgroup.
    pub(crate) cgroup: Option<&'a CgroupRecord>,
    /// This binary.
    pub(crate) binary: &'a OwnedFd,
    /// Where the processes' own output goes.
    pub(crate) output: &'a File,
    /// Whether the caller stays until the container ends.
    pub(crate) attached: bool,
    /// `--user-log`.
    pub(crate) user_log: Option<&'a Path>,
}

/// The file that takes what our own processes print when something goes badly wrong: the panic log, the debug log, or
/// one in the container's directory, of which the end is quoted in an error.
pub(crate) fn output_file(dir: &Path, config: &Config, command: &str, id: &str) -> Result<File> {
    let path = [&config.panic_log, &config.debug_log]
        .into_iter()
        .find(|pattern| !pattern.is_empty())
        .map_or_else(|| dir.join("output.log"), |pattern| logging::debug_log_path(pattern, command, id));
    open_log(&path, LogStart::Append).with_context(|| format!("cannot write {}", path.display()))
}

/// The end of what our processes printed into the container's directory, for an error message.
pub(crate) fn last_words(dir: &Path) -> String {
    const SHOWN: usize = 600;
    let bytes = std::fs::read(dir.join("output.log")).unwrap_or_default();
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(SHOWN)..]).trim().to_string()
}

fn null() -> Result<OwnedFd> {
    Ok(File::options().read(true).write(true).open("/dev/null").context("cannot open /dev/null")?.into())
}

/// Starts a container's gofer; also returns the sandbox's end of its socket.
pub(crate) fn spawn_gofer(container: &ContainerPlan<'_>, hooks: HookSet<'_>) -> Result<(Pending, OwnedFd)> {
    let (ours, theirs) = unix::pair(Kind::SeqPacket).context("cannot make the gofer's socket")?;
    ::gofer::limit_waits(ours.as_fd()).context("cannot make the gofer's socket")?;
    let mounts = container.files.gofer.iter().enumerate().map(|(index, mount)| GoferBootMount {
        path: gofer::place(index),
        read_only: mount.readonly,
        shared: mount.shared,
    });
    let boot = GoferBoot { mounts: mounts.collect(), fd_limit: container.config.fd_limit };
    let (config, null) = (document(&boot)?, null()?);
    let maps = user_namespace(container.spec);
    let propagation =
        match container.spec.oci.linux().as_ref().and_then(|linux| linux.rootfs_propagation().as_deref()) {
            Some("shared" | "rshared" | "slave" | "rslave") => Propagation::Slave,
            _ => Propagation::Private,
        };
    let state_root = container.config.root.to_string_lossy();
    let plan = GoferPlan {
        id: container.id,
        state_root: &state_root,
        binary: container.binary,
        mounts: &container.files.gofer,
        propagation,
        config: config.as_fd(),
        socket: theirs.as_fd(),
        null: null.as_fd(),
        log: container.output.as_fd(),
        become_root: maps.is_some(),
        hooks,
    };
    let mut spaces =
        Namespaces::MOUNT | Namespaces::PID | Namespaces::IPC | Namespaces::UTS | Namespaces::NET;
    spaces.set(Namespaces::USER, maps.is_some());
    let setup = ChildSetup {
        what: "gofer",
        spaces,
        network: None,
        maps: maps.as_ref(),
        oom_score: oom_score(container)?,
    };
    let pending = setup.spawn(container, |start| gofer::enter(&plan, start))?;
    Ok((pending, ours))
}

/// The maps of the configuration's user name space, where it has one with maps.
fn user_namespace(spec: &Spec) -> Option<IdMaps> {
    spec.namespace(LinuxNamespaceType::User)?;
    let linux = spec.oci.linux().as_ref()?;
    let ranges = |list: &Option<Vec<oci_spec::runtime::LinuxIdMapping>>| -> Vec<IdRange> {
        let list = list.iter().flatten();
        list.map(|m| IdRange { inside: m.container_id(), outside: m.host_id(), size: m.size() }).collect()
    };
    let maps = IdMaps { users: ranges(linux.uid_mappings()), groups: ranges(linux.gid_mappings()) };
    (!maps.users.is_empty() && !maps.groups.is_empty()).then_some(maps)
}

/// By how much more readily the host, short of memory, kills the processes in which guests run than their sandbox.
const GUEST_OOM_SCORE: i32 = 600;

/// Makes the host kill a sandbox that is ready less readily than its guests' processes, which descend from the one
/// that it forked before.
pub(crate) fn spare(sandbox: i32, container: &ContainerPlan<'_>) -> Result<()> {
    set_oom_score(sandbox, oom_score(container)?, container)
}

/// The specification's `oomScoreAdj`, or our own where it says nothing.
fn oom_score(container: &ContainerPlan<'_>) -> Result<i32> {
    Ok(container.spec.process()?.oom_score_adj().or_else(|| oom_score_of("self")).unwrap_or(0))
}

fn oom_score_of(process: &str) -> Option<i32> {
    std::fs::read_to_string(format!("/proc/{process}/oom_score_adj")).ok()?.trim().parse().ok()
}

fn set_oom_score(pid: i32, score: i32, container: &ContainerPlan<'_>) -> Result<()> {
    let is_asked = container.spec.process()?.oom_score_adj().is_some();
    if oom_score_of(&pid.to_string()) == Some(score) {
        return Ok(());
    }
    if let Err(error) = std::fs::write(format!("/proc/{pid}/oom_score_adj"), score.to_string()) {
        let said = format!("oomScoreAdj {score} is not set: {error}");
        // An ordinary user may raise one and not lower it again: what nobody asked for is no loss.
        match error.kind() {
            ErrorKind::PermissionDenied if !is_asked => logging::debug(said),
            _ => logging::warning(said),
        }
    }
    Ok(())
}

/// What a process of the sandbox is made with.
struct ChildSetup<'a> {
    /// Its role.
    what: &'static str,
    /// The name spaces that are its own.
    spaces: Namespaces,
    /// The network name space that it is born in, where it is not ours or its own.
    network: Option<&'a Path>,
    /// The ids of its user name space.
    maps: Option<&'a IdMaps>,
    /// How readily the host kills it.
    oom_score: i32,
}

impl ChildSetup<'_> {
    /// Makes the process, which will run `enter`, and does the parent's part for it.
    fn spawn(
        self,
        container: &ContainerPlan<'_>,
        enter: impl FnOnce(BorrowedFd<'_>) -> std::result::Result<Infallible, Failure>,
    ) -> Result<Pending> {
        let clone_directory = container.cgroup.map_or(Ok(None), CgroupRecord::clone_directory)?;
        let visit = self.network.map(NetworkVisit::start).transpose()?;
        let pending = spawn(self.what, self.spaces, clone_directory.as_ref().map(AsFd::as_fd), enter)?;
        drop(visit);
        let pid = pending.process().pid();
        if let Some(cgroup) = container.cgroup.filter(|cgroup| !cgroup.is_v2()) {
            cgroup.add(pid)?;
        }
        set_oom_score(pid, self.oom_score, container)?;
        self.maps.map_or(Ok(()), |maps| pending.map_ids(maps))?;
        Ok(pending)
    }
}

/// What the sentry is told of a container; its descriptors are added to `fds`.
pub(crate) fn container_config(
    container: &ContainerPlan<'_>,
    gofer: OwnedFd,
    streams: &Streams,
    pass_fds: &[(i32, OwnedFd)],
    owns_terminal: bool,
    fds: &mut FdTable,
) -> Result<ContainerConfig> {
    let copy = |fd: &OwnedFd| fd.try_clone().context("cannot pass a descriptor");
    let mut stdio = [0; 3];
    for (index, fd) in stdio.iter_mut().zip(&streams.fds) {
        *index = fds.add(copy(fd)?);
    }
    let pass_fds =
        pass_fds.iter().map(|(guest, fd)| Ok((*guest, fds.add(copy(fd)?)))).collect::<Result<_>>()?;
    let (root, mounts) = overlay::lay_over(container.files, container.config);
    Ok(ContainerConfig {
        id: container.id.into(),
        name: container_name(&container.spec.annotations),
        spec: container.spec.json.clone(),
        root,
        mounts,
        gofer_fd: Some(fds.add(gofer)),
        stdio,
        pass_fds,
        terminal: streams.terminal,
        owns_terminal: owns_terminal && streams.terminal,
        window: streams.window,
        shares: SharedNamespaces::default(),
    })
}

/// Starts the broker of a sandbox that is to have sockets of the host, where it is; also returns the sandbox's end of
/// its socket.
pub(crate) fn spawn_broker(container: &ContainerPlan<'_>) -> Result<Option<(Pending, OwnedFd)>> {
    if container.config.network != NetworkMode::Host {
        return Ok(None);
    }
    let (ours, theirs) = unix::pair(Kind::SeqPacket).context("cannot make the broker's socket")?;
    let null = null()?;
    let state_root = container.config.root.to_string_lossy();
    let plan = BrokerPlan {
        id: container.id,
        state_root: &state_root,
        binary: container.binary,
        socket: theirs.as_fd(),
        allows_raw: container.config.settings.net_raw,
        null: null.as_fd(),
        log: container.output.as_fd(),
    };
    let spaces = Namespaces::MOUNT | Namespaces::PID | Namespaces::IPC | Namespaces::UTS;
    let network = joined_network(container);
    let setup = ChildSetup {
        what: "broker",
        spaces,
        network: network.as_deref(),
        maps: None,
        oom_score: oom_score(container)?,
    };
    let pending = setup.spawn(container, |start| broker::enter(&plan, start))?;
    Ok(Some((pending, ours)))
}

/// The file of `--pcap-log`, made anew: a capture begins with a header.
fn pcap_file(container: &ContainerPlan<'_>) -> Result<Option<File>> {
    if container.config.pcap_log.is_empty() {
        return Ok(None);
    }
    let path = logging::debug_log_path(&container.config.pcap_log, "boot", container.id);
    let file = open_log(&path, LogStart::Anew);
    file.map(Some).with_context(|| format!("cannot write the packet log {}", path.display()))
}

/// The network name space that the configuration names for the sandbox to join.
fn joined_network(container: &ContainerPlan<'_>) -> Option<PathBuf> {
    let named = container.spec.namespace(LinuxNamespaceType::Network).flatten();
    named.filter(|_| container.config.network != NetworkMode::None)
}

/// Starts a sandbox whose first container is `root`. The control socket is made in the container's directory.
pub(crate) fn spawn_sandbox(
    container: &ContainerPlan<'_>,
    root: ContainerConfig,
    mut fds: FdTable,
    broker: Option<OwnedFd>,
    socket: &Path,
) -> Result<Pending> {
    let config = container.config;
    let mut log = |what: &str, path: &Path| {
        let file = open_log(path, LogStart::Append);
        let file = file.with_context(|| format!("cannot write the {what} {}", path.display()))?;
        Ok::<_, Error>(fds.add(file))
    };
    let debug_log = match config.debug_log.as_str() {
        "" => None,
        pattern => Some(logging::debug_log_path(pattern, "boot", container.id)),
    };
    let debug_log_fd = debug_log.map(|path| log("debug log", &path)).transpose()?;
    let user_log_fd = container.user_log.map(|path| log("user log", path)).transpose()?;
    let control = unix::listen(socket, Kind::Stream, CONTROL_BACKLOG)
        .with_context(|| format!("cannot make the control socket {}", socket.display()))?;
    let pcap_fd = pcap_file(container)?.map(|file| fds.add(file));
    let broker_fd = broker.map(|socket| fds.add(socket));
    let terminal = root.owns_terminal.then_some(root.stdio[0]);
    let boot = BootConfig {
        settings: config.settings.clone(),
        host: HostPlan {
            hides_owners: identity::hides_owners(user_namespace(container.spec).as_ref()),
            ..machine::host_plan(
                container.spec.resources(),
                config.cpus_from_quota,
                container.cgroup.is_some(),
            )
        },
        broker_fd,
        pcap_fd,
        root,
        donated_fds: fds.len(),
        debug_log_fd,
        user_log_fd,
    };
    let (document, null) = (document(&boot)?, null()?);
    let donated = fds.borrowed();
    let state_root = config.root.to_string_lossy();
    let plan = JailPlan {
        id: container.id,
        state_root: &state_root,
        binary: container.binary,
        log: container.output.as_fd(),
        null: null.as_fd(),
        config: document.as_fd(),
        control: control.as_fd(),
        donated: &donated,
        attached: container.attached,
        terminal: terminal.and_then(|index| donated.get(index as usize).copied()),
    };
    let join = joined_network(container);
    let mut spaces =
        Namespaces::USER | Namespaces::MOUNT | Namespaces::PID | Namespaces::IPC | Namespaces::UTS;
    let shares_host = config.network == NetworkMode::Host || join.is_some();
    spaces.set(Namespaces::NET, !shares_host);
    let oom_score = (oom_score(container)? + GUEST_OOM_SCORE).min(1000);
    let maps = IdMaps::nobody();
    ChildSetup { what: "sandbox", spaces, network: join.as_deref(), maps: Some(&maps), oom_score }
        .spawn(container, |start| jail::enter(&plan, start))
}

/// This binary, for the children.
pub(crate) fn binary() -> Result<OwnedFd> {
    own_binary()
}
