//! Signals that are read: `man 2 signalfd`.

use std::sync::{Arc, Weak};

use abi::signal::{SI_KERNEL, SI_QUEUE, SI_TIMER};
use abi::{Errno, Result, SigInfo, SigSet, Signal};
use parking_lot::{Mutex, RwLock};
use waiter::{Events, Notify, Registration, WaitQueue};
use zerocopy::{Immutable, IntoBytes};

use super::{File, FileOps};
use crate::Task;
use crate::mm::IoDst;
use crate::task::{ThreadGroup, with_current};

/// `struct signalfd_siginfo`.
#[derive(Clone, Copy, Default, IntoBytes, Immutable)]
#[repr(C)]
struct SignalfdInfo {
    signo: u32,
    errno: i32,
    code: i32,
    pid: u32,
    uid: u32,
    fd: i32,
    tid: u32,
    band: u32,
    overrun: u32,
    trapno: u32,
    status: i32,
    int: i32,
    ptr: u64,
    utime: u64,
    stime: u64,
    addr: u64,
    addr_lsb: u16,
    pad2: u16,
    syscall: i32,
    call_addr: u64,
    arch: u32,
    pad: [u8; 28],
}

impl SignalfdInfo {
    fn new(info: &SigInfo) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&info.fields[at..at + 4]);
            u32::from_ne_bytes(bytes)
        };
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        let base =
            Self { signo: info.signo.unsigned_abs(), errno: info.errno, code: info.code, ..Self::default() };
        match (info.code, info.signal()) {
            (SI_TIMER, _) => {
                Self { tid: word(0), overrun: word(4), ptr: long(8), int: word(8) as i32, ..base }
            }
            (code, Some(Signal::SEGV | Signal::BUS | Signal::FPE | Signal::ILL | Signal::TRAP))
                if code > 0 && code != SI_KERNEL =>
            {
                Self { addr: long(0), ..base }
            }
            (code, Some(Signal::CHLD)) if code > 0 => Self {
                pid: word(0),
                uid: word(4),
                status: word(8) as i32,
                utime: long(16),
                stime: long(24),
                ..base
            },
            (code, Some(Signal::IO)) if code > 0 => Self { band: word(0), fd: word(8) as i32, ..base },
            (SI_QUEUE, _) | (i32::MIN..0, _) => {
                Self { pid: word(0), uid: word(4), ptr: long(8), int: word(8) as i32, ..base }
            }
            _ => Self { pid: word(0), uid: word(4), ..base },
        }
    }
}

/// Reads the reader's pending signals of a set.
///
/// Whose signals they are is decided by who reads or asks whether there are any, also where the descriptor was inherited
/// or passed on. So its queue is told of the signals of each process that has waited on it. A waiter that was woken by
/// another's signals finds nothing and sleeps on.
#[derive(Debug)]
pub struct SignalFd {
    mask: RwLock<SigSet>,
    queue: WaitQueue,
    /// The processes that wait, or have waited. Locked before a process's queue, which is locked before `queue`.
    heard: Mutex<Vec<Heard>>,
}

/// A process whose signals the queue is told of.
#[derive(Debug)]
struct Heard {
    process: Weak<ThreadGroup>,
    _registration: Registration,
}

/// Passes on to a descriptor's queue what a process's queue is told.
struct Relay(WaitQueue);

impl Notify for Relay {
    fn notify(&self, events: Events) -> bool {
        self.0.notify(events);
        false
    }
}

impl SignalFd {
    /// A descriptor for the signals in `mask`.
    #[must_use]
    pub fn new(mask: SigSet) -> Arc<Self> {
        let mask = RwLock::new(mask.without(SigSet::UNBLOCKABLE));
        Arc::new(Self { mask, queue: WaitQueue::new(), heard: Mutex::default() })
    }

    /// Changes the set.
    pub fn set_mask(&self, mask: SigSet) {
        *self.mask.write() = mask.without(SigSet::UNBLOCKABLE);
        self.queue.notify(Events::READABLE);
    }

    /// Has the queue told of the signals of `process`.
    fn listen_to(&self, process: &Arc<ThreadGroup>) {
        let mut heard = self.heard.lock();
        if heard.iter().any(|known| std::ptr::eq(known.process.as_ptr(), Arc::as_ptr(process))) {
            return;
        }
        heard.retain(|known| known.process.strong_count() > 0);
        let relay = Arc::new(Relay(self.queue.clone()));
        let registration = process.signal_events().register(Events::READABLE, relay);
        heard.push(Heard { process: Arc::downgrade(process), _registration: registration });
    }
}

impl FileOps for SignalFd {
    fn read(&self, task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        const SIZE: usize = size_of::<SignalfdInfo>();
        if dst.remaining() < SIZE {
            return Err(Errno::EINVAL);
        }
        let mask = *self.mask.read();
        let mut done = 0;
        while dst.remaining() >= SIZE {
            let Some(info) = task.take_signal(mask) else { break };
            match dst.put(SignalfdInfo::new(&info).as_bytes()) {
                Ok(SIZE) => done += SIZE,
                _ if done > 0 => break,
                _ => return Err(Errno::EFAULT),
            }
        }
        if done == 0 { Err(Errno::EAGAIN) } else { Ok(done) }
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let mask = *self.mask.read();
        let is_ready = with_current(|task| {
            let (own, shared) = task.pending_sets();
            (own.0 | shared.0) & mask.0 != 0
        });
        if is_ready == Some(true) { Events::READABLE } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        with_current(|task| self.listen_to(task.thread_group()));
        Some(&self.queue)
    }

    fn fdinfo(&self) -> String {
        format!("sigmask:\t{:016x}\n", self.mask.read().0)
    }
}

#[cfg(test)]
mod tests {
    use abi::{SigInfo, Signal};

    use super::SignalfdInfo;

    #[test]
    fn layout_and_fields() {
        assert_eq!(size_of::<SignalfdInfo>(), 128);
        let info = SigInfo::from_child(1, 42, 1000, 7, 5, 6);
        let shown = SignalfdInfo::new(&info);
        assert_eq!((shown.signo, shown.pid, shown.uid, shown.status), (17, 42, 1000, 7));
        let user = SignalfdInfo::new(&SigInfo::from_user(Signal::USR1, 0, 9, 3));
        assert_eq!((user.pid, user.uid, user.ptr), (9, 3, 0));
    }
}
