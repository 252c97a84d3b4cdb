//! Queueing a signal and choosing who takes it (Linux's `__send_signal_locked`, `complete_signal`).

use std::sync::Arc;

use abi::resource::Resource;
use abi::signal::SI_KERNEL;
use abi::{Errno, Result, SigInfo, SigSet, Signal};
use parking_lot::MutexGuard;

use super::action::STOP_SIGNALS;
use super::{DefaultAction, GroupStop, JobReport, SignalState, TaskSignals, default_action};
use crate::task::{ExitStatus, Task, ThreadGroup, Work};

/// Where a signal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The kernel itself: never fails for want of queue space.
    Kernel,
    /// A task of the receiver's pid name space, or of one below.
    User,
    /// A task of a name space above the receiver's: kills even the first process.
    Above,
    /// The container's manager, or who types at the host's terminal: kills even the first process. Where that was not
    /// written to be the first, what ends any other ends it too, unless it has a handler.
    Outside,
}

/// Stopping and killing, which no process can refuse.
const KERNEL_ONLY: SigSet = SigSet::UNBLOCKABLE;

impl ThreadGroup {
    /// Sends the process a signal of the kernel's making.
    pub fn send_signal(&self, info: SigInfo) {
        if let Some(signal) = info.signal() {
            // The kernel's signals never fail for want of space.
            let _ = self.queue_signal(None, signal, info, Sender::Kernel);
        }
    }

    /// Sends the process a signal on behalf of whoever manages the container.
    pub fn send_signal_from_outside(&self, info: SigInfo) {
        if let Some(signal) = info.signal() {
            // Only real-time signals beyond the limit fail, and those are lost for everyone.
            let _ = self.queue_signal(None, signal, info, Sender::Outside);
        }
    }

    /// Sends the process a terminal's signal: the kernel's own, or the outside's where somebody types there.
    pub fn send_terminal_signal(&self, signal: Signal, sender: Sender) {
        // Neither sender's signals fail for want of space.
        let _ = self.queue_signal(None, signal, SigInfo::new(signal, SI_KERNEL), sender);
    }

    /// Queues a signal for `target`, or for whichever thread takes it. The caller has checked permissions.
    ///
    /// # Errors
    /// `EAGAIN` where a user's real-time signal finds no room.
    pub fn queue_signal(
        &self,
        target: Option<&Task>,
        signal: Signal,
        info: SigInfo,
        sender: Sender,
    ) -> Result<()> {
        let mut state = self.signal.lock();
        let continued = self.prepare(&mut state, signal);
        let result = self.queue_locked(&mut state, target, signal, info, sender);
        drop(state);
        if continued {
            self.notify_parent_of(JobReport::Continued);
        }
        result
    }

    fn queue_locked(
        &self,
        state: &mut MutexGuard<'_, SignalState>,
        target: Option<&Task>,
        signal: Signal,
        info: SigInfo,
        sender: Sender,
    ) -> Result<()> {
        let leader;
        let receiver = match target {
            Some(task) => task,
            None => match self.leader() {
                Some(task) => {
                    leader = task;
                    &*leader
                }
                None => return Ok(()),
            },
        };
        if state.group_exit.is_some() && signal != Signal::KILL {
            return Ok(());
        }
        if sender == Sender::Outside && self.container().heeds_outside() && self.would_end(receiver, signal) {
            state.is_unkillable = false;
        }
        if self.is_dropped(state, receiver, signal, sender) {
            return Ok(());
        }
        {
            let mut own = receiver.signals.lock();
            let queue = if target.is_some() { &mut own.pending } else { &mut state.shared };
            if queue.would_merge(signal) {
                return Ok(());
            }
            let charge = self.kernel().and_then(|kernel| {
                let account = kernel.tasks.accounts.get(receiver.creds().uid);
                account.charge_signal(self.limits().soft(Resource::Sigpending))
            });
            let is_kernels = sender == Sender::Kernel || info.code >= 0;
            if charge.is_some() || (is_kernels && !signal.is_realtime()) || sender == Sender::Kernel {
                queue.push(signal, info, charge);
            } else if signal.is_realtime() && info.code != abi::signal::SI_USER {
                return Err(Errno::EAGAIN);
            } else {
                queue.mark(signal);
            }
        }
        self.signal_events().notify(waiter::Events::READABLE);
        self.choose_taker(state, target, signal, sender);
        Ok(())
    }

    /// The effects that stop signals and `SIGCONT` have at once. Says whether the parent is to hear of continuing.
    fn prepare(&self, state: &mut SignalState, signal: Signal) -> bool {
        if state.group_exit.is_some() {
            return false;
        }
        if STOP_SIGNALS.contains(signal) {
            self.discard_pending(state, SigSet::of(Signal::CONT));
        } else if signal == Signal::CONT {
            self.discard_pending(state, STOP_SIGNALS);
            return self.resume(state);
        }
        false
    }

    /// Forgets signals that are pending for the process or any of its threads.
    pub(crate) fn discard_pending(&self, state: &mut SignalState, signals: SigSet) {
        state.shared.discard(signals);
        for task in self.tasks() {
            task.signals.lock().pending.discard(signals);
        }
    }

    /// Ends a group stop; says whether there was one.
    fn resume(&self, state: &mut SignalState) -> bool {
        let was = std::mem::take(&mut state.stop);
        for task in self.tasks() {
            let mut own = task.signals.lock();
            let waits = own.must_stop || own.is_stopped;
            own.must_stop = false;
            own.is_stopped = false;
            own.may_stop = false;
            drop(own);
            if waits {
                task.wake().add(Work::SIGNAL);
            }
        }
        let continued = was != GroupStop::Running;
        if continued {
            state.report = Some(JobReport::Continued);
        }
        continued
    }

    /// Whether the signal ends whatever process has no better use for it. Who blocks it may wait for it, or get a handler
    /// yet.
    fn would_end(&self, task: &Task, signal: Signal) -> bool {
        self.actions().get(signal).handler == abi::signal::SIG_DFL
            && matches!(default_action(signal), DefaultAction::Terminate | DefaultAction::Core)
            && !task.is_traced()
            && !task.held_mask(&task.signals.lock()).contains(signal)
    }

    /// Whether the signal would have no effect and need not be queued (Linux's `sig_ignored`).
    fn is_dropped(&self, state: &SignalState, task: &Task, signal: Signal, sender: Sender) -> bool {
        if signal != Signal::KILL
            && (task.is_traced() || task.held_mask(&task.signals.lock()).contains(signal))
        {
            return false;
        }
        let action = self.actions().get(signal);
        let is_forced = sender != Sender::User && KERNEL_ONLY.contains(signal);
        if state.is_unkillable && action.handler == abi::signal::SIG_DFL && !is_forced {
            return true;
        }
        action.ignores(signal)
    }

    /// Tells a thread that can take the signal; ends the whole process at once where that is all it will do.
    fn choose_taker(&self, state: &mut SignalState, target: Option<&Task>, signal: Signal, sender: Sender) {
        // A signal to one thread, as the Go run-time sends to preempt it, needs no look at the others.
        let tasks = if target.is_none() { self.tasks() } else { Vec::new() };
        let taker = match target {
            Some(target) => Some(target).filter(|task| task.wants(signal)),
            None => tasks.iter().map(Arc::as_ref).find(|task| task.wants(signal)),
        };
        let Some(taker) = taker else { return };
        if state.group_exit.is_none() && self.is_fatal(state, taker, signal, sender) {
            state.group_exit = Some(ExitStatus::Killed { signal, core: false });
            for task in self.tasks() {
                task.wake().add(Work::SIGNAL);
            }
            return;
        }
        // It may take long to come: a thread that stops blocking the signal meanwhile takes it, and so must not do that
        // unseen. Where there is no taker, all have been asked, which holds their masks.
        for task in &tasks {
            task.wake().hold_mask();
        }
        taker.wake().add(Work::SIGNAL);
    }

    fn is_fatal(&self, state: &SignalState, taker: &Task, signal: Signal, sender: Sender) -> bool {
        let is_default = self.actions().get(signal).handler == abi::signal::SIG_DFL;
        let is_spared = state.is_unkillable && !(sender != Sender::User && KERNEL_ONLY.contains(signal));
        // A thread that blocks the signal and waits for it in sigtimedwait(2) takes it as a value.
        let is_waited_for = || taker.held_mask(&taker.signals.lock()).contains(signal);
        is_default
            && !is_spared
            && default_action(signal) == DefaultAction::Terminate
            && (signal == Signal::KILL || !(taker.is_traced() || is_waited_for()))
    }

    /// Makes `task` take a signal at once, as faults do: where it is blocked or ignored it becomes deadly.
    pub(crate) fn force_signal(&self, task: &Task, info: SigInfo) {
        let Some(signal) = info.signal() else { return };
        let mut state = self.signal.lock();
        {
            let mut own = task.signals.lock();
            let actions = self.actions();
            let action = actions.get(signal);
            let is_blocked = own.blocked.contains(signal);
            if is_blocked || action.handler == abi::signal::SIG_IGN {
                actions.set(signal, super::SigAction::default());
                own.blocked = own.blocked.without(SigSet::of(signal));
                task.wake().hold_mask();
            }
            if actions.get(signal).handler == abi::signal::SIG_DFL && !task.is_traced() {
                state.is_unkillable = false;
            }
            own.pending.push(signal, info, None);
        }
        task.wake().add(Work::SIGNAL);
    }

    /// Ends the whole process, unless its end has begun.
    pub fn kill(&self, status: ExitStatus) {
        let mut state = self.signal.lock();
        state.group_exit.get_or_insert(status);
        for task in self.tasks() {
            task.wake().add(Work::SIGNAL);
        }
    }
}

impl Task {
    /// Whether it could take `signal` now.
    fn wants(&self, signal: Signal) -> bool {
        if self.has_exited() || self.exit_status().is_some() {
            return false;
        }
        if signal == Signal::KILL {
            return true;
        }
        let own = self.signals.lock();
        let is_awaited = own.waiting_for.contains(signal);
        let blocked = self.held_mask(&own);
        (!blocked.contains(signal) || is_awaited) && !own.is_stopped && !self.is_trace_stopped()
    }

    /// Passes pending signals of the process that this task blocks from now on, or will not live to take, to others.
    pub(crate) fn retarget_shared_signals(&self, state: &SignalState, no_longer: SigSet) {
        let mut left = SigSet(state.shared.set().0 & no_longer.0);
        for other in self.thread_group().tasks() {
            if left.is_empty() {
                return;
            }
            if other.id() == self.id() || other.has_exited() {
                continue;
            }
            let takes = left.without(other.held_mask(&other.signals.lock()));
            if !takes.is_empty() {
                left = left.without(takes);
                other.wake().add(Work::SIGNAL);
            }
        }
    }

    /// Replaces the set of blocked signals.
    pub(crate) fn set_blocked(&self, blocked: SigSet) {
        let blocked = blocked.without(SigSet::UNBLOCKABLE);
        let state = self.thread_group().signal.lock();
        let newly = {
            let mut own = self.signals.lock();
            let newly = blocked.without(own.blocked);
            own.blocked = blocked;
            self.wake().hold_mask();
            if !SigSet(own.pending.set().0 | state.shared.set().0).without(blocked).is_empty() {
                self.wake().add(Work::SIGNAL);
            }
            newly
        };
        if !newly.is_empty() && !state.shared.is_empty() {
            self.retarget_shared_signals(&state, newly);
        }
    }

    /// Looks for signals that came while it was of no use to tell it of them (Linux's `recalc_sigpending`).
    pub(crate) fn recheck_signals(&self) {
        if !self.pending_signals().without(self.blocked()).is_empty() {
            self.wake().add(Work::SIGNAL);
        }
    }

    /// The blocked signals.
    #[must_use]
    pub fn blocked(&self) -> SigSet {
        self.held_mask(&self.signals.lock())
    }

    /// What it blocks, and will until its next event, where guest code would otherwise change that by itself.
    fn held_mask(&self, own: &TaskSignals) -> SigSet {
        self.wake().hold_mask().map_or(own.blocked, |mask| SigSet(mask).without(SigSet::UNBLOCKABLE))
    }

    /// Signals that are pending for it or its process.
    #[must_use]
    pub fn pending_signals(&self) -> SigSet {
        let state = self.thread_group().signal.lock();
        let own = self.signals.lock();
        SigSet(own.pending.set().0 | state.shared.set().0)
    }

    /// The pending set of this thread alone and that of its process, as `/proc/[pid]/status` shows them.
    #[must_use]
    pub fn pending_sets(&self) -> (SigSet, SigSet) {
        let state = self.thread_group().signal.lock();
        let own = self.signals.lock();
        (own.pending.set(), state.shared.set())
    }

    /// Takes a pending signal out of `wanted`, blocked or not: its own first (signalfd(2), sigtimedwait(2)).
    pub fn take_signal(&self, wanted: SigSet) -> Option<SigInfo> {
        let wanted = wanted.without(SigSet::UNBLOCKABLE);
        let mut state = self.thread_group().signal.lock();
        let own = self.signals.lock().pending.take(wanted);
        own.or_else(|| state.shared.take(wanted))
    }
}
