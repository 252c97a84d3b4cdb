//! Guest memory as the stack's sources and sinks, and readiness as a wait queue.

use kernel::mm::{IoDst, IoSrc};
use netstack::{Observer, Readiness, Sink, Source};
use waiter::{Events, WaitQueue};

/// A write's data.
pub(crate) struct GuestSource<'a, 'b>(pub(crate) &'a mut IoSrc<'b>);

impl Source for GuestSource<'_, '_> {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn fill(&mut self, out: &mut [u8]) -> usize {
        self.0.take(out).unwrap_or(0)
    }
}

/// A read's buffer.
pub(crate) struct GuestSink<'a, 'b>(pub(crate) &'a mut IoDst<'b>);

impl Sink for GuestSink<'_, '_> {
    fn room(&self) -> usize {
        self.0.remaining()
    }

    fn put(&mut self, data: &[u8]) -> usize {
        self.0.put(data).unwrap_or(0)
    }
}

/// Tells a socket's wait queue what the stack reports.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    pub(super) queue: WaitQueue,
}

impl Observer for Announcer {
    fn ready(&self, bits: Readiness) {
        self.queue.notify(events(bits));
    }
}

/// Both have the values of poll(2).
pub(crate) fn events(bits: Readiness) -> Events {
    Events::from_bits_truncate(bits.bits())
}
