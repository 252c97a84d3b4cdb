//! An inode's attributes, cached.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use abi::{DeviceId, Timespec};
use gofer_protocol::{Attr as WireAttr, Time};
use kernel::vfs::Attr;
use parking_lot::Mutex;

/// What is known of a file's attributes. Lock: `last` is a leaf.
#[derive(Debug)]
pub(super) struct AttrCache {
    last: Mutex<WireAttr>,
    /// Type and permissions, which no read or write changes: always good enough for the path walk.
    mode: AtomicU32,
    /// `last` may be out of date (but for owner and mode).
    is_stale: AtomicBool,
    /// It is out of date again as soon as it was read: mapped for writing, or in a mount that nobody watches.
    is_volatile: AtomicBool,
    /// The owner may have changed, which only the gofer can tell.
    is_owner_doubtful: AtomicBool,
}

impl AttrCache {
    pub(super) fn new(attr: WireAttr) -> Self {
        Self {
            mode: AtomicU32::new(attr.mode),
            last: Mutex::new(attr),
            is_stale: AtomicBool::new(false),
            is_volatile: AtomicBool::new(false),
            is_owner_doubtful: AtomicBool::new(false),
        }
    }

    /// Type and permission bits.
    pub(super) fn mode(&self) -> u32 {
        self.mode.load(Ordering::Relaxed)
    }

    /// What was last heard.
    pub(super) fn last(&self) -> WireAttr {
        *self.last.lock()
    }

    /// The attributes, if they can be relied on.
    pub(super) fn current(&self) -> Option<WireAttr> {
        let is_good = !self.is_stale.load(Ordering::Acquire) && !self.is_volatile.load(Ordering::Relaxed);
        is_good.then(|| self.last())
    }

    /// What follows is news: a change that is made while the host is asked marks the cache again.
    pub(super) fn start_refresh(&self) {
        self.is_stale.store(false, Ordering::Release);
    }

    /// Takes over what the host said. A file does not change its type.
    pub(super) fn set(&self, attr: WireAttr) {
        let mut last = self.last.lock();
        let btime = attr.btime.or(last.btime);
        let kind = self.mode() & 0o170_000;
        *last = WireAttr { btime, mode: attr.mode & 0o7777 | kind, ..attr };
        self.mode.store(last.mode, Ordering::Relaxed);
    }

    /// As [`Self::set`], and it is all there is to know for now.
    pub(super) fn set_fresh(&self, attr: WireAttr) {
        self.start_refresh();
        self.set(attr);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut WireAttr)) {
        change(&mut self.last.lock());
    }

    pub(super) fn mark_stale(&self) {
        // Loading first spares writers of one file the cache line.
        if !self.is_stale.load(Ordering::Relaxed) {
            self.is_stale.store(true, Ordering::Release);
        }
    }

    /// Somebody else changed attributes.
    pub(super) fn doubt_owner(&self) {
        self.is_owner_doubtful.store(true, Ordering::Release);
        self.mark_stale();
    }

    /// Whether the gofer has to be asked, which the caller then does.
    pub(super) fn take_owner_doubt(&self) -> bool {
        self.is_owner_doubtful.swap(false, Ordering::AcqRel)
    }

    pub(super) fn set_volatile(&self, is_volatile: bool) {
        self.is_volatile.store(is_volatile, Ordering::Relaxed);
    }
}

/// As the VFS has them; `ino` is the number that the guest sees.
pub(super) fn to_vfs(attr: &WireAttr, ino: u64) -> Attr {
    Attr {
        ino,
        mode: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: DeviceId::decode(attr.rdev),
        size: attr.size,
        blocks: attr.blocks,
        blksize: attr.block_size,
        atime: time(attr.atime),
        mtime: time(attr.mtime),
        ctime: time(attr.ctime),
        btime: attr.btime.map(time),
    }
}

fn time(time: Time) -> Timespec {
    Timespec { tv_sec: time.seconds, tv_nsec: i64::from(time.nanoseconds) }
}

/// What `fstat(2)` said, as the gofer would have put it.
pub(super) fn from_host(stat: &host::fs::Stat) -> WireAttr {
    let time =
        |(seconds, nanoseconds): (i64, u32)| Time { seconds, nanoseconds: nanoseconds.min(999_999_999) };
    WireAttr {
        dev: stat.dev,
        ino: stat.ino,
        mode: stat.mode,
        nlink: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        rdev: stat.rdev,
        size: stat.size,
        blocks: stat.blocks,
        block_size: stat.block_size,
        atime: time(stat.atime),
        mtime: time(stat.mtime),
        ctime: time(stat.ctime),
        btime: None,
    }
}
