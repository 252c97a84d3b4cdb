//! Changes of watches that a thread was promised: it made them when their outcome was certain, and they are carried out
//! later (`task/posted.rs`).

use std::sync::Arc;

use abi::poll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EpollEvent, EpollFlags};

use super::{Epoll, checked_events, key};
use crate::vfs::{Fd, File};

impl Epoll {
    /// Whether `file`, known as `fd`, is watched; `None` where changes of that are not to be promised, since they may
    /// fail.
    pub(crate) fn is_watching(&self, fd: Fd, file: &Arc<File>) -> Option<bool> {
        if !self.watchers.is_empty() || file.ops_as::<Self>().is_some() || file.ops().wait_queue().is_none() {
            return None;
        }
        match self.interest.lock().watches.get(&key(fd, file)) {
            None => Some(false),
            Some(watch) => (!watch.item.flags().contains(EpollFlags::EXCLUSIVE)).then_some(true),
        }
    }

    /// Carries out a change that was promised; says whether it was one. Nobody asks the file here, which its holder
    /// keeps locked: it counts as ready, and the next look shows what it is.
    pub(crate) fn keep_change(&self, fd: Fd, file: &Arc<File>, operation: i32, event: EpollEvent) -> bool {
        // A removal has no event.
        if operation == EPOLL_CTL_DEL {
            return self.remove(fd, file).is_ok();
        }
        if EpollFlags::from_bits_truncate(event.events).contains(EpollFlags::EXCLUSIVE) {
            return false;
        }
        let changed = match operation {
            EPOLL_CTL_ADD => self.add_promised(fd, file, event),
            EPOLL_CTL_MOD => self.change(fd, file, event),
            _ => return false,
        };
        if let Ok(item) = &changed {
            item.make_ready();
        }
        changed.is_ok()
    }

    /// Adds a watch, whatever the limit is: that was promised.
    fn add_promised(&self, fd: Fd, file: &Arc<File>, event: EpollEvent) -> abi::Result<Arc<super::Item>> {
        let events = checked_events(event.events, false)?;
        let item = self.insert(fd, file, EpollEvent { events, data: event.data }, u64::MAX)?;
        if let (Some(watch), Some(queue)) =
            (self.interest.lock().watches.get_mut(&key(fd, file)), file.ops().wait_queue())
        {
            watch.register(queue);
        }
        Ok(item)
    }
}
