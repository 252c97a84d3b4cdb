//! What a tracer hears of its tracee's life: children, programs, the end.

use std::sync::Arc;

use abi::ptrace::{TraceOptions, event};
use abi::sched::CloneFlags;
use abi::{SigInfo, Signal};

use crate::signal::Sender;
use crate::task::{CloneRequest, CurrentTask, ExitStatus, Task, Tid};

/// The event and option that a way of making a task stands for.
fn clone_event(request: &CloneRequest) -> (i32, TraceOptions) {
    if request.flags.contains(CloneFlags::VFORK) {
        (event::VFORK, TraceOptions::TRACEVFORK)
    } else if request.exit_signal == Some(Signal::CHLD) {
        (event::FORK, TraceOptions::TRACEFORK)
    } else {
        (event::CLONE, TraceOptions::TRACECLONE)
    }
}

impl CurrentTask {
    fn wants(&self, option: TraceOptions) -> bool {
        self.is_traced() && self.trace.lock().options.contains(option)
    }

    /// Makes the tracer trace a new child, if it wants to; says whether the event is to be told.
    pub(in crate::task) fn trace_new_child(&mut self, request: &CloneRequest, child: &Arc<Task>) -> bool {
        if !self.is_traced() || request.flags.contains(CloneFlags::UNTRACED) {
            return false;
        }
        let is_event = self.wants(clone_event(request).1);
        if !is_event && !request.flags.contains(CloneFlags::PTRACE) {
            return false;
        }
        let link = self.trace.lock().link();
        let Some(link) = link else { return false };
        let is_seized = link.is_seized;
        let tree = self.kernel().tasks.tree();
        if child.link_tracer(&tree, link).is_err() {
            // Another tracer was faster, or this one has ended.
            return false;
        }
        drop(tree);
        if is_seized {
            child.interrupt_for_tracer();
        } else {
            let info = SigInfo::new(Signal::STOP, abi::signal::SI_USER);
            // SIGSTOP is never refused.
            let _ = child.thread_group().queue_signal(Some(child), Signal::STOP, info, Sender::Above);
        }
        is_event
    }

    fn number_for_tracer(&self, task: &Task) -> u64 {
        self.tracer().map_or(0, |tracer| task.tid_in(&tracer.pid_ns())) as u64
    }

    /// A child has been made.
    pub(in crate::task) fn trace_clone_event(&mut self, request: &CloneRequest, child: &Arc<Task>) {
        let number = self.number_for_tracer(child);
        self.stop_for_event(clone_event(request).0, number);
    }

    /// A vfork(2) child has let go of the memory.
    pub(in crate::task) fn trace_vfork_done(&mut self, child: &Arc<Task>) {
        if self.wants(TraceOptions::TRACEVFORKDONE) {
            let number = self.number_for_tracer(child);
            self.stop_for_event(event::VFORK_DONE, number);
        }
    }

    /// Another program has been loaded.
    pub(in crate::task) fn trace_exec(&mut self, old_tid: Tid) {
        if self.wants(TraceOptions::TRACEEXEC) {
            self.stop_for_event(event::EXEC, old_tid as u64);
        } else if self.is_traced() && !self.trace.lock().is_seized() {
            let info = SigInfo::from_user(Signal::TRAP, abi::signal::SI_USER, self.tid(), 0);
            self.send_signal(info);
        }
    }

    /// The task is about to end.
    pub(in crate::task) fn trace_exit(&mut self) {
        if self.wants(TraceOptions::TRACEEXIT) {
            let status = self.exit_status().unwrap_or(ExitStatus::Exited(0)).wait_status();
            self.stop_for_event(event::EXIT, status as u64);
        }
    }

    /// A filter wants the tracer's opinion; says whether there is a tracer that gives one.
    pub(crate) fn trace_seccomp(&mut self, value: u32) -> bool {
        let wants = self.wants(TraceOptions::TRACESECCOMP);
        if wants {
            self.stop_for_event(event::SECCOMP, value.into());
        }
        wants
    }
}
