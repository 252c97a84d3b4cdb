//! Timers that are read: `man 2 timerfd_create`.

use std::sync::{Arc, Weak};

use abi::time::NSEC_PER_SEC;
use abi::{Errno, Result};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::{File, FileOps};
use crate::mm::IoDst;
use crate::time::{Clock, ClockTimer, Expiry, FirstExpiry, TimerSetting};
use crate::{Kernel, Task};

/// Counts expirations of a timer for read(2).
#[derive(Debug)]
pub struct TimerFd {
    clock_id: i32,
    /// Expirations since the last read.
    ticks: Mutex<u64>,
    queue: WaitQueue,
    timer: Arc<ClockTimer>,
}

impl TimerFd {
    /// A disarmed timer on `clock`, which guests call `clock_id`.
    #[must_use]
    pub fn new(kernel: &Kernel, clock_id: i32, clock: Clock) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            clock_id,
            ticks: Mutex::new(0),
            queue: WaitQueue::new(),
            timer: ClockTimer::new(kernel, clock, this.clone()),
        })
    }

    /// Sets it anew and forgets what has expired; returns what it was set to.
    pub fn set(&self, first: FirstExpiry, interval_ns: i64) -> TimerSetting {
        self.timer.set_afresh(first, interval_ns, || *self.ticks.lock() = 0)
    }

    /// What it is set to.
    #[must_use]
    pub fn get(&self) -> TimerSetting {
        self.timer.get()
    }
}

impl Expiry for TimerFd {
    fn expired(&self, count: u64) {
        let mut ticks = self.ticks.lock();
        *ticks = ticks.saturating_add(count);
        drop(ticks);
        self.queue.notify(Events::READABLE);
    }
}

impl FileOps for TimerFd {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut ticks = self.ticks.lock();
        if *ticks == 0 {
            return Err(Errno::EAGAIN);
        }
        if dst.put(&ticks.to_ne_bytes())? < 8 {
            return Err(Errno::EFAULT);
        }
        *ticks = 0;
        Ok(8)
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        if *self.ticks.lock() > 0 { Events::READABLE } else { Events::empty() }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        const TFD_IOC_SET_TICKS: u32 = 0x4008_5400;
        if command != TFD_IOC_SET_TICKS {
            return Err(Errno::ENOTTY);
        }
        let ticks: u64 = task.mm().read_object(abi::UserAddr(arg))?;
        if ticks == 0 {
            return Err(Errno::EINVAL);
        }
        *self.ticks.lock() = ticks;
        self.queue.notify(Events::READABLE);
        Ok(0)
    }

    fn fdinfo(&self) -> String {
        let setting = self.timer.get();
        let pair = |ns: i64| format!("({}, {})", ns / NSEC_PER_SEC, ns % NSEC_PER_SEC);
        format!(
            "clockid: {}\nticks: {}\nsettime flags: 00\nit_value: {}\nit_interval: {}\n",
            self.clock_id,
            *self.ticks.lock(),
            pair(setting.left_ns),
            pair(setting.interval_ns)
        )
    }
}
