//! The [`CurrentTask`]: a task as its own sentry thread holds it.

use std::ops::Deref;
use std::sync::Arc;

use abi::Regs;
use platform::Context;

use super::Task;

/// The running task with its registers. Exactly one exists per live task, on the stack of its sentry thread.
pub struct CurrentTask {
    task: Arc<Task>,
    /// The guest's registers, as they were when it entered the kernel and as it will get them back.
    pub regs: Regs,
    /// The processor context, with the extended state.
    pub context: Box<dyn Context>,
}

impl CurrentTask {
    /// The task itself, to be kept.
    #[must_use]
    pub fn task(&self) -> &Arc<Task> {
        &self.task
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
