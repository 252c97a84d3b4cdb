//! An inode's attributes, cached.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::{DeviceId, Timespec};
use gofer_protocol::{Attr as WireAttr, Time};
use kernel::vfs::Attr;
use parking_lot::Mutex;

/// What is known of a file's attributes. Lock: `last` is a leaf.
#[derive(Debug)]
pub(super) struct AttrCache {
    last: Mutex<Known>,
    /// Type and permissions, which no read or write changes: always good enough for the path walk.
    mode: AtomicU32,
    /// Counts the changes after which `last` is out of date (but for owner and mode).
    changes: AtomicU64,
    /// It is out of date again as soon as it was read: mapped for writing, or in a mount that nobody watches.
    is_volatile: AtomicBool,
    /// The owner may have changed, which only the gofer can tell.
    is_owner_doubtful: AtomicBool,
}

/// What the host said, and when it was asked.
#[derive(Debug)]
struct Known {
    attr: WireAttr,
    as_of: Moment,
}

/// A point in the sequence of a file's changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl AttrCache {
    pub(super) fn new(attr: WireAttr) -> Self {
        Self {
            mode: AtomicU32::new(attr.mode),
            last: Mutex::new(Known { attr, as_of: Moment(0) }),
            changes: AtomicU64::new(0),
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
        self.last.lock().attr
    }

    /// The attributes, if they can be relied on.
    pub(super) fn current(&self) -> Option<WireAttr> {
        let last = self.last.lock();
        (last.as_of == self.now() && !self.is_volatile.load(Ordering::Relaxed)).then_some(last.attr)
    }

    /// To be had before the host is asked, for [`Self::set`]: of a change that is made meanwhile the answer may say
    /// nothing.
    pub(super) fn now(&self) -> Moment {
        Moment(self.changes.load(Ordering::Acquire))
    }

    /// Takes over what the host said when it was asked at `as_of`, unless it said more since. A file does not change
    /// its type.
    pub(super) fn set(&self, as_of: Moment, attr: WireAttr) {
        let mut last = self.last.lock();
        if as_of < last.as_of {
            return;
        }
        let btime = attr.btime.or(last.attr.btime);
        let kind = self.mode() & 0o170_000;
        last.attr = WireAttr { btime, mode: attr.mode & 0o7777 | kind, ..attr };
        last.as_of = as_of;
        self.mode.store(last.attr.mode, Ordering::Relaxed);
    }

    /// As [`Self::set`], and it is all there is to know for now.
    pub(super) fn set_fresh(&self, attr: WireAttr) {
        self.set(self.now(), attr);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut WireAttr)) {
        change(&mut self.last.lock().attr);
    }

    pub(super) fn mark_stale(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Somebody else changed attributes.
    pub(super) fn doubt_owner(&self) {
        self.is_owner_doubtful.store(true, Ordering::Release);
        self.mark_stale();
    }

    /// Whether the owner, or who may do what, may have changed.
    pub(super) fn is_owner_doubtful(&self) -> bool {
        self.is_owner_doubtful.load(Ordering::Acquire)
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

#[cfg(test)]
mod tests {
    use gofer_protocol::{Attr, Time};

    use super::AttrCache;

    fn sized(size: u64) -> Attr {
        let time = Time { seconds: 0, nanoseconds: 0 };
        Attr {
            dev: 1,
            ino: 2,
            mode: 0o100_644,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            size,
            blocks: 0,
            block_size: 4096,
            atime: time,
            mtime: time,
            ctime: time,
            btime: None,
        }
    }

    #[test]
    fn an_answer_to_an_older_question_is_no_news() {
        let cache = AttrCache::new(sized(1));
        let first = cache.now();
        cache.mark_stale();
        cache.set(first, sized(2));
        assert!(cache.current().is_none(), "the change came after the question");
        let second = cache.now();
        cache.set(second, sized(3));
        cache.set(first, sized(2));
        assert_eq!(cache.current().map(|attr| attr.size), Some(3), "an answer that was late");
    }
}
