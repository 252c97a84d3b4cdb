//! The [`ThreadGroup`]: a process.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::resource::Resource;
use abi::{SigSet, Signal};
use parking_lot::{Mutex, RwLock};
use waiter::WaitQueue;

use super::cgroup::{Cgroup, Memberships};
use super::cpu_limit::CpuLimit;
use super::exec_lock::ExecLock;
use super::ptrace::Tracees;
use super::task::Parent;
use super::{
    Container, CpuTimes, ExitStatus, IoCounts, Limits, PidNamespace, ProcessGroup, Session, Task, Tid,
    TreeGuard, UserNamespace,
};
use crate::Kernel;
use crate::mm::MemoryManager;
use crate::signal::{GroupStop, SharedActions, SigAction, SignalActions, SignalState};
use crate::time::ProcessTimers;
use crate::vfs::File;

/// A process: tasks that share signals, limits, timers and a parent.
pub struct ThreadGroup {
    id: u64,
    kernel: Weak<Kernel>,
    container: Arc<Container>,
    /// A leaf lock.
    cgroups: Mutex<Memberships>,
    this: Weak<Self>,
    /// Changed under [`super::TaskSet::tree`].
    pub(super) family: Mutex<Family>,
    pub(super) threads: Mutex<Threads>,
    leader_id: AtomicU64,
    /// The signal lock (Linux's siglock).
    pub(crate) signal: Mutex<SignalState>,
    actions: RwLock<SharedActions>,
    /// Held while threads are told that their copies are out of date.
    limits: Mutex<Limits>,
    usage: Mutex<Usage>,
    /// Told when a child changes state: where wait4(2) sleeps.
    child_events: WaitQueue,
    /// Told when this process has ended (pidfds, and whoever started it from outside).
    exit_events: WaitQueue,
    /// Told when a signal for it or one of its threads is queued (signalfd).
    signal_events: WaitQueue,
    flags: Flags,
    oom_score_adj: AtomicI32,
    personality: AtomicU32,
    dumpability: Mutex<Dumpability>,
    timers: ProcessTimers,
    pub(super) cpu_limit: CpuLimit,
    pub(super) tracees: Tracees,
    pub(super) exec_lock: ExecLock,
}

#[derive(Debug, Default)]
struct Flags {
    is_zombie: AtomicBool,
    is_subreaper: AtomicBool,
    has_executed: AtomicBool,
    /// The first process of a pid name space, which its own children cannot kill.
    is_init: AtomicBool,
}

/// Who may look into a process (in Linux, a matter of its memory).
#[derive(Clone, Debug)]
pub struct Dumpability {
    /// Its equals may (`PR_SET_DUMPABLE`).
    pub is_dumpable: bool,
    /// Where they may not: those who have `CAP_SYS_PTRACE` here, the user name space that the program was executed in or,
    /// for a program that must not be read, one above it (`mm->user_ns`).
    pub guardian: Arc<UserNamespace>,
}

/// Where a process stands in the tree.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) parent: Parent,
    pub(super) children: Vec<Arc<ThreadGroup>>,
    pub(super) process_group: Arc<ProcessGroup>,
    /// How it ended, once all threads have.
    pub(super) exit: Option<ExitStatus>,
}

/// The threads of a process.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// Those that have not been released; the leader stays until the process is reaped.
    pub(super) list: Vec<Arc<Task>>,
    /// How many of them still run.
    pub(super) live: usize,
}

/// What is summed up over dead threads and children.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) dead_threads: CpuTimes,
    pub(super) children: CpuTimes,
    /// Both together.
    pub(super) io: IoCounts,
    pub(super) switches: (u64, u64),
    pub(super) children_switches: (u64, u64),
    /// Largest resident set, KiB: own and children's.
    pub(super) max_rss_kb: u64,
    pub(super) children_max_rss_kb: u64,
}

/// What a new process starts with.
pub(super) struct NewThreadGroup {
    pub(super) container: Arc<Container>,
    pub(super) cgroups: Memberships,
    pub(super) parent: Parent,
    pub(super) process_group: Arc<ProcessGroup>,
    pub(super) actions: SharedActions,
    pub(super) limits: Limits,
    pub(super) oom_score_adj: i32,
    pub(super) personality: u32,
    pub(super) dumpability: Dumpability,
}

impl ThreadGroup {
    pub(super) fn new(kernel: &Arc<Kernel>, this: &Weak<Self>, new: NewThreadGroup) -> Self {
        Self {
            id: kernel.tasks.new_id(),
            kernel: Arc::downgrade(kernel),
            container: new.container,
            cgroups: Mutex::new(new.cgroups),
            this: this.clone(),
            family: Mutex::new(Family {
                parent: new.parent,
                children: Vec::new(),
                process_group: new.process_group,
                exit: None,
            }),
            threads: Mutex::default(),
            leader_id: AtomicU64::new(0),
            signal: Mutex::default(),
            actions: RwLock::new(new.actions),
            limits: Mutex::new(new.limits),
            usage: Mutex::default(),
            child_events: WaitQueue::new(),
            exit_events: WaitQueue::new(),
            signal_events: WaitQueue::new(),
            flags: Flags::default(),
            dumpability: Mutex::new(new.dumpability),
            oom_score_adj: AtomicI32::new(new.oom_score_adj),
            personality: AtomicU32::new(new.personality),
            timers: ProcessTimers::default(),
            cpu_limit: CpuLimit::default(),
            tracees: Tracees::default(),
            exec_lock: ExecLock::default(),
        }
    }

    /// A number that no other task or process of this sandbox has or had.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// The kernel, while the sandbox lives.
    #[must_use]
    pub fn kernel(&self) -> Option<Arc<Kernel>> {
        self.kernel.upgrade()
    }

    /// The control group that it is in of a hierarchy; `None` for the one at the top.
    pub(super) fn cgroup(&self, hierarchy: u32) -> Option<Arc<Cgroup>> {
        self.cgroups.lock().get(&hierarchy).cloned()
    }

    /// All control groups that it is in.
    pub(super) fn memberships(&self) -> Memberships {
        self.cgroups.lock().clone()
    }

    pub(super) fn set_cgroup(&self, _tree: &TreeGuard<'_>, hierarchy: u32, group: Arc<Cgroup>) {
        self.cgroups.lock().insert(hierarchy, group);
    }

    pub(super) fn set_memberships(&self, _tree: &TreeGuard<'_>, memberships: Memberships) {
        *self.cgroups.lock() = memberships;
    }

    /// Its container.
    #[must_use]
    pub fn container(&self) -> &Arc<Container> {
        &self.container
    }

    /// The task whose number is the process's; `None` before the first and after the last moment of its life.
    #[must_use]
    pub fn leader(&self) -> Option<Arc<Task>> {
        let leader = self.leader_id();
        self.threads.lock().list.iter().find(|task| task.id() == leader).cloned()
    }

    pub(super) fn leader_id(&self) -> u64 {
        self.leader_id.load(Ordering::Relaxed)
    }

    pub(super) fn set_leader(&self, task: &Task) {
        self.leader_id.store(task.id(), Ordering::Relaxed);
    }

    /// Takes in a new thread, the first or another one.
    pub(super) fn add_thread(&self, task: &Arc<Task>) {
        let mut threads = self.threads.lock();
        threads.list.push(task.clone());
        threads.live += 1;
    }

    /// All its tasks that have not been released, in the order of their making.
    #[must_use]
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.threads.lock().list.clone()
    }

    /// How many tasks it has.
    #[must_use]
    pub fn thread_count(&self) -> usize {
        self.threads.lock().list.len()
    }

    /// Its number in its own pid name space.
    #[must_use]
    pub fn tgid(&self) -> Tid {
        self.leader().map_or(0, |leader| leader.tid())
    }

    /// Its number in `ns`, 0 where it is not visible.
    #[must_use]
    pub fn tgid_in(&self, ns: &Arc<PidNamespace>) -> Tid {
        self.leader().map_or(0, |leader| leader.tid_in(ns))
    }

    /// The process it is a child of; `None` for a container's first process and for those started from outside.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<ThreadGroup>> {
        self.family.lock().parent.group.upgrade()
    }

    /// Its children, zombies included.
    #[must_use]
    pub fn children(&self) -> Vec<Arc<ThreadGroup>> {
        self.family.lock().children.clone()
    }

    /// Its process group.
    #[must_use]
    pub fn process_group(&self) -> Arc<ProcessGroup> {
        self.family.lock().process_group.clone()
    }

    /// Its session.
    #[must_use]
    pub fn session(&self) -> Arc<Session> {
        self.family.lock().process_group.session().clone()
    }

    /// Whether it made its session.
    #[must_use]
    pub fn is_session_leader(&self) -> bool {
        let leader = self.session().leader();
        leader.is_some_and(|leader| leader.id == self.id)
    }

    pub(super) fn set_process_group(&self, _tree: &TreeGuard<'_>, group: Arc<ProcessGroup>) {
        let old = std::mem::replace(&mut self.family.lock().process_group, group.clone());
        old.remove(self);
        group.add(&self.this);
    }

    /// What it does about signals.
    #[must_use]
    pub fn actions(&self) -> Arc<SignalActions> {
        self.actions.read().get()
    }

    /// The same, for a process that is to share them.
    pub(super) fn shared_actions(&self) -> SharedActions {
        self.actions.read().clone()
    }

    /// Whether no other process shares its actions.
    pub(super) fn has_own_actions(&self) -> bool {
        self.actions.read().is_unshared()
    }

    /// sigaction(2): replaces an action; pending signals that are ignored from now on are forgotten.
    pub fn set_action(&self, signal: Signal, action: SigAction) -> SigAction {
        let mut state = self.signal.lock();
        let old = self.actions().set(signal, action);
        if action.ignores(signal) {
            self.discard_pending(&mut state, SigSet::of(signal));
        }
        old
    }

    pub(super) fn set_actions(&self, actions: SignalActions) {
        *self.actions.write() = SharedActions::new(actions);
    }

    /// Its limits as of now.
    #[must_use]
    pub fn limits(&self) -> Limits {
        *self.limits.lock()
    }

    /// Reads and perhaps changes its limits, as one step.
    pub fn update_limits<T>(&self, change: impl FnOnce(&mut Limits) -> T) -> T {
        let mut limits = self.limits.lock();
        // Threads that were told ask again, and wait for the lock.
        for task in self.tasks() {
            task.note_new_answers();
        }
        change(&mut limits)
    }

    /// Processor time of its threads, dead ones included.
    #[must_use]
    pub fn cpu_times(&self) -> CpuTimes {
        let dead = self.usage.lock().dead_threads;
        dead + self.tasks().iter().filter(|task| !task.has_exited()).map(|task| task.clock().times()).sum()
    }

    /// Processor time of its children that have been waited for.
    #[must_use]
    pub fn children_cpu_times(&self) -> CpuTimes {
        self.usage.lock().children
    }

    /// What its threads, and the children that it has waited for, have read and written.
    #[must_use]
    pub fn io_counts(&self) -> IoCounts {
        let gone = self.usage.lock().io;
        let live = self.tasks().into_iter().filter(|task| !task.has_exited());
        live.fold(gone, |sum, task| sum + task.io_counts())
    }

    pub(super) fn usage(&self) -> Usage {
        *self.usage.lock()
    }

    pub(super) fn update_usage(&self, change: impl FnOnce(&mut Usage)) {
        change(&mut self.usage.lock());
    }

    /// Told when a child changes state.
    #[must_use]
    pub fn child_events(&self) -> &WaitQueue {
        &self.child_events
    }

    /// Told when one of its threads has ended (`READABLE`), and when it has itself (`HUP`, too).
    #[must_use]
    pub fn exit_events(&self) -> &WaitQueue {
        &self.exit_events
    }

    /// Told when a signal is queued for it or one of its threads.
    #[must_use]
    pub fn signal_events(&self) -> &WaitQueue {
        &self.signal_events
    }

    /// How it ended, once all its threads have.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.family.lock().exit
    }

    /// Whether it has ended (and may not have been waited for yet).
    #[must_use]
    pub fn is_zombie(&self) -> bool {
        self.flags.is_zombie.load(Ordering::SeqCst)
    }

    pub(super) fn set_zombie(&self, status: ExitStatus) {
        self.family.lock().exit = Some(status);
        self.flags.is_zombie.store(true, Ordering::SeqCst);
    }

    /// Whether all its threads are stopped by job control.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.signal.lock().stop, GroupStop::Stopped(_))
    }

    /// Its timers.
    #[must_use]
    pub fn timers(&self) -> &ProcessTimers {
        &self.timers
    }

    /// The program it runs (`/proc/[pid]/exe`).
    #[must_use]
    pub fn exe(&self) -> Option<Arc<File>> {
        self.tasks().iter().find_map(|task| task.try_mm()).and_then(|mm| mm.image().exe)
    }

    /// Whether orphans below it become its children.
    #[must_use]
    pub fn is_subreaper(&self) -> bool {
        self.flags.is_subreaper.load(Ordering::Relaxed)
    }

    /// `PR_SET_CHILD_SUBREAPER`.
    pub fn set_subreaper(&self, is_subreaper: bool) {
        self.flags.is_subreaper.store(is_subreaper, Ordering::Relaxed);
    }

    /// Whether it has executed a program since it was forked (its parent may then not move it to another group).
    #[must_use]
    pub fn has_executed(&self) -> bool {
        self.flags.has_executed.load(Ordering::Relaxed)
    }

    pub(super) fn set_executed(&self) {
        self.flags.has_executed.store(true, Ordering::Relaxed);
    }

    /// Who may look into it.
    #[must_use]
    pub fn dumpability(&self) -> Dumpability {
        self.dumpability.lock().clone()
    }

    pub(super) fn set_dumpability(&self, dumpability: Dumpability) {
        *self.dumpability.lock() = dumpability;
    }

    /// Whether its equals may inspect it (`PR_GET_DUMPABLE`).
    #[must_use]
    pub fn is_dumpable(&self) -> bool {
        self.dumpability.lock().is_dumpable
    }

    /// See [`Self::is_dumpable`].
    pub fn set_dumpable(&self, is_dumpable: bool) {
        self.dumpability.lock().is_dumpable = is_dumpable;
    }

    /// Tells an address space the limits that it enforces.
    pub(crate) fn apply_memory_limits(&self, mm: &MemoryManager) {
        let limits = self.limits();
        mm.limits().set_address_space(limits.soft(Resource::As));
        mm.limits().set_data(limits.soft(Resource::Data));
        mm.limits().set_stack(limits.soft(Resource::Stack));
        mm.limits().set_locked(limits.soft(Resource::Memlock));
    }

    /// Whether it is the first process of a pid name space: signals from inside kill it only by its own handlers.
    #[must_use]
    pub fn is_init(&self) -> bool {
        self.flags.is_init.load(Ordering::Relaxed)
    }

    /// Becomes the first process of `ns`.
    pub(super) fn become_init(self: &Arc<Self>, ns: &PidNamespace) {
        ns.set_init(self);
        self.flags.is_init.store(true, Ordering::Relaxed);
        self.signal.lock().is_unkillable = true;
    }

    /// `/proc/[pid]/oom_score_adj`: counts when a process is chosen to be killed (`task/oom.rs`).
    #[must_use]
    pub fn oom_score_adj(&self) -> i32 {
        self.oom_score_adj.load(Ordering::Relaxed)
    }

    /// See [`Self::oom_score_adj`].
    pub fn set_oom_score_adj(&self, value: i32) {
        self.oom_score_adj.store(value, Ordering::Relaxed);
    }

    /// personality(2).
    #[must_use]
    pub fn personality(&self) -> u32 {
        self.personality.load(Ordering::Relaxed)
    }

    /// See [`Self::personality`].
    pub fn set_personality(&self, personality: u32) {
        self.personality.store(personality, Ordering::Relaxed);
    }

    /// Passes a changed limit on to whoever keeps a copy of it in the sentry.
    pub fn limits_changed(&self, resource: Resource) {
        if resource == Resource::Cpu {
            self.watch_cpu_limit();
        }
        if matches!(resource, Resource::As | Resource::Data | Resource::Stack | Resource::Memlock)
            && let Some(mm) = self.tasks().iter().find_map(|task| task.try_mm())
        {
            self.apply_memory_limits(&mm);
        }
    }

    /// The signal its parent is sent when it ends.
    #[must_use]
    pub fn exit_signal(&self) -> Option<Signal> {
        self.leader().and_then(|leader| leader.details.lock().exit_signal)
    }
}

impl std::fmt::Debug for ThreadGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ThreadGroup({})", self.tgid())
    }
}
