//! What a process's end takes back (`SEM_UNDO`). Tasks made with `CLONE_SYSVSEM` share a list; the adjustments stand
//! in the sets, by the list's number.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::SemSet;
use crate::Task;

/// The list of those sets that something is to be taken back from. That happens when the last task drops it.
#[derive(Debug)]
pub struct UndoList {
    number: u64,
    pid: i32,
    sets: Mutex<Vec<Weak<SemSet>>>,
}

impl UndoList {
    /// An empty list of `task`'s process.
    #[must_use]
    pub fn new(task: &Task) -> Arc<Self> {
        let (number, pid) = (task.kernel().tasks.new_id(), task.thread_group().tgid());
        Arc::new(Self { number, pid, sets: Mutex::default() })
    }

    /// Its number in the sets' records.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Notes that something may be to be taken back from `set`.
    pub fn note(&self, set: &Arc<SemSet>) {
        let mut sets = self.sets.lock();
        sets.retain(|known| known.strong_count() > 0);
        if !sets.iter().any(|known| known.as_ptr() == Arc::as_ptr(set)) {
            sets.push(Arc::downgrade(set));
        }
    }
}

impl Drop for UndoList {
    fn drop(&mut self) {
        for set in self.sets.get_mut().drain(..).filter_map(|set| set.upgrade()) {
            set.take_back(self.number, self.pid);
        }
    }
}
