//! Event counters (`man 2 eventfd`).

use std::sync::Arc;

use abi::{Errno, Result};
use host::memory::VolatileSlice;
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::{File, FileOps, WriteAt};
use crate::Task;
use crate::mm::{IoDst, IoSrc};

/// The largest value of a counter; an overflow by [`EventFd::signal`] goes one beyond.
const MAX: u64 = u64::MAX - 1;

/// A 64-bit counter that read(2) takes from and write(2) adds to.
#[derive(Debug)]
pub struct EventFd {
    count: Mutex<u64>,
    /// A read takes 1 instead of everything (`EFD_SEMAPHORE`).
    is_semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// A counter that starts at `count`; `is_semaphore` makes reads take one at a time.
    #[must_use]
    pub fn new(count: u64, is_semaphore: bool) -> Arc<Self> {
        Arc::new(Self { count: Mutex::new(count), is_semaphore, queue: WaitQueue::new() })
    }

    /// Adds `add` on behalf of the kernel (completion of asynchronous I/O); an overflow shows as `POLLERR`.
    pub fn signal(&self, add: u64) {
        let mut count = self.count.lock();
        *count = count.saturating_add(add);
        drop(count);
        self.queue.notify(Events::READABLE);
    }
}

/// The number in the first eight bytes of `ranges`.
fn load_u64(ranges: &[VolatileSlice<'_>]) -> Result<u64> {
    let (mut bytes, mut filled) = ([0; 8], 0);
    for range in ranges {
        filled += range.read(&mut bytes[filled..])?;
        if filled == bytes.len() {
            return Ok(u64::from_ne_bytes(bytes));
        }
    }
    Err(Errno::EFAULT)
}

impl FileOps for EventFd {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        if *count == 0 {
            return Err(Errno::EAGAIN);
        }
        let taken = if self.is_semaphore { 1 } else { *count };
        if dst.put(&taken.to_ne_bytes())? < 8 {
            return Err(Errno::EFAULT);
        }
        *count -= taken;
        drop(count);
        self.queue.notify(Events::WRITABLE);
        Ok(8)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        if src.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut count = self.count.lock();
        // A write that finds no room is tried again with the same source, which therefore advances only on success.
        src.drain_with(8, &mut |ranges| {
            let add = load_u64(ranges)?;
            if add == u64::MAX {
                return Err(Errno::EINVAL);
            }
            if add > MAX.saturating_sub(*count) {
                return Err(Errno::EAGAIN);
            }
            *count += add;
            Ok(8)
        })?;
        drop(count);
        self.queue.notify(Events::READABLE);
        Ok((8, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let count = *self.count.lock();
        let mut events = Events::empty();
        if count > 0 {
            events |= Events::READABLE;
        }
        if count < MAX {
            events |= Events::WRITABLE;
        }
        if count == u64::MAX {
            events |= Events::ERR;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn fdinfo(&self) -> String {
        format!("eventfd-count: {:16x}\n", *self.count.lock())
    }
}
