//! The [`CurrentTask`]: a task as its own sentry thread holds it.

use std::ops::Deref;
use std::sync::Arc;

use abi::Regs;
use platform::Context;

use super::Task;
use crate::signal::TrapInfo;
use crate::vfs::Candidates;

/// The running task with its registers. Exactly one exists per live task, on the stack of its sentry thread.
pub struct CurrentTask {
    task: Arc<Task>,
    /// The guest's registers, as they were when it entered the kernel and as it will get them back.
    pub regs: Regs,
    /// The processor context, with the extended state.
    pub context: Box<dyn Context>,
    /// The last fault, as signal frames show it.
    pub(crate) trap: TrapInfo,
    /// A tracer single-steps it.
    pub(crate) is_stepped: bool,
    /// What it may post calls to next.
    pub(super) candidates: Candidates,
    /// Nobody wants to see each of its calls.
    pub(super) may_post: bool,
    /// Nobody wants to see its changes of its signal mask.
    pub(super) may_mask: bool,
}

impl CurrentTask {
    pub(super) fn new(task: Arc<Task>, regs: Regs, context: Box<dyn Context>) -> Self {
        task.wake().set_interrupter(Some(context.interrupter()));
        Self {
            task,
            regs,
            context,
            trap: TrapInfo::default(),
            is_stepped: false,
            candidates: Candidates::default(),
            may_post: false,
            may_mask: false,
        }
    }

    /// The task itself, to be kept.
    #[must_use]
    pub fn task(&self) -> &Arc<Task> {
        &self.task
    }

    /// Goes on with a fresh context (of a new address space); the old one ends.
    pub(super) fn replace_context(&mut self, context: Box<dyn Context>) {
        self.task.wake().set_interrupter(Some(context.interrupter()));
        self.context = context;
        self.note_new_answers();
    }
}

impl Deref for CurrentTask {
    type Target = Task;

    fn deref(&self) -> &Task {
        &self.task
    }
}

impl std::fmt::Debug for CurrentTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CurrentTask")
            .field("task", &self.task)
            .field("regs", &self.regs)
            .finish_non_exhaustive()
    }
}
