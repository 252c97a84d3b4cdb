//! The file that a thread has opened last, which it may close by a posted close(2): a server that sends files opens and
//! closes one for each request.
//!
//! Only a file that can be read but not written, whose end nobody is told of, and that has one number in a table of this
//! task alone: so nobody sees that it is closed later. Who looks the number up has it closed first.

use std::sync::{Arc, Weak};

use abi::FileType;
use platform::posted::Grant;

use super::PostedCalls;
use crate::ipc::queue_of;
use crate::vfs::{Fd, FdTable, File, Holder};

/// A file that may be closed.
pub(super) struct Closable {
    fd: Fd,
    table: Arc<FdTable>,
    file: Arc<File>,
    is_closed: bool,
}

impl Closable {
    /// Whether a file may be closed later as far as can be told when it is opened.
    pub(super) fn can_be(file: &File) -> bool {
        let flags = file.flags();
        let is_plain = file.inode().file_type() == Some(FileType::Regular) && queue_of(file).is_err();
        is_plain && flags.is_readable() && !flags.is_writable()
    }

    /// Takes hold of `file`, if nothing is wrong with closing it later.
    pub(super) fn hold(
        by: &Arc<PostedCalls>,
        table: &Arc<FdTable>,
        fd: Fd,
        file: &Weak<File>,
    ) -> Option<Self> {
        let by: Weak<PostedCalls> = Arc::downgrade(by);
        let file = file.upgrade()?;
        let is_silent = file.inode().common().locks_if_any().is_none() && !file.is_watched();
        let is_held = is_silent && !table.is_shared() && table.hold(fd, &file, by);
        is_held.then(|| Self { fd, table: Arc::clone(table), file, is_closed: false })
    }

    /// Whether this is the file with this holder.
    pub(super) fn is_with(&self, holder: &Holder) -> bool {
        std::ptr::eq(holder, self.file.holder())
    }

    /// What the thread may do with it.
    pub(super) const fn grant(&self) -> Grant<'_> {
        Grant { fd: self.fd.unsigned_abs(), input: &[], credit: 0, may_close: true, watched: None }
    }

    /// Closes it if it has this number; says whether it did.
    pub(super) fn close(&mut self, fd: u32) -> bool {
        if fd != self.fd.unsigned_abs() || self.is_closed {
            return false;
        }
        // Whoever takes it out of its table waits for those who hold it.
        self.release();
        self.is_closed = self.table.take(self.fd).is_ok();
        self.is_closed
    }

    /// Gives it back, closed or not.
    pub(super) fn release(&self) {
        self.file.holder().release();
    }
}
