//! The small things that a task remembers, most of them set by prctl(2) and the like.

use std::sync::Arc;

use abi::{SigSet, Signal, UserAddr};

use super::{Login, Scheduling, VforkDone};
use crate::keys::TaskKeyrings;
use crate::syscalls::table::Args;

/// How a call that was interrupted is taken up again by restart_syscall(2).
#[derive(Clone, Copy, Debug)]
pub struct RestartBlock {
    /// Which call.
    pub call: RestartCall,
    /// Its arguments, with deadlines in place of durations.
    pub args: Args,
}

/// The calls that are not simply made again with their old arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartCall {
    /// futex(2), waiting.
    Futex,
    /// poll(2).
    Poll,
    /// nanosleep(2) and clock_nanosleep(2).
    Sleep,
}

/// The default timer slack, nanoseconds.
pub const DEFAULT_TIMER_SLACK_NS: u64 = 50_000;

/// What a task remembers.
#[derive(Clone, Debug)]
pub struct TaskDetails {
    /// Name.
    pub comm: Vec<u8>,
    /// Zeroed and woken when the task exits (set_tid_address(2)).
    pub clear_child_tid: UserAddr,
    /// Head of the robust futex list.
    pub robust_list: UserAddr,
    /// Sent to the task when its parent thread dies.
    pub parent_death_signal: Option<Signal>,
    /// Scheduling attributes.
    pub scheduling: Scheduling,
    /// Processors it may run on, bit by bit.
    pub affinity: Vec<u64>,
    /// `PR_SET_TIMERSLACK`, and what 0 resets it to.
    pub timer_slack_ns: u64,
    /// See `timer_slack_ns`.
    pub default_timer_slack_ns: u64,
    /// `PR_SET_NO_NEW_PRIVS`.
    pub no_new_privs: bool,
    /// Signals that the parent is sent when the (leader) task exits; `None` for none.
    pub exit_signal: Option<Signal>,
    /// Told when a vfork(2) child lets its parent go on.
    pub vfork_done: Option<Arc<VforkDone>>,
    /// What restart_syscall(2) does.
    pub restart: Option<RestartBlock>,
    /// Keyrings of its own.
    pub keyrings: TaskKeyrings,
    /// `PR_SET_IO_FLUSHER`.
    pub is_io_flusher: bool,
    /// Whose login it goes back to.
    pub login: Login,
    /// Since when it exists: monotonic and boot time agree.
    pub start_time_ns: i64,
    /// Blocked signals as they were before a temporary mask, for `/proc` alone.
    pub shown_mask: Option<SigSet>,
}

impl TaskDetails {
    /// Those of a container's first task.
    #[must_use]
    pub fn initial(now_ns: i64) -> Self {
        Self {
            comm: Vec::new(),
            clear_child_tid: UserAddr::NULL,
            robust_list: UserAddr::NULL,
            parent_death_signal: None,
            scheduling: Scheduling::default(),
            affinity: Vec::new(),
            timer_slack_ns: DEFAULT_TIMER_SLACK_NS,
            default_timer_slack_ns: DEFAULT_TIMER_SLACK_NS,
            no_new_privs: false,
            exit_signal: Some(Signal::CHLD),
            vfork_done: None,
            restart: None,
            keyrings: TaskKeyrings::default(),
            is_io_flusher: false,
            login: Login::default(),
            start_time_ns: now_ns,
            shown_mask: None,
        }
    }

    /// The set of processors that the task may run on, where there are `cpu_count`: those that it chose, or all when
    /// none of them is there any more.
    #[must_use]
    pub fn allowed_cpus(&self, cpu_count: usize) -> Vec<u64> {
        let mut all = vec![u64::MAX; cpu_count.div_ceil(64)];
        if let Some(last) = all.last_mut()
            && !cpu_count.is_multiple_of(64)
        {
            *last = (1 << (cpu_count % 64)) - 1;
        }
        let chosen = |(index, word): (usize, &u64)| word & self.affinity.get(index).copied().unwrap_or(0);
        let chosen: Vec<u64> = all.iter().enumerate().map(chosen).collect();
        if chosen.iter().all(|word| *word == 0) { all } else { chosen }
    }

    /// The processor that guests are told the task runs on: the lowest that it may run on.
    #[must_use]
    pub fn shown_cpu(&self, cpu_count: usize) -> u32 {
        let allowed = self.allowed_cpus(cpu_count);
        let word = allowed.iter().position(|word| *word != 0).unwrap_or(0);
        let bit = allowed.get(word).map_or(0, |word| word.trailing_zeros());
        u32::try_from(word * 64).unwrap_or(0) + bit
    }

    /// Those of a child.
    #[must_use]
    pub fn for_child(&self, now_ns: i64) -> Self {
        let mut child = self.clone();
        child.clear_child_tid = UserAddr::NULL;
        child.robust_list = UserAddr::NULL;
        child.parent_death_signal = None;
        child.vfork_done = None;
        child.keyrings = self.keyrings.for_thread();
        child.restart = None;
        child.start_time_ns = now_ns;
        child.default_timer_slack_ns = self.timer_slack_ns;
        child.shown_mask = None;
        if child.scheduling.reset_on_fork {
            let nice = child.scheduling.nice.max(0);
            child.scheduling = Scheduling { nice, io_priority: 0, ..Scheduling::default() };
        }
        child
    }
}

#[cfg(test)]
mod tests {
    use super::TaskDetails;

    #[test]
    fn processors_come_and_go() {
        let mut details = TaskDetails::initial(0);
        assert_eq!(details.allowed_cpus(2), [3]);
        assert_eq!(details.allowed_cpus(65), [u64::MAX, 1]);
        details.affinity = vec![0b10];
        assert_eq!((details.allowed_cpus(2), details.shown_cpu(2)), (vec![2], 1));
        // What it chose is gone, and comes back.
        assert_eq!((details.allowed_cpus(1), details.shown_cpu(1)), (vec![1], 0));
        assert_eq!(details.allowed_cpus(70), [2, 0]);
    }
}
