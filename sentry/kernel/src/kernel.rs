//! The [`Kernel`]: the one value that a sandbox's whole state hangs off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use platform::Platform;

use crate::dmesg::Dmesg;
use crate::keys::KeyTable;
use crate::limits::Knobs;
use crate::loader::Vdso;
use crate::log::DebugLog;
use crate::mm::{MemoryFile, SharedTexts};
use crate::socket::SocketFamilies;
use crate::task::{
    FutexTable, LatePosts, NamespaceIds, OomKiller, Strace, TaskSet, TaskThreads, UserNamespace,
    set_heap_budget,
};
use crate::time::{Timekeeper, TimerService};
use crate::vfs::Vfs;

/// A sandbox's kernel.
pub struct Kernel {
    /// Runs guest code.
    pub platform: Arc<dyn Platform>,
    /// The guest's physical memory.
    pub memory: Arc<MemoryFile>,
    /// What is executed often.
    pub(crate) texts: SharedTexts,
    /// All clocks.
    pub timekeeper: Arc<Timekeeper>,
    /// Timers that fire whether or not a task waits for them.
    pub timers: TimerService,
    /// Carries out what tasks have posted and do not come for.
    pub(crate) late_posts: Arc<LatePosts>,
    /// All tasks and process identifiers.
    pub tasks: TaskSet,
    /// The sentry threads that run them.
    pub(crate) task_threads: TaskThreads,
    /// The user name space that kernel ids are of.
    pub user_ns: Arc<UserNamespace>,
    /// Socket families.
    pub sockets: SocketFamilies,
    /// Files: types, drivers, mounts.
    pub vfs: Arc<Vfs>,
    /// Lines for whoever looks after the sandbox.
    pub log: DebugLog,
    /// Who sleeps on which futex.
    pub futexes: FutexTable,
    /// Which system calls the log shows.
    pub strace: Strace,
    /// The guest's kernel log.
    pub dmesg: Dmesg,
    /// What `/proc/sys` changes.
    pub knobs: Arc<Knobs>,
    /// The vDSO of all guest processes.
    pub vdso: Arc<Vdso>,
    /// Keys that programs have given into its care.
    pub keys: KeyTable,
    /// Kills processes where memory runs out.
    pub oom: OomKiller,
    /// What was fixed when the sandbox was made.
    pub config: KernelConfig,
    memory_size: AtomicU64,
    processors: AtomicUsize,
}

/// Facts about the sandbox that do not change.
#[derive(Clone, Debug)]
pub struct KernelConfig {
    /// Processors shown to guests at first.
    pub cpu_count: usize,
    /// Memory shown to guests at first, bytes.
    pub total_memory: u64,
    /// System calls to log: `None` none, an empty list all.
    pub strace: Option<Vec<String>>,
    /// Most bytes of one buffer argument in the strace log.
    pub strace_log_size: usize,
    /// Where the debug log goes.
    pub log: DebugLog,
    /// What whoever runs the container should know: calls that are not there.
    pub user_log: DebugLog,
    /// Whether call instructions of guests are rewritten so that they need not trap.
    pub rewrite_calls: bool,
    /// Files of [`OVERFLOW_ID`](crate::task::OVERFLOW_ID) are those of users of the host that have no id here.
    pub hides_owners: bool,
}

impl Kernel {
    /// A kernel without containers, file systems or socket families.
    #[must_use]
    pub fn new(
        platform: Arc<dyn Platform>,
        memory: Arc<MemoryFile>,
        vdso: Arc<Vdso>,
        config: KernelConfig,
    ) -> Arc<Self> {
        let strace = Strace::default();
        strace.set(config.strace.as_deref());
        let timekeeper = Arc::new(Timekeeper::new());
        let namespace_ids = NamespaceIds::default();
        let tasks = TaskSet::new(namespace_ids.clone());
        vdso.follow(&timekeeper, config.cpu_count);
        let timers = TimerService::new(&timekeeper);
        let kernel = Arc::new(Self {
            vdso,
            platform,
            memory,
            texts: SharedTexts::default(),
            late_posts: LatePosts::new(&timekeeper, &timers),
            timers,
            vfs: Vfs::new(timekeeper.clone(), namespace_ids),
            dmesg: Dmesg::new(timekeeper.clone()),
            knobs: Arc::default(),
            timekeeper,
            user_ns: UserNamespace::initial(tasks.new_namespace_id()),
            tasks,
            task_threads: TaskThreads::default(),
            log: config.log.clone(),
            futexes: FutexTable::default(),
            strace,
            sockets: SocketFamilies::default(),
            memory_size: AtomicU64::new(0),
            processors: AtomicUsize::new(config.cpu_count),
            keys: KeyTable::default(),
            oom: OomKiller::default(),
            config,
        });
        kernel.set_total_memory(kernel.config.total_memory);
        crate::version::log_boot(&kernel);
        kernel
    }

    /// Logs these calls of all tasks from now on: `None` none, an empty list all.
    pub fn set_strace(&self, calls: Option<&[String]>) {
        self.strace.set(calls);
        for task in self.tasks.tasks() {
            task.stop_posting();
        }
    }

    /// Memory shown to guests, bytes.
    #[must_use]
    pub fn total_memory(&self) -> u64 {
        self.memory_size.load(Ordering::Relaxed)
    }

    /// Changes what [`Self::total_memory`] says: the container's limit has changed.
    pub fn set_total_memory(&self, bytes: u64) {
        self.memory_size.store(bytes, Ordering::Relaxed);
        self.memory.set_file_limit(bytes);
        set_heap_budget(bytes);
    }

    /// Processors shown to guests.
    #[must_use]
    pub fn cpu_count(&self) -> usize {
        self.processors.load(Ordering::Relaxed)
    }

    /// Changes what [`Self::cpu_count`] says: the container's quota or set of processors has changed.
    pub fn set_cpu_count(&self, count: usize) {
        self.processors.store(count.max(1), Ordering::Relaxed);
        self.timekeeper.set_cpu_count(count.max(1));
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").field("config", &self.config).finish_non_exhaustive()
    }
}
