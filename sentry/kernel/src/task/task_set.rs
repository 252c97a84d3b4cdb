//! All tasks, and the pid name spaces that number them.

/// A thread or process number.
pub type Tid = i32;

/// Everything that runs in the sandbox.
#[derive(Debug, Default)]
pub struct TaskSet;

/// A pid name space.
#[derive(Debug)]
pub struct PidNamespace;
