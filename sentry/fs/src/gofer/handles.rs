//! The host descriptors of a regular file: one for reading and one for reading and writing, shared by all openers.
//!
//! They stay open after the last opener is gone, so that opening again costs no message, until there are too many
//! ([`super::Connection`] closes those that nothing uses). Not so for writing in a shared mount: the host does not execute
//! a file that somebody may write to, and tells whoever waits for it that a writer has closed it.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::{Errno, FileType, Result};
use gofer_protocol::NodeOpenFlags;
use kernel::mm::HostFile;

use super::inode::GoferInode;

/// Descriptors of one file.
#[derive(Debug, Default)]
pub(super) struct Handles {
    read: Option<Arc<HostFile>>,
    write: Option<Arc<HostFile>>,
    /// Open files of the guest's that may write.
    writers: u32,
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
        // In a shared mount a reader must not keep the file busy; one without a name can only be had so.
        let any_will_do = !self.volume.is_shared() || self.attrs.last().nlink == 0;
        let known = match for_writing {
            true => handles.writable(),
            false if any_will_do => handles.any(),
            false => handles.read.clone(),
        };
        if let Some(file) = known {
            return Ok(file);
        }
        let ask = |flags| {
            let opened = match self.ask_open(flags) {
                Err(Errno::ENFILE) => {
                    // Those that are only kept make room.
                    self.volume.connection().close_idle_files();
                    self.ask_open(flags)
                }
                other => other,
            };
            opened.map(|fd| self.host_file(fd))
        };
        let file = if for_writing {
            // A stacked host copies the file up.
            let file = self.with_room(|| ask(NodeOpenFlags::READ_WRITE))?;
            handles.write.insert(file).clone()
        } else {
            let ahead = self.take_ahead();
            handles.read.insert(ahead.map_or_else(|| ask(NodeOpenFlags::empty()), Ok)?).clone()
        };
        drop(handles);
        self.volume.connection().keep_open(self.me());
        Ok(file)
    }

    /// The descriptor of an open file of the guest's; [`Self::closed`] follows.
    pub(super) fn opened(&self, for_writing: bool) -> Result<Arc<HostFile>> {
        if for_writing {
            self.handles.lock().writers += 1;
        }
        self.handle(for_writing).inspect_err(|_| self.closed(for_writing))
    }

    /// An open file of the guest's is gone.
    pub(super) fn closed(&self, for_writing: bool) {
        let unneeded = {
            let mut handles = self.handles.lock();
            handles.writers = handles.writers.saturating_sub(u32::from(for_writing));
            // One without a name could not be opened again.
            let is_needed = handles.writers > 0 || !self.volume.is_shared() || self.attrs.last().nlink == 0;
            if is_needed { None } else { handles.write.take() }
        };
        if unneeded.is_some() {
            self.note_own_change();
        }
        drop(unneeded);
    }

    /// What is made of a descriptor of this file.
    pub(super) fn host_file(&self, fd: OwnedFd) -> Arc<HostFile> {
        let is_constant = self.volume.is_read_only() && !self.volume.is_shared();
        Arc::new(if is_constant { HostFile::constant(fd) } else { HostFile::new(fd) })
    }

    /// Whether there is a descriptor, or one is just being had.
    pub(super) fn is_open(&self) -> bool {
        self.handles.try_lock().is_none_or(|handles| handles.any().is_some())
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
        let closed = (handles.write.take(), handles.read.take());
        drop(handles);
        match &closed {
            (None, Some(file)) if !self.volume.is_shared() => self.look_once_more(file),
            // The host will say that it was closed; the guest closed it long ago.
            (Some(_), _) => self.note_own_change(),
            _ => {}
        }
        drop(closed);
        true
    }

    /// Before the last descriptor of a file is closed that only we change: what reading has changed is told by it for
    /// less than by a message.
    fn look_once_more(&self, file: &HostFile) {
        let asked = self.attrs.now();
        if self.attrs.current().is_none() {
            // Where that fails, the gofer will be asked.
            let _ = self.look_at(asked, file);
        }
    }
}
