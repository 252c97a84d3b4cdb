//! A container of the sandbox: made from its configuration, started once, waited for.
//!
//! Locks: `phase` and `executed` are leaves: nothing that may take long is done under them.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::resource::{Resource, Rlimit};
use abi::{Errno, Signal};
use control::reply::ContainerState;
use control::{ContainerConfig, Exec, Failure, WaitStatus};
use fs::gofer::GoferFs;
use fs::host::HostFiles;
use kernel::Kernel;
use kernel::host_events::HostSource;
use kernel::task::cgroup::CgroupNamespace;
use kernel::task::{
    CapabilitySet, Container, Credentials, ExitStatus, Limits, Namespaces, NewProcess, OtherNamespace,
    PidNamespace, ThreadGroup, UtsNamespace,
};
use kernel::vfs::{FsContext, MountNamespace, Origin, VfsPath};
use parking_lot::Mutex;
use serde_json::Value;
use waiter::{Events, ParkResult, Parker, WaitQueue};

use crate::donated::Donated;
use crate::filesystems::Sources;
use crate::mounts::Mounter;
use crate::outcome::{program_failure, wait_status};
use crate::process::ProcessSpec;
use crate::stdio::Streams;
use crate::surroundings::Surroundings;
use crate::waits::wait_for;

/// How many processes of exec are remembered that have ended and that nobody has waited for.
const MAX_ENDED: usize = 256;

/// Where a container is in its life.
enum Phase {
    /// Created: what its first process will get.
    Created(Box<Prepared>),
    /// Its first process is being made.
    Starting,
    /// Started: its first process.
    Started(Arc<ThreadGroup>),
    /// Its gofer died before it was started.
    Abandoned,
}

struct Prepared {
    process: ProcessSpec,
    sysctls: Value,
    streams: Streams,
}

/// A container.
pub(crate) struct GuestContainer {
    id: String,
    kernel: Arc<Kernel>,
    container: Arc<Container>,
    mounts: Arc<MountNamespace>,
    host_files: Arc<HostFiles>,
    namespaces: Namespaces,
    base_limits: Limits,
    dropped: CapabilitySet,
    seccomp: Option<crate::seccomp::Filter>,
    phase: Mutex<Phase>,
    /// Told when the phase changes.
    changed: WaitQueue,
    /// Processes made by exec, until somebody has waited for them.
    executed: Mutex<HashMap<i32, Arc<ThreadGroup>>>,
    /// The gofer's socket, to hear of its end.
    lifeline: Option<OwnedFd>,
}

impl HostSource for GuestContainer {
    /// The gofer has died.
    fn ready(&self, _events: Events) {
        self.kernel.log.line(&format!("the gofer of container {:?} is gone: the container ends", self.id));
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Created(_) | Phase::Starting) {
            *phase = Phase::Abandoned;
        }
        drop(phase);
        self.changed.notify(Events::IN);
        self.kill_all();
    }
}

impl GuestContainer {
    /// Makes a container's mounts and name spaces; nothing runs yet. It may share name spaces of the `first` one.
    pub(crate) fn create(
        around: &Surroundings,
        mut config: ContainerConfig,
        donated: &Donated,
        first: Option<&Self>,
    ) -> Result<Arc<Self>, Failure> {
        let kernel = &around.kernel;
        let root_creds = Arc::new(Credentials::root(Arc::clone(&kernel.user_ns)));
        let gofer_socket = config.gofer_fd.map(|index| donated.take(index)).transpose()?;
        let lifeline = gofer_socket.as_ref().map(OwnedFd::try_clone).transpose();
        let lifeline =
            lifeline.map_err(|error| Failure::host(format!("cannot duplicate a descriptor: {error}")))?;
        let gofer = gofer_socket.map(|fd| attach_gofer(kernel, fd)).transpose()?.unwrap_or_default();
        let shared = |wanted: bool| first.filter(|_| wanted);
        let ipc = match shared(config.shares.ipc) {
            Some(first) => Arc::clone(&first.namespaces.ipc),
            None => OtherNamespace::new(kernel.tasks.new_namespace_id(), Arc::clone(&kernel.user_ns)),
        };
        let pid_ns = match shared(config.shares.pid) {
            Some(first) => Arc::clone(first.container.pid_ns()),
            None => PidNamespace::new_root(&kernel.tasks, &kernel.user_ns),
        };
        let container = Container::new(&config.id, pid_ns, &kernel.tasks)
            .map_err(|errno| Failure::host(format!("cannot make the container's control group: {errno}")))?;
        if config.spec["annotations"][control::annotations::NO_INIT] == "true" {
            container.heed_outside();
        }
        let sources = Sources {
            gofer,
            shared: Arc::clone(&around.mounts),
            ipc: Arc::clone(&ipc),
            cgroup: Arc::clone(container.cgroup()),
        };
        let mounts = Mounter { kernel, creds: &root_creds, config: &config, sources: &sources }.make()?;
        let process = ProcessSpec::parse(&config.spec["process"])?;
        let streams = Streams::of_container(&config, donated)?;
        let uts = match shared(config.shares.uts) {
            Some(first) => Arc::clone(&first.namespaces.uts),
            None => own_uts(kernel, &config.spec),
        };
        let namespaces = namespaces(kernel, &container, uts, &mounts, &around.net, ipc);
        let seccomp = match around.settings.oci_seccomp {
            true => crate::seccomp::compile(&config.spec["linux"]["seccomp"])?,
            false => None,
        };
        let sysctls = config.spec["linux"]["sysctl"].take();
        let created = Arc::new(Self {
            container,
            id: config.id.clone(),
            kernel: Arc::clone(kernel),
            mounts,
            host_files: Arc::clone(&around.host_files),
            namespaces,
            base_limits: base_limits(&around.host.rlimits),
            dropped: dropped_capabilities(&around.settings),
            seccomp,
            phase: Mutex::new(Phase::Created(Box::new(Prepared { process, sysctls, streams }))),
            changed: WaitQueue::new(),
            executed: Mutex::default(),
            lifeline,
        });
        created.set_limits(&config.spec["linux"]["resources"]);
        created.follow_gofer()?;
        Ok(created)
    }

    /// From now on the container ends when its gofer does: without its files, no program of it can go on.
    fn follow_gofer(self: &Arc<Self>) -> Result<(), Failure> {
        let Some(lifeline) = &self.lifeline else { return Ok(()) };
        let source: Arc<dyn HostSource> = self.clone();
        let watched = self.host_files.readiness().watch_end(lifeline.as_fd(), &Arc::downgrade(&source));
        watched.map_err(|errno| Failure::host(format!("cannot watch the gofer: {errno}")))
    }

    /// Takes over the limits of an OCI `resources` object that the sentry sees to, how many tasks there may be, and those
    /// that it shows. What the object does not name stays as it is.
    pub(crate) fn set_limits(&self, resources: &Value) {
        if let Some(limit) = resources["pids"]["limit"].as_i64().filter(|limit| *limit != 0) {
            self.container.set_max_tasks(u64::try_from(limit).unwrap_or(u64::MAX));
        }
        let mut bandwidth = self.container.cgroup().bandwidth();
        if let Some(quota) = resources["cpu"]["quota"].as_i64().filter(|quota| *quota != 0) {
            bandwidth.quota_us = u64::try_from(quota).ok();
        }
        if let Some(period) = resources["cpu"]["period"].as_u64().filter(|period| *period != 0) {
            bandwidth.period_us = period;
        }
        self.container.cgroup().set_bandwidth(bandwidth);
    }

    /// Starts the first process; returns its pid in the sandbox's first name space.
    pub(crate) fn start(&self) -> Result<i32, Failure> {
        let mut prepared = self.begin_start()?;
        // Not under the lock: the gofer is asked, and whoever wants to know the state should not wait for that.
        let started = self.start_prepared(&mut prepared);
        let mut phase = self.phase.lock();
        if matches!(*phase, Phase::Abandoned) {
            drop(phase);
            self.kill_all();
            return Err(self.lost_gofer());
        }
        let (next, pid) = match started {
            Ok(group) => {
                let pid = group.tgid();
                (Phase::Started(group), Ok(pid))
            }
            Err(failure) => (Phase::Created(prepared), Err(failure)),
        };
        *phase = next;
        drop(phase);
        self.changed.notify(Events::IN);
        pid
    }

    /// Takes what the first process will get: only one caller can start it.
    fn begin_start(&self) -> Result<Box<Prepared>, Failure> {
        let mut phase = self.phase.lock();
        match std::mem::replace(&mut *phase, Phase::Starting) {
            Phase::Created(prepared) => Ok(prepared),
            Phase::Abandoned => {
                *phase = Phase::Abandoned;
                Err(self.lost_gofer())
            }
            other => {
                *phase = other;
                Err(Failure::wrong_state(format!("container {:?} has been started already", self.id)))
            }
        }
    }

    fn start_prepared(&self, prepared: &mut Prepared) -> Result<Arc<ThreadGroup>, Failure> {
        let cwd = self.directory(&prepared.process, crate::mounts::make_working_directory)?;
        self.spawn(&prepared.process, cwd, &mut prepared.streams, &prepared.sysctls)
    }

    fn lost_gofer(&self) -> Failure {
        Failure::host(format!("the gofer of container {:?} has died", self.id))
    }

    /// Runs a further process.
    pub(crate) fn exec(&self, exec: &Exec, donated: &Donated) -> Result<i32, Failure> {
        if self.state() != ContainerState::Running {
            return Err(Failure::wrong_state(format!("container {:?} is not running", self.id)));
        }
        let process = ProcessSpec::parse(&exec.process)?;
        let mut streams = Streams::of_exec(exec, donated)?;
        let cwd = self.directory(&process, crate::mounts::working_directory)?;
        let group = self.spawn(&process, cwd, &mut streams, &Value::Null)?;
        let pid = group.tgid();
        let mut executed = self.executed.lock();
        executed.insert(pid, group);
        forget_ended(&mut executed);
        Ok(pid)
    }

    /// The directory in which a process starts, as `find` finds it.
    fn directory(
        &self,
        process: &ProcessSpec,
        find: impl Fn(&Arc<Kernel>, &Origin, &[u8]) -> abi::Result<VfsPath>,
    ) -> Result<VfsPath, Failure> {
        find(&self.kernel, &Origin::at_root(self.mounts.root_path()), process.cwd())
            .map_err(|errno| Failure::invalid(format!("process.cwd {:?}: {errno}", process.cwd)))
    }

    fn spawn(
        &self,
        process: &ProcessSpec,
        cwd: VfsPath,
        streams: &mut Streams,
        sysctls: &Value,
    ) -> Result<Arc<ThreadGroup>, Failure> {
        let creds = Arc::new(process.credentials(&self.kernel.user_ns, self.dropped));
        let fs = FsContext::new(self.mounts.root_path(), cwd, process.user.umask.unwrap_or(0o022));
        let limits = process.limits(self.base_limits);
        let limit = limits.soft(Resource::Nofile);
        let fds = streams.open(&self.kernel, &self.host_files, &self.mounts, &creds, limit)?;
        let program = &process.args[0];
        let new = NewProcess {
            container: Arc::clone(&self.container),
            namespaces: self.namespaces.clone(),
            creds,
            fs,
            fds,
            limits,
            argv: process.argv(),
            envp: process.envp(),
            search_path: process
                .variable("PATH")
                .unwrap_or("/usr/local/bin:/usr/bin:/bin")
                .as_bytes()
                .to_vec(),
            no_new_privs: process.no_new_privileges,
            oom_score_adj: process.oom_score_adj.unwrap_or(0),
            seccomp: self.seccomp.clone(),
            terminal: streams.terminal(),
        };
        let refused: Mutex<Option<Failure>> = Mutex::default();
        let set_up = |task: &kernel::Task, envp: &mut Vec<Vec<u8>>| {
            crate::set_up::add_home(task, process.uid(), envp);
            crate::set_up::apply_sysctls(task, sysctls).map_err(|failure| {
                *refused.lock() = Some(failure);
                Errno::EINVAL
            })
        };
        self.kernel.start_process(new, &set_up).map_err(|errno| match refused.lock().take() {
            Some(failure) => failure,
            None => program_failure(program, errno),
        })
    }

    /// What the container is doing.
    pub(crate) fn state(&self) -> ContainerState {
        match &*self.phase.lock() {
            Phase::Created(_) | Phase::Starting => ContainerState::Created,
            Phase::Abandoned => ContainerState::Stopped,
            Phase::Started(group) if group.is_zombie() => ContainerState::Stopped,
            Phase::Started(_) if self.container.is_frozen() => ContainerState::Paused,
            Phase::Started(_) => ContainerState::Running,
        }
    }

    /// The kernel's view of it.
    pub(crate) fn container(&self) -> &Arc<Container> {
        &self.container
    }

    /// The first process, where it has been started.
    pub(crate) fn init(&self) -> Result<Arc<ThreadGroup>, Failure> {
        match &*self.phase.lock() {
            Phase::Started(group) => Ok(Arc::clone(group)),
            Phase::Created(_) | Phase::Starting | Phase::Abandoned => {
                Err(Failure::wrong_state(format!("container {:?} has not been started", self.id)))
            }
        }
    }

    /// The process with this pid in the sandbox's first name space; the first process where none is named. One that lives
    /// comes before one of exec that has ended and had the same number.
    pub(crate) fn process(&self, pid: Option<i32>) -> Result<Arc<ThreadGroup>, Failure> {
        let Some(pid) = pid else { return self.init() };
        let mut found = self.container.thread_groups(&self.kernel.tasks);
        found.retain(|group| group.tgid() == pid);
        let living = found.iter().find(|group| !group.is_zombie()).cloned();
        let executed = || self.executed.lock().get(&pid).cloned();
        let process = living.or_else(executed).or_else(|| found.pop());
        process.ok_or_else(|| Failure::not_found(format!("container {:?} has no process {pid}", self.id)))
    }

    /// Waits for the end of a process, as long as the caller does; one made by exec is forgotten then.
    pub(crate) fn wait(&self, pid: Option<i32>, caller: BorrowedFd<'_>) -> Result<WaitStatus, Failure> {
        let Some(number) = pid else { return self.wait_for_exit(Some(caller)) };
        // Here the one of exec comes first: its number may be another's by now.
        let executed = self.executed.lock().get(&number).cloned();
        let group = executed.map_or_else(|| self.process(pid), Ok)?;
        let status = wait_for_exit(&group, Some(caller))?;
        let mut executed = self.executed.lock();
        if executed.get(&number).is_some_and(|known| Arc::ptr_eq(known, &group)) {
            executed.remove(&number);
        }
        Ok(wait_status(status))
    }

    /// Waits for the end of the first process, started or not yet.
    pub(crate) fn wait_for_exit(&self, caller: Option<BorrowedFd<'_>>) -> Result<WaitStatus, Failure> {
        match self.first_process(caller)? {
            Some(group) => wait_for_exit(&group, caller).map(wait_status),
            None => Ok(WaitStatus::Signal(Signal::KILL.number() as u8)),
        }
    }

    /// Waits until the first process has run for as long as `time`; false where it has ended before.
    pub(crate) fn outlasts(&self, time: Duration) -> Result<bool, Failure> {
        let Some(group) = self.first_process(None)? else { return Ok(false) };
        let deadline = Instant::now() + time;
        let parker = Arc::new(Parker::new());
        let _registration = group.exit_events().register(Events::HUP, parker.clone());
        while !group.is_zombie() {
            if parker.park(Some(deadline)) == ParkResult::TimedOut {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for the start of the first process; `None` where there will be none.
    fn first_process(&self, caller: Option<BorrowedFd<'_>>) -> Result<Option<Arc<ThreadGroup>>, Failure> {
        wait_for((&self.changed, Events::IN), caller, || match &*self.phase.lock() {
            Phase::Started(group) => Some(Some(Arc::clone(group))),
            Phase::Abandoned => Some(None),
            Phase::Created(_) | Phase::Starting => None,
        })
    }

    /// Kills every process of it; none can be started any more.
    pub(crate) fn kill_all(&self) {
        self.container.end(&self.kernel.tasks);
    }
}

/// Forgets the oldest processes that have ended where there are too many of them.
fn forget_ended(executed: &mut HashMap<i32, Arc<ThreadGroup>>) {
    let ended = executed.iter().filter(|(_, group)| group.is_zombie());
    let mut ended: Vec<(u64, i32)> = ended.map(|(pid, group)| (group.id(), *pid)).collect();
    ended.sort_unstable();
    for (_, pid) in &ended[..ended.len().saturating_sub(MAX_ENDED)] {
        executed.remove(pid);
    }
}

/// Waits until a process is a zombie.
fn wait_for_exit(group: &ThreadGroup, caller: Option<BorrowedFd<'_>>) -> Result<ExitStatus, Failure> {
    // Other events are the ends of single threads.
    wait_for((group.exit_events(), Events::HUP), caller, || group.exit_status().filter(|_| group.is_zombie()))
}

fn attach_gofer(kernel: &Kernel, fd: OwnedFd) -> Result<Vec<Arc<GoferFs>>, Failure> {
    fs::gofer::attach(fd, || kernel.vfs.allocate_device())
        .map_err(|errno| Failure::host(format!("the gofer does not answer as it should: {errno}")))
}

/// A host and domain name as the specification says.
fn own_uts(kernel: &Kernel, spec: &Value) -> Arc<UtsNamespace> {
    let name = |member: &str, default: &'static str| spec[member].as_str().unwrap_or(default).to_owned();
    let (host, domain) = (name("hostname", "runsc"), name("domainname", "(none)"));
    UtsNamespace::new(kernel.tasks.new_namespace_id(), Arc::clone(&kernel.user_ns), &host, &domain)
}

fn namespaces(
    kernel: &Arc<Kernel>,
    container: &Container,
    uts: Arc<UtsNamespace>,
    mounts: &Arc<MountNamespace>,
    net: &Arc<OtherNamespace>,
    ipc: Arc<OtherNamespace>,
) -> Namespaces {
    let id = || kernel.tasks.new_namespace_id();
    let user_ns = &kernel.user_ns;
    let other = || OtherNamespace::new(id(), Arc::clone(user_ns));
    let cgroup = other();
    CgroupNamespace::begin_at(&cgroup, container.cgroup());
    Namespaces {
        uts,
        ipc,
        mnt: Arc::clone(mounts),
        net: Arc::clone(net),
        cgroup,
        time: other(),
        pid_for_children: Arc::clone(container.pid_ns()),
    }
}

/// The limits of the host's user, under what the specification says.
fn base_limits(rlimits: &[(u32, u64, u64)]) -> Limits {
    let mut limits = Limits::default();
    for (number, soft, hard) in rlimits {
        if let Some(resource) = Resource::new(u64::from(*number)) {
            limits.set(resource, Rlimit { cur: *soft, max: *hard });
        }
    }
    limits
}

/// `CAP_NET_RAW` is dropped unless `--net-raw` is given.
fn dropped_capabilities(settings: &control::Settings) -> CapabilitySet {
    if settings.net_raw { CapabilitySet::EMPTY } else { CapabilitySet::of(kernel::task::Capability::NetRaw) }
}
