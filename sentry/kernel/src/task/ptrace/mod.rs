//! Tracing (`man 2 ptrace`).
//!
//! A tracee stops by publishing its registers and extended state in its [`Trace`], telling the tracer, and parking
//! until the tracer has said how to go on; it then takes the registers, perhaps changed, back. So a tracer never
//! touches a running task. Lock: a task's `trace` is a leaf; whom a process traces is another.

mod events;
mod regs_x86_64;
mod stop;
mod wait;
mod watch_x86_64;

use std::sync::{Arc, Weak};

use abi::ptrace::TraceOptions;
use abi::{Errno, Regs, Result, SigInfo, Signal};

use super::{Capability, Credentials, ExitStatus, Task, TreeGuard, Work};
use crate::error::SysResult;
use crate::security::AccessIds;
use crate::signal::Sender;

pub use regs_x86_64::RegisterSet;
pub(crate) use wait::Tracees;
pub(crate) use watch_x86_64::DebugRegs;

/// How a tracee goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// To the next event.
    Continue,
    /// To the next entry to or exit from a system call.
    ToCall,
    /// As `ToCall`, and the call entered is not carried out.
    EmulateCalls,
    /// One instruction.
    Step,
    /// It stays in its group stop, but may be woken by `SIGCONT`.
    Listen,
}

/// What a tracee has stopped for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopKind {
    /// A signal is about to be taken.
    Signal,
    /// A system call begins.
    CallEntry,
    /// A system call has ended.
    CallExit,
    /// `PTRACE_EVENT_*`.
    Event(i32),
    /// The whole process has been stopped.
    Group,
}

/// The state of a tracee that has stopped.
#[derive(Clone, Debug)]
pub struct Stopped {
    /// What for.
    pub kind: StopKind,
    /// The upper part of the wait status.
    pub code: i32,
    /// Registers.
    pub regs: Regs,
    /// Extended state.
    pub xstate: Vec<u8>,
    /// The tracer has changed the extended state.
    pub xstate_changed: bool,
    /// The signal that it stopped for.
    pub info: Option<SigInfo>,
    /// wait4(2) has told of it.
    pub was_reported: bool,
}

/// Who begins to trace a task, and how.
struct Link {
    tracer: Arc<Task>,
    /// Credentials of who makes the link, as they are now: the tracer's, or the tracee's own where it asks to be traced.
    /// What the tracer becomes later gives its tracee nothing (Linux's `ptracer_cred`).
    linker: Arc<Credentials>,
    options: TraceOptions,
    is_seized: bool,
}

/// A task as a tracee.
#[derive(Debug, Default)]
pub struct Trace {
    tracer: Weak<Task>,
    /// See [`Link::linker`].
    linker: Option<Arc<Credentials>>,
    is_seized: bool,
    /// `PTRACE_O_*`.
    pub options: TraceOptions,
    /// `PTRACE_GETEVENTMSG`.
    pub message: u64,
    /// Present while it is stopped.
    pub stopped: Option<Box<Stopped>>,
    /// What `PTRACE_SETSIGINFO` put in the place of the signal it stopped for.
    pub(crate) last_info: Option<SigInfo>,
    /// What the tracer said last.
    resume: Option<(Resume, Option<Signal>)>,
    mode: Option<Resume>,
    must_interrupt: bool,
    debug: DebugRegs,
}

impl Trace {
    /// Whether it was attached to by `PTRACE_SEIZE`.
    #[must_use]
    pub fn is_seized(&self) -> bool {
        self.is_seized
    }

    /// The same link for another tracee.
    fn link(&self) -> Option<Link> {
        let (tracer, linker) = (self.tracer.upgrade()?, self.linker.clone()?);
        Some(Link { tracer, linker, options: self.options, is_seized: self.is_seized })
    }

    /// The debug registers.
    pub(crate) fn debug_regs(&mut self) -> &mut DebugRegs {
        &mut self.debug
    }
}

impl Task {
    /// Its tracer.
    #[must_use]
    pub fn tracer(&self) -> Option<Arc<Task>> {
        self.trace.lock().tracer.upgrade()
    }

    /// Whether this task traces `other`.
    #[must_use]
    pub fn traces(&self, other: &Task) -> bool {
        other.tracer().is_some_and(|tracer| tracer.thread_group().id() == self.thread_group().id())
    }

    /// Makes this task somebody's tracee.
    ///
    /// # Errors
    /// `EPERM` where it is one already, or where the tracer has let go of its tracees at its end.
    fn link_tracer(self: &Arc<Self>, _tree: &TreeGuard<'_>, link: Link) -> Result<()> {
        let Link { tracer, linker, options, is_seized } = link;
        let mut trace = self.trace.lock();
        if self.is_traced() || tracer.has_exited() {
            return Err(Errno::EPERM);
        }
        // A former tracer may have let it go on, and it has not got to that yet.
        let (stopped, resume) = (trace.stopped.take(), trace.resume.take());
        let (tracer_ref, linker) = (Arc::downgrade(&tracer), Some(linker));
        *trace =
            Trace { tracer: tracer_ref, linker, is_seized, options, stopped, resume, ..Trace::default() };
        self.set_traced(true);
        drop(trace);
        tracer.thread_group().tracees.add(self);
        Ok(())
    }

    /// Ends tracing; a stopped tracee goes on with `signal`.
    pub(crate) fn unlink_tracer(&self, signal: Option<Signal>) {
        let tracer = {
            let mut trace = self.trace.lock();
            self.set_traced(false);
            trace.resume = Some((Resume::Continue, signal));
            trace.mode = None;
            trace.debug = DebugRegs::default();
            trace.linker = None;
            std::mem::take(&mut trace.tracer)
        };
        if let Some(tracer) = tracer.upgrade() {
            tracer.thread_group().tracees.remove(self);
        }
        self.wake().parker().unpark();
    }

    /// `PTRACE_TRACEME`.
    ///
    /// # Errors
    /// `EPERM` where it is traced already, or where its parent may not.
    pub fn trace_me(self: &Arc<Self>) -> Result<()> {
        let tree = self.kernel().tasks.tree();
        let parent = self.thread_group().family.lock().parent.task.upgrade().ok_or(Errno::EPERM)?;
        if !parent.may_inspect(self, AccessIds::Real) {
            return Err(Errno::EPERM);
        }
        let linker = self.creds();
        self.link_tracer(
            &tree,
            Link { tracer: parent, linker, options: TraceOptions::empty(), is_seized: false },
        )
    }

    /// `PTRACE_ATTACH` and `PTRACE_SEIZE` by `tracer`.
    ///
    /// # Errors
    /// `EPERM`; `Restart::NoIntr` where a signal comes before the end of an execve(2) of the tracee's.
    pub fn attach(self: &Arc<Self>, tracer: &Arc<Task>, seize: Option<TraceOptions>) -> SysResult<()> {
        if self.thread_group().id() == tracer.thread_group().id() {
            return Err(Errno::EPERM.into());
        }
        let _no_exec = self.thread_group().guard_exec(tracer)?;
        if self.has_exited() || !tracer.may_inspect(self, AccessIds::Real) {
            return Err(Errno::EPERM.into());
        }
        let tree = self.kernel().tasks.tree();
        let (options, is_seized) = (seize.unwrap_or_default(), seize.is_some());
        let (tracer, linker) = (tracer.clone(), tracer.creds());
        self.link_tracer(&tree, Link { tracer, linker, options, is_seized })?;
        drop(tree);
        if seize.is_none() {
            let info = SigInfo::new(Signal::STOP, abi::signal::SI_USER);
            // SIGSTOP is never refused.
            let _ = self.thread_group().queue_signal(Some(self), Signal::STOP, info, Sender::Above);
        }
        // One that is stopped with its process becomes a stop for the tracer.
        self.wake().parker().unpark();
        Ok(())
    }

    /// `PTRACE_INTERRUPT`.
    pub fn interrupt_for_tracer(&self) {
        self.trace.lock().must_interrupt = true;
        self.wake().add(Work::TRACE);
    }

    /// Lets a stopped tracee go on.
    ///
    /// # Errors
    /// `ESRCH` where it is not stopped, `EIO` for `Listen` outside a group stop.
    pub fn resume_tracee(&self, how: Resume, signal: Option<Signal>) -> Result<()> {
        let mut trace = self.trace.lock();
        let stopped = trace.stopped.as_ref().ok_or(Errno::ESRCH)?;
        if how == Resume::Listen {
            let may_listen = trace.is_seized
                && (stopped.kind == StopKind::Group
                    || stopped.kind == StopKind::Event(abi::ptrace::event::STOP));
            if !may_listen {
                return Err(Errno::EIO);
            }
        }
        trace.resume = Some((how, signal));
        self.wake().parker().unpark();
        Ok(())
    }

    /// Runs `f` on a stopped tracee's state.
    ///
    /// # Errors
    /// `ESRCH` where it is not stopped.
    pub fn with_stopped<T>(&self, f: impl FnOnce(&mut Stopped) -> Result<T>) -> Result<T> {
        let mut trace = self.trace.lock();
        f(trace.stopped.as_mut().ok_or(Errno::ESRCH)?)
    }

    /// A tracer has exited: its tracees go on without it, or die; the parents of those that have ended hear of it now.
    pub(in crate::task) fn release_tracees(self: &Arc<Self>, tree: &TreeGuard<'_>) {
        for tracee in self.thread_group().tracees.all() {
            let (is_own, kills) = {
                let trace = tracee.trace.lock();
                let is_own = trace.tracer.upgrade().is_some_and(|tracer| tracer.id() == self.id());
                (is_own, trace.options.contains(TraceOptions::EXITKILL))
            };
            if !is_own {
                continue;
            }
            if kills {
                tracee.thread_group().kill(ExitStatus::Killed { signal: Signal::KILL, core: false });
            }
            tracee.unlink_tracer(None);
            let group = tracee.thread_group();
            let is_foreign = group.parent().is_none_or(|parent| !Arc::ptr_eq(&parent, self.thread_group()));
            if tracee.is_leader() && group.is_zombie() && is_foreign {
                group.tell_parent_of_end(tree);
            }
        }
    }

    /// Whether who made its tracer its tracer could raise privileges, so that a program may gain some under it.
    pub(in crate::task) fn tracer_may_privilege(&self) -> bool {
        let user_ns = self.creds().user_ns.clone();
        let trace = self.trace.lock();
        trace.linker.as_ref().is_some_and(|linker| linker.has_in(&user_ns, Capability::SysPtrace))
    }
}
