//! Watching shared mounts, so that the client may cache what it learnt of them.
//!
//! Every directory of which the client was told something is watched before it is looked at; what `inotify(7)` then
//! says is pushed to the client by a thread of its own. It sleeps in `read` while nothing happens. A client that does
//! not read its events stalls that thread only, until the kernel's queue overflows and [`Event::Lost`] makes up for
//! what was dropped. Lock: `Shared::known`, a leaf; held while a watch is made, so that no event comes before its node
//! is known.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use abi::{Errno, Result};
use gofer_protocol::{Event, EventBatch, Header, MAX_MESSAGE, MessageKind, Name, NodeId, Transport, encode};
use host::fs::{self, Inotify, InotifyEvents, WatchMask};
use host::unix;

use crate::server::Server;

/// After a batch the thread waits this long, so that a busy directory's events come in batches, too, and not each with
/// a wake-up of this thread and of one in the sandbox, beside those who do the work.
const PAUSE: Duration = Duration::from_millis(1);
/// A writer at work makes an event with each write (equal events that were not read yet are one): this long after them.
const MODIFY_PAUSE: Duration = Duration::from_millis(5);

/// Of the kernel's events at a time: their batch is within a message, unless several nodes are one directory.
const BUFFER: usize = 16 << 10;

fn mask() -> WatchMask {
    WatchMask::MODIFY
        | WatchMask::ATTRIB
        | WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_FROM
        | WatchMask::MOVED_TO
        | WatchMask::CREATE
        | WatchMask::DELETE
        | WatchMask::DELETE_SELF
        | WatchMask::MOVE_SELF
        | WatchMask::EXCL_UNLINK
        | WatchMask::DONT_FOLLOW
}

/// The watches of all shared mounts.
#[derive(Debug)]
pub(crate) struct Watches {
    shared: Arc<Shared>,
    limit: usize,
}

#[derive(Debug)]
struct Shared {
    inotify: Inotify,
    /// Several nodes may be one directory.
    known: Mutex<HashMap<i32, Vec<NodeId>>>,
    /// The thread still forwards.
    is_alive: AtomicBool,
}

impl Watches {
    /// Starts the thread; returns the client's end of the event connection.
    pub(crate) fn start(limit: usize) -> Result<(Self, OwnedFd)> {
        let (ours, theirs) = unix::pair(unix::Kind::SeqPacket)?;
        let shared = Arc::new(Shared {
            inotify: Inotify::new()?,
            known: Mutex::default(),
            is_alive: AtomicBool::new(true),
        });
        let of_thread = Arc::clone(&shared);
        let transport = Transport::new(ours);
        // A thread's first calls are not in the allow-list that is armed next.
        let has_started = Arc::new(Barrier::new(2));
        let of_both = Arc::clone(&has_started);
        std::thread::Builder::new()
            .name("gofer-events".into())
            .stack_size(128 << 10)
            .spawn(move || {
                of_both.wait();
                of_thread.forward(&transport);
                of_thread.is_alive.store(false, Ordering::Relaxed);
            })
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EAGAIN.raw())))?;
        has_started.wait();
        Ok((Self { shared, limit }, theirs))
    }

    fn is_alive(&self) -> bool {
        self.shared.is_alive.load(Ordering::Relaxed)
    }

    /// Watches a path relative to the working directory for `node`.
    fn add(&self, node: NodeId, path: &[u8], is_dir: bool) -> Result<i32> {
        let mut known = self.shared.known();
        if known.len() >= self.limit {
            return Err(Errno::ENOSPC);
        }
        let only = if is_dir { WatchMask::ONLY_DIR } else { WatchMask::empty() };
        let watch = self.shared.inotify.watch(path, mask() | only)?;
        let nodes = known.entry(watch).or_default();
        if !nodes.contains(&node) {
            nodes.push(node);
        }
        Ok(watch)
    }

    /// `node` no longer needs its watch.
    pub(crate) fn remove(&self, node: NodeId, watch: i32) {
        let mut known = self.shared.known();
        let Some(nodes) = known.get_mut(&watch) else { return };
        nodes.retain(|other| *other != node);
        if nodes.is_empty() {
            known.remove(&watch);
            // Gone already where the directory is gone.
            let _ = self.shared.inotify.unwatch(watch);
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.shared.known().len()
    }
}

impl Drop for Watches {
    fn drop(&mut self) {
        self.shared.is_alive.store(false, Ordering::Relaxed);
        // A watch that ends is an event, which wakes the thread.
        if let Ok(watch) = self.shared.inotify.watch(b"/", WatchMask::DELETE_SELF) {
            let _ = self.shared.inotify.unwatch(watch);
        }
    }
}

impl Shared {
    /// A lock of the standard library's: it needs no call but `futex`.
    fn known(&self) -> MutexGuard<'_, HashMap<i32, Vec<NodeId>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forward(&self, transport: &Transport) {
        let mut buffer = vec![0; BUFFER];
        let mut id = 0;
        while let Ok(events) = self.inotify.wait(&mut buffer) {
            if !self.is_alive.load(Ordering::Relaxed) {
                return;
            }
            let batch = self.translate(events.clone());
            if batch.events.is_empty() {
                continue;
            }
            id += 1;
            let header = Header { kind: MessageKind::Event, op: 0, id, error: None };
            let mut body = encode(&batch);
            if body.len() > MAX_MESSAGE - Header::LEN {
                body = encode(&EventBatch { events: vec![Event::Lost] });
            }
            if transport.send(&header, &body, &[]).is_err() {
                return;
            }
            let are_writes = events.into_iter().all(|event| event.mask == WatchMask::MODIFY);
            std::thread::sleep(if are_writes { MODIFY_PAUSE } else { PAUSE });
        }
    }

    fn translate<'a>(&self, events: InotifyEvents<'a>) -> EventBatch<'a> {
        let mut known = self.known();
        let mut batch = EventBatch { events: Vec::new() };
        for event in events {
            if event.mask.contains(WatchMask::OVERFLOW) {
                batch.events.push(Event::Lost);
                continue;
            }
            let Some(nodes) = known.get(&event.watch) else { continue };
            for node in nodes {
                let name = Name::new(event.name);
                let changed =
                    Event::Changed { node: *node, name, mask: event.mask.bits(), cookie: event.cookie };
                if batch.events.last() != Some(&changed) {
                    batch.events.push(changed);
                }
            }
            if event.mask.contains(WatchMask::IGNORED) {
                known.remove(&event.watch);
            }
        }
        batch
    }
}

impl Server {
    /// Makes sure that the client will hear of changes in the directory `node`; false where it will not and must not
    /// cache what it is told. In a mount that is not shared, nobody else makes changes.
    pub(crate) fn watch(&mut self, node: NodeId) -> bool {
        match self.mount_of(node) {
            Ok(mount) if mount.is_shared() => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
        if !self.watches.as_ref().is_some_and(Watches::is_alive) {
            return false;
        }
        self.nodes.get(node).is_ok_and(|node| node.watch.is_some()) || self.add_watch(node).is_ok()
    }

    fn add_watch(&mut self, id: NodeId) -> Result<()> {
        let is_dir = self.nodes.get(id)?.is_dir();
        let (dir, name) =
            if is_dir { (self.nodes.fd(id)?, b"."[..].into()) } else { self.nodes.place(id)? };
        fs::change_dir(dir.as_fd())?;
        let watches = self.watches.as_ref().ok_or(Errno::ENOSPC)?;
        let watch = watches.add(id, &name, is_dir)?;
        self.nodes.get_mut(id)?.watch = Some(watch);
        Ok(())
    }
}
