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

    pub(super) fn has_call_filter(&self) -> bool {
        false
    }

    pub(super) fn filtered_call(&mut self) {}
}

impl Task {
    pub(super) fn inherit_call_filter(&self, parent: &Task) {
        let _ = parent;
    }

    pub(super) fn tracer_may_privilege(&self) -> bool {
        false
    }
}
