//! What a process does about each signal (`man 2 sigaction`).

use std::sync::Arc;

use abi::signal::{SIG_DFL, SIG_IGN, SaFlags};
use abi::{SigSet, Signal, UserAddr};
use parking_lot::Mutex;
use platform::PlainActions;

/// One signal's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SigAction {
    /// Handler address, [`SIG_DFL`] or [`SIG_IGN`].
    pub handler: u64,
    /// `SA_*`.
    pub flags: SaFlags,
    /// Where the handler returns to.
    pub restorer: UserAddr,
    /// Blocked while the handler runs.
    pub mask: SigSet,
}

impl SigAction {
    /// Whether the guest's code is to run.
    #[must_use]
    pub fn is_handler(&self) -> bool {
        self.handler != SIG_DFL && self.handler != SIG_IGN
    }

    /// Whether it is the default, with a restorer and nothing else.
    fn is_plain(&self) -> bool {
        *self == Self { restorer: self.restorer, ..PLAIN }
    }

    /// Whether `signal` does nothing under this action.
    #[must_use]
    pub fn ignores(&self, signal: Signal) -> bool {
        self.handler == SIG_IGN
            || (self.handler == SIG_DFL && default_action(signal) == DefaultAction::Ignore)
    }
}

/// The default as C libraries set it, but for the restorer.
const PLAIN: SigAction =
    SigAction { handler: SIG_DFL, flags: SaFlags::RESTORER, restorer: UserAddr::NULL, mask: SigSet::EMPTY };

/// What a signal does by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultAction {
    /// Ends the process.
    Terminate,
    /// Ends the process with the core-dump bit.
    Core,
    /// Nothing.
    Ignore,
    /// Stops all threads.
    Stop,
    /// Lets a stopped process continue (done when it is sent), then nothing.
    Continue,
}

/// The default action of `signal` (`man 7 signal`).
#[must_use]
pub fn default_action(signal: Signal) -> DefaultAction {
    match signal {
        Signal::CHLD | Signal::URG | Signal::WINCH => DefaultAction::Ignore,
        Signal::CONT => DefaultAction::Continue,
        Signal::STOP | Signal::TSTP | Signal::TTIN | Signal::TTOU => DefaultAction::Stop,
        Signal::QUIT
        | Signal::ILL
        | Signal::TRAP
        | Signal::ABRT
        | Signal::BUS
        | Signal::FPE
        | Signal::SEGV
        | Signal::XCPU
        | Signal::XFSZ
        | Signal::SYS => DefaultAction::Core,
        _ => DefaultAction::Terminate,
    }
}

/// The signals that stop a process by default.
pub(super) const STOP_SIGNALS: SigSet =
    SigSet::of(Signal::STOP).with(Signal::TSTP).with(Signal::TTIN).with(Signal::TTOU);

/// The actions of all signals, shared by the threads of a process and by `CLONE_SIGHAND`. Lock: a leaf.
#[derive(Debug)]
pub struct SignalActions(Mutex<[SigAction; 64]>);

/// The actions of a process: clones are those of processes that share them.
#[derive(Clone, Debug)]
pub(crate) struct SharedActions {
    actions: Arc<SignalActions>,
    /// One for each process, which `actions` is not: whoever looks at those has them for a moment.
    sharers: Arc<()>,
}

impl SharedActions {
    pub(crate) fn new(actions: SignalActions) -> Self {
        Self { actions: Arc::new(actions), sharers: Arc::new(()) }
    }

    pub(crate) fn get(&self) -> Arc<SignalActions> {
        Arc::clone(&self.actions)
    }

    pub(crate) fn is_unshared(&self) -> bool {
        Arc::strong_count(&self.sharers) == 1
    }
}

impl Default for SignalActions {
    fn default() -> Self {
        Self(Mutex::new([SigAction::default(); 64]))
    }
}

fn index(signal: Signal) -> usize {
    signal.number() as usize - 1
}

impl SignalActions {
    /// The action of `signal`.
    #[must_use]
    pub fn get(&self, signal: Signal) -> SigAction {
        self.0.lock()[index(signal)]
    }

    /// The action by which `signal` is taken; a one-shot handler is gone then, so that no other thread runs it.
    pub(super) fn take(&self, signal: Signal) -> SigAction {
        let mut actions = self.0.lock();
        let slot = &mut actions[index(signal)];
        let action = *slot;
        if action.is_handler() && action.flags.contains(SaFlags::RESETHAND) {
            slot.handler = SIG_DFL;
        }
        action
    }

    /// Replaces the action of `signal`; returns the old one.
    pub fn set(&self, signal: Signal, action: SigAction) -> SigAction {
        std::mem::replace(&mut self.0.lock()[index(signal)], action)
    }

    /// A copy for a new process.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Mutex::new(*self.0.lock()))
    }

    /// Handlers become the default; ignored signals stay ignored (execve(2), `CLONE_CLEAR_SIGHAND`).
    pub fn reset_handlers(&self) {
        for action in self.0.lock().iter_mut() {
            let handler = if action.handler == SIG_IGN { SIG_IGN } else { SIG_DFL };
            *action = SigAction { handler, ..SigAction::default() };
        }
    }

    /// The actions that are default ones and little else, as the platform may tell and set them.
    pub(crate) fn plain(&self) -> PlainActions {
        let actions = self.0.lock();
        let restorer =
            actions.iter().find(|action| action.is_plain()).map_or(UserAddr::NULL, |action| action.restorer);
        let plain = SigAction { restorer, ..PLAIN };
        let those = |wanted: SigAction| {
            let bits = actions.iter().enumerate().filter(|(_, action)| **action == wanted);
            bits.fold(0, |set, (bit, _)| set | 1 << bit)
        };
        PlainActions { unset: those(SigAction::default()), plain: those(plain), restorer: restorer.0 }
    }

    /// Stores what the platform has set, as far as it may.
    pub(crate) fn set_plain(&self, set: PlainActions) {
        let mut actions = self.0.lock();
        let unset = actions.iter_mut().enumerate().filter(|(_, action)| **action == SigAction::default());
        for (_, action) in unset.filter(|(bit, _)| set.plain & 1 << bit != 0) {
            *action = SigAction { restorer: UserAddr(set.restorer), ..PLAIN };
        }
    }

    /// The sets of ignored and of caught signals, as `/proc/[pid]/status` shows them.
    #[must_use]
    pub fn summary(&self) -> (SigSet, SigSet) {
        let mut sets = (SigSet::EMPTY, SigSet::EMPTY);
        for (action, number) in self.0.lock().iter().zip(1..) {
            let Some(signal) = Signal::new(number) else { continue };
            if action.handler == SIG_IGN {
                sets.0 = sets.0.with(signal);
            } else if action.is_handler() {
                sets.1 = sets.1.with(signal);
            }
        }
        sets
    }
}
