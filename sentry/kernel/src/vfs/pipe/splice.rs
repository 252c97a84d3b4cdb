//! Moving bytes between a pipe and something else (splice(2), tee(2)): they stay in the pipe until they are elsewhere, and
//! there is room for them before they are taken from where they are.

use abi::{Errno, Result};
use waiter::Events;

use super::Pipe;

/// The first bytes of a pipe, while they are written elsewhere. Nobody else reads the pipe until it is dropped.
#[derive(Debug)]
pub struct Drain<'a> {
    pipe: &'a Pipe,
    /// The bytes; none where the pipe is empty and has no writers.
    pub bytes: Vec<u8>,
}

impl Drain<'_> {
    /// Removes the first `count` bytes from the pipe: they have been written.
    pub fn finish(self, count: usize) {
        let mut state = self.pipe.state.lock();
        let was_writable = state.is_writable();
        state.ring.advance(count.min(self.bytes.len()));
        let wakes_writers = !was_writable && state.is_writable();
        drop(state);
        if wakes_writers {
            self.pipe.ready_queue.notify(Events::WRITABLE);
        }
    }
}

impl Drop for Drain<'_> {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.pipe.state.lock().is_draining = false;
            self.pipe.ready_queue.notify(Events::READABLE);
        }
    }
}

/// Room in a pipe, for bytes that have still to be fetched. What is not used is given back when it is dropped.
#[derive(Debug)]
pub struct Reservation<'a> {
    pipe: &'a Pipe,
    len: usize,
}

impl Reservation<'_> {
    /// Bytes that it holds: at least one.
    #[must_use]
    pub fn size(&self) -> usize {
        self.len
    }

    /// Puts bytes, no more than it holds, into the pipe. Readers that have gone since do not matter any more.
    pub fn store(self, bytes: &[u8]) {
        self.pipe.state.lock().ring.push_all(&bytes[..bytes.len().min(self.len)]);
        self.pipe.ready_queue.notify(Events::READABLE);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut state = self.pipe.state.lock();
        let was_writable = state.is_writable();
        state.reserved -= self.len;
        let wakes_writers = !was_writable && state.is_writable();
        drop(state);
        if wakes_writers {
            self.pipe.ready_queue.notify(Events::WRITABLE);
        }
    }
}

impl Pipe {
    /// Begins to take out what a read of `max` gives.
    ///
    /// # Errors
    /// `EAGAIN` where it is empty and has writers, or somebody else drains it.
    pub fn drain(&self, max: usize) -> Result<Drain<'_>> {
        let mut state = self.state.lock();
        let mut bytes = Vec::new();
        if max > 0 && state.check_readable()? {
            state.ring.peek_with(max.min(state.ring.readable()), &mut |from| {
                bytes.extend_from_slice(from);
                Ok(from.len())
            })?;
            state.is_draining = true;
        }
        Ok(Drain { pipe: self, bytes })
    }

    /// Sets up to `max` bytes of room aside.
    ///
    /// # Errors
    /// `EAGAIN` where there is no room, `EPIPE` without readers, `ENOMEM`.
    pub fn reserve(&self, max: usize) -> Result<Reservation<'_>> {
        let mut state = self.state.lock();
        if state.readers == 0 {
            return Err(Errno::EPIPE);
        }
        let len = state.room().min(max);
        if len == 0 {
            return Err(Errno::EAGAIN);
        }
        let reserved = state.reserved + len;
        state.ring.reserve(reserved)?;
        state.reserved = reserved;
        Ok(Reservation { pipe: self, len })
    }

    /// Copies up to `max` bytes to `to` without removing them: tee(2). Moves them where `removes`: splice(2) between
    /// pipes. Nobody sees a state between.
    ///
    /// # Errors
    /// `EINVAL` where both are the same pipe; `EAGAIN`, `EPIPE` as read(2) and write(2).
    pub fn transfer(&self, to: &Self, max: usize, removes: bool) -> Result<usize> {
        if std::ptr::eq(self, to) {
            return Err(Errno::EINVAL);
        }
        // The one at the lower address first.
        let (mut source, mut target) = if std::ptr::from_ref(self) < std::ptr::from_ref(to) {
            let source = self.state.lock();
            (source, to.state.lock())
        } else {
            let target = to.state.lock();
            (self.state.lock(), target)
        };
        if max == 0 || !source.check_readable()? {
            return Ok(0);
        }
        let max = max.min(source.ring.readable());
        let moved = source.ring.peek_with(max, &mut |from| {
            let mut left = from;
            target.store(from.len(), false, &mut |room| {
                let count = room.len().min(left.len());
                room[..count].copy_from_slice(&left[..count]);
                left = &left[count..];
                Ok(count)
            })
        })?;
        drop(target);
        let was_writable = source.is_writable();
        if removes {
            source.ring.consume(moved);
        }
        let wakes_writers = !was_writable && source.is_writable();
        drop(source);
        to.ready_queue.notify(Events::READABLE);
        if wakes_writers {
            self.ready_queue.notify(Events::WRITABLE);
        }
        Ok(moved)
    }
}
