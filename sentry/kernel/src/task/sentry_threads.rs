//! The sentry threads that run tasks. One whose task has exited waits for the next task for a while: to make a thread
//! takes a dozen host calls, more than the rest of a fork.
//!
//! Locks: `idle` and a seat's `next` are leaves, never held together.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::CurrentTask;

/// Stack of a sentry thread. Calls do not recurse on guest input, and large values live on the heap: pages that a
/// thread has used once stay its own while it waits. A thread that would sleep may receive packets instead, on top of
/// the frames of its call.
const STACK: usize = 256 << 10;
/// Threads that wait for a task at a time, at most; each keeps some pages of stack.
const KEPT: usize = 8;

/// All threads without a task.
#[derive(Debug, Default)]
pub(crate) struct TaskThreads {
    idle: Mutex<Vec<Arc<Seat>>>,
}

/// Where a thread waits.
#[derive(Default)]
struct Seat {
    next: Mutex<Option<Box<CurrentTask>>>,
    ready: Condvar,
}

impl TaskThreads {
    /// Has a thread run a task until it exits.
    ///
    /// # Errors
    /// What the host says where it has no thread to give. The task is gone then.
    pub(super) fn start(&self, current: Box<CurrentTask>) -> std::io::Result<()> {
        let idle = self.idle.lock().pop();
        if let Some(seat) = idle {
            *seat.next.lock() = Some(current);
            seat.ready.notify_one();
            return Ok(());
        }
        std::thread::Builder::new()
            .name("task".into())
            .stack_size(STACK)
            .spawn(move || work(current))
            .map(drop)
    }

    /// Waits for the next task; `None` where enough threads do already.
    fn next(&self, seat: &Arc<Seat>) -> Option<Box<CurrentTask>> {
        let mut idle = self.idle.lock();
        if idle.len() >= KEPT {
            return None;
        }
        idle.push(seat.clone());
        drop(idle);
        let mut next = seat.next.lock();
        loop {
            match next.take() {
                Some(current) => return Some(current),
                None => seat.ready.wait(&mut next),
            }
        }
    }
}

/// A thread's life: task after task.
fn work(first: Box<CurrentTask>) {
    let kernel = first.kernel().clone();
    let seat = Arc::new(Seat::default());
    let mut current = Some(first);
    while let Some(task) = current {
        task.run();
        host::heap::settle();
        current = kernel.task_threads.next(&seat);
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seat")
    }
}
