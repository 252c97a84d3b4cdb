//! Signals to many processes at once, against processes that are being made meanwhile.
//!
//! A signal to a process group is for all of its members. A child that its parent is just making is not among them
//! yet, but will be: so whoever sends notes the signal with each member that is in fork(2), and the child is born with
//! it (Linux's `multiprocess_signals`). Senders look for members and leave their notes under the tree lock, under
//! which children are linked: none falls between.

use std::sync::Arc;

use abi::signal::SI_USER;
use abi::{Errno, Result, SigInfo, SigSet, Signal};

use super::action::STOP_SIGNALS;
use super::{Sender, SignalState};
use crate::task::{Task, TaskSet, ThreadGroup, TreeGuard, Work};

/// The notes for one child in the making.
#[derive(Debug)]
pub(super) struct ForkNotes {
    /// Tells it from others of the same process.
    id: u64,
    signals: SigSet,
}

/// A process that is making a child; dropped when the child is there, or will never be.
#[derive(Debug)]
pub(crate) struct Forking {
    parent: Arc<ThreadGroup>,
    id: u64,
}

impl Forking {
    /// From now on, signals for many are noted.
    pub(crate) fn begin(parent: &Arc<ThreadGroup>, id: u64) -> Self {
        parent.signal.lock().forks.push(ForkNotes { id, signals: SigSet::default() });
        Self { parent: parent.clone(), id }
    }

    /// Gives `child`, which is being linked, what was noted for it.
    pub(crate) fn hand_over(&self, _tree: &TreeGuard<'_>, child: &Task) {
        let noted = {
            let state = self.parent.signal.lock();
            state
                .forks
                .iter()
                .find(|notes| notes.id == self.id)
                .map_or_else(SigSet::default, |notes| notes.signals)
        };
        if noted.is_empty() {
            return;
        }
        let mut state = child.thread_group().signal.lock();
        for signal in (1..=64).filter_map(Signal::new).filter(|signal| noted.contains(*signal)) {
            state.shared.mark(signal);
        }
        child.wake().add(Work::SIGNAL);
    }
}

impl Drop for Forking {
    fn drop(&mut self) {
        self.parent.signal.lock().forks.retain(|notes| notes.id != self.id);
    }
}

impl SignalState {
    fn note_for_children(&mut self, signal: Signal) {
        for notes in &mut self.forks {
            // A stop and a continue cancel each other, as they do in a queue.
            if STOP_SIGNALS.contains(signal) {
                notes.signals = notes.signals.without(SigSet::of(Signal::CONT));
            } else if signal == Signal::CONT {
                notes.signals = notes.signals.without(STOP_SIGNALS);
            }
            notes.signals = notes.signals.with(signal);
        }
    }
}

impl ThreadGroup {
    /// Notes a signal that is about to be sent to this process as one of many.
    pub(crate) fn note_for_children(&self, _tree: &TreeGuard<'_>, signal: Signal) {
        self.signal.lock().note_for_children(signal);
    }
}

impl Task {
    /// Sends a process a signal with `info`, or with what kill(2) would say. `None` only asks whether it may.
    ///
    /// # Errors
    /// `ESRCH`, `EPERM`, `EAGAIN`.
    pub(crate) fn signal_process(
        &self,
        group: &ThreadGroup,
        signal: Option<Signal>,
        info: Option<SigInfo>,
    ) -> Result<()> {
        let leader = group.leader().ok_or(Errno::ESRCH)?;
        self.check_may_signal(&leader, signal)?;
        let Some(signal) = signal else { return Ok(()) };
        let info = info.unwrap_or_else(|| self.user_signal(signal, SI_USER, &leader));
        group.queue_signal(None, signal, info, self.sender_to(&leader))
    }

    /// As [`Self::signal_process`], to several processes, and to those that they are just making: fails only if all
    /// fail, with `EPERM` where one could not be signalled.
    ///
    /// # Errors
    /// `ESRCH` where there is none; as there.
    pub(crate) fn signal_many(
        &self,
        members: impl FnOnce() -> Vec<Arc<ThreadGroup>>,
        signal: Option<Signal>,
        info: Option<SigInfo>,
    ) -> Result<()> {
        let groups = {
            let tree = self.kernel().tasks.tree();
            let groups = members();
            for group in &groups {
                let may_signal = |leader: Arc<Task>| self.check_may_signal(&leader, signal).is_ok();
                if let (Some(signal), true) = (signal, group.leader().is_some_and(may_signal)) {
                    group.note_for_children(&tree, signal);
                }
            }
            groups
        };
        let mut result = Err(Errno::ESRCH);
        for group in groups {
            match self.signal_process(&group, signal, info) {
                Ok(()) => result = Ok(()),
                Err(error) if result.is_err() => result = Err(error),
                Err(_) => {}
            }
        }
        result
    }
}

impl TaskSet {
    /// Sends a signal to several processes, and to those that they are just making, as the container manager does. Says
    /// how many there are.
    pub fn signal_from_outside(
        &self,
        members: impl FnOnce() -> Vec<Arc<ThreadGroup>>,
        signal: Signal,
    ) -> usize {
        self.signal_all(members, signal, |_| Sender::Outside)
    }

    fn signal_all(
        &self,
        members: impl FnOnce() -> Vec<Arc<ThreadGroup>>,
        signal: Signal,
        sender_to: impl Fn(&ThreadGroup) -> Sender,
    ) -> usize {
        let tree = self.tree();
        // Under the tree lock, a child is either linked, and found here, or will be born with the signal; who has been
        // killed links none.
        let groups = members();
        for group in &groups {
            group.note_for_children(&tree, signal);
            // Only real-time signals beyond the limit fail, and those are lost for everyone.
            let _ = group.queue_signal(None, signal, SigInfo::new(signal, SI_USER), sender_to(group));
        }
        groups.len()
    }
}

impl Task {
    /// Sends a signal to several processes, and to those that they are just making, without asking whether it may.
    pub(crate) fn signal_all(&self, members: impl FnOnce() -> Vec<Arc<ThreadGroup>>, signal: Signal) {
        let sender_to =
            |group: &ThreadGroup| group.leader().map_or(Sender::User, |leader| self.sender_to(&leader));
        self.kernel().tasks.signal_all(members, signal, sender_to);
    }
}

#[cfg(test)]
mod tests {
    use abi::{SigSet, Signal};

    use super::{ForkNotes, SignalState};

    #[test]
    fn a_stop_and_a_continue_cancel_each_other() {
        let mut state = SignalState::default();
        state.forks.push(ForkNotes { id: 1, signals: SigSet::default() });
        for signal in [Signal::TERM, Signal::TSTP, Signal::CONT] {
            state.note_for_children(signal);
        }
        assert_eq!(state.forks[0].signals, SigSet::of(Signal::TERM).with(Signal::CONT));
        state.note_for_children(Signal::STOP);
        assert_eq!(state.forks[0].signals, SigSet::of(Signal::TERM).with(Signal::STOP));
    }
}
