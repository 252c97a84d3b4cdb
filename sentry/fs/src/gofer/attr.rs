//! An inode's attributes, cached.
//!
//! Questions and answers of several threads cross, so what is believed never depends on when an answer arrives. One
//! [`Clock`] orders all that a connection is asked and changes. A question notes the time before it is put, a change
//! the time after it was made: an answer is believed if it was asked for after the last change, and none is while a
//! change is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use abi::{DeviceId, Timespec};
use gofer_protocol::{Attr as WireAttr, Time};
use kernel::vfs::Attr;
use parking_lot::Mutex;

/// In [`AttrCache::mode`]: owner and permissions may be others by now.
const DOUBTFUL: u32 = 1 << 31;

/// A host that notes accesses does so after a day, however little was changed.
const DAY_NS: i128 = 24 * 60 * 60 * 1_000_000_000;

/// Orders what is asked and what is changed.
#[derive(Debug, Default)]
pub(super) struct Clock(AtomicU64);

/// A point in the order of things.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Clock {
    /// To be had before the host is asked.
    pub(super) fn now(&self) -> Moment {
        Moment(self.0.load(Ordering::Acquire))
    }

    /// To be had after something was changed: later than the time of each question put before.
    pub(super) fn tick(&self) -> Moment {
        Moment(self.0.fetch_add(1, Ordering::AcqRel) + 1)
    }
}

/// How far something that is cached can be believed.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// When the host was asked for what is cached.
    as_of: Moment,
    changed_at: Moment,
    /// Changes of ours under way.
    changing: u32,
}

impl Standing {
    pub(super) fn is_current(&self) -> bool {
        self.is_settled_since(self.as_of)
    }

    /// Whether an answer to a question of `asked` still holds.
    pub(super) fn is_settled_since(&self, asked: Moment) -> bool {
        self.changing == 0 && asked >= self.changed_at
    }

    /// Whether an answer to a question of `asked` is to be kept: nothing newer is known.
    pub(super) fn takes(&mut self, asked: Moment) -> bool {
        let is_news = asked >= self.as_of;
        if is_news {
            self.as_of = asked;
        }
        is_news
    }

    pub(super) fn changed(&mut self, at: Moment) {
        self.changed_at = self.changed_at.max(at);
    }

    /// A change of ours begins; returns what [`Self::end`] is to be told.
    pub(super) fn begin(&mut self) -> Moment {
        self.changing += 1;
        self.changed_at
    }

    /// It ends; says whether it was the only change since it began.
    pub(super) fn end(&mut self, before: Moment, at: Moment) -> bool {
        self.changing -= 1;
        let is_alone = self.changing == 0 && self.changed_at == before;
        self.changed(at);
        is_alone
    }
}

/// What is known of a file's attributes. Lock: `known` is a leaf.
#[derive(Debug)]
pub(super) struct AttrCache {
    clock: Arc<Clock>,
    known: Mutex<Known>,
    /// Type and permissions for the path walk, which asks for them at each step; [`DOUBTFUL`] where they are.
    mode: AtomicU32,
}

#[derive(Debug)]
struct Known {
    attr: WireAttr,
    /// Of size, times, links: all but what `access` is about.
    content: Standing,
    /// Of owner and mode, which no read or write changes.
    access: Standing,
    /// Content is out of date again as soon as it was read: the file is mapped for writing.
    is_volatile: bool,
}

impl Known {
    fn is_current(&self) -> bool {
        self.content.is_current() && self.access.is_current() && !self.is_volatile
    }

    /// Takes over what the gofer said.
    fn take(&mut self, attr: WireAttr, content: Moment, access: Moment) {
        self.take_content(attr, content);
        if self.access.takes(access) {
            self.attr = WireAttr { uid: attr.uid, gid: attr.gid, ..self.attr };
            self.take_mode(attr.mode);
        }
    }

    /// The same of all but owner and mode.
    fn take_content(&mut self, attr: WireAttr, asked: Moment) {
        let WireAttr { uid, gid, mode, btime, .. } = self.attr;
        if self.content.takes(asked) {
            self.attr = WireAttr { uid, gid, mode, btime: attr.btime.or(btime), ..attr };
        }
    }

    fn is_access_noted(&self) -> bool {
        let WireAttr { atime, mtime, ctime, .. } = self.attr;
        let age_ns = || i128::from(host::time::realtime_ns()) - i128::from(atime.seconds) * 1_000_000_000;
        self.content.is_current() && atime > mtime && atime > ctime && age_ns() < DAY_NS
    }

    /// A file does not change its type.
    fn take_mode(&mut self, mode: u32) {
        self.attr.mode = self.attr.mode & 0o170_000 | mode & 0o7777;
    }
}

/// What a change of ours may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not who may do what.
    Content,
    All,
}

/// A change of ours, from before the host is told until its answer is here. Where none comes, what was within its reach
/// has to be asked for.
#[derive(Debug)]
#[must_use]
pub(super) struct Change<'a> {
    cache: &'a AttrCache,
    asked: Moment,
    content_before: Moment,
    access_before: Option<Moment>,
    answer: Answer,
}

/// What came of a change.
#[derive(Debug)]
enum Answer {
    /// Nothing, or an error, which need not mean that nothing was changed.
    None,
    /// The file as it is now.
    Told(WireAttr),
    /// Its last name is gone, and this is what the host says of it without.
    Removed(Option<WireAttr>),
}

impl Change<'_> {
    /// The host has made it, and this is how the file is now.
    pub(super) fn answered(mut self, attr: WireAttr) {
        self.answer = Answer::Told(attr);
    }

    /// The file's last name is gone, and this is how the file is now, if that is known.
    pub(super) fn removed(mut self, attr: Option<WireAttr>) {
        self.answer = Answer::Removed(attr);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut known = self.cache.known.lock();
        let at = self.cache.clock.tick();
        // Of another change that was made meanwhile, the answer may say nothing.
        let as_of = |is_alone| if is_alone { at } else { self.asked };
        let is_alone = known.content.end(self.content_before, at);
        let access = match self.access_before {
            Some(before) => as_of(known.access.end(before, at)),
            None => self.asked,
        };
        match self.answer {
            Answer::None => {}
            Answer::Told(attr) => known.take(attr, as_of(is_alone), access),
            Answer::Removed(attr) => {
                match attr.filter(|_| is_alone) {
                    Some(attr) => known.take(attr, at, access),
                    // Whoever asked before may have been told of a name.
                    None => _ = known.content.takes(at),
                }
                known.attr.nlink = 0;
                if !is_alone {
                    known.content.changed(self.cache.clock.tick());
                }
            }
        }
        self.cache.publish(&known);
    }
}

impl AttrCache {
    /// Of a file of which the host said `attr` when it was asked at `asked`.
    pub(super) fn new(clock: Arc<Clock>, attr: WireAttr, asked: Moment) -> Self {
        let as_of = || Standing { as_of: asked, ..Standing::default() };
        let known = Known { attr, content: as_of(), access: as_of(), is_volatile: false };
        Self { clock, known: Mutex::new(known), mode: AtomicU32::new(attr.mode) }
    }

    /// Type and permission bits, if they can be relied on.
    pub(super) fn mode(&self) -> Option<u32> {
        Some(self.mode.load(Ordering::Acquire)).filter(|mode| mode & DOUBTFUL == 0)
    }

    /// What was last heard.
    pub(super) fn last(&self) -> WireAttr {
        self.known.lock().attr
    }

    /// The attributes, if they can be relied on.
    pub(super) fn current(&self) -> Option<WireAttr> {
        let known = self.known.lock();
        known.is_current().then_some(known.attr)
    }

    /// The attributes, if owner and mode can be relied on.
    pub(super) fn current_access(&self) -> Option<WireAttr> {
        let known = self.known.lock();
        known.access.is_current().then_some(known.attr)
    }

    /// To be had before the host is asked.
    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// To be had after something was changed.
    pub(super) fn tick(&self) -> Moment {
        self.clock.tick()
    }

    /// Takes over what the gofer said when it was asked at `asked`, unless more is known by now.
    pub(super) fn told(&self, asked: Moment, attr: WireAttr) {
        let mut known = self.known.lock();
        known.take(attr, asked, asked);
        self.publish(&known);
    }

    /// The same of what a descriptor says, which knows no owners: this process's user name space has not the host's.
    pub(super) fn seen(&self, asked: Moment, attr: WireAttr) {
        let mut known = self.known.lock();
        known.take_content(attr, asked);
        if asked >= known.access.as_of {
            known.take_mode(attr.mode);
        }
        self.publish(&known);
    }

    /// Begins a change of ours.
    pub(super) fn change(&self, reach: Reach) -> Change<'_> {
        let mut known = self.known.lock();
        let asked = self.clock.now();
        let content_before = known.content.begin();
        let access_before = (reach == Reach::All).then(|| known.access.begin());
        self.publish(&known);
        Change { cache: self, asked, content_before, access_before, answer: Answer::None }
    }

    /// Size, times, or the number of links have changed.
    pub(super) fn mark_stale(&self) {
        let mut known = self.known.lock();
        known.content.changed(self.clock.tick());
    }

    /// Anything may have changed.
    pub(super) fn doubt(&self) {
        let mut known = self.known.lock();
        let at = self.clock.tick();
        known.content.changed(at);
        known.access.changed(at);
        self.publish(&known);
    }

    /// The host has read from the file for us: it notes that where the last access it noted is not later than the last
    /// change, or a day ago.
    pub(super) fn was_read(&self) {
        let mut known = self.known.lock();
        if !known.is_access_noted() {
            known.content.changed(self.clock.tick());
        }
    }

    /// Whether the host notes no further access to the file as it is.
    pub(super) fn is_access_noted(&self) -> bool {
        self.known.lock().is_access_noted()
    }

    pub(super) fn set_volatile(&self) {
        self.known.lock().is_volatile = true;
    }

    /// When anything of it last changed.
    pub(super) fn changed_at(&self) -> Moment {
        let known = self.known.lock();
        known.content.changed_at.max(known.access.changed_at)
    }

    fn publish(&self, known: &Known) {
        let doubt = if known.access.is_current() { 0 } else { DOUBTFUL };
        self.mode.store(known.attr.mode | doubt, Ordering::Release);
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
    use std::sync::Arc;

    use gofer_protocol::{Attr, Time};

    use super::{AttrCache, Moment, Reach};

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

    fn cache(size: u64) -> AttrCache {
        AttrCache::new(Arc::default(), sized(size), Moment::default())
    }

    fn size(cache: &AttrCache) -> Option<u64> {
        cache.current().map(|attr| attr.size)
    }

    #[test]
    fn an_answer_to_an_older_question_is_no_news() {
        let cache = cache(1);
        let first = cache.now();
        cache.mark_stale();
        cache.told(first, sized(2));
        assert!(cache.current().is_none(), "the change came after the question");
        let second = cache.now();
        cache.told(second, sized(3));
        cache.told(first, sized(2));
        assert_eq!(size(&cache), Some(3), "an answer that was late");
    }

    #[test]
    fn a_question_put_while_something_is_changed_may_be_answered_either_way() {
        let cache = cache(1);
        let change = cache.change(Reach::Content);
        assert_eq!(size(&cache), None, "the host may have made it already");
        let asked = cache.now();
        change.answered(sized(2));
        assert_eq!(size(&cache), Some(2));
        cache.seen(asked, sized(1));
        assert_eq!(size(&cache), Some(2), "its answer says nothing of the change");
    }

    #[test]
    fn of_two_changes_at_once_neither_answer_tells_all() {
        let cache = cache(1);
        let (one, two) = (cache.change(Reach::All), cache.change(Reach::All));
        one.answered(sized(2));
        assert_eq!(size(&cache), None);
        two.answered(sized(3));
        assert_eq!((size(&cache), cache.mode()), (None, None));
        cache.told(cache.now(), sized(4));
        assert_eq!((size(&cache), cache.mode()), (Some(4), Some(0o100_644)));
    }

    #[test]
    fn a_change_that_fails_leaves_a_doubt() {
        let cache = cache(1);
        drop(cache.change(Reach::Content));
        assert_eq!((size(&cache), cache.mode()), (None, Some(0o100_644)));
        drop(cache.change(Reach::All));
        assert_eq!((size(&cache), cache.mode()), (None, None));
        cache.seen(cache.now(), sized(2));
        assert!(cache.current_access().is_none(), "a descriptor knows no owner");
    }

    #[test]
    fn a_descriptor_does_not_know_the_owner() {
        let cache = cache(1);
        let asked = cache.now();
        cache.change(Reach::All).answered(Attr { uid: 7, mode: 0o100_600, ..sized(1) });
        cache.seen(asked, sized(1));
        let attr = cache.current().unwrap();
        assert_eq!((attr.uid, attr.mode), (7, 0o100_600), "asked before the change");
        cache.mark_stale();
        cache.seen(cache.now(), Attr { uid: 65534, mode: 0o100_600, ..sized(2) });
        let attr = cache.current().unwrap();
        assert_eq!((attr.uid, attr.mode, attr.size), (7, 0o100_600, 2));
    }

    #[test]
    fn a_removed_file_gets_no_name_back() {
        let cache = cache(1);
        let (change, asked) = (cache.change(Reach::Content), cache.now());
        change.removed(None);
        cache.seen(asked, sized(1));
        assert_eq!(cache.last().nlink, 0);
    }

    #[test]
    fn reading_is_noted_after_a_change() {
        let now = host::time::realtime_ns() / 1_000_000_000;
        let at = |seconds| Time { seconds, nanoseconds: 0 };
        let times =
            |atime, change| Attr { atime: at(atime), mtime: at(change), ctime: at(change), ..sized(1) };
        for (attr, is_noted) in [
            (times(now, now), true),
            (times(now, now - 1), false),
            (times(now - 100_000, now - 200_000), true),
        ] {
            let cache = AttrCache::new(Arc::default(), attr, Moment::default());
            cache.was_read();
            assert_eq!(cache.current().is_none(), is_noted);
        }
    }
}
