//! Tasks: guest threads, the groups they form, and what they own.
//!
//! A [`Task`] is what Linux calls a `task_struct`, a [`ThreadGroup`] is a process. Each task has one sentry thread that
//! runs it; that thread alone holds the [`CurrentTask`], which adds the registers and the platform context.

mod block;
mod credentials;
mod current;
#[expect(clippy::module_inception, reason = "the type that the folder is named for")]
mod task;
mod task_set;
mod thread_group;

pub use credentials::{Capability, CapabilitySet, Credentials, UserNamespace};
pub use current::CurrentTask;
pub use task::Task;
pub use task_set::{PidNamespace, TaskSet, Tid};
pub use thread_group::ThreadGroup;
