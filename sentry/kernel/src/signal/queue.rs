//! Pending signals: at most one of each standard signal, any number of each real-time one, in order of arrival.

use std::collections::VecDeque;

use abi::{SigInfo, SigSet, Signal};

use crate::task::AccountCharge;

/// Signals that a processor exception makes: taken before all others.
const SYNCHRONOUS: SigSet = SigSet::of(Signal::SEGV)
    .with(Signal::BUS)
    .with(Signal::ILL)
    .with(Signal::TRAP)
    .with(Signal::FPE)
    .with(Signal::SYS);

#[derive(Debug)]
struct Entry {
    info: SigInfo,
    /// Counts against the sender's `RLIMIT_SIGPENDING` until taken.
    _charge: Option<AccountCharge>,
}

/// A set of pending signals with their information.
#[derive(Debug, Default)]
pub struct PendingSignals {
    set: SigSet,
    entries: VecDeque<Entry>,
}

impl PendingSignals {
    /// Which signals are pending.
    #[must_use]
    pub fn set(&self) -> SigSet {
        self.set
    }

    /// Whether a standard signal like this one is already there, so that another would be lost.
    #[must_use]
    pub fn would_merge(&self, signal: Signal) -> bool {
        !signal.is_realtime() && self.set.contains(signal)
    }

    /// Adds a signal with its information.
    pub fn push(&mut self, signal: Signal, info: SigInfo, charge: Option<AccountCharge>) {
        if self.would_merge(signal) {
            return;
        }
        self.set = self.set.with(signal);
        self.entries.push_back(Entry { info, _charge: charge });
    }

    /// Marks a signal pending without information (no room for it): it will look as if sent by the kernel's user 0.
    pub fn mark(&mut self, signal: Signal) {
        self.set = self.set.with(signal);
    }

    /// Takes the next signal that is in `wanted`: exceptions first, then the lowest number, oldest first.
    pub fn take(&mut self, wanted: SigSet) -> Option<SigInfo> {
        let ready = SigSet(self.set.0 & wanted.0);
        let urgent = SigSet(ready.0 & SYNCHRONOUS.0);
        let signal = urgent.first().or_else(|| ready.first())?;
        Some(self.take_signal(signal))
    }

    fn take_signal(&mut self, signal: Signal) -> SigInfo {
        let mut found = None;
        let mut more = false;
        let mut index = 0;
        while index < self.entries.len() {
            if self.entries[index].info.signo == signal.number() {
                if found.is_some() {
                    more = true;
                    break;
                }
                found = self.entries.remove(index).map(|entry| entry.info);
            } else {
                index += 1;
            }
        }
        if !more {
            self.set = self.set.without(SigSet::of(signal));
        }
        found.unwrap_or_else(|| SigInfo::from_user(signal, abi::signal::SI_USER, 0, 0))
    }

    /// Forgets all signals in `signals`.
    pub fn discard(&mut self, signals: SigSet) {
        if self.set.0 & signals.0 == 0 {
            return;
        }
        self.set = self.set.without(signals);
        self.entries.retain(|entry| entry.info.signal().is_none_or(|signal| !signals.contains(signal)));
    }

    /// Forgets the pending signals that `matches` (a deleted timer's).
    pub fn discard_matching(&mut self, signal: Signal, matches: &dyn Fn(&SigInfo) -> bool) {
        self.entries.retain(|entry| entry.info.signo != signal.number() || !matches(&entry.info));
        if !self.entries.iter().any(|entry| entry.info.signo == signal.number()) {
            self.set = self.set.without(SigSet::of(signal));
        }
    }

    /// Changes the information of a pending signal that `matches` (a timer's overrun count); says whether one did.
    pub fn update(&mut self, change: &mut dyn FnMut(&mut SigInfo) -> bool) -> bool {
        self.entries.iter_mut().any(|entry| change(&mut entry.info))
    }

    /// The queued information in order, for `PTRACE_PEEKSIGINFO`.
    pub fn iter(&self) -> impl Iterator<Item = &SigInfo> {
        self.entries.iter().map(|entry| &entry.info)
    }

    /// How many are queued.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is pending.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use abi::signal::SI_QUEUE;
    use abi::{SigInfo, SigSet, Signal};

    use super::PendingSignals;

    fn queued(signal: Signal, pid: i32) -> SigInfo {
        SigInfo::from_user(signal, SI_QUEUE, pid, 0)
    }

    #[test]
    fn standard_signals_merge_and_realtime_ones_queue() {
        let (mut pending, all) = (PendingSignals::default(), SigSet(u64::MAX));
        let realtime = Signal::new(40).unwrap();
        for pid in 1..=2 {
            pending.push(Signal::USR1, queued(Signal::USR1, pid), None);
            pending.push(realtime, queued(realtime, pid), None);
        }
        let taken: Vec<_> = std::iter::from_fn(|| pending.take(all)).collect();
        assert_eq!(taken, [queued(Signal::USR1, 1), queued(realtime, 1), queued(realtime, 2)]);
        assert!(pending.is_empty());
    }

    #[test]
    fn exceptions_come_first_and_blocked_ones_stay() {
        let mut pending = PendingSignals::default();
        pending.push(Signal::HUP, queued(Signal::HUP, 1), None);
        pending.push(Signal::SEGV, queued(Signal::SEGV, 2), None);
        pending.mark(Signal::TERM);
        let unblocked = SigSet(u64::MAX).without(SigSet::of(Signal::HUP));
        assert_eq!(pending.take(unblocked).map(|info| info.signo), Some(11));
        assert_eq!(pending.take(unblocked).map(|info| info.signo), Some(15));
        assert_eq!(pending.take(unblocked), None);
        assert_eq!(pending.set(), SigSet::of(Signal::HUP));
    }
}
