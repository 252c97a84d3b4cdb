//! `O_ASYNC`: a signal to a file's owner when the file becomes ready (`man 2 fcntl`, "Managing signals").
//!
//! Readiness is announced with a wait queue's lock held, and sending a signal may touch that very queue (a signalfd's).
//! So the news is only noted there, and told from the timer thread.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::fcntl::{F_OWNER_PGRP, F_OWNER_TID};
use abi::signal::SI_KERNEL;
use abi::{SigInfo, Signal};
use waiter::{Events, Notify, Registration};

use super::{Fd, File, SignalOwner};
use crate::signal::Sender;
use crate::task::{Credentials, Pid, Task};
use crate::time::{MonotonicTime, Timer, TimerHandler};

/// Who is told, as it was when the owner was set.
#[derive(Clone, Debug, Default)]
pub(super) struct Owner {
    /// As fcntl(2) shows it.
    pub(super) shown: SignalOwner,
    /// The process, group or thread; `None` for nobody.
    pub(super) target: Option<Arc<Pid>>,
    /// Who set it: the signal is sent in that name.
    pub(super) creds: Option<Arc<Credentials>>,
}

/// A file's being listened to.
pub(super) struct AsyncNotice {
    file: Weak<File>,
    fd: Fd,
    news: AtomicU32,
    timer: OnceLock<Arc<Timer>>,
}

/// `si_code` and `si_band` of each kind of readiness, as Linux tells them.
const KINDS: [(Events, i32, i64); 5] = [
    (Events::READABLE, 1, 0x41),
    (Events::WRITABLE, 2, 0x304),
    (Events::ERR, 4, 0x8),
    (Events::PRI, 5, 0x82),
    (Events::HUP, 6, 0x18),
];

impl AsyncNotice {
    /// Listens to `file` on behalf of descriptor `fd`; nothing where it is always ready.
    pub(super) fn start(task: &Task, file: &Arc<File>, fd: Fd) -> Option<Registration> {
        let queue = file.ops().wait_queue()?;
        let (file, news) = (Arc::downgrade(file), AtomicU32::new(0));
        let notice = Arc::new(Self { file, fd, news, timer: OnceLock::new() });
        let this: Weak<Self> = Arc::downgrade(&notice);
        notice.timer.get_or_init(|| task.kernel().timers.timer(this));
        let interest = Events::READABLE | Events::WRITABLE | Events::PRI;
        Some(queue.register(interest, notice))
    }
}

impl Notify for AsyncNotice {
    fn notify(&self, events: Events) -> bool {
        self.news.fetch_or(events.bits(), Ordering::SeqCst);
        if let Some(timer) = self.timer.get() {
            timer.set(Some(MonotonicTime(0)));
        }
        // Whoever sleeps on the file has still to be woken.
        false
    }
}

impl TimerHandler for AsyncNotice {
    fn fire(&self, _due: MonotonicTime) -> Option<MonotonicTime> {
        let news = Events::from_bits_truncate(self.news.swap(0, Ordering::SeqCst));
        let owner = self.file.upgrade().map(|file| file.owner());
        for (events, code, band) in KINDS {
            if let Some(owner) = owner.as_ref().filter(|_| news.intersects(events)) {
                owner.tell(self.fd, code, band);
            }
        }
        None
    }
}

impl Owner {
    /// Sends the signal to whom it concerns.
    fn tell(&self, fd: Fd, code: i32, band: i64) {
        let Some(target) = &self.target else { return };
        let info = match Signal::new(self.shown.signal) {
            None => SigInfo::new(Signal::IO, SI_KERNEL),
            Some(signal) => {
                let mut info = SigInfo::new(signal, code);
                info.fields[..8].copy_from_slice(&band.to_ne_bytes());
                info.fields[8..12].copy_from_slice(&fd.to_ne_bytes());
                info
            }
        };
        if self.shown.kind == F_OWNER_PGRP {
            let members = target.process_group().map(|group| group.members()).unwrap_or_default();
            for leader in members.iter().filter_map(|group| group.leader()) {
                self.send(&leader, info, false);
            }
        } else if let Some(task) = target.task() {
            self.send(&task, info, self.shown.kind == F_OWNER_TID);
        }
    }

    /// Sends it to one process or thread, if whoever set the owner may.
    fn send(&self, task: &Task, info: SigInfo, to_thread: bool) {
        let (Some(sender), Some(signal)) = (&self.creds, info.signal()) else { return };
        let creds = task.creds();
        let ids = [creds.uid, creds.suid];
        if sender.euid == 0 || ids.contains(&sender.uid) || ids.contains(&sender.euid) {
            let group = task.thread_group();
            let queue =
                |signal, info, sender| group.queue_signal(to_thread.then_some(task), signal, info, sender);
            // One that queues (`F_SETSIG`) counts against the receiver's limit; beyond that a plain one tells of it.
            let sender = if signal.is_realtime() { Sender::User } else { Sender::Kernel };
            if queue(signal, info, sender).is_err() {
                // The kernel's own standard signals are never refused.
                let _ = queue(Signal::IO, SigInfo::new(Signal::IO, SI_KERNEL), Sender::Kernel);
            }
        }
    }
}
