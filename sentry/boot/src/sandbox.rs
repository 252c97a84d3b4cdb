//! The [`Sandbox`]: the kernel with its containers, from start to end.
//!
//! Locks: `containers` is held only to look up or change the table, never while a container works.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::broker::Broker;
use control::{BootConfig, ContainerConfig, Failure, WaitStatus};
use fs::host::HostFiles;
use host::memory;
use kernel::Kernel;
use kernel::task::OtherNamespace;
use parking_lot::{Condvar, Mutex};

use crate::capture::Capture;
use crate::container::GuestContainer;
use crate::donated::Donated;
use crate::machine::{new_kernel, register_families};
use crate::surroundings::Surroundings;

/// How long the end waits for replies that are under way.
const LAST_REPLIES: Duration = Duration::from_secs(2);
/// A first process that has run for so long may run for long: what the start took is given back, once.
const SETTLED: Duration = Duration::from_millis(500);

/// A running sandbox.
pub(crate) struct Sandbox {
    around: Surroundings,
    root_id: String,
    /// Who writes its packets down, where somebody wants to know them.
    capture: Mutex<Option<Arc<Capture>>>,
    /// By id; one without a container is taken by a call that is making it.
    containers: Mutex<BTreeMap<String, Option<Arc<GuestContainer>>>>,
    /// Calls that have not been answered yet.
    calls: Mutex<usize>,
    answered: Condvar,
}

impl Sandbox {
    /// Makes the kernel and the first container, created but not started.
    pub(crate) fn new(config: BootConfig, fds: Vec<OwnedFd>) -> Result<Arc<Self>, Failure> {
        memory::install_fault_handler();
        let donated = Donated::new(fds);
        let open_log =
            |index: Option<u32>| index.map(|index| donated.take(index)).transpose().map(crate::log::open);
        let (log, user_log) = (open_log(config.debug_log_fd)?, open_log(config.user_log_fd)?);
        report_panics(&log);
        let kernel = new_kernel(&config.settings, &config.host, log, user_log)?;
        let host_files = Arc::new(HostFiles::new(&kernel));
        let net = OtherNamespace::new(kernel.tasks.new_namespace_id(), Arc::clone(&kernel.user_ns));
        let broker = config.broker_fd.map(|index| donated.take(index)).transpose()?.map(Broker::new);
        register_families(&kernel, broker, &host_files, &net, &config.settings);
        let sandbox = Arc::new(Self {
            around: Surroundings {
                kernel,
                settings: config.settings,
                host: config.host,
                host_files,
                mounts: Arc::default(),
                net,
            },
            root_id: config.root.id.clone(),
            capture: Mutex::new(None),
            containers: Mutex::default(),
            calls: Mutex::new(0),
            answered: Condvar::new(),
        });
        // The first to ask makes the content: here, with the loopback interface up.
        let (content, log) = (sandbox.around.net_content()?, sandbox.around.kernel.log.clone());
        let pcap = config.pcap_fd.map(|index| donated.take(index)).transpose()?;
        let log = Some(log).filter(|_| sandbox.around.settings.log_packets);
        *sandbox.capture.lock() = Capture::start(&content, pcap, log);
        sandbox.add_container(config.root, &donated)?;
        Ok(sandbox)
    }

    pub(crate) fn kernel(&self) -> &Arc<Kernel> {
        &self.around.kernel
    }

    /// What the containers share.
    pub(crate) fn around(&self) -> &Surroundings {
        &self.around
    }

    /// Creates a container.
    pub(crate) fn add_container(&self, config: ContainerConfig, donated: &Donated) -> Result<(), Failure> {
        let id = config.id.clone();
        let first = {
            let mut containers = self.containers.lock();
            if containers.contains_key(&id) {
                return Err(Failure::wrong_state(format!(
                    "there is a container {id:?} in this sandbox already"
                )));
            }
            containers.insert(id.clone(), None);
            containers.get(&self.root_id).cloned().flatten()
        };
        let made = GuestContainer::create(&self.around, config, donated, first.as_deref());
        let mut containers = self.containers.lock();
        match made {
            Ok(container) => {
                containers.insert(id, Some(container));
                Ok(())
            }
            Err(failure) => {
                containers.remove(&id);
                Err(failure)
            }
        }
    }

    /// The container named `id`.
    pub(crate) fn container(&self, id: &str) -> Result<Arc<GuestContainer>, Failure> {
        let found = self.containers.lock().get(id).cloned().flatten();
        found.ok_or_else(|| Failure::not_found(format!("there is no container {id:?} in this sandbox")))
    }

    /// The container with which the sandbox ends.
    pub(crate) fn root(&self) -> Result<Arc<GuestContainer>, Failure> {
        self.container(&self.root_id)
    }

    /// All containers.
    pub(crate) fn containers(&self) -> Vec<Arc<GuestContainer>> {
        self.containers.lock().values().flatten().cloned().collect()
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

    fn root_status(&self) -> Result<WaitStatus, Failure> {
        let root = self.root()?;
        if root.outlasts(SETTLED)? {
            host::process::shed_start();
        }
        root.wait_for_exit(None)
    }

    /// Waits until the first container's first process has ended and its waiters know; returns the exit status.
    pub(crate) fn wait_for_end(&self) -> u8 {
        let status = match self.root_status() {
            Ok(status) => status,
            Err(failure) => {
                self.kernel().log.line(&format!("the sandbox ends: {failure}"));
                return 128;
            }
        };
        for container in self.containers() {
            container.kill_all();
        }
        let deadline = Instant::now() + LAST_REPLIES;
        let mut calls = self.calls.lock();
        while *calls > 0 && !self.answered.wait_until(&mut calls, deadline).timed_out() {}
        self.kernel().log.line(&self.kernel().platform.ways_in().to_string());
        status.exit_status()
    }
}

/// The exit status of a sandbox that ends by a panic: as a shell tells of abort(3).
const PANIC_STATUS: i32 = 128 + abi::Signal::ABRT.number();

/// A panic of ours names the guest's task: in the log, and on standard error, of which the command line tool quotes
/// the end.
fn report_panics(log: &kernel::DebugLog) {
    let log = log.clone();
    kernel::task::install_panic_report(move |report| {
        log.line(report);
        eprintln!("{report}");
        // abort(3) would send a signal, for which the jail has no call.
        host::process::end_at_once(PANIC_STATUS);
    });
}
