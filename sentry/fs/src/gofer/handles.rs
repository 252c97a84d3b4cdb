//! The host descriptors of a regular file: one for reading and one for reading and writing, shared by all openers.
//!
//! They stay open after the last opener is gone, so that opening again costs no message, until there are too many
//! ([`super::Connection`] closes those that nothing uses).

use std::sync::Arc;

use abi::{Errno, FileType, Result};
use gofer_protocol::{NodeOpenFlags, Open};
use kernel::mm::HostFile;

use super::inode::GoferInode;

/// Descriptors of one file.
#[derive(Debug, Default)]
pub(super) struct Handles {
    read: Option<Arc<HostFile>>,
    write: Option<Arc<HostFile>>,
}

impl Handles {
    /// One of them, for looking.
    pub(super) fn any(&self) -> Option<Arc<HostFile>> {
        self.write.as_ref().or(self.read.as_ref()).cloned()
    }

    pub(super) fn writable(&self) -> Option<Arc<HostFile>> {
        self.write.clone()
    }

    pub(super) fn set_writable(&mut self, file: Arc<HostFile>) {
        self.write = Some(file);
    }
}

impl GoferInode {
    /// A descriptor of this regular file, opened if there is none yet.
    pub(super) fn handle(&self, for_writing: bool) -> Result<Arc<HostFile>> {
        if self.file_type() != FileType::Regular {
            return Err(Errno::EINVAL);
        }
        // Held while the gofer is asked: who else opens the file waits for the same answer.
        let mut handles = self.handles.lock();
        let known = if for_writing { handles.writable() } else { handles.any() };
        if let Some(file) = known {
            return Ok(file);
        }
        let flags = if for_writing { NodeOpenFlags::READ_WRITE } else { NodeOpenFlags::empty() };
        let asked = self.attrs.now();
        let file = self.with_target(|target| {
            let mut response = self.volume.connection().call(&Open { target, flags })?;
            let reply = response.get()?;
            if target.name.is_some() {
                if !self.is_key(&reply.attr) {
                    self.volume.connection().forget(reply.node, 1, false);
                    return Err(Errno::ESTALE);
                }
                self.found_node(reply.node);
            }
            self.attrs.set(asked, reply.attr);
            response.take_fd()
        })?;
        let file = Arc::new(HostFile::new(file));
        if for_writing {
            handles.write = Some(file.clone());
        } else {
            handles.read = Some(file.clone());
        }
        drop(handles);
        self.volume.connection().keep_open(self.me());
        Ok(file)
    }

    /// Closes the descriptors if no open file and no mapping uses them; says whether that is so.
    pub(super) fn close_idle(&self) -> bool {
        let Some(mut handles) = self.handles.try_lock() else { return false };
        let is_idle =
            |file: &Option<Arc<HostFile>>| file.as_ref().is_none_or(|file| Arc::strong_count(file) == 1);
        let all_idle = is_idle(&handles.read) && is_idle(&handles.write);
        // A file without a name cannot be opened again.
        if !all_idle || self.attrs.last().nlink == 0 {
            return false;
        }
        let closed = std::mem::take(&mut *handles);
        drop(handles);
        if closed.write.is_some() {
            // The host will say that it was closed; the guest closed it long ago.
            self.changed_by_us();
        }
        drop(closed);
        true
    }
}
