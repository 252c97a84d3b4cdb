//! The [`ThreadGroup`]: a process.

/// A process: tasks that share signals, limits, timers and a parent.
#[derive(Debug)]
pub struct ThreadGroup;
