//! Making tasks: fork(2), vfork(2), clone(2), clone3(2).

use std::sync::Arc;

use abi::resource::Resource;
use abi::sched::CloneFlags;
use abi::{Errno, Signal, UserAddr};
use waiter::Events;
use zerocopy::IntoBytes;

use super::cgroup::{Extent, Seat};
use super::task::{NewTask, Parent};
use super::thread_group::NewThreadGroup;
use super::{
    AccountCharge, Capability, Credentials, CurrentTask, ExitStatus, Namespaces, Pid, Task, ThreadGroup, Tid,
    VforkDone,
};
use crate::error::{Restart, SysError, SysResult};
use crate::limits;
use crate::mm::MemoryManager;
use crate::signal::{AltStack, Forking, GroupStop, SharedActions, SignalActions, TaskSignals};
use crate::vfs::{Fd, FdTable, File, FsContext, ReservedFds};

/// What clone3(2) asks for, in the terms of all its forms.
#[derive(Clone, Debug, Default)]
pub struct CloneRequest {
    /// What is shared and what is new.
    pub flags: CloneFlags,
    /// What the parent is sent when the child ends.
    pub exit_signal: Option<Signal>,
    /// The child's stack pointer; 0 keeps the parent's.
    pub stack: u64,
    /// The child's `fs` base with `SETTLS`.
    pub tls: u64,
    /// Where the parent finds the child's number with `PARENT_SETTID`.
    pub parent_tid: UserAddr,
    /// Where the child finds it with `CHILD_SETTID`, and what is cleared with `CHILD_CLEARTID`.
    pub child_tid: UserAddr,
    /// Where the descriptor goes with `PIDFD`.
    pub pidfd: UserAddr,
    /// Wanted numbers, from the innermost pid name space outwards.
    pub set_tid: Vec<Tid>,
    /// The directory of its control group, with `INTO_CGROUP`.
    pub cgroup: Fd,
}

/// What a child shares with its parent or has copies of.
struct Inherited {
    mm: Arc<MemoryManager>,
    fds: Arc<FdTable>,
    fs: Arc<FsContext>,
    creds: Arc<Credentials>,
    namespaces: Arc<Namespaces>,
}

impl CloneRequest {
    /// Refuses combinations that make no sense.
    ///
    /// # Errors
    /// `EINVAL`.
    fn check(&self) -> Result<(), Errno> {
        let flags = self.flags;
        let together = |a: CloneFlags, b: CloneFlags| flags.contains(a) && flags.intersects(b);
        let needs = |a: CloneFlags, b: CloneFlags| flags.contains(a) && !flags.contains(b);
        let is_bad = together(CloneFlags::FS, CloneFlags::NEWNS | CloneFlags::NEWUSER)
            || needs(CloneFlags::THREAD, CloneFlags::SIGHAND)
            || needs(CloneFlags::SIGHAND, CloneFlags::VM)
            || together(CloneFlags::SIGHAND, CloneFlags::CLEAR_SIGHAND)
            || together(CloneFlags::THREAD, CloneFlags::NEWPID | CloneFlags::NEWUSER)
            || together(CloneFlags::NEWIPC, CloneFlags::SYSVSEM)
            || together(CloneFlags::VM, CloneFlags::NEWTIME)
            || flags.contains(CloneFlags::NEWTIME);
        if is_bad { Err(Errno::EINVAL) } else { Ok(()) }
    }
}

impl CurrentTask {
    /// Makes a child and starts it; returns its number. With `VFORK`, returns when the child has let go of the memory.
    ///
    /// # Errors
    /// As clone(2).
    pub fn clone_task(&mut self, request: &CloneRequest) -> SysResult<Tid> {
        request.check()?;
        let flags = request.flags;
        if flags.contains(CloneFlags::PARENT) && self.thread_group().is_init() {
            // Its child would be out of the name space that it is to reap.
            return Err(Errno::EINVAL.into());
        }
        let is_process = !flags.contains(CloneFlags::THREAD);
        let forking = is_process.then(|| Forking::begin(self.thread_group(), self.id()));
        if self.wake().is_interrupted() {
            // A signal to the group reaches either the parent alone or both, never the parent after the fork: one that
            // has come by now is taken first, one that comes later is noted for the child.
            return Err(SysError::Restart(Restart::NoIntr));
        }
        self.take_set_actions();
        if flags.contains(CloneFlags::SIGHAND) {
            // The platform answers for actions of its own.
            self.note_new_answers();
        }
        let creds = self.child_creds(flags)?;
        // Before the memory is copied, which is the greater part of the work.
        let charge = self.charge_child(&creds)?;
        let seat = self.seat_child(request)?;
        let inherited = self.inherit(flags, creds)?;
        let pid_ns = if flags.contains(CloneFlags::THREAD) {
            self.pid_ns()
        } else {
            inherited.namespaces.pid_for_children.clone()
        };
        if flags.contains(CloneFlags::THREAD) && !Arc::ptr_eq(&pid_ns, &inherited.namespaces.pid_for_children)
        {
            return Err(Errno::EINVAL.into());
        }
        let context =
            inherited.mm.address_space().new_context(Some(&mut *self.context)).map_err(|_| Errno::EAGAIN)?;
        let pid = pid_ns.allocate(&request.set_tid)?;
        let mut regs = self.regs;
        regs.rax = 0;
        regs.orig_rax = u64::MAX;
        if request.stack != 0 {
            regs.rsp = request.stack;
        }
        if flags.contains(CloneFlags::SETTLS) {
            regs.fs_base = request.tls;
        }
        let vfork_done = flags.contains(CloneFlags::VFORK).then(|| Arc::new(VforkDone::default()));
        if flags.contains(CloneFlags::FS) {
            inherited.fs.share().inspect_err(|_| pid.release_if_unused())?;
        }
        if flags.contains(CloneFlags::FILES) {
            inherited.fds.share();
        }
        // From here on the child counts as a user of both: `undo_clone` takes that back.
        let child = self.new_child(request, inherited, pid.clone(), (charge, seat), vfork_done.clone());
        let pidfd = match self.announce(request, &child, &pid) {
            Ok(pidfd) => pidfd,
            Err(error) => return Err(self.undo_clone(&child, error)),
        };
        if let Err(error) = self.link(&child, flags, forking) {
            return Err(self.undo_clone(&child, error));
        }
        if child.is_to_freeze() {
            // It is known by now: whoever froze it after this look has told it.
            child.wake().add(super::Work::FREEZE);
        }
        let tid = child.tid_in(&self.pid_ns());
        let traced = self.trace_new_child(request, &child);
        let mut current = CurrentTask::new(child.clone(), regs, context);
        current.is_stepped = traced && self.is_stepped;
        if self.kernel().task_threads.start(Box::new(current)).is_err() {
            child.abandon();
            return Err(Errno::EAGAIN.into());
        }
        if let Some((number, file)) = pidfd {
            number.commit([file], true);
        }
        if traced {
            self.trace_clone_event(request, &child);
        }
        if let Some(done) = vfork_done {
            self.wait_for_vfork(&done);
            self.trace_vfork_done(&child);
        }
        Ok(tid)
    }

    fn child_creds(&self, flags: CloneFlags) -> Result<Arc<Credentials>, Errno> {
        let creds = self.creds();
        if flags.contains(CloneFlags::NEWUSER) {
            Ok(Arc::new(self.creds_in_new_user_ns(&creds)?))
        } else {
            Ok(creds)
        }
    }

    fn inherit(&self, flags: CloneFlags, creds: Arc<Credentials>) -> Result<Inherited, Errno> {
        let is_moved = flags.intersects(CloneFlags::NAMESPACES.difference(CloneFlags::NEWUSER));
        if is_moved && !creds.has_in_own(Capability::SysAdmin) {
            return Err(Errno::EPERM);
        }
        let fs = if flags.contains(CloneFlags::FS) { self.fs() } else { self.fs().duplicate() };
        let namespaces =
            if is_moved { Arc::new(self.new_namespaces(flags, &creds, &fs)?) } else { self.namespaces() };
        let mm = if flags.contains(CloneFlags::VM) { self.mm() } else { self.mm().fork()? };
        let fds =
            if flags.contains(CloneFlags::FILES) { self.fd_table() } else { self.fd_table().duplicate() };
        Ok(Inherited { mm, fds, fs, creds, namespaces })
    }

    /// Counts a child for its user.
    fn charge_child(&self, creds: &Credentials) -> Result<AccountCharge, Errno> {
        let kernel = self.kernel();
        let (tasks, processes) = (kernel.tasks.len(), kernel.tasks.process_count());
        if limits::is_beyond_tasks(kernel.total_memory(), tasks, processes) {
            return Err(Errno::EAGAIN);
        }
        let account = self.kernel().tasks.accounts.get(creds.uid);
        let is_exempt =
            creds.uid == 0 || creds.capable(Capability::SysResource) || creds.capable(Capability::SysAdmin);
        let limit = if is_exempt { u64::MAX } else { self.limit(Resource::Nproc) };
        let of_user = account.charge_process(limit).ok_or(Errno::EAGAIN)?;
        if !self.thread_group().may_grow(&kernel.tasks) {
            return Err(Errno::EAGAIN);
        }
        Ok(of_user)
    }

    /// Counts a child for the control group that it begins in.
    fn seat_child(&self, request: &CloneRequest) -> Result<Seat, Errno> {
        if !request.flags.contains(CloneFlags::INTO_CGROUP) {
            return self.seat_for_child();
        }
        let is_thread = request.flags.contains(CloneFlags::THREAD);
        let extent = if is_thread { Extent::Thread } else { Extent::Process };
        self.seat_in(&*self.fd_table().get(request.cgroup)?, extent)
    }

    fn new_child(
        &self,
        request: &CloneRequest,
        inherited: Inherited,
        pid: Arc<Pid>,
        (charge, seat): (AccountCharge, Seat),
        vfork_done: Option<Arc<VforkDone>>,
    ) -> Arc<Task> {
        let flags = request.flags;
        let is_thread = flags.contains(CloneFlags::THREAD);
        let group = if is_thread { self.thread_group().clone() } else { self.new_process(flags) };
        let mut details = self.details.lock().for_child(self.kernel().timekeeper.monotonic().0);
        details.vfork_done = vfork_done;
        if !is_thread {
            details.keyrings = details.keyrings.for_process();
        }
        details.exit_signal = if is_thread {
            None
        } else if flags.contains(CloneFlags::PARENT) {
            self.thread_group().exit_signal()
        } else {
            request.exit_signal
        };
        if flags.contains(CloneFlags::CHILD_CLEARTID) {
            details.clear_child_tid = request.child_tid;
        }
        let signals = {
            let own = self.signals.lock();
            let keeps_stack = !flags.contains(CloneFlags::VM) || flags.contains(CloneFlags::VFORK);
            let alt_stack = if keeps_stack { own.alt_stack } else { AltStack::default() };
            TaskSignals { blocked: own.blocked, alt_stack, ..TaskSignals::default() }
        };
        let Inherited { mm, fds, fs, creds, namespaces } = inherited;
        let kernel = self.kernel().clone();
        let sem_undo = flags.contains(CloneFlags::SYSVSEM).then(|| self.undo_list());
        let new = NewTask {
            kernel,
            group,
            pid,
            mm,
            creds,
            fds,
            fs,
            namespaces,
            signals,
            details,
            charge: Some(charge),
            seat,
            sem_undo,
        };
        let child = Task::new(new);
        if !is_thread {
            child.thread_group().set_leader(&child);
        }
        child
    }

    fn new_process(&self, flags: CloneFlags) -> Arc<ThreadGroup> {
        let own = self.thread_group();
        let actions = if flags.contains(CloneFlags::SIGHAND) {
            own.shared_actions()
        } else {
            let copy = own.actions().copy();
            if flags.contains(CloneFlags::CLEAR_SIGHAND) {
                copy.reset_handlers();
            }
            SharedActions::new(copy)
        };
        let parent = if flags.contains(CloneFlags::PARENT) {
            own.family.lock().parent.clone()
        } else {
            Parent { group: Arc::downgrade(own), task: Arc::downgrade(self.task()) }
        };
        let new = NewThreadGroup {
            container: own.container().clone(),
            cgroups: own.memberships(),
            parent,
            process_group: own.process_group(),
            actions,
            limits: own.limits(),
            oom_score_adj: own.oom_score_adj(),
            personality: own.personality(),
            dumpability: own.dumpability(),
        };
        Arc::new_cyclic(|this| ThreadGroup::new(self.kernel(), this, new))
    }

    /// Stores the child's number where it was asked for, and that of its pidfd, which is open once the child is there.
    fn announce(
        &self,
        request: &CloneRequest,
        child: &Arc<Task>,
        pid: &Arc<Pid>,
    ) -> Result<Option<(ReservedFds, Arc<File>)>, Errno> {
        let flags = request.flags;
        let mut pidfd = None;
        if flags.contains(CloneFlags::PIDFD) {
            let number = self.reserve_fds(1)?;
            self.mm().write(request.pidfd, number.numbers().as_bytes())?;
            pidfd = Some((number, self.open_pidfd(pid, child, flags.contains(CloneFlags::THREAD), false)));
        }
        if flags.contains(CloneFlags::PARENT_SETTID) {
            // As Linux: a bad address here is not an error.
            let _ = self.mm().write_object(request.parent_tid, &child.tid_in(&self.pid_ns()));
        }
        if flags.contains(CloneFlags::CHILD_SETTID)
            && let Some(mm) = child.try_mm()
        {
            let _ = mm.write_object(request.child_tid, &child.tid());
        }
        Ok(pidfd)
    }

    /// Makes the child visible: in its process, among its parent's children, in the pid tables.
    fn link(&self, child: &Arc<Task>, flags: CloneFlags, forking: Option<Forking>) -> Result<(), SysError> {
        let kernel = self.kernel();
        let mut untold = None;
        let tree = kernel.tasks.tree();
        let group = child.thread_group();
        if flags.contains(CloneFlags::THREAD) {
            let state = group.signal.lock();
            if state.group_exit.is_some() || state.exec_in_progress || state.stop != GroupStop::Running {
                return Err(SysError::Restart(Restart::NoIntr));
            }
            // Under the lock that is held while filters are synchronized: none passes the new thread by.
            child.seccomp.copy_from(&self.seccomp);
            child.details.lock().no_new_privs |= self.details.lock().no_new_privs;
            group.add_thread(child);
        } else {
            child.seccomp.copy_from(&self.seccomp);
            child.details.lock().no_new_privs |= self.details.lock().no_new_privs;
            if self.thread_group().signal.lock().group_exit.is_some() {
                return Err(SysError::Restart(Restart::NoIntr));
            }
            group.add_thread(child);
            let ns = child.pid_ns();
            if child.tid() == 1 && ns.init().is_none() {
                group.become_init(&ns);
            }
            group.set_memberships(&tree, self.thread_group().memberships());
            // The parent may have changed its group since the copy was taken, or lost its own parent.
            let own = self.thread_group().family.lock();
            let (pgrp, grandparent) = (own.process_group.clone(), own.parent.clone());
            drop(own);
            {
                let mut family = group.family.lock();
                family.process_group = pgrp.clone();
                if flags.contains(CloneFlags::PARENT) {
                    family.parent = grandparent;
                }
            }
            pgrp.add(&Arc::downgrade(group));
            if let Some(parent) = group.parent() {
                parent.family.lock().children.push(group.clone());
            }
            kernel.tasks.insert(&tree, group);
        }
        if let Some(forking) = forking {
            forking.hand_over(&tree, child);
        }
        if !flags.contains(CloneFlags::INTO_CGROUP) {
            untold = Some(child.follow(&tree, self));
        } else if child.was_killed_with_group(&tree) {
            group.kill(ExitStatus::Killed { signal: Signal::KILL, core: false });
        }
        kernel.tasks.show_task(&tree, child);
        drop(tree);
        drop(untold);
        Ok(())
    }

    /// Gives back what a child that was never linked holds.
    fn undo_clone(&self, child: &Arc<Task>, error: impl Into<SysError>) -> SysError {
        child.set_mm(None);
        child.leave_fd_table(FdTable::new());
        child.own_fs();
        // Nothing goes by these numbers: they are free again.
        child.pid().set_task(None);
        let untold = child.leave_cgroup(&self.kernel().tasks.tree());
        drop(untold);
        child.release_charge();
        error.into()
    }

    /// Waits until a vfork(2) child has let go; only a kill ends it early.
    fn wait_for_vfork(&self, done: &VforkDone) {
        let _registration = done.queue().register(Events::IN, self.notifier());
        let _still = self.stand_still();
        while !done.is_done() && !self.is_killed() {
            self.park_killable();
        }
    }
}

impl Task {
    /// Whether it has been told to end.
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.exit_status().is_some() || self.thread_group().signal.lock().group_exit.is_some()
    }
}

/// A fresh set of signal actions for a container's first process.
pub(super) fn default_actions() -> SharedActions {
    SharedActions::new(SignalActions::default())
}
