//! Job control: stopping all threads of a process and going on (Linux's `do_signal_stop`).

use abi::Signal;

use super::{GroupStop, JobReport, SignalState};
use crate::CurrentTask;
use crate::task::{Task, ThreadGroup, Work};

impl CurrentTask {
    /// A stop signal with its default action has been taken.
    pub(super) fn begin_group_stop(&mut self, signal: Signal) {
        let group = self.thread_group().clone();
        if signal != Signal::STOP {
            // POSIX: in an orphaned process group nobody would ever continue it.
            let is_orphaned = {
                let _tree = self.kernel().tasks.tree();
                group.process_group().is_orphaned(None)
            };
            if is_orphaned {
                return;
            }
        }
        let mut state = group.signal.lock();
        if state.group_exit.is_some() {
            return;
        }
        // SIGCONT may have come while the lock was free.
        if !std::mem::take(&mut self.signals.lock().may_stop) {
            return;
        }
        if state.stop == GroupStop::Running {
            state.stop = GroupStop::Stopping(signal);
            for task in group.tasks() {
                if task.has_exited() {
                    continue;
                }
                task.signals.lock().must_stop = true;
                if task.id() != self.id() {
                    task.wake().add(Work::SIGNAL);
                }
            }
        } else {
            self.signals.lock().must_stop = true;
        }
        drop(state);
        self.stop_for_group();
    }

    /// Stops until the process goes on or ends.
    pub(super) fn stop_for_group(&mut self) {
        let group = self.thread_group().clone();
        let report = {
            let mut state = group.signal.lock();
            let mut own = self.signals.lock();
            if !std::mem::take(&mut own.must_stop) {
                return;
            }
            own.is_stopped = true;
            drop(own);
            group.finish_stop(&mut state)
        };
        if let Some(report) = report {
            group.notify_parent_of(report);
        }
        if self.await_continue(&group) {
            self.trace_group_stop();
        }
    }

    /// Waits for the end of the stop; says whether a tracer is to see to that.
    fn await_continue(&self, group: &ThreadGroup) -> bool {
        let _still = self.stand_still();
        loop {
            {
                let state = group.signal.lock();
                let mut own = self.signals.lock();
                if !own.is_stopped {
                    return false;
                }
                if state.group_exit.is_some() || self.exit_status().is_some() {
                    own.is_stopped = false;
                    return false;
                }
            }
            if self.is_traced() {
                return true;
            }
            self.park();
        }
    }
}

impl ThreadGroup {
    /// Completes a stop if all threads have arrived; returns what the parent is to hear.
    pub(crate) fn finish_stop(&self, state: &mut SignalState) -> Option<JobReport> {
        let GroupStop::Stopping(signal) = state.stop else { return None };
        let arrived = |task: &Task| task.has_exited() || task.signals.lock().is_stopped;
        if !self.tasks().iter().all(|task| arrived(task)) {
            return None;
        }
        state.stop = GroupStop::Stopped(signal);
        let report = JobReport::Stopped(signal);
        state.report = Some(report);
        Some(report)
    }
}
