//! Signals to many processes at once, against processes that are being made meanwhile.
//!
//! A signal to a process group is for all of its members. A child that its parent is just making is not among them
//! yet, but will be: so whoever sends notes the signal with each member that is in fork(2), and the child is born with
//! it (Linux's `multiprocess_signals`). Senders look for members and leave their notes under the tree lock, under
//! which children are linked: none falls between.

use std::sync::Arc;

use abi::{SigSet, Signal};

use super::SignalState;
use super::action::STOP_SIGNALS;
use crate::task::{Task, ThreadGroup, TreeGuard, Work};

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
