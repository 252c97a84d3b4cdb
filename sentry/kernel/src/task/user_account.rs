//! What is counted for each user across the sandbox (Linux's `struct user_struct` and `ucounts`): queued signals,
//! processes, bytes of message queues, pages of pipes, watches.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// A user's counts.
#[derive(Debug, Default)]
pub struct UserAccount([AtomicU64; COUNTERS]);

/// Which count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Queued signals.
    PendingSignals,
    /// Tasks.
    Processes,
    /// Bytes of POSIX message queues.
    QueueBytes,
    /// Pages that pipes may hold (`fs.pipe-user-pages-soft`).
    PipePages,
    /// Files watched by epoll instances (`fs.epoll.max_user_watches`).
    EpollWatches,
    /// inotify instances (`fs.inotify.max_user_instances`).
    InotifyInstances,
    /// Files watched by them (`fs.inotify.max_user_watches`).
    InotifyWatches,
}

const COUNTERS: usize = Counter::InotifyWatches as usize + 1;

impl UserAccount {
    fn counter(&self, which: Counter) -> &AtomicU64 {
        &self.0[which as usize]
    }

    /// Counts `amount` more, if that makes no more than `limit`.
    #[must_use]
    pub fn charge(self: &Arc<Self>, counter: Counter, amount: u64, limit: u64) -> Option<AccountCharge> {
        let fits = |value: u64| value.checked_add(amount).filter(|&sum| sum <= limit);
        let taken = self.counter(counter).fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        taken.then(|| AccountCharge { account: self.clone(), counter, amount })
    }

    /// Counts a queued signal, if there are fewer than `limit`.
    #[must_use]
    pub fn charge_signal(self: &Arc<Self>, limit: u64) -> Option<AccountCharge> {
        self.charge(Counter::PendingSignals, 1, limit)
    }

    /// Counts a task, if there are fewer than `limit`.
    #[must_use]
    pub fn charge_process(self: &Arc<Self>, limit: u64) -> Option<AccountCharge> {
        self.charge(Counter::Processes, 1, limit)
    }

    /// Counts the bytes of a message queue, if that makes no more than `limit`.
    #[must_use]
    pub fn charge_queue(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<AccountCharge> {
        self.charge(Counter::QueueBytes, bytes, limit)
    }

    /// Queued signals (`SigQ` in `/proc/[pid]/status`).
    #[must_use]
    pub fn pending_signals(&self) -> u64 {
        self.counter(Counter::PendingSignals).load(Ordering::Relaxed)
    }

    /// Tasks.
    #[must_use]
    pub fn processes(&self) -> u64 {
        self.counter(Counter::Processes).load(Ordering::Relaxed)
    }
}

/// Something counted; dropping it counts down.
#[derive(Debug)]
pub struct AccountCharge {
    account: Arc<UserAccount>,
    counter: Counter,
    amount: u64,
}

impl Drop for AccountCharge {
    fn drop(&mut self) {
        self.account.counter(self.counter).fetch_sub(self.amount, Ordering::Relaxed);
    }
}

/// The accounts of all users, by kernel user id. Lock: a leaf.
#[derive(Debug, Default)]
pub struct UserAccounts(Mutex<Accounts>);

#[derive(Debug, Default)]
struct Accounts {
    by_uid: HashMap<u32, Arc<UserAccount>>,
    /// With so many accounts, those that nothing is counted in are forgotten.
    crowd: usize,
}

impl UserAccounts {
    /// The account of `uid`.
    #[must_use]
    pub fn get(&self, uid: u32) -> Arc<UserAccount> {
        const FEW: usize = 64;
        let mut accounts = self.0.lock();
        if accounts.by_uid.len() > accounts.crowd.max(FEW) {
            // Whatever is counted holds its account.
            accounts.by_uid.retain(|_, account| Arc::strong_count(account) > 1);
            accounts.crowd = accounts.by_uid.len() * 2;
        }
        accounts.by_uid.entry(uid).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::UserAccounts;

    #[test]
    fn accounts_without_charges_are_forgotten() {
        let accounts = UserAccounts::default();
        let kept: Vec<_> = (0..100).map(|uid| accounts.get(uid).charge_signal(9)).collect();
        for uid in 100..10_000 {
            assert!(accounts.get(uid).charge_signal(9).is_some());
        }
        assert!(accounts.0.lock().by_uid.len() < 500);
        assert_eq!(accounts.get(7).pending_signals(), 1);
        drop(kept);
    }
}
