//! Files in flight: sent with `SCM_RIGHTS` and not yet received (`man 7 unix`).
//!
//! [`Rights`] are the files of one message; the [`Transit`] knows all that are under way, for three reasons: a user may
//! not hide any number of open files in sockets (`ETOOMANYREFS`), sockets that are held only by messages in each
//! other's inboxes must be found ([`super::garbage`]), and a chain of sockets, each with the next in its inbox, must be
//! closed without recursion, however long a guest has made it.
//!
//! Locks: `ledger` is taken with no other lock of this family held, before `state` and `inbox`, which the collector
//! only tries. `closing` is a leaf.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::thread::{self, ThreadId};

use abi::resource::Resource;
use abi::{Errno, Result};
use kernel::Task;
use kernel::task::Capability;
use kernel::vfs::File;
use parking_lot::Mutex;

use super::socket::UnixSocket;

/// The open files that travel with a message.
#[derive(Debug)]
pub(super) struct Rights {
    files: Vec<Arc<File>>,
    /// Who sent them: whose limit they count against.
    uid: u32,
    transit: Arc<Transit>,
}

/// All files in flight.
#[derive(Debug, Default)]
pub(super) struct Transit {
    pub(super) ledger: Mutex<Ledger>,
    /// What threads are about to close, each its own.
    closing: Mutex<Vec<(ThreadId, Vec<Arc<File>>)>>,
}

/// Who sent how much, and which unix sockets are under way.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    files_by_user: HashMap<u32, u64>,
    /// By the address of the open file.
    pub(super) sockets: HashMap<usize, Flying>,
    /// Sockets closed since the last collection.
    closed: usize,
    /// Sockets in flight that make the next collection due.
    threshold: usize,
}

/// A unix socket in flight.
#[derive(Debug)]
pub(super) struct Flying {
    /// The open file.
    pub(super) file: Weak<File>,
    /// The socket.
    pub(super) socket: Weak<UnixSocket>,
    /// How often it is in flight.
    pub(super) references: usize,
}

/// What names an open file in the ledger.
pub(super) fn key(file: &Arc<File>) -> usize {
    Arc::as_ptr(file).addr()
}

impl Rights {
    /// Takes `files` on their way.
    ///
    /// # Errors
    /// `ETOOMANYREFS` where the sender's user has more in flight than a process may have open.
    pub(super) fn send(transit: &Arc<Transit>, task: &Task, files: Vec<Arc<File>>) -> Result<Self> {
        let creds = task.creds();
        let is_free = creds.capable(Capability::SysResource) || creds.capable(Capability::SysAdmin);
        let limit = if is_free { u64::MAX } else { task.limit(Resource::Nofile) };
        let is_due = transit.ledger.lock().take_off(&files, creds.uid, limit)?;
        let rights = Self { files, uid: creds.uid, transit: Arc::clone(transit) };
        if is_due {
            transit.collect();
        }
        Ok(rights)
    }

    /// The files.
    pub(super) fn files(&self) -> &[Arc<File>] {
        &self.files
    }

    /// The files, arrived. Not to be called with an inbox locked.
    pub(super) fn receive(mut self) -> Vec<Arc<File>> {
        self.land()
    }

    fn land(&mut self) -> Vec<Arc<File>> {
        let files = std::mem::take(&mut self.files);
        if !files.is_empty() {
            self.transit.ledger.lock().land(&files, self.uid);
        }
        files
    }
}

impl Drop for Rights {
    fn drop(&mut self) {
        let files = self.land();
        self.transit.close(files);
    }
}

impl Transit {
    /// Waits until no collection is under way that has not seen the caller's references. A peek has to, between its
    /// copy of the references and anything that could be done with them.
    pub(super) fn settle(&self) {
        drop(self.ledger.lock());
    }

    /// A unix socket was closed; it may have been the last one through which others could be reached.
    pub(super) fn socket_closed(&self) {
        let is_due = self.ledger.lock().note_closed();
        if is_due {
            self.collect();
        }
    }

    /// Closes `files`. Where that closes sockets with files in their inboxes, those wait for their turn instead of
    /// being closed from within; the outermost call returns when all are done.
    fn close(&self, files: Vec<Arc<File>>) {
        let me = thread::current().id();
        {
            let mut closing = self.closing.lock();
            if let Some((_, waiting)) = closing.iter_mut().find(|(thread, _)| *thread == me) {
                waiting.extend(files);
                return;
            }
            closing.push((me, files));
        }
        while let Some(file) = self.next_to_close(me) {
            drop(file);
        }
    }

    /// The next file that thread `me` is to close; where there is none its entry is gone.
    fn next_to_close(&self, me: ThreadId) -> Option<Arc<File>> {
        let mut closing = self.closing.lock();
        let at = closing.iter().position(|(thread, _)| *thread == me)?;
        let file = closing[at].1.pop();
        if file.is_none() {
            closing.swap_remove(at);
        }
        file
    }
}

impl Ledger {
    /// Enters `files`; says whether a collection is due.
    fn take_off(&mut self, files: &[Arc<File>], uid: u32, limit: u64) -> Result<bool> {
        let count = self.files_by_user.entry(uid).or_default();
        if *count > limit {
            return Err(Errno::ETOOMANYREFS);
        }
        *count += files.len() as u64;
        for file in files {
            if let Some(socket) = file.ops_as::<UnixSocket>() {
                let flying = self.sockets.entry(key(file)).or_insert_with(|| Flying {
                    file: Arc::downgrade(file),
                    socket: socket.this.clone(),
                    references: 0,
                });
                flying.references += 1;
            }
        }
        Ok(self.sockets.len() > self.threshold.max(Self::MIN_THRESHOLD))
    }

    fn land(&mut self, files: &[Arc<File>], uid: u32) {
        if let Some(count) = self.files_by_user.get_mut(&uid) {
            *count = count.saturating_sub(files.len() as u64);
            if *count == 0 {
                self.files_by_user.remove(&uid);
            }
        }
        for file in files {
            if let Some(flying) = self.sockets.get_mut(&key(file)) {
                flying.references -= 1;
                if flying.references == 0 {
                    self.sockets.remove(&key(file));
                }
            }
        }
    }

    /// Fewer sockets than this do not make a collection due by their number.
    const MIN_THRESHOLD: usize = 64;

    /// A collection looks at every socket in flight: so many closes share the cost of one.
    const SOCKETS_PER_CLOSE: usize = 16;

    fn note_closed(&mut self) -> bool {
        self.closed += 1;
        !self.sockets.is_empty() && self.closed * Self::SOCKETS_PER_CLOSE >= self.sockets.len()
    }

    /// A collection has been made.
    pub(super) fn note_collected(&mut self) {
        (self.closed, self.threshold) = (0, 2 * self.sockets.len());
    }
}
