//! `/dev/kmsg`: the kernel log, record by record.

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::mm::{IoDst, IoSrc};
use kernel::vfs::{File, FileOps, WriteAt};
use kernel::{Kernel, Task};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

/// The facility of what programs write (`LOG_USER`).
const USER_FACILITY: u32 = 1 << 3;
const DEFAULT_PRIORITY: u32 = 4;
/// Longest record that is taken.
const MAX_RECORD: usize = 1024;

struct Kmsg {
    kernel: Arc<Kernel>,
    /// The record to read next.
    next: Mutex<u64>,
}

/// Opens it for `task`. With `dmesg_restrict` off, as it is here, reading takes no more than the file's mode: a
/// seccomp profile that forbids syslog(2) leaves dmesg(1) this way.
pub(super) fn open(task: &Task) -> Result<Arc<dyn FileOps>> {
    let kernel = task.kernel().clone();
    let next = Mutex::new(kernel.dmesg.range().0);
    Ok(Arc::new(Kmsg { kernel, next }))
}

/// Splits a written text into priority and message: `<30>text`.
fn parse(text: &str) -> (u32, &str) {
    let parsed = text.strip_prefix('<').and_then(|rest| {
        let (number, message) = rest.split_once('>')?;
        Some((number.parse::<u32>().ok()?, message))
    });
    match parsed {
        // Programs cannot pretend to be the kernel.
        Some((priority, message)) if priority >> 3 == 0 => (priority | USER_FACILITY, message),
        Some((priority, message)) => (priority & 0x3ff, message),
        None => (DEFAULT_PRIORITY | USER_FACILITY, text),
    }
}

impl FileOps for Kmsg {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let mut next = self.next.lock();
        let first = self.kernel.dmesg.range().0;
        if *next < first {
            *next = first;
            return Err(Errno::EPIPE);
        }
        let record = self.kernel.dmesg.at(*next).ok_or(Errno::EAGAIN)?;
        let text = record.to_kmsg();
        if text.len() > dst.remaining() {
            return Err(Errno::EINVAL);
        }
        let count = dst.put(text.as_bytes())?;
        *next = record.sequence + 1;
        Ok(count)
    }

    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let len = src.remaining();
        if len > MAX_RECORD {
            return Err(Errno::EINVAL);
        }
        let mut text = vec![0; len];
        let count = src.take(&mut text)?;
        let text = String::from_utf8_lossy(&text[..count]);
        let (priority, message) = parse(text.trim_end_matches('\n'));
        self.kernel.dmesg.write_as(priority, message);
        Ok((count, 0))
    }

    fn size(&self) -> Result<u64> {
        Ok(0)
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let (_, end) = self.kernel.dmesg.range();
        let readable = if *self.next.lock() < end { Events::READABLE } else { Events::empty() };
        readable | Events::WRITABLE
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.kernel.dmesg.queue())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn priorities() {
        assert_eq!(super::parse("<30>hello"), (30, "hello"));
        assert_eq!(super::parse("<3>oops"), (11, "oops"));
        assert_eq!(super::parse("plain"), (12, "plain"));
    }
}
