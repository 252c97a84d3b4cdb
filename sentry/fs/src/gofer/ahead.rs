//! Opening ahead: who opens some files of a directory mostly opens their neighbours next.
//!
//! A first open is a message to the gofer, of some 50 µs; each further descriptor in its reply takes some 6. So once a
//! guest has opened a few files of a directory whose names are known, an `Open` asks for some of
//! those that are listed behind it, too: few at first, more where these were wanted, none any more where they were not.
//! Their descriptors wait in the directory, [`super::Connection`] keeps their number small.
//!
//! In a shared mount a descriptor waits until the gofer reports that its name has changed; it is taken only for the file that
//! it is of.
//!
//! Whether the guest may open a file is decided when it does, as with the descriptors that `handles.rs` keeps.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::{Errno, Result};
use gofer_protocol::{FileId, MAX_AHEAD, Name, NodeOpenFlags, Open, Response};
use kernel::mm::HostFile;

use super::connection::Reason;
use super::inode::GoferInode;

/// Files of a directory that are opened one by one before others are opened ahead.
const OPENED_BEFORE: u32 = 3;
/// As many that nobody wanted are forgiven, besides one for each that was wanted.
const FORGIVEN: u32 = 16;
/// Beyond so many, what was wanted and what was not counts half: habits change.
const REMEMBERED: u32 = 64;

/// Of one directory: files that were opened ahead. A leaf among the locks.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Opens that took a message.
    asked: u32,
    /// Files that were opened ahead.
    opened: u32,
    /// How many of them were wanted.
    wanted: u32,
    /// Files that were opened ahead and may still be wanted.
    waiting: HashMap<Arc<[u8]>, (FileId, OwnedFd)>,
}

impl Ahead {
    /// A message goes out: how many files it should ask for besides.
    fn window(&mut self) -> usize {
        self.asked = self.asked.saturating_add(1);
        if self.opened > REMEMBERED {
            self.opened /= 2;
            self.wanted /= 2;
        }
        let in_vain = self.opened.saturating_sub(self.wanted);
        if self.asked < OPENED_BEFORE || in_vain >= FORGIVEN + self.wanted {
            return 0;
        }
        MAX_AHEAD.min(2 + self.wanted as usize)
    }

    fn put(&mut self, name: Arc<[u8]>, id: FileId, fd: OwnedFd) -> Option<(FileId, OwnedFd)> {
        self.opened = self.opened.saturating_add(1);
        self.waiting.insert(name, (id, fd))
    }

    /// All are given up; as with [`Self::give_up`].
    #[must_use]
    pub(super) fn give_up_all(&mut self) -> HashMap<Arc<[u8]>, (FileId, OwnedFd)> {
        std::mem::take(&mut self.waiting)
    }

    /// `name` is given up, or means another file now; what is returned is to be dropped with nothing locked.
    #[must_use]
    pub(super) fn give_up(&mut self, name: &[u8]) -> Option<OwnedFd> {
        self.waiting.remove(name).map(|(_, fd)| fd)
    }
}

/// Names that one [`Open`] asks for besides its own, in `dir`.
#[derive(Debug)]
struct Neighbours {
    dir: Arc<GoferInode>,
    names: Vec<Arc<[u8]>>,
}

impl GoferInode {
    /// The descriptor of this file, if it was opened ahead.
    pub(super) fn take_ahead(&self) -> Option<Arc<HostFile>> {
        let (parent, name) = self.place()?;
        let (id, fd) = {
            let mut ahead = parent.dir.as_ref()?.ahead.lock();
            let found = ahead.waiting.remove(&name)?;
            ahead.wanted = ahead.wanted.saturating_add(1);
            found
        };
        self.has_id(id).then(|| self.host_file(fd))
    }

    /// The files that should be opened along with this one, which nobody has opened.
    fn neighbours(&self) -> Option<Neighbours> {
        if self.known_node().is_some() {
            return None;
        }
        let (dir, name) = self.place()?;
        let window = dir.dir.as_ref()?.ahead.lock().window();
        if window == 0 {
            return None;
        }
        let mut names = Vec::with_capacity(window);
        // Some are open already; where most are, there is little to gain.
        for (name, child) in dir.listed_after(&name, window * 4) {
            let is_open = child.upgrade().is_some_and(|child| child.is_open())
                || dir.dir.as_ref()?.ahead.lock().waiting.contains_key(&name);
            if !is_open {
                names.push(name);
            }
            if names.len() == window {
                break;
            }
        }
        Some(Neighbours { dir, names })
    }
}

impl Neighbours {
    /// As the gofer is asked for them.
    fn wire_names(this: Option<&Self>) -> Vec<Name<'_>> {
        this.map_or_else(Vec::new, |this| this.names.iter().filter_map(|name| Name::new(name)).collect())
    }

    /// Takes their descriptors, which stand behind that of the file that was really opened.
    ///
    /// # Errors
    /// `EIO` where the gofer does not answer what it was asked.
    fn take(&self, ids: &[Option<FileId>], response: &mut Response<Open<'_>>) -> Result<()> {
        if ids.len() != self.names.len() {
            return Err(Errno::EIO);
        }
        let Some(dir) = &self.dir.dir else { return Ok(()) };
        for (name, id) in self.names.iter().zip(ids) {
            let Some(id) = *id else { continue };
            // This process has too many.
            let Ok(fd) = response.take_fd() else { break };
            let old = dir.ahead.lock().put(name.clone(), id, fd);
            drop(old);
            self.dir.volume.connection().keep_ahead(self.dir.me(), name.clone());
        }
        Ok(())
    }
}

impl GoferInode {
    /// Opens this file for `flags`, which nobody has, and its neighbours ahead.
    pub(super) fn ask_open(&self, flags: NodeOpenFlags) -> Result<OwnedFd> {
        let neighbours = if flags.is_write() { None } else { self.neighbours() };
        let asked = self.attrs.now();
        self.with_target(|target| {
            let neighbours = neighbours.as_ref().filter(|_| target.name.is_some());
            let ahead = Neighbours::wire_names(neighbours);
            let mut response = self.volume.connection().call(&Open { target, flags, ahead })?;
            let reply = response.get()?;
            if target.name.is_some() {
                if !self.is_key(&reply.attr) {
                    self.volume.connection().forget(reply.node, 1, Reason::Unused);
                    return Err(Errno::ESTALE);
                }
                self.found_node(reply.node);
            }
            self.attrs.told(asked, reply.attr);
            let file = response.take_fd()?;
            if let Some(neighbours) = neighbours {
                neighbours.take(&reply.ahead, &mut response)?;
            }
            Ok(file)
        })
    }
}
