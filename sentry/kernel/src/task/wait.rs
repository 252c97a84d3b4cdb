//! Waiting for children (`man 2 wait4`, `man 2 waitid`; `kernel/exit.c` in Linux's tree).

use std::sync::Arc;

use abi::resource::Rusage;
use abi::time::Timeval;
use abi::wait::WaitOptions;
use abi::{Errno, Result, Signal};
use waiter::Events;

use super::{CpuTimes, CurrentTask, Pid, ProcessGroup, Task, ThreadGroup, Tid, TreeGuard};
use crate::error::SysResult;
use crate::signal::JobReport;

/// Which children are meant.
#[derive(Clone, Debug)]
pub enum WaitFor {
    /// All.
    Any,
    /// The process or traced thread that goes by this number.
    Pid(Arc<Pid>),
    /// The members of a process group.
    Group(Arc<ProcessGroup>),
    /// None that exists.
    Nobody,
}

/// What a wait found.
#[derive(Clone, Copy, Debug)]
pub struct WaitResult {
    /// The child's number as the caller sees it.
    pub pid: Tid,
    /// Its real user as the caller sees it.
    pub uid: u32,
    /// wait4(2)'s status word.
    pub status: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_status`.
    pub value: i32,
    /// What it used.
    pub usage: Rusage,
}

/// The outcome of looking at a child.
enum Look {
    /// Not one that is meant.
    Other,
    /// It is meant, but has no news.
    Quiet,
    /// News.
    News(WaitResult),
}

impl CurrentTask {
    /// Waits for news of a child; `None` where there is none and `NOHANG` is set.
    ///
    /// # Errors
    /// `ECHILD` where no child is meant; `Restart::Sys` where a signal comes first.
    pub fn wait_for_child(&self, what: &WaitFor, options: WaitOptions) -> SysResult<Option<WaitResult>> {
        let group = self.thread_group().clone();
        let _registration = group.child_events().register(Events::IN, self.notifier());
        self.block_until(None, &mut || match self.look_at_children(&group, what, options)? {
            Some(result) => Ok(Some(result)),
            None if options.contains(WaitOptions::NOHANG) => Ok(None),
            None => Err(Errno::EAGAIN),
        })
    }

    fn look_at_children(
        &self,
        group: &Arc<ThreadGroup>,
        what: &WaitFor,
        options: WaitOptions,
    ) -> Result<Option<WaitResult>> {
        let tree = self.kernel().tasks.tree();
        let mut found = false;
        if let Some(news) = self.look_at_tracees(&tree, what, options, &mut found) {
            return Ok(Some(news));
        }
        for child in group.children() {
            match self.look_at(&tree, &child, what, options) {
                Look::Other => {}
                Look::Quiet => found = true,
                Look::News(result) => return Ok(Some(result)),
            }
        }
        if found { Ok(None) } else { Err(Errno::ECHILD) }
    }

    fn look_at(
        &self,
        tree: &TreeGuard<'_>,
        child: &Arc<ThreadGroup>,
        what: &WaitFor,
        options: WaitOptions,
    ) -> Look {
        let Some(leader) = child.leader() else { return Look::Other };
        if !what.means(child, &leader) || !self.may_wait_for(child, &leader, options) {
            return Look::Other;
        }
        if child.is_zombie() {
            // Its tracer, where it has another one, hears of it first.
            if leader.is_traced() && !self.traces(&leader) {
                return Look::Quiet;
            }
            if !options.contains(WaitOptions::EXITED) {
                // Nothing else will ever be told of it.
                return Look::Other;
            }
            return self.zombie(tree, child, &leader, options).map_or(Look::Quiet, Look::News);
        }
        self.job_news(child, &leader, options).map_or(Look::Quiet, Look::News)
    }

    fn may_wait_for(&self, child: &ThreadGroup, leader: &Task, options: WaitOptions) -> bool {
        let is_clone = leader.details.lock().exit_signal != Some(Signal::CHLD);
        let kind_fits =
            options.contains(WaitOptions::ALL) || is_clone == options.contains(WaitOptions::CLONE);
        let is_own = || {
            let parent = child.family.lock().parent.task.upgrade();
            parent.is_some_and(|parent| parent.id() == self.id())
        };
        kind_fits && (!options.contains(WaitOptions::NOTHREAD) || is_own())
    }

    fn zombie(
        &self,
        tree: &TreeGuard<'_>,
        child: &Arc<ThreadGroup>,
        leader: &Task,
        options: WaitOptions,
    ) -> Option<WaitResult> {
        let status = child.exit_status()?;
        let (code, value) = status.child_info();
        let result = self.wait_result(child, leader, (status.wait_status(), code, value));
        if !options.contains(WaitOptions::NOWAIT) {
            child.credit_parent();
            child.reap(tree);
        }
        Some(result)
    }

    fn job_news(&self, child: &ThreadGroup, leader: &Task, options: WaitOptions) -> Option<WaitResult> {
        let report = {
            let mut state = child.signal.lock();
            let report = state.report?;
            let wanted = match report {
                JobReport::Stopped(_) => WaitOptions::UNTRACED,
                JobReport::Continued => WaitOptions::CONTINUED,
            };
            if !options.contains(wanted) {
                return None;
            }
            if !options.contains(WaitOptions::NOWAIT) {
                state.report = None;
            }
            report
        };
        let (code, value) = report.child_info();
        Some(self.wait_result(child, leader, (report.wait_status(), code, value)))
    }

    /// What is told of `child`, with numbers as this task sees them.
    pub(super) fn wait_result(
        &self,
        child: &ThreadGroup,
        told: &Task,
        (status, code, value): (i32, i32, i32),
    ) -> WaitResult {
        WaitResult {
            pid: told.tid_in(&self.pid_ns()),
            uid: self.creds().user_ns.from_kernel_uid(told.creds().uid),
            status,
            code,
            value,
            usage: child.rusage_with_children(),
        }
    }
}

impl WaitFor {
    pub(super) fn means(&self, child: &ThreadGroup, task: &Task) -> bool {
        match self {
            Self::Any => true,
            Self::Pid(pid) => Arc::ptr_eq(&task.pid(), pid),
            Self::Group(group) => Arc::ptr_eq(&child.process_group(), group),
            Self::Nobody => false,
        }
    }
}

/// `struct rusage` with these times.
fn rusage(times: CpuTimes, switches: (u64, u64), max_rss_kb: u64) -> Rusage {
    let time = |ns: u64| Timeval::from_ns(i64::try_from(ns).unwrap_or(i64::MAX));
    Rusage {
        ru_utime: time(times.user_ns),
        ru_stime: time(times.system_ns),
        ru_maxrss: max_rss_kb as i64,
        ru_nvcsw: switches.0 as i64,
        ru_nivcsw: switches.1 as i64,
        ..Rusage::default()
    }
}

impl ThreadGroup {
    /// What the process has used.
    #[must_use]
    pub fn rusage(&self) -> Rusage {
        let usage = self.usage();
        let live = self.tasks().into_iter().filter(|task| !task.has_exited());
        let switches = live.fold(usage.switches, |sum, task| {
            let (own, forced) = task.clock().switches();
            (sum.0 + own, sum.1 + forced)
        });
        let resident = self.tasks().iter().find_map(|task| task.try_mm());
        let rss_kb = resident.map_or(0, |mm| mm.peak_rss() / 1024);
        rusage(self.cpu_times(), switches, usage.max_rss_kb.max(rss_kb))
    }

    /// What its children that have been waited for used.
    #[must_use]
    pub fn children_rusage(&self) -> Rusage {
        let usage = self.usage();
        rusage(usage.children, usage.children_switches, usage.children_max_rss_kb)
    }

    fn rusage_with_children(&self) -> Rusage {
        let usage = self.usage();
        let switches =
            (usage.switches.0 + usage.children_switches.0, usage.switches.1 + usage.children_switches.1);
        let peak = usage.max_rss_kb.max(usage.children_max_rss_kb);
        rusage(self.cpu_times() + self.children_cpu_times(), switches, peak)
    }
}

impl Task {
    /// What the thread alone has used.
    #[must_use]
    pub fn rusage(&self) -> Rusage {
        let resident = self.try_mm().map_or(0, |mm| mm.peak_rss() / 1024);
        rusage(self.clock().times(), self.clock().switches(), resident)
    }
}
