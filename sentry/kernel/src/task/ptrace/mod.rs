//! Tracing (`man 2 ptrace`).

use abi::SigInfo;
use platform::Exception;
use std::sync::Arc;

use super::clone::CloneRequest;
use super::{CurrentTask, Task, Tid};

impl CurrentTask {
    pub(crate) fn trace_signal(&mut self, info: SigInfo) -> Option<SigInfo> {
        Some(info)
    }

    pub(crate) fn trace_group_stop(&mut self) {}

    pub(crate) fn trace_handler_entry(&mut self) {}

    pub(super) fn trace_exit(&mut self) {}

    pub(super) fn trace_exec(&mut self, old_tid: Tid) {
        let _ = old_tid;
    }

    pub(super) fn trace_stop_if_asked(&mut self) {}

    pub(super) fn trace_trap(&mut self, exception: Exception) -> bool {
        let _ = exception;
        false
    }

    pub(super) fn trace_new_child(&mut self, request: &CloneRequest, child: &Arc<Task>) -> bool {
        let _ = (request, child);
        false
    }

    pub(super) fn trace_clone_event(&mut self, request: &CloneRequest, child: &Arc<Task>) {
        let _ = (request, child);
    }

    pub(super) fn trace_vfork_done(&mut self, child: &Arc<Task>) {
        let _ = child;
    }

    pub(super) fn traces(&self, task: &Task) -> bool {
        let _ = task;
        false
    }

    pub(super) fn look_at_tracees(
        &self,
        tree: &super::TreeGuard<'_>,
        what: &super::WaitFor,
        options: abi::wait::WaitOptions,
        found: &mut bool,
    ) -> Option<super::WaitResult> {
        let _ = (tree, what, options, found);
        None
    }

    pub(super) fn traces_calls(&self) -> bool {
        false
    }

    pub(super) fn trace_call_entry(&mut self) -> bool {
        true
    }

    pub(super) fn trace_call_exit(&mut self) {}

    pub(crate) fn trace_seccomp(&mut self, value: u32) -> bool {
        let _ = value;
        false
    }
}

impl Task {
    pub(super) fn tracer_may_privilege(&self) -> bool {
        false
    }
}
