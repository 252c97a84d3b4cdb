//! Room that a sender has set aside in an inbox while it fetches what it sends, so that others do not count on it.

use abi::{Errno, Result};
use waiter::{Events, WaitQueue};

use super::inbox::Message;
use super::socket::UnixSocket;

/// A place for one message. Given up, it wakes those who wait for room.
pub(super) struct Place<'a> {
    to: &'a UnixSocket,
    /// Where senders wait.
    waiters: &'a WaitQueue,
    len: usize,
}

impl<'a> Place<'a> {
    /// Sets room aside for up to `wanted` bytes of a stream whose senders wait on `waiters` and have buffers of `limit`.
    ///
    /// # Errors
    /// `EPIPE` where it takes nothing more, `EAGAIN` without room.
    pub(super) fn for_piece(
        to: &'a UnixSocket,
        wanted: usize,
        limit: usize,
        waiters: &'a WaitQueue,
    ) -> Result<Self> {
        let mut inbox = to.inbox.lock();
        if inbox.refused {
            return Err(Errno::EPIPE);
        }
        let len = inbox.room(limit).min(wanted);
        if len == 0 {
            return Err(Errno::EAGAIN);
        }
        inbox.set_aside(len);
        Ok(Self { to, waiters, len })
    }

    /// Sets room aside for a message of `len` bytes: one of any length, where there is no other.
    ///
    /// # Errors
    /// As [`Self::for_piece`].
    pub(super) fn for_message(to: &'a UnixSocket, len: usize, limit: usize) -> Result<Self> {
        let mut inbox = to.inbox.lock();
        if inbox.refused {
            return Err(Errno::EPIPE);
        }
        let room = inbox.room(limit);
        if room == 0 || (room < len && !inbox.is_unused()) {
            return Err(Errno::EAGAIN);
        }
        inbox.set_aside(len);
        Ok(Self { to, waiters: &to.queue, len })
    }

    /// How long the message may be.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Puts `message` there.
    ///
    /// # Errors
    /// `EPIPE` where the receiver takes nothing more by now.
    pub(super) fn fill(self, message: Message) -> Result<()> {
        let mut inbox = self.to.inbox.lock();
        if inbox.refused {
            // Neither the message nor the place goes while the inbox is locked.
            drop(inbox);
            drop(message);
            return Err(Errno::EPIPE);
        }
        inbox.give_back(self.len);
        inbox.push(message);
        drop(inbox);
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.to.inbox.lock().give_back(self.len);
        self.waiters.notify(Events::WRITABLE);
    }
}
