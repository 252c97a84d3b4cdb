//! Frames on their way between stacks of one sandbox.
//!
//! A link may be used with a socket's lock held, and its other end may be in another stack, or lead back: so a frame is
//! only put into the receiving stack's inbox, and received once the sender holds no lock ([`Core::run_backlog`]). One
//! thread at a time empties an inbox, so that frames keep their order; whoever puts a frame into one that nobody empties
//! notes its stack in his own `woken`. The inbox is bounded, and so is what one call does for others: what is left then
//! (frames that go round in a circle of bridges) is the timer's.
//!
//! Locks: `queue` and `woken`, both leaves.

use super::device::TxFrame;
use super::nic::Nic;
use crate::core::{Core, Timer};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Frames in an inbox at most (`netdev_max_backlog`), and their bytes.
const MAX_FRAMES: usize = 1000;
const MAX_BYTES: usize = 8 << 20;
/// Frames that are taken from one inbox before others have their turn.
const TURN: usize = 64;
/// Frames that one call receives for all stacks, and copies of them that it hands on.
const BUDGET: usize = 4096;
/// When the timer goes on with what is left: others have timers, too.
const REST: Duration = Duration::from_millis(1);

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<(Arc<Nic>, TxFrame)>,
    bytes: usize,
    /// Somebody empties it, or has been told to.
    is_attended: bool,
}

/// Frames for a stack, and the stacks that are to be woken on its behalf.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    woken: Mutex<Vec<Arc<Core>>>,
    /// Frames that its stack has handed on since somebody looked.
    handed_on: AtomicUsize,
}

impl Inbox {
    /// Whether nothing waits here: the usual case, for the price of a look.
    fn is_idle(&self) -> bool {
        self.woken.lock().is_empty()
    }

    fn take_woken(&self) -> Vec<Arc<Core>> {
        std::mem::take(&mut *self.woken.lock())
    }

    /// The next frame; the last one was, where there is none.
    fn next(&self) -> Option<(Arc<Nic>, TxFrame)> {
        let mut queue = self.queue.lock();
        let next = queue.frames.pop_front();
        match &next {
            Some((_, frame)) => queue.bytes -= frame.data.len(),
            None => queue.is_attended = false,
        }
        next
    }

    /// Throws everything away.
    pub(crate) fn clear(&self) {
        let mut queue = self.queue.lock();
        queue.frames.clear();
        queue.bytes = 0;
        drop(queue);
        self.take_woken();
    }
}

impl Core {
    /// Sends a frame to an interface of another stack, or of this one. False where it found no room.
    pub(super) fn post(&self, to: &Arc<Self>, nic: Arc<Nic>, frame: TxFrame) -> bool {
        self.inbox.handed_on.fetch_add(1, Ordering::Relaxed);
        let mut queue = to.inbox.queue.lock();
        if queue.frames.len() >= MAX_FRAMES || queue.bytes + frame.data.len() > MAX_BYTES {
            return false;
        }
        queue.bytes += frame.data.len();
        queue.frames.push_back((nic, frame));
        let was_attended = std::mem::replace(&mut queue.is_attended, true);
        drop(queue);
        if !was_attended {
            self.inbox.woken.lock().push(Arc::clone(to));
        }
        true
    }

    /// A call before this one has left frames in the inbox.
    pub(crate) fn resume_inbox(self: &Arc<Self>) {
        self.inbox.woken.lock().push(Arc::clone(self));
    }

    /// Receives what is on its way between stacks, as far as this one set it going. Called with no lock held.
    pub(crate) fn run_links(&self) {
        if self.inbox.is_idle() {
            return;
        }
        let mut work = VecDeque::from(self.inbox.take_woken());
        let mut budget = BUDGET;
        while let Some(core) = work.pop_front() {
            if budget == 0 {
                core.arm(core.now() + REST, Timer::Inbox);
                continue;
            }
            if core.take_turn(&mut budget) {
                work.push_back(Arc::clone(&core));
            }
            work.extend(core.inbox.take_woken());
        }
    }

    /// Receives frames from the inbox; whether there may be more.
    fn take_turn(&self, budget: &mut usize) -> bool {
        for _ in 0..TURN {
            if *budget == 0 {
                break;
            }
            let Some((nic, frame)) = self.inbox.next() else { return false };
            self.receive_frame(&nic, frame);
            self.run_loopback();
            let handed_on = self.inbox.handed_on.swap(0, Ordering::Relaxed);
            *budget = budget.saturating_sub(1 + handed_on);
        }
        true
    }
}
