//! Waiting for something in the sandbox as long as whoever asked on the control socket is there to be told.
//!
//! The waiting thread sleeps in `ppoll(2)`, which ends when the caller hangs up and when a [`Bell`] rings. Lock: a
//! bell's is a leaf.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use control::Failure;
use host::unix::{self, Kind};
use parking_lot::Mutex;
use waiter::{Events, Notify, WaitQueue};

/// One end of a pair of sockets; rings by closing it.
struct Bell(Mutex<Option<OwnedFd>>);

impl Notify for Bell {
    fn notify(&self, _events: Events) -> bool {
        self.0.lock().take();
        true
    }
}

/// Looks again and again, whenever `queue` tells of any of `events`, until `look` finds what it looks for.
///
/// # Errors
/// Where the `caller` hangs up first, or the host has no descriptors left.
pub(crate) fn wait_for<T>(
    (queue, events): (&WaitQueue, Events),
    caller: Option<BorrowedFd<'_>>,
    look: impl Fn() -> Option<T>,
) -> Result<T, Failure> {
    let failed = |errno| Failure::host(format!("cannot wait: {errno}"));
    loop {
        let (ringing, heard) = unix::pair(Kind::Stream).map_err(failed)?;
        let bell = Arc::new(Bell(Mutex::new(Some(ringing))));
        let _registration = queue.register(events, bell);
        if let Some(found) = look() {
            return Ok(found);
        }
        if !host::poll::readable_while_connected(heard.as_fd(), caller).map_err(failed)? {
            return Err(Failure::wrong_state("the caller has hung up"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use host::unix::{Kind, pair};
    use waiter::{Events, WaitQueue};

    use super::wait_for;

    #[test]
    fn ends_with_the_event_or_the_caller() {
        let (queue, done) = (WaitQueue::new(), Arc::new(AtomicBool::new(false)));
        let (caller, there) = pair(Kind::Stream).unwrap();
        let look = || done.load(Ordering::SeqCst).then_some(7);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait_for((&queue, Events::IN), Some(caller.as_fd()), look));
            queue.notify(Events::IN);
            done.store(true, Ordering::SeqCst);
            queue.notify(Events::IN);
            assert_eq!(waiting.join().unwrap().unwrap(), 7);
            done.store(false, Ordering::SeqCst);
            let waiting = scope.spawn(|| wait_for((&queue, Events::IN), Some(caller.as_fd()), look));
            drop(there);
            assert!(waiting.join().unwrap().is_err());
        });
        assert!(queue.is_empty());
    }
}
