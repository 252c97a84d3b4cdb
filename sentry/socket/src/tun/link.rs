//! A tun or tap interface as the stack's device.
//!
//! What the stack sends waits in the file's queue until the program reads it. Locks: `state`, then a reader's `frames`:
//! leaves, since a sender may hold its socket's lock.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use netstack::{Budget, Device, Hold, Nic, Offloads, TxFrame, TxMeta};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::header::TunFlags;

/// Packets that wait for a reader (`TUN_READQ_SIZE`).
const QUEUE: usize = 500;

/// A packet that waits.
pub(super) struct Waiting {
    pub(super) meta: TxMeta,
    pub(super) data: Vec<u8>,
    _hold: Hold,
}

/// The file's side: what waits for it, and who waits for that.
#[derive(Default)]
pub(super) struct Reader {
    frames: Mutex<VecDeque<Waiting>>,
    pub(super) queue: WaitQueue,
}

impl Reader {
    pub(super) fn next(&self) -> Option<Waiting> {
        self.frames.lock().pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.lock().is_empty()
    }

    pub(super) fn clear(&self) {
        self.frames.lock().clear();
    }

    /// Takes a packet, where there is room.
    fn push(&self, frame: &TxFrame, budget: &Budget) -> bool {
        let data = frame.bytes();
        let mut frames = self.frames.lock();
        let Some(hold) = budget.room_for_frame(data.len()).filter(|_| frames.len() < QUEUE) else {
            return false;
        };
        frames.push_back(Waiting { meta: frame.meta, data: data.to_vec(), _hold: hold });
        drop(frames);
        self.queue.notify(Events::READABLE);
        true
    }
}

/// What can change of an interface.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// As its last file asked for it.
    pub(crate) flags: TunFlags,
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
    /// It stays when its file is closed.
    pub(crate) is_persistent: bool,
    pub(super) offloads: Offloads,
    /// What `TUNSETCARRIER` said.
    pub(super) has_carrier: bool,
    pub(super) is_gone: bool,
    reader: Weak<Reader>,
}

/// The device.
pub(crate) struct TunLink {
    budget: Arc<Budget>,
    state: Mutex<State>,
}

impl TunLink {
    pub(super) fn new(budget: &Arc<Budget>, flags: TunFlags, reader: &Arc<Reader>) -> Arc<Self> {
        let state = State {
            flags,
            owner: None,
            group: None,
            is_persistent: false,
            offloads: Offloads::default(),
            has_carrier: true,
            is_gone: false,
            reader: Arc::downgrade(reader),
        };
        Arc::new(Self { budget: Arc::clone(budget), state: Mutex::new(state) })
    }

    /// What it is like now.
    pub(crate) fn state(&self) -> State {
        self.state.lock().clone()
    }

    pub(super) fn change(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.state.lock());
    }

    /// Makes `reader` its other end; false where it has one.
    pub(super) fn attach(&self, flags: TunFlags, reader: &Arc<Reader>) -> bool {
        let mut state = self.state.lock();
        if state.is_gone || state.reader.strong_count() > 0 {
            return false;
        }
        state.reader = Arc::downgrade(reader);
        state.flags = flags;
        state.offloads = Offloads::default();
        true
    }

    /// Its file is closed.
    pub(super) fn detach(&self) {
        self.state.lock().reader = Weak::new();
    }
}

impl Device for TunLink {
    fn transmit(&self, frames: &[TxFrame]) -> usize {
        let state = self.state();
        let Some(reader) = state.reader.upgrade().filter(|_| state.has_carrier) else { return 0 };
        frames.iter().take_while(|frame| reader.push(frame, &self.budget)).count()
    }

    fn offloads(&self) -> Offloads {
        self.state.lock().offloads
    }

    fn kind(&self) -> Option<&'static str> {
        Some("tun")
    }

    fn has_carrier(&self) -> bool {
        let state = self.state.lock();
        state.has_carrier && state.reader.strong_count() > 0
    }

    fn removed(&self) {
        let mut state = self.state.lock();
        state.is_gone = true;
        let reader = std::mem::take(&mut state.reader).upgrade();
        drop(state);
        if let Some(reader) = reader {
            reader.queue.notify(Events::READABLE | Events::ERR);
        }
    }
}

/// The device of an interface that is one of these.
pub(crate) fn of(nic: &Nic) -> Option<Arc<TunLink>> {
    let device: Arc<dyn Any + Send + Sync> = nic.device()?.clone();
    device.downcast().ok()
}
