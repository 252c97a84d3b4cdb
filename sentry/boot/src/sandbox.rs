//! The [`Sandbox`]: the kernel with its containers, from start to end.
//!
//! Locks: `containers` is held only to look up or change the table, never while a container works.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use abi::Errno;
use control::{BootConfig, ContainerConfig, Failure, WaitStatus};
use fs::host::HostFiles;
use host::memory;
use kernel::Kernel;
use kernel::kernel::KernelConfig;
use kernel::mm::MemoryFile;
use kernel::task::OtherNamespace;
use parking_lot::{Condvar, Mutex};
use platform::Platform;
use platform::systrap::{HandOver, Systrap};
use socket::inet::{InetFamily, NetNamespace};

use crate::container::GuestContainer;
use crate::filesystems::SharedMounts;

/// How long the end waits for replies that are under way.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// A running sandbox.
pub(crate) struct Sandbox {
    kernel: Arc<Kernel>,
    root_id: String,
    settings: control::Settings,
    host: control::boot::HostPlan,
    host_files: Arc<HostFiles>,
    shared_mounts: Arc<SharedMounts>,
    /// The network name space that all containers share.
    net: Arc<OtherNamespace>,
    containers: Mutex<BTreeMap<String, Arc<GuestContainer>>>,
    /// Calls that have not been answered yet.
    calls: Mutex<usize>,
    answered: Condvar,
}

/// Descriptors that came with a configuration or request, each taken once.
pub(crate) struct Donated(Vec<Option<OwnedFd>>);

impl Donated {
    pub(crate) fn new(fds: Vec<OwnedFd>) -> Self {
        Self(fds.into_iter().map(Some).collect())
    }

    /// Takes descriptor `index`. The same index may be named several times (one terminal as three streams): later
    /// takers get a duplicate.
    pub(crate) fn take(&mut self, index: u32) -> Result<OwnedFd, Failure> {
        let missing = || Failure::invalid(format!("descriptor {index} is named but was not sent"));
        let slot = self.0.get_mut(index as usize).ok_or_else(missing)?;
        let fd = slot.as_ref().ok_or_else(missing)?;
        fd.try_clone().map_err(|error| Failure::host(format!("cannot duplicate a descriptor: {error}")))
    }
}

impl Sandbox {
    /// Makes the kernel and the first container, created but not started.
    pub(crate) fn new(config: BootConfig, fds: Vec<OwnedFd>) -> Result<Arc<Self>, Failure> {
        memory::install_fault_handler();
        let mut donated = Donated::new(fds);
        let mut open_log =
            |index: Option<u32>| index.map(|index| donated.take(index)).transpose().map(crate::log::open);
        let (log, user_log) = (open_log(config.debug_log_fd)?, open_log(config.user_log_fd)?);
        report_panics(&log);
        let limit = config.host.memory_capacity.max(64 << 20);
        let memory = MemoryFile::new(limit).map_err(|errno| {
            Failure::host(format!("cannot make the guest's memory ({limit} bytes): {errno}"))
        })?;
        let platform: Arc<dyn Platform> = match config.settings.platform.as_str() {
            "systrap" => {
                let hand_over =
                    if config.settings.disable_fast_path { HandOver::Door } else { HandOver::default() };
                let platform = Systrap::with_hand_over(memory.fd(), hand_over);
                Arc::new(platform.map_err(|error| Failure::host(error.to_string()))?)
            }
            other => {
                return Err(Failure::invalid(format!(
                    "there is no platform {other:?}: use --platform=systrap"
                )));
            }
        };
        let strace = config.settings.strace.then(|| config.settings.strace_syscalls.clone());
        let kernel = Kernel::new(
            platform,
            memory,
            KernelConfig {
                cpu_count: config.host.cpu_count.max(1) as usize,
                total_memory: config.host.total_memory,
                strace,
                strace_log_size: config.settings.strace_log_size as usize,
                log,
                user_log,
                rewrite_calls: !config.settings.disable_syscall_patching,
            },
        );
        fs::register(&kernel)
            .map_err(|errno| Failure::host(format!("cannot set up the sentry's file systems: {errno}")))?;
        kernel.sockets.register(Arc::new(InetFamily::v4()));
        kernel.sockets.register(Arc::new(InetFamily::v6()));
        kernel.sockets.register(Arc::new(socket::netlink::NetlinkFamily));
        kernel.sockets.register(Arc::new(socket::unix::UnixFamily::new()));
        let host_files = Arc::new(HostFiles::new(&kernel));
        let net = OtherNamespace::new(kernel.tasks.new_namespace_id(), Arc::clone(&kernel.user_ns));
        let sandbox = Arc::new(Self {
            kernel,
            root_id: config.root.id.clone(),
            settings: config.settings,
            host: config.host,
            host_files,
            shared_mounts: Arc::default(),
            net,
            containers: Mutex::default(),
            calls: Mutex::new(0),
            answered: Condvar::new(),
        });
        // The first to ask makes the content: here, with the loopback interface up.
        sandbox.net_content()?;
        sandbox.add_container(config.root, &mut donated)?;
        Ok(sandbox)
    }

    /// The network name space that all containers share.
    pub(crate) fn net(&self) -> &Arc<OtherNamespace> {
        &self.net
    }

    /// What is in it.
    pub(crate) fn net_content(&self) -> Result<Arc<NetNamespace>, Failure> {
        let content = self.net.content(|| NetNamespace::new(&self.kernel, true));
        content.ok_or_else(|| Failure::host("the network name space holds something else"))
    }

    pub(crate) fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    pub(crate) fn settings(&self) -> &control::Settings {
        &self.settings
    }

    pub(crate) fn host(&self) -> &control::boot::HostPlan {
        &self.host
    }

    pub(crate) fn host_files(&self) -> &Arc<HostFiles> {
        &self.host_files
    }

    pub(crate) fn shared_mounts(&self) -> &Arc<SharedMounts> {
        &self.shared_mounts
    }

    /// Creates a container.
    pub(crate) fn add_container(
        self: &Arc<Self>,
        config: ContainerConfig,
        donated: &mut Donated,
    ) -> Result<(), Failure> {
        let id = config.id.clone();
        if self.containers.lock().contains_key(&id) {
            return Err(Failure::wrong_state(format!("there is a container {id:?} in this sandbox already")));
        }
        let container = GuestContainer::create(self, config, donated)?;
        self.containers.lock().insert(id, container);
        Ok(())
    }

    /// The container named `id`.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<GuestContainer>, Failure> {
        let found = self.containers.lock().get(id).cloned();
        found.ok_or_else(|| Failure::not_found(format!("there is no container {id:?} in this sandbox")))
    }

    /// The container with which the sandbox ends.
    pub(crate) fn root(&self) -> Result<Arc<GuestContainer>, Failure> {
        self.container(&self.root_id)
    }

    /// All containers.
    pub(crate) fn containers(&self) -> Vec<Arc<GuestContainer>> {
        self.containers.lock().values().cloned().collect()
    }

    /// Forgets a container whose processes are gone.
    pub(crate) fn remove_container(&self, id: &str) {
        self.containers.lock().remove(id);
    }

    /// Whether `id` is the container with which the sandbox ends.
    pub(crate) fn is_root(&self, id: &str) -> bool {
        self.root_id == id
    }

    /// A call has come in; [`Self::end_call`] when its reply is out.
    pub(crate) fn begin_call(&self) {
        *self.calls.lock() += 1;
    }

    pub(crate) fn end_call(&self) {
        let mut calls = self.calls.lock();
        *calls = calls.saturating_sub(1);
        self.answered.notify_all();
    }

    /// Waits until the first container's first process has ended and its waiters know; returns the exit status.
    pub(crate) fn wait_for_end(&self) -> u8 {
        let status = match self.root().and_then(|root| root.wait_for_exit(None)) {
            Ok(status) => status,
            Err(failure) => {
                self.kernel.log.line(&format!("the sandbox ends: {failure}"));
                return 128;
            }
        };
        for container in self.containers() {
            container.kill_all();
        }
        let deadline = Instant::now() + LAST_REPLIES;
        let mut calls = self.calls.lock();
        while *calls > 0 && !self.answered.wait_until(&mut calls, deadline).timed_out() {}
        status.exit_status()
    }
}

/// A panic of ours names the guest's task: in the log, and on standard error, of which the command line tool quotes
/// the end.
fn report_panics(log: &kernel::DebugLog) {
    let log = log.clone();
    kernel::task::install_panic_report(move |report| {
        log.line(report);
        eprintln!("{report}");
    });
}

/// How a wait ended, as the control protocol says it.
pub(crate) fn wait_status(status: kernel::task::ExitStatus) -> WaitStatus {
    match status {
        kernel::task::ExitStatus::Exited(code) => WaitStatus::Code(code),
        kernel::task::ExitStatus::Killed { signal, .. } => WaitStatus::Signal(signal.number() as u8),
    }
}

/// Characters of a program's name that a message repeats.
const SHOWN_NAME: usize = 200;

/// A failure to start a program, in the words of the shell, with the kind that the exit status follows from.
pub(crate) fn program_failure(program: &str, errno: Errno) -> Failure {
    use control::FailureKind::{Host, ProgramNotExecutable, ProgramNotFound};
    let (kind, why) = match errno {
        Errno::ENOENT | Errno::ENOTDIR => (
            ProgramNotFound,
            "no such file or directory: check the path and PATH in the container".to_owned(),
        ),
        Errno::EACCES | Errno::EPERM | Errno::EISDIR => (
            ProgramNotExecutable,
            "permission denied: the file must be executable for the container's user".into(),
        ),
        Errno::ENOEXEC => {
            (ProgramNotExecutable, "exec format error: not an x86-64 ELF file or a #! script".into())
        }
        Errno::E2BIG => (
            ProgramNotExecutable,
            "argument list too long: shorten process.args and process.env, of which one text may have 128 KiB".into(),
        ),
        Errno::ELOOP | Errno::ENAMETOOLONG | Errno::ETXTBSY | Errno::EINVAL => {
            (ProgramNotExecutable, errno.to_string())
        }
        other => (Host, other.to_string()),
    };
    let program = match program.char_indices().nth(SHOWN_NAME) {
        Some((end, _)) => format!("{}…", &program[..end]),
        None => program.to_owned(),
    };
    Failure::new(kind, format!("cannot run {program:?}: {why}"))
}
