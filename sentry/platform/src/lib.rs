//! Where guest code runs.
//!
//! The kernel sees three things: a [`Platform`] makes [`AddressSpace`]s; an address space executes mapping
//! operations in batches and makes [`Context`]s; a context runs one guest thread until it needs the kernel.
//! *systrap* is the first implementation; one on KVM must fit behind the same traits.
//!
//! The platform knows nothing of tasks, files or Linux semantics: it moves registers and mappings.

mod answered;
mod api;
#[path = "known_answers_x86_64.rs"]
pub mod known_answers;
#[path = "plain_calls_x86_64.rs"]
pub mod plain_calls;
pub mod posted;
#[path = "preceding_x86_64.rs"]
mod preceding;
#[path = "rewrite_x86_64.rs"]
pub mod rewrite;
pub mod systrap;

pub use answered::AnsweredCalls;
pub use api::{
    AddressSpace, Answers, Context, Event, Exception, Fault, Interrupter, MapOp, MapSource, PlainActions,
    Platform, PlatformError, Protection, Told, WaysIn, XSTATE_MAX,
};
