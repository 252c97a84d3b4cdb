//! The [`Task`]: one guest thread, as everybody but its own sentry thread sees it.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Weak};

use abi::resource::Resource;
use abi::{Errno, Result, SigInfo, Signal, UserAddr};
use parking_lot::{Mutex, RwLock};

use super::cgroup::{Membership, Seat};
use super::details::TaskDetails;
use super::ptrace::Trace;
use super::{
    AccountCharge, Container, CpuClock, Credentials, ExitStatus, IoCounters, IoCounts, Namespaces, Pid,
    PidNamespace, PostedCalls, ThreadGroup, Tid, UserAccount, Wake, Work,
};
use crate::Kernel;
use crate::ipc::UndoList;
use crate::mm::MemoryManager;
use crate::security::Seccomp;
use crate::signal::TaskSignals;
use crate::vfs::{FdTable, FsContext};

/// A guest thread.
///
/// What it refers to (memory, descriptors, credentials...) is replaced as a whole: each in a lock of its own that is
/// held only to take or change the reference.
pub struct Task {
    id: u64,
    kernel: Arc<Kernel>,
    group: Arc<ThreadGroup>,
    pid: RwLock<Arc<Pid>>,
    /// Its number in its own name space, for speed.
    tid: AtomicI32,
    mm: RwLock<Option<Arc<MemoryManager>>>,
    creds: RwLock<Arc<Credentials>>,
    fds: RwLock<Arc<FdTable>>,
    fs: RwLock<Arc<FsContext>>,
    namespaces: RwLock<Arc<Namespaces>>,
    wake: Wake,
    clock: CpuClock,
    io: IoCounters,
    posted: Arc<PostedCalls>,
    /// Under the thread group's signal lock.
    pub(crate) signals: Mutex<TaskSignals>,
    pub(crate) details: Mutex<TaskDetails>,
    pub(crate) seccomp: Seccomp,
    pub(crate) trace: Mutex<Trace>,
    exit: Mutex<Option<ExitStatus>>,
    /// It runs no guest code any more.
    has_exited: AtomicBool,
    futexes_released: AtomicBool,
    is_traced: AtomicBool,
    is_trace_stopped: AtomicBool,
    charge: RwLock<Option<AccountCharge>>,
    pub(super) membership: Membership,
    /// What its end takes back from semaphores.
    sem_undo: Mutex<Option<Arc<UndoList>>>,
}

/// What a new task starts with.
pub(super) struct NewTask {
    pub(super) kernel: Arc<Kernel>,
    pub(super) group: Arc<ThreadGroup>,
    pub(super) pid: Arc<Pid>,
    pub(super) mm: Arc<MemoryManager>,
    pub(super) creds: Arc<Credentials>,
    pub(super) fds: Arc<FdTable>,
    pub(super) fs: Arc<FsContext>,
    pub(super) namespaces: Arc<Namespaces>,
    pub(super) signals: TaskSignals,
    pub(super) details: TaskDetails,
    pub(super) charge: Option<AccountCharge>,
    pub(super) seat: Seat,
    pub(super) sem_undo: Option<Arc<UndoList>>,
}

impl Task {
    pub(super) fn new(new: NewTask) -> Arc<Self> {
        Arc::new(Self {
            id: new.kernel.tasks.new_id(),
            tid: AtomicI32::new(new.pid.number()),
            kernel: new.kernel,
            group: new.group,
            pid: RwLock::new(new.pid),
            mm: RwLock::new(Some(new.mm)),
            creds: RwLock::new(new.creds),
            fds: RwLock::new(new.fds),
            fs: RwLock::new(new.fs),
            namespaces: RwLock::new(new.namespaces),
            wake: Wake::new(),
            clock: CpuClock::new(),
            posted: PostedCalls::new(),
            io: IoCounters::default(),
            signals: Mutex::new(new.signals),
            details: Mutex::new(new.details),
            seccomp: Seccomp::default(),
            trace: Mutex::default(),
            exit: Mutex::new(None),
            has_exited: AtomicBool::new(false),
            futexes_released: AtomicBool::new(false),
            is_traced: AtomicBool::new(false),
            is_trace_stopped: AtomicBool::new(false),
            charge: RwLock::new(new.charge),
            membership: Membership::new(new.seat),
            sem_undo: Mutex::new(new.sem_undo),
        })
    }

    /// A number that no other task of this sandbox has or had.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The kernel it belongs to.
    #[must_use]
    pub fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// Its number in its own pid name space.
    #[must_use]
    pub fn tid(&self) -> Tid {
        self.tid.load(Ordering::Relaxed)
    }

    /// Its identifier.
    #[must_use]
    pub fn pid(&self) -> Arc<Pid> {
        self.pid.read().clone()
    }

    /// Its number in `ns`, 0 where it is not visible.
    #[must_use]
    pub fn tid_in(&self, ns: &Arc<PidNamespace>) -> Tid {
        self.pid.read().number_in(ns).unwrap_or(0)
    }

    /// The name space that its own number is of.
    #[must_use]
    pub fn pid_ns(&self) -> Arc<PidNamespace> {
        self.pid.read().namespace().clone()
    }

    /// Its process.
    #[must_use]
    pub fn thread_group(&self) -> &Arc<ThreadGroup> {
        &self.group
    }

    /// Whether its number is that of its process.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.group.leader_id() == self.id
    }

    /// Its container.
    #[must_use]
    pub fn container(&self) -> &Arc<Container> {
        self.group.container()
    }

    /// Its address space; `None` once it has exited.
    #[must_use]
    pub fn try_mm(&self) -> Option<Arc<MemoryManager>> {
        self.mm.read().clone()
    }

    /// The address space of a task that is running, as the caller's own is.
    #[must_use]
    pub fn mm(&self) -> Arc<MemoryManager> {
        self.try_mm().expect("a task that makes a system call has not exited")
    }

    /// Its credentials as of now.
    #[must_use]
    pub fn creds(&self) -> Arc<Credentials> {
        self.creds.read().clone()
    }

    /// What is counted for its user.
    #[must_use]
    pub fn account(&self) -> Arc<UserAccount> {
        self.kernel().tasks.accounts.get(self.creds().uid)
    }

    /// Its descriptors. Empty once it has exited.
    #[must_use]
    pub fn fd_table(&self) -> Arc<FdTable> {
        self.fds.read().clone()
    }

    /// Its root, working directory and umask.
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        self.fs.read().clone()
    }

    /// Its name spaces other than pid and user.
    #[must_use]
    pub fn namespaces(&self) -> Arc<Namespaces> {
        self.namespaces.read().clone()
    }

    /// Where it hears of work.
    #[must_use]
    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    /// Its processor time.
    #[must_use]
    pub fn clock(&self) -> &CpuClock {
        &self.clock
    }

    /// Where it counts what it reads and writes, but for what it posts.
    pub(crate) fn io(&self) -> &IoCounters {
        &self.io
    }

    /// What it has read and written.
    #[must_use]
    pub fn io_counts(&self) -> IoCounts {
        self.io.counts() + self.posted.io_counts()
    }

    /// The calls that it has posted.
    pub(super) fn posted(&self) -> &Arc<PostedCalls> {
        &self.posted
    }

    /// Its name: `comm`, at most 15 bytes.
    #[must_use]
    pub fn comm(&self) -> Vec<u8> {
        self.details.lock().comm.clone()
    }

    /// Renames it; the name ends at the first NUL or after 15 bytes.
    pub fn set_comm(&self, name: &[u8]) {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len()).min(15);
        self.details.lock().comm = name[..end].to_vec();
    }

    /// A copy of what it remembers, for `/proc`.
    #[must_use]
    pub fn details(&self) -> TaskDetails {
        self.details.lock().clone()
    }

    /// Changes what it remembers.
    pub fn update_details<T>(&self, change: impl FnOnce(&mut TaskDetails) -> T) -> T {
        change(&mut self.details.lock())
    }

    /// A soft resource limit of its process.
    #[must_use]
    pub fn limit(&self, resource: Resource) -> u64 {
        self.group.limits().soft(resource)
    }

    /// When it was made.
    #[must_use]
    pub fn start_time(&self) -> crate::time::MonotonicTime {
        crate::time::MonotonicTime(self.details.lock().start_time_ns)
    }

    /// Whether it runs no guest code any more.
    #[must_use]
    pub fn has_exited(&self) -> bool {
        self.has_exited.load(Ordering::SeqCst)
    }

    /// How it ended, once it has begun to.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        *self.exit.lock()
    }

    /// Begins its end, unless that has begun.
    pub(crate) fn begin_exit(&self, status: ExitStatus) {
        self.exit.lock().get_or_insert(status);
        self.wake.add(Work::SIGNAL);
    }

    /// Whether a tracer is attached.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.is_traced.load(Ordering::SeqCst)
    }

    pub(super) fn set_traced(&self, is_traced: bool) {
        self.is_traced.store(is_traced, Ordering::SeqCst);
        self.note_new_answers();
        // It may be posting calls.
        self.wake().add(Work::ANSWERS);
    }

    pub(super) fn set_trace_stopped(&self, is_stopped: bool) {
        self.is_trace_stopped.store(is_stopped, Ordering::SeqCst);
    }

    /// Whether it is stopped for its tracer.
    #[must_use]
    pub fn is_trace_stopped(&self) -> bool {
        self.is_trace_stopped.load(Ordering::SeqCst)
    }

    /// It has been waited for, or need not be: its owner's count of processes goes down, and its group's.
    pub(super) fn release_charge(&self) {
        self.release_pids_charge();
        let charge = self.charge.write().take();
        drop(charge);
    }

    /// What its end takes back from semaphores.
    pub(crate) fn sem_undo(&self) -> &Mutex<Option<Arc<UndoList>>> {
        &self.sem_undo
    }

    /// Takes back what it did to semaphores, unless other tasks share its list.
    pub(super) fn release_semaphores(&self) {
        let undo = self.sem_undo.lock().take();
        drop(undo);
    }

    /// Whether it hands on no lock any more, so that nobody may queue for one behind it.
    pub(super) fn has_released_futexes(&self) -> bool {
        self.futexes_released.load(Ordering::SeqCst)
    }

    /// From now on, or until execve(2) is done with its old memory.
    pub(super) fn set_futexes_released(&self, is_released: bool) {
        self.futexes_released.store(is_released, Ordering::SeqCst);
    }

    pub(super) fn set_exited(&self) {
        self.has_exited.store(true, Ordering::SeqCst);
    }

    pub(super) fn set_mm(&self, mm: Option<Arc<MemoryManager>>) -> Option<Arc<MemoryManager>> {
        std::mem::replace(&mut self.mm.write(), mm)
    }

    pub(crate) fn set_creds(&self, creds: Credentials) {
        *self.creds.write() = Arc::new(creds);
        self.note_new_answers();
    }

    pub(crate) fn set_fd_table(&self, fds: Arc<FdTable>) -> Arc<FdTable> {
        std::mem::replace(&mut self.fds.write(), fds)
    }

    /// Goes over to another root and working directory, of which it is one of the counted users.
    pub(super) fn leave_fs(&self, next: Arc<FsContext>) {
        let old = std::mem::replace(&mut *self.fs.write(), next);
        old.release();
    }

    /// Stops sharing root, working directory and umask with other tasks (`CLONE_FS`).
    pub(super) fn own_fs(&self) {
        let fs = self.fs();
        if fs.is_shared() {
            self.leave_fs(fs.duplicate());
        }
    }

    pub(crate) fn set_namespaces(&self, namespaces: Namespaces) {
        *self.namespaces.write() = Arc::new(namespaces);
    }

    pub(super) fn set_pid(&self, pid: Arc<Pid>) {
        self.tid.store(pid.number(), Ordering::Relaxed);
        *self.pid.write() = pid;
        self.note_new_answers();
    }

    /// Sends it a signal of the kernel's making.
    pub fn send_signal(&self, info: SigInfo) {
        if let Some(signal) = info.signal() {
            // The kernel's signals never fail for want of space.
            let _ = self.group.queue_signal(Some(self), signal, info, crate::signal::Sender::Kernel);
        }
    }

    /// Sends it, the caller, a signal for what it has just tried: as if it came from itself, as on Linux.
    pub(crate) fn raise(&self, signal: Signal) {
        self.send_signal(self.user_signal(signal, abi::signal::SI_USER, self));
    }

    /// Checks that it may make a file `size` bytes long: beyond `RLIMIT_FSIZE` it gets a signal.
    ///
    /// # Errors
    /// `EFBIG`.
    pub(crate) fn check_file_size(&self, size: u64) -> Result<()> {
        if size <= self.limit(Resource::Fsize) {
            return Ok(());
        }
        self.raise(Signal::XFSZ);
        Err(Errno::EFBIG)
    }

    /// Makes it take `signal` even if it blocks or ignores it (a fault): those then mean death.
    pub fn force_signal(&self, info: SigInfo) {
        self.group.force_signal(self, info);
    }

    /// Sends `SIGSEGV` for an address that the kernel itself could not use on its behalf.
    pub fn force_segv(&self, addr: UserAddr) {
        self.force_signal(SigInfo::from_fault(Signal::SEGV, abi::signal::SI_KERNEL, addr.0));
    }
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task({}, {})", self.tid(), String::from_utf8_lossy(&self.comm()))
    }
}

/// A parent as a child remembers it: the process, and the thread that made the child.
#[derive(Clone, Debug, Default)]
pub(super) struct Parent {
    pub(super) group: Weak<ThreadGroup>,
    pub(super) task: Weak<Task>,
}
