//! The end of a task and of a process (Linux's `do_exit`, `exit_notify`, `zap_pid_ns_processes`).
//!
//! A thread gives back what it holds, then, under the tree lock, leaves its process. The last one to leave makes the
//! process a zombie, hands its children to a reaper and tells the parent.

use std::sync::{Arc, Weak};

use abi::signal::SIG_IGN;
use abi::{SigInfo, Signal};
use waiter::Events;

use super::task::Parent;
use super::{CurrentTask, ExitStatus, Task, ThreadGroup, TreeGuard};
use crate::signal::{SigAction, SignalActions};
use crate::vfs::FdTable;

impl CurrentTask {
    /// Ends the task; its sentry thread returns afterwards.
    pub(super) fn exit(mut self: Box<Self>) {
        self.trace_exit();
        let task = self.task().clone();
        task.wake().set_interrupter(None);
        // The host thread goes before the address space it runs in.
        drop(self);
        task.finish();
    }
}

impl Task {
    /// A linked task whose thread could not be started ends as if it had been killed at once, unseen.
    pub(super) fn abandon(self: &Arc<Self>) {
        self.details.lock().exit_signal = None;
        self.begin_exit(ExitStatus::Killed { signal: Signal::KILL, core: false });
        self.finish();
        let group = self.thread_group();
        if group.is_zombie() && group.leader().is_some() {
            let tree = self.kernel().tasks.tree();
            group.reap(&tree);
        }
    }

    pub(super) fn finish(self: &Arc<Self>) {
        let kernel = self.kernel().clone();
        let group = self.thread_group().clone();
        let is_last = {
            let mut threads = group.threads.lock();
            threads.live = threads.live.saturating_sub(1);
            threads.live == 0
        };
        if is_last {
            group.signal.lock().group_exit.get_or_insert(self.exit_status().unwrap_or(ExitStatus::Exited(0)));
            if group.is_init() {
                group.zap_pid_namespace(self);
            }
        }
        if is_last {
            group.timers().clear();
        }
        // Clearing what ran in it is nobody's hurry: it begins when those who wait have been told.
        let cleared_last = self.try_mm().map(|mm| Arc::clone(mm.address_space()));
        self.release_futexes();
        if is_last && let Some(mm) = self.try_mm() {
            let peak_kb = mm.last_rss() / 1024;
            group.update_usage(|usage| usage.max_rss_kb = usage.max_rss_kb.max(peak_kb));
        }
        self.release_memory();
        self.release_semaphores();
        self.release_filters();
        self.leave_fd_table(FdTable::new());
        self.own_fs();
        if is_last && group.is_session_leader() {
            let session = group.session();
            if let Some(terminal) = session.terminal() {
                terminal.disassociate(&session);
            }
        }
        self.clock().switch(super::cpu_time::Activity::Asleep);
        let untold = {
            let tree = kernel.tasks.tree();
            // Who hears of the end may remove the group.
            let untold = self.leave_cgroup(&tree);
            self.leave_process(&tree, is_last);
            untold
        };
        drop(untold);
        drop(cleared_last);
        kernel.tasks.uncount_task();
        if !self.is_leader() {
            self.release_charge();
        }
    }

    /// Gives the address space back, and lets a vfork(2) parent go on.
    fn release_memory(&self) {
        let (memory, vfork_done) = (self.set_mm(None), self.details.lock().vfork_done.take());
        drop(memory);
        if let Some(done) = vfork_done {
            done.complete();
        }
    }

    /// Goes over to another descriptor table; the old one is closed if nobody else uses it.
    pub(super) fn leave_fd_table(&self, next: Arc<FdTable>) {
        let old = self.set_fd_table(next);
        if old.release() {
            old.close_all(self);
        }
    }

    /// Stops sharing descriptors with other tasks (`CLONE_FILES`).
    pub(crate) fn own_fd_table(&self) {
        let table = self.fd_table();
        if table.is_shared() {
            self.leave_fd_table(table.duplicate());
        }
    }

    fn leave_process(self: &Arc<Self>, tree: &TreeGuard<'_>, is_last: bool) {
        let group = self.thread_group().clone();
        let times = self.clock().times();
        let switches = self.clock().switches();
        group.update_usage(|usage| {
            usage.dead_threads = usage.dead_threads + times;
            usage.io = usage.io + self.io_counts();
            usage.switches.0 += switches.0;
            usage.switches.1 += switches.1;
        });
        let report = {
            let mut state = group.signal.lock();
            self.set_exited();
            let all = abi::SigSet(u64::MAX);
            self.retarget_shared_signals(&state, all);
            self.signals.lock().pending.discard(all);
            group.finish_stop(&mut state)
        };
        if let Some(report) = report {
            group.notify_parent_of(report);
        }
        self.release_tracees(tree);
        self.leave_children(tree, is_last);
        if is_last {
            group.hang_up_orphans(None);
        }
        if !self.is_leader() {
            self.leave_tracer();
            group.threads.lock().list.retain(|task| task.id() != self.id());
            self.pid().set_task(None);
        }
        // For descriptors that stand for this thread alone, and for who waits to be the only one (execve(2)).
        group.exit_events().notify(Events::READABLE);
        let is_over = {
            let threads = group.threads.lock();
            matches!(threads.list.as_slice(), [only] if only.has_exited())
        };
        if is_over && !group.is_zombie() {
            group.become_zombie(tree);
        }
    }

    /// Children lose this thread as their parent, and this process if it is the last thread.
    fn leave_children(self: &Arc<Self>, tree: &TreeGuard<'_>, is_last: bool) {
        let group = self.thread_group();
        let heir = group.tasks().into_iter().find(|task| !task.has_exited());
        let reaper = if is_last { group.find_reaper() } else { None };
        for child in group.children() {
            let is_own = child.family.lock().parent.task.ptr_eq(&Arc::downgrade(self));
            if is_own {
                child.send_parent_death_signal(group);
            }
            if is_last {
                child.reparent(tree, group, reaper.as_ref());
            } else if let (true, Some(heir)) = (is_own, &heir) {
                child.family.lock().parent.task = Arc::downgrade(heir);
            }
        }
        if is_last {
            group.family.lock().children.clear();
        }
    }
}

impl ThreadGroup {
    fn send_parent_death_signal(&self, parent: &ThreadGroup) {
        for task in self.tasks() {
            let Some(signal) = task.details.lock().parent_death_signal else { continue };
            let pid = parent.tgid_in(&task.pid_ns());
            let info = SigInfo::from_user(signal, abi::signal::SI_USER, pid, 0);
            task.thread_group().send_signal(info);
        }
    }

    /// Who takes over the children: the nearest ancestor that asked for it, else the first process of the name space.
    fn find_reaper(self: &Arc<Self>) -> Option<Arc<ThreadGroup>> {
        let ns = self.leader()?.pid_ns();
        let usable = |group: &Arc<ThreadGroup>| !Arc::ptr_eq(group, self) && !group.has_ended();
        let mut ancestor = self.parent();
        while let Some(group) = ancestor {
            if group.leader().is_none_or(|leader| !Arc::ptr_eq(&leader.pid_ns(), &ns)) {
                break;
            }
            if group.is_subreaper() && usable(&group) {
                return Some(group);
            }
            ancestor = group.parent();
        }
        let init = ns.init().filter(usable);
        init.or_else(|| ns.parent().and_then(|outer| outer.init()).filter(usable))
    }

    /// Whether its end has begun.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.threads.lock().live == 0
    }

    fn reparent(self: &Arc<Self>, tree: &TreeGuard<'_>, old: &ThreadGroup, new: Option<&Arc<ThreadGroup>>) {
        let task = new.and_then(|new| new.tasks().into_iter().find(|task| !task.has_exited()));
        self.family.lock().parent = Parent {
            group: new.map(Arc::downgrade).unwrap_or_default(),
            task: task.as_ref().map(Arc::downgrade).unwrap_or_default(),
        };
        for task in self.tasks() {
            task.note_new_answers();
        }
        if let Some(leader) = self.leader() {
            leader.details.lock().exit_signal = Some(Signal::CHLD);
        }
        if let Some(new) = new {
            new.family.lock().children.push(self.clone());
        }
        if self.is_zombie() {
            let unwanted = new.is_none_or(|new| self.notify_parent_of_exit(new, Some(Signal::CHLD)));
            if unwanted {
                self.reap(tree);
            }
        } else {
            self.hang_up_orphans(Some(old));
        }
    }

    /// If this process's group has just become orphaned and has stopped members, they are hung up and continued.
    /// `old_parent` is the parent whose end made the difference; `None` where it is this process's own end.
    fn hang_up_orphans(&self, old_parent: Option<&ThreadGroup>) {
        let pgrp = self.process_group();
        let parent_group = match old_parent {
            Some(parent) => Some(parent.process_group()),
            None => self.parent().map(|parent| parent.process_group()),
        };
        let Some(parent_group) = parent_group else { return };
        let was_linked =
            !Arc::ptr_eq(&parent_group, &pgrp) && Arc::ptr_eq(parent_group.session(), pgrp.session());
        let leaving = if old_parent.is_none() { Some(self) } else { None };
        if was_linked && pgrp.is_orphaned(leaving) && pgrp.has_stopped_members() {
            pgrp.signal(SigInfo::new(Signal::HUP, abi::signal::SI_KERNEL));
            pgrp.signal(SigInfo::new(Signal::CONT, abi::signal::SI_KERNEL));
        }
    }

    fn become_zombie(self: &Arc<Self>, tree: &TreeGuard<'_>) {
        let status = {
            let state = self.signal.lock();
            state.group_exit.unwrap_or(ExitStatus::Exited(0))
        };
        self.set_zombie(status);
        let tracer = self.leader().and_then(|leader| leader.tracer());
        let foreign = tracer
            .filter(|tracer| self.parent().is_none_or(|parent| parent.id() != tracer.thread_group().id()));
        match foreign {
            // The parent hears of it when the tracer has.
            Some(tracer) => {
                self.notify_parent_of_exit(tracer.thread_group(), Some(Signal::CHLD));
            }
            None => self.tell_parent_of_end(tree),
        }
        self.exit_events().notify(Events::IN | Events::RDNORM | Events::HUP);
    }

    /// Tells the parent that this process has ended; one that nobody waits for is released.
    pub(super) fn tell_parent_of_end(self: &Arc<Self>, tree: &TreeGuard<'_>) {
        let exit_signal = self.exit_signal();
        let unwanted = self.parent().is_none_or(|parent| self.notify_parent_of_exit(&parent, exit_signal));
        if unwanted {
            self.reap(tree);
        }
    }

    /// Adds its usage to its parent's, which has waited for it. Who does not wait does not get it.
    pub(super) fn credit_parent(&self) {
        let Some(parent) = self.parent() else { return };
        let (own, usage) = (self.cpu_times() + self.children_cpu_times(), self.usage());
        parent.update_usage(|sum| {
            sum.children = sum.children + own;
            sum.io = sum.io + usage.io;
            sum.children_switches.0 += usage.switches.0 + usage.children_switches.0;
            sum.children_switches.1 += usage.switches.1 + usage.children_switches.1;
            let peak = usage.max_rss_kb.max(usage.children_max_rss_kb);
            sum.children_max_rss_kb = sum.children_max_rss_kb.max(peak);
        });
    }

    /// Releases a zombie: its numbers are free.
    pub(super) fn reap(self: &Arc<Self>, _tree: &TreeGuard<'_>) {
        if let Some(parent) = self.parent() {
            parent.family.lock().children.retain(|child| !Arc::ptr_eq(child, self));
        }
        let pgrp = {
            let mut family = self.family.lock();
            family.parent = Parent { group: Weak::new(), task: Weak::new() };
            family.process_group.clone()
        };
        pgrp.remove(self);
        if let Some(leader) = self.leader().filter(|leader| leader.is_traced()) {
            leader.unlink_tracer(None);
        }
        let threads = std::mem::take(&mut self.threads.lock().list);
        for task in &threads {
            task.pid().set_task(None);
            task.release_charge();
        }
        if let Some(kernel) = self.kernel() {
            kernel.tasks.remove(self);
        }
    }

    /// The first process of a pid name space ends: everything else in it is killed, and gone when this returns.
    fn zap_pid_namespace(self: &Arc<Self>, last: &Arc<Task>) {
        let ns = last.pid_ns();
        ns.close();
        // Children that end from now on are not to become zombies.
        let actions = SignalActions::default();
        actions.set(Signal::CHLD, SigAction { handler: SIG_IGN, ..SigAction::default() });
        self.set_actions(actions);
        let kernel = last.kernel().clone();
        let _registration = kernel.tasks.gone().register(Events::IN, last.notifier());
        loop {
            {
                let tree = kernel.tasks.tree();
                for child in self.children() {
                    if child.is_zombie() {
                        child.reap(&tree);
                    }
                }
            }
            let others: Vec<_> = ns.thread_groups().into_iter().map(|(_, group)| group).collect();
            let mut alive = others.iter().filter(|group| !Arc::ptr_eq(group, self)).peekable();
            if alive.peek().is_none() {
                return;
            }
            for group in alive {
                group.kill(ExitStatus::Killed { signal: Signal::KILL, core: false });
            }
            last.park();
        }
    }
}
