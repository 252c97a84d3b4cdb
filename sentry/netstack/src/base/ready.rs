//! Readiness of sockets, and how their owner hears of changes.

use bitflags::bitflags;
use std::fmt;
use std::sync::{OnceLock, Weak};

bitflags! {
    /// What a socket can do without waiting. The values are those of poll(2), so they can be passed on as they are.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
    pub struct Readiness: u32 {
        /// Data, a connection or the end of the stream can be had (`POLLIN | POLLRDNORM`).
        const IN = 0x041;
        /// Urgent data (`POLLPRI`).
        const PRI = 0x002;
        /// Room to write (`POLLOUT | POLLWRNORM`).
        const OUT = 0x104;
        /// An error is pending, or the error queue holds something.
        const ERR = 0x008;
        /// Both directions are shut.
        const HUP = 0x010;
        /// The peer will send nothing more.
        const RDHUP = 0x2000;
    }
}

/// Hears of readiness. Called without any lock of the stack held; may call back into the stack.
pub trait Observer: Send + Sync {
    /// Something of `bits` may have become true. Reported for every arrival, also where it was true before.
    fn ready(&self, bits: Readiness);
}

/// The place in a socket where its owner's observer is kept. Set at most once.
#[derive(Default)]
pub(crate) struct ObserverSlot(OnceLock<Weak<dyn Observer>>);

impl ObserverSlot {
    /// Sets the observer; the first one stays.
    pub(crate) fn set(&self, observer: Weak<dyn Observer>) {
        let _first_stays = self.0.set(observer);
    }

    /// Tells the observer. The caller holds no lock.
    pub(crate) fn notify(&self, bits: Readiness) {
        if !bits.is_empty()
            && let Some(observer) = self.0.get().and_then(Weak::upgrade)
        {
            observer.ready(bits);
        }
    }
}

impl fmt::Debug for ObserverSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.get().is_some() { "ObserverSlot(set)" } else { "ObserverSlot(empty)" })
    }
}
