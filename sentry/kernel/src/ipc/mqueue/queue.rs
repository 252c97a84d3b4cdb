//! A queue: messages by priority, the oldest of the highest first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use abi::{Errno, Result};
use host::heap::{self, Purpose};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::{Notice, Told};
use crate::Task;
use crate::task::ThreadGroup;

/// A message.
#[derive(Clone, Debug)]
pub struct QueueMessage {
    /// Below `MQ_PRIO_MAX`.
    pub priority: u32,
    /// The text.
    pub text: Box<[u8]>,
}

#[derive(Debug, Default)]
struct State {
    /// No list is empty.
    messages: BTreeMap<u32, VecDeque<Box<[u8]>>>,
    len: u64,
    bytes: u64,
    /// Tasks that wait for a message: they come before a notification.
    receivers: u64,
    notice: Option<Notice>,
}

/// A queue.
#[derive(Debug)]
pub struct Queue {
    max_len: u64,
    max_message: u64,
    state: Mutex<State>,
    waiters: WaitQueue,
}

impl Queue {
    pub(super) fn new(max_len: u64, max_message: u64) -> Self {
        Self { max_len, max_message, state: Mutex::default(), waiters: WaitQueue::new() }
    }

    /// Most messages.
    #[must_use]
    pub fn max_len(&self) -> u64 {
        self.max_len
    }

    /// Most bytes of a message.
    #[must_use]
    pub fn max_message(&self) -> u64 {
        self.max_message
    }

    /// Messages in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.state.lock().len
    }

    /// Whether it has no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where senders (`OUT`) and receivers (`IN`) wait.
    #[must_use]
    pub fn waiters(&self) -> &WaitQueue {
        &self.waiters
    }

    /// What it is ready for.
    #[must_use]
    pub fn readiness(&self) -> Events {
        let len = self.len();
        let read = if len > 0 { Events::READABLE } else { Events::empty() };
        let write = if len < self.max_len { Events::WRITABLE } else { Events::empty() };
        read | write
    }

    /// Adds a message, which is taken out of `message` then. The first in an empty queue is told to whoever wanted to
    /// know, unless somebody waits for it anyway.
    ///
    /// # Errors
    /// `EAGAIN` where there is no room now; `ENOMEM`.
    pub fn send(&self, sender: &Task, message: &mut Option<QueueMessage>) -> Result<()> {
        let mut state = self.state.lock();
        if state.len >= self.max_len {
            return Err(Errno::EAGAIN);
        }
        heap::room_for(message.as_ref().map_or(0, |message| message.text.len() as u64), Purpose::Lasting)?;
        let Some(QueueMessage { priority, text }) = message.take() else { return Ok(()) };
        let was_empty = state.len == 0;
        state.len += 1;
        state.bytes += text.len() as u64;
        state.messages.entry(priority).or_default().push_back(text);
        let notice = if was_empty && state.receivers == 0 { state.notice.take() } else { None };
        drop(state);
        if let Some(notice) = notice {
            notice.tell(sender);
        }
        self.waiters.notify(Events::READABLE);
        Ok(())
    }

    /// Takes the first message out.
    ///
    /// # Errors
    /// `EAGAIN` where there is none now.
    pub fn receive(&self) -> Result<QueueMessage> {
        let mut state = self.state.lock();
        let mut first = state.messages.last_entry().ok_or(Errno::EAGAIN)?;
        let priority = *first.key();
        let text = first.get_mut().pop_front().unwrap_or_default();
        if first.get().is_empty() {
            first.remove();
        }
        state.len -= 1;
        state.bytes -= text.len() as u64;
        drop(state);
        self.waiters.notify(Events::WRITABLE);
        Ok(QueueMessage { priority, text })
    }

    /// Counts the caller as waiting for a message until the guard is dropped.
    pub fn wait_as_receiver(&self) -> ReceiverGuard<'_> {
        self.state.lock().receivers += 1;
        ReceiverGuard(self)
    }

    /// mq_notify(2): sets who is told.
    ///
    /// # Errors
    /// `EBUSY` where somebody is already.
    pub fn set_notice(&self, notice: Notice) -> Result<()> {
        let slot = &mut self.state.lock().notice;
        if slot.as_ref().is_some_and(Notice::is_alive) {
            return Err(Errno::EBUSY);
        }
        *slot = Some(notice);
        Ok(())
    }

    /// Ends the notification of `group`, if there is one.
    pub fn clear_notice(&self, group: &Arc<ThreadGroup>) {
        let mut state = self.state.lock();
        let is_own = state.notice.as_ref().is_some_and(|notice| notice.is_for(group));
        let ended = if is_own { state.notice.take() } else { None };
        drop(state);
        if let Some(notice) = ended {
            notice.end();
        }
    }

    /// What reading the file of the queue says.
    #[must_use]
    pub fn describe(&self, reader: &Task) -> String {
        let state = self.state.lock();
        let told = state.notice.as_ref().map_or(Told::default(), |notice| notice.describe(reader));
        format!(
            "QSIZE:{:<10} NOTIFY:{:<5} SIGNO:{:<5} NOTIFY_PID:{:<6}\n",
            state.bytes, told.how, told.signal, told.pid
        )
    }
}

/// See [`Queue::wait_as_receiver`].
#[derive(Debug)]
pub struct ReceiverGuard<'a>(&'a Queue);

impl Drop for ReceiverGuard<'_> {
    fn drop(&mut self) {
        self.0.state.lock().receivers -= 1;
    }
}
