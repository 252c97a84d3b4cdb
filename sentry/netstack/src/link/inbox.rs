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
use crate::buf::budget::Hold;
use crate::core::{Core, Timer};
use parking_lot::Mutex;
use std::borrow::Cow;
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

/// A frame that was sent and not yet received, which counts against what all such frames of the sandbox may hold.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// The interface that is to receive it.
    pub(crate) nic: Arc<Nic>,
    pub(crate) frame: TxFrame,
    _hold: Hold,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<InFlight>,
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
    fn next(&self) -> Option<InFlight> {
        let mut queue = self.queue.lock();
        let next = queue.frames.pop_front();
        match &next {
            Some(next) => queue.bytes -= next.frame.data.len(),
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
    /// A frame for an interface, where the sandbox has room for it; only then is it copied, if it is lent.
    pub(crate) fn in_flight(&self, nic: Arc<Nic>, frame: Cow<'_, TxFrame>) -> Option<InFlight> {
        let hold = self.budget.frames.hold(frame.data.len())?;
        Some(InFlight { nic, frame: frame.into_owned(), _hold: hold })
    }

    /// Sends a frame to an interface of another stack, or of this one. False where it found no room.
    pub(super) fn post(&self, to: &Arc<Self>, nic: Arc<Nic>, frame: Cow<'_, TxFrame>) -> bool {
        self.inbox.handed_on.fetch_add(1, Ordering::Relaxed);
        let len = frame.data.len();
        let mut queue = to.inbox.queue.lock();
        if queue.frames.len() >= MAX_FRAMES || queue.bytes + len > MAX_BYTES {
            return false;
        }
        let Some(in_flight) = to.in_flight(nic, frame) else { return false };
        queue.bytes += len;
        queue.frames.push_back(in_flight);
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
            let Some(next) = self.inbox.next() else { return false };
            self.receive_frame(&next.nic, next.frame);
            self.run_loopback();
            let handed_on = self.inbox.handed_on.swap(0, Ordering::Relaxed);
            *budget = budget.saturating_sub(1 + handed_on);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::config::Config;
    use crate::base::time::{Instant, ManualClock};
    use crate::buf::budget::{Account, Budget};
    use crate::link::device::TxMeta;
    use crate::link::topology::LinkConfig;
    use crate::stack::Stack;

    #[test]
    fn stacks_share_the_room_for_what_is_on_its_way() {
        let usual = Budget::usual();
        let budget = Arc::new(Budget {
            pool: Arc::clone(&usual.pool),
            frames: Arc::new(Account::new(1000)),
            stations: Arc::clone(&usual.stations),
        });
        let clock = Arc::new(ManualClock::new(Instant::ZERO));
        let stacks = [1, 2].map(|n| Stack::sharing(&budget, clock.clone(), [n; 16], Config::default()));
        let nics = [&stacks[0], &stacks[1]].map(|stack| {
            stack.add_dummy(&LinkConfig { name: "dummy0".into(), ..LinkConfig::default() }).unwrap()
        });
        let frame = TxFrame::new(vec![0; 300], TxMeta::default());
        let post = |at: usize| {
            let core = stacks[at].core();
            core.post(core, Arc::clone(&nics[at]), Cow::Borrowed(&frame))
        };
        assert_eq!([post(0), post(1), post(0), post(1)], [true, true, true, false]);
        assert_eq!(budget.frames.used(), 900);
        stacks[0].core().run_links();
        assert!(post(1), "what has arrived leaves room");
        drop(stacks);
        assert_eq!(budget.frames.used(), 0);
    }
}
