//! Executing a program: execve(2), execveat(2), and the start of a container's processes.
//!
//! Everything that can fail happens first, in a fresh address space. Then comes the point of no return: the other
//! threads are killed and waited for, and the new memory, credentials and registers take effect.

use std::sync::Arc;

use abi::mount::MountFlags;
use abi::{Errno, FileType, OpenFlags, Regs, Result, Signal, UserAddr};
use platform::Context;
use waiter::Events;

use super::exec_creds::ExecCreds;
use super::{CurrentTask, ExitStatus, Task};
use crate::error::{Restart, SysError, SysResult};
use crate::loader::{self, Program};
use crate::mm::MemoryManager;
use crate::vfs::{Caller, File, MAY_EXEC, Origin, VfsPath, WalkFlags, check_access};

/// The flags that a program starts with: interrupts enabled, and the bit that is always set.
const INITIAL_FLAGS: u64 = 0x202;

/// A program loaded into memory of its own, ready to take over.
pub(super) struct Prepared {
    mm: Arc<MemoryManager>,
    context: Box<dyn Context>,
    creds: ExecCreds,
    program: Program,
    entry: u64,
    stack_pointer: u64,
    comm: Vec<u8>,
}

/// What execve(2) is asked to run.
#[derive(Debug)]
pub struct ExecRequest {
    /// The opened program.
    pub file: Arc<File>,
    /// Its path as given.
    pub path: Vec<u8>,
    /// Arguments.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Whether the path stops working once descriptors marked close-on-exec are closed: scripts cannot be run then.
    pub path_vanishes: bool,
}

/// Whether the file at `path` may be executed by `task`.
///
/// # Errors
/// `ELOOP` for a symbolic link that was not followed; `EACCES` where it is no regular file, its mode says no, or its
/// mount does not allow execution.
pub(crate) fn check_executable(task: &Task, path: &VfsPath) -> Result<()> {
    let file_type = path.inode().attr()?.file_type();
    if file_type == FileType::Symlink {
        return Err(Errno::ELOOP);
    }
    if file_type != FileType::Regular || path.mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    let creds = task.creds();
    check_access(&Caller { creds: &creds, task: Some(task) }, path.inode(), MAY_EXEC)
}

/// Opens the program that `path` names, for which it need not be readable.
///
/// # Errors
/// As path_resolution(7) and [`check_executable`].
pub(crate) fn open_executable(
    task: &Task,
    origin: &Origin,
    path: &[u8],
    flags: WalkFlags,
) -> Result<Arc<File>> {
    let creds = task.creds();
    let place = task.kernel().vfs.lookup(&Caller { creds: &creds, task: Some(task) }, origin, path, flags)?;
    open_place(task, &place)
}

/// As [`open_executable`], for a file that has been found already.
///
/// # Errors
/// As [`check_executable`]; `ETXTBSY` while somebody has it open for writing.
pub(crate) fn open_place(task: &Task, place: &VfsPath) -> Result<Arc<File>> {
    check_executable(task, place)?;
    if place.inode().common().has_writers() {
        return Err(Errno::ETXTBSY);
    }
    let creds = task.creds();
    let caller = Caller { creds: &creds, task: Some(task) };
    let ops = place.inode().clone().open(&caller, OpenFlags::empty())?;
    Ok(File::new(place.clone(), ops, OpenFlags::empty(), creds.clone()))
}

/// Loads a program for `task` into a new address space.
///
/// # Errors
/// As execve(2).
pub(super) fn prepare(task: &Task, request: ExecRequest) -> Result<Prepared> {
    let ExecRequest { file, path, argv, envp, path_vanishes } = request;
    let comm = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
    let script = file.clone();
    let program = loader::open_program(task, file, &path, argv, envp)?;
    if path_vanishes && !Arc::ptr_eq(&script, &program.file) {
        return Err(Errno::ENOENT);
    }
    let creds = task.creds_for_program(&program.file)?;
    let kernel = task.kernel();
    let mm = MemoryManager::new(&kernel.platform, &kernel.memory)?;
    task.thread_group().apply_memory_limits(&mm);
    mm.inherit_exec_gain(&task.mm());
    let image = loader::load(task, &mm, &program, &creds.new, creds.is_secure)?;
    let context = mm.address_space().new_context(None).map_err(|_| Errno::EAGAIN)?;
    let (entry, stack_pointer) = (image.entry, image.stack_pointer);
    Ok(Prepared { mm, context, creds, program, entry, stack_pointer, comm })
}

impl Prepared {
    /// The registers that the program starts with.
    pub(super) fn regs(&self) -> Regs {
        Regs {
            rip: self.entry,
            rsp: self.stack_pointer,
            rflags: INITIAL_FLAGS,
            cs: Regs::USER_CS,
            ss: Regs::USER_SS,
            orig_rax: u64::MAX,
            ..Regs::default()
        }
    }

    /// Gives `task` the new memory, name, credentials and program; returns the context to run it in.
    pub(super) fn install(self, task: &Task) -> Box<dyn Context> {
        let Self { mm, context, creds, program, comm, .. } = self;
        task.set_comm(&comm);
        if creds.is_changed {
            task.details.lock().parent_death_signal = None;
        }
        let old = {
            let _all_at_once = task.thread_group().exec_lock.update.write();
            task.thread_group().set_dumpability(creds.dumpability);
            task.set_creds(creds.new);
            task.set_mm(Some(mm))
        };
        drop(old);
        drop(program);
        context
    }
}

impl CurrentTask {
    /// execve(2): on success the registers are the new program's.
    ///
    /// # Errors
    /// As execve(2).
    pub fn execute(&mut self, request: ExecRequest) -> SysResult<()> {
        let group = self.thread_group().clone();
        let guard = group.guard_exec(self)?;
        let prepared = prepare(self, request)?;
        let old_tid = self.tid();
        self.become_only_thread()?;
        // The point of no return.
        self.leave_old_program();
        self.regs = prepared.regs();
        let context = prepared.install(self);
        drop(guard);
        self.replace_context(context);
        group.set_executed();
        if let Some(done) = self.details.lock().vfork_done.take() {
            done.complete();
        }
        self.trace_exec(old_tid);
        Ok(())
    }

    /// Forgets what belongs to the old program: handlers, alternate stack, futex lists, descriptors, timers.
    fn leave_old_program(&mut self) {
        let group = self.thread_group().clone();
        self.release_futexes();
        self.set_futexes_released(false);
        {
            let actions = group.actions().copy();
            actions.reset_handlers();
            group.set_actions(actions);
        }
        {
            let _state = group.signal.lock();
            let mut own = self.signals.lock();
            own.alt_stack = crate::signal::AltStack::default();
            own.saved_mask = None;
        }
        let keyrings = {
            let mut details = self.details.lock();
            details.restart = None;
            details.clear_child_tid = UserAddr::NULL;
            details.robust_list = UserAddr::NULL;
            details.exit_signal = Some(Signal::CHLD);
            let kept = details.keyrings.for_process();
            std::mem::replace(&mut details.keyrings, kept)
        };
        drop(keyrings);
        group.timers().delete_posix();
        self.own_fd_table();
        self.fd_table().close_on_exec(self);
        self.trap = crate::signal::TrapInfo::default();
    }

    /// Ends all other threads of the process and takes over the leader's number (Linux's `de_thread`).
    ///
    /// # Errors
    /// `Restart::NoIntr` where the process is being killed, or another thread executes a program: this one ends.
    fn become_only_thread(&mut self) -> SysResult<()> {
        let group = self.thread_group().clone();
        {
            let mut state = group.signal.lock();
            if state.group_exit.is_some() || state.exec_in_progress {
                return Err(SysError::Restart(Restart::NoIntr));
            }
            state.exec_in_progress = true;
            for task in group.tasks() {
                if task.id() != self.id() {
                    task.begin_exit(ExitStatus::Killed { signal: Signal::KILL, core: false });
                }
            }
        }
        let result = self.wait_for_threads();
        if result.is_ok() && !self.is_leader() {
            self.replace_leader();
        }
        group.signal.lock().exec_in_progress = false;
        result
    }

    fn wait_for_threads(&self) -> SysResult<()> {
        let group = self.thread_group();
        let _registration = group.exit_events().register(Events::IN, self.notifier());
        loop {
            let others = group.tasks().into_iter().filter(|task| task.id() != self.id());
            if others.into_iter().all(|task| task.is_leader() && task.has_exited()) {
                return Ok(());
            }
            if self.is_killed() {
                return Err(SysError::Restart(Restart::NoIntr));
            }
            self.park_killable();
        }
    }

    /// A thread other than the first executes a program: it gets the process's number, the old leader goes.
    fn replace_leader(&self) {
        let group = self.thread_group();
        let kernel = self.kernel();
        let _tree = kernel.tasks.tree();
        let Some(leader) = group.leader() else { return };
        let (own, process) = (self.pid(), leader.pid());
        leader.set_pid(own.clone());
        self.set_pid(process.clone());
        process.set_task(Some(self.task().clone()));
        group.set_leader(self);
        group.threads.lock().list.retain(|task| task.id() != leader.id());
        leader.release_charge();
        own.set_task(None);
        self.details.lock().exit_signal = Some(Signal::CHLD);
    }
}
