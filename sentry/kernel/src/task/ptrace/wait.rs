//! What a tracer's wait4(2) finds.

use std::sync::{Arc, Weak};

use abi::signal::cld;
use abi::wait::WaitOptions;
use parking_lot::Mutex;

use super::StopKind;
use crate::task::{CurrentTask, ExitStatus, Pid, Task, ThreadGroup, Tid, TreeGuard, WaitFor, WaitResult};

/// A traced thread that has ended and that the tracer has not been told of.
#[derive(Debug)]
struct Ended {
    pid: Arc<Pid>,
    number: Tid,
    uid: u32,
    status: ExitStatus,
}

#[derive(Debug, Default)]
struct Inner {
    list: Vec<Weak<Task>>,
    ended: Vec<Ended>,
}

/// Whom a process traces. Lock: a leaf.
#[derive(Debug, Default)]
pub(crate) struct Tracees(Mutex<Inner>);

impl Tracees {
    pub(super) fn add(&self, task: &Arc<Task>) {
        self.0.lock().list.push(Arc::downgrade(task));
    }

    pub(super) fn remove(&self, task: &Task) {
        self.0.lock().list.retain(|at| !std::ptr::eq(at.as_ptr(), task) && at.strong_count() > 0);
    }

    pub(super) fn all(&self) -> Vec<Arc<Task>> {
        self.0.lock().list.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Task {
    /// A traced thread other than its process's first ends: the tracer will be told.
    pub(in crate::task) fn leave_tracer(&self) {
        let Some(tracer) = self.tracer() else { return };
        let status = self.exit_status().unwrap_or(ExitStatus::Exited(0));
        let ended =
            Ended { pid: self.pid(), number: self.tid_in(&tracer.pid_ns()), uid: self.creds().uid, status };
        self.unlink_tracer(None);
        let group = tracer.thread_group();
        group.tracees.0.lock().ended.push(ended);
        group.child_events().notify(waiter::Events::IN);
    }
}

impl CurrentTask {
    pub(in crate::task) fn look_at_tracees(
        &self,
        tree: &TreeGuard<'_>,
        what: &WaitFor,
        options: WaitOptions,
        found: &mut bool,
    ) -> Option<WaitResult> {
        let group = self.thread_group();
        for tracee in group.tracees.all() {
            if !what.means(tracee.thread_group(), &tracee) {
                continue;
            }
            *found = true;
            if let Some(news) = self.stop_of(&tracee, options) {
                return Some(news);
            }
            if let Some(news) = self.end_of_leader(tree, &tracee, options) {
                return Some(news);
            }
        }
        self.end_of_thread(group, what, options)
    }

    fn stop_of(&self, tracee: &Task, options: WaitOptions) -> Option<WaitResult> {
        let code = {
            let mut trace = tracee.trace.lock();
            let stopped = trace.stopped.as_mut().filter(|stopped| !stopped.was_reported)?;
            if !options.contains(WaitOptions::NOWAIT) {
                stopped.was_reported = true;
            }
            (stopped.code, stopped.kind)
        };
        let si_code = if code.1 == StopKind::Group { cld::STOPPED } else { cld::TRAPPED };
        let news = (code.0 << 8 | 0x7f, si_code, code.0);
        Some(self.wait_result(tracee.thread_group(), tracee, news))
    }

    /// A traced process of another parent has ended: the tracer hears of it first, then the parent.
    fn end_of_leader(
        &self,
        tree: &TreeGuard<'_>,
        tracee: &Arc<Task>,
        options: WaitOptions,
    ) -> Option<WaitResult> {
        let group = tracee.thread_group();
        let is_own_child = group.parent().is_some_and(|parent| parent.id() == self.thread_group().id());
        if is_own_child || !tracee.is_leader() || !group.is_zombie() || !options.contains(WaitOptions::EXITED)
        {
            return None;
        }
        let status = group.exit_status()?;
        let (code, value) = status.child_info();
        let result = self.wait_result(group, tracee, (status.wait_status(), code, value));
        if !options.contains(WaitOptions::NOWAIT) {
            tracee.unlink_tracer(None);
            group.tell_parent_of_end(tree);
        }
        Some(result)
    }

    fn end_of_thread(&self, group: &ThreadGroup, what: &WaitFor, options: WaitOptions) -> Option<WaitResult> {
        let mut inner = group.tracees.0.lock();
        let is_meant = |ended: &Ended| match what {
            WaitFor::Any => true,
            WaitFor::Pid(pid) => Arc::ptr_eq(pid, &ended.pid),
            _ => false,
        };
        let at = inner.ended.iter().position(is_meant).filter(|_| options.contains(WaitOptions::EXITED))?;
        let (code, value) = inner.ended[at].status.child_info();
        let result = WaitResult {
            pid: inner.ended[at].number,
            uid: self.creds().user_ns.from_kernel_uid(inner.ended[at].uid),
            status: inner.ended[at].status.wait_status(),
            code,
            value,
            usage: abi::resource::Rusage::default(),
        };
        if !options.contains(WaitOptions::NOWAIT) {
            inner.ended.remove(at);
        }
        Some(result)
    }
}
