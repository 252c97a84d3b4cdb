//! The epoll instance that has told a thread of the files that it holds: how it watches them may change by posted calls
//! of epoll_ctl(2), as event loops do that before and behind each answer.
//!
//! It is held as a file is: nobody else uses it, and who looks it up has what was posted carried out first. So whether a
//! held file is watched does not change but by the holder, who therefore knows what comes of a change.

use std::sync::{Arc, Weak};

use abi::poll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EpollEvent};
use platform::posted::Control;

use super::PostedCalls;
use crate::vfs::{Epoll, Fd, FdTable, File, Holder};

/// An instance that a thread holds.
pub(super) struct HeldEpoll {
    fd: Fd,
    file: Arc<File>,
}

impl HeldEpoll {
    /// Takes hold of it, if nobody else uses it.
    pub(super) fn hold(
        by: &Arc<PostedCalls>,
        table: &FdTable,
        epoll: Option<(Fd, Weak<File>)>,
    ) -> Option<Self> {
        let by: Weak<PostedCalls> = Arc::downgrade(by);
        let (fd, file) = epoll?;
        let file = file.upgrade()?;
        table.hold(fd, &file, by).then_some(Self { fd, file })
    }

    /// Its number.
    pub(super) const fn fd(&self) -> u32 {
        self.fd.unsigned_abs()
    }

    pub(super) fn holder(&self) -> &Holder {
        self.file.holder()
    }

    /// Whether it watches a file, where that may change.
    pub(super) fn is_watching(&self, fd: Fd, file: &Arc<File>) -> Option<bool> {
        self.file.ops_as::<Epoll>()?.is_watching(fd, file)
    }

    /// Carries out a change where `watched` says that it was promised, and keeps that up to date.
    pub(super) fn keep(
        &self,
        fd: u32,
        file: &Arc<File>,
        watched: &mut Option<bool>,
        change: Control,
    ) -> bool {
        let (Ok(fd), Some(epoll)) = (Fd::try_from(fd), self.file.ops_as::<Epoll>()) else { return false };
        let after = match (change.operation, *watched) {
            (EPOLL_CTL_ADD, Some(false)) | (EPOLL_CTL_MOD, Some(true)) => true,
            (EPOLL_CTL_DEL, Some(true)) => false,
            _ => return false,
        };
        *watched = Some(after);
        let event = EpollEvent { events: change.events, data: change.data };
        epoll.keep_change(fd, file, change.operation, event)
    }
}
