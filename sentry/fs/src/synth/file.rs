//! Files that print themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::{Errno, OpenFlags, Result};
use host::heap::{self, Purpose};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::task::Credentials;
use kernel::vfs::{Attr, Caller, File, FileOps, Inode, InodeCommon, SetAttr, WriteAt, Xattr};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::Attributes;

/// Longest text that is taken in one write.
const MAX_WRITE: usize = 64 << 10;

/// What a file says, and what writing to it does.
pub trait Content: Send + Sync + 'static {
    /// Appends the file's text.
    ///
    /// # Errors
    /// Whatever read(2) shall say: `ESRCH`, `EACCES`, `EIO`.
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()>;

    /// Takes what one write(2) wrote.
    ///
    /// # Errors
    /// `EINVAL` for a text it does not understand; `EPERM`, `EACCES`.
    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        let _ = (task, text);
        Err(Errno::EIO)
    }

    /// As [`Content::write`], told with whose rights the file was opened. They count where somebody with more could be
    /// made to write into a descriptor that was given to it.
    ///
    /// # Errors
    /// As [`Content::write`].
    fn write_opened(&self, task: &Task, opener: &Arc<Credentials>, text: &[u8]) -> Result<()> {
        let _ = opener;
        self.write(task, text)
    }

    /// Checks an open(2) beyond mode bits; gives the open file a content of its own where it is to stay with what there
    /// is now.
    ///
    /// # Errors
    /// `EACCES`, `EPERM`, `ESRCH`.
    fn open(&self, caller: &Caller<'_>, flags: OpenFlags) -> Result<Option<Arc<dyn Content>>> {
        let _ = (caller, flags);
        Ok(None)
    }

    /// How those who wait with poll(2) hear that there is another text now. `None` where nobody can wait for that.
    fn changes(&self) -> Option<Changes<'_>> {
        None
    }

    /// Attributes that can be changed, instead of those that the file was made with.
    fn attributes(&self) -> Option<&Attributes> {
        None
    }
}

/// Changes of a text.
#[derive(Clone, Copy)]
pub struct Changes<'a> {
    /// Notified of each with `ERR | PRI`.
    pub queue: &'a WaitQueue,
    /// How many there have been.
    pub count: u64,
    /// How long poll(2) tells of one.
    pub until: Until,
}

/// How long poll(2) tells of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Once (Linux's `mounts_poll`).
    Told,
    /// Until the text is read; one that has not been read is new (Linux's `kernfs_fop_poll`).
    Read,
}

/// A content that is one function of the reading task.
#[derive(Clone, Copy, Debug)]
pub struct Show(pub fn(&Task, &mut Vec<u8>) -> Result<()>);

impl Content for Show {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        (self.0)(task, out)
    }
}

impl Content for &'static str {
    fn read(&self, _task: &Task, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }

    /// Knobs that are accepted and do nothing have mode bits that allow writing.
    fn write(&self, _task: &Task, _text: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl Content for String {
    fn read(&self, _task: &Task, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(self.as_bytes());
        Ok(())
    }
}

/// A file with made-up content.
pub struct TextFile<C> {
    common: InodeCommon,
    attr: Attr,
    content: C,
}

impl<C: Content> TextFile<C> {
    /// A file with these attributes and content.
    pub fn new(attr: Attr, content: C) -> Arc<Self> {
        Arc::new(Self { common: InodeCommon::default(), attr, content })
    }
}

impl<C: Content> Inode for TextFile<C> {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.content.attributes().map_or(self.attr, Attributes::attr))
    }

    fn xattr(&self) -> Option<&dyn Xattr> {
        self.content.attributes().map(|attributes| attributes as &dyn Xattr)
    }

    /// Truncation is accepted, since shells do it on every `>`; most files let nothing else be changed.
    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        if let Some(attributes) = self.content.attributes() {
            attributes.change(change);
            return Ok(());
        }
        let is_truncation = change.mode.or(change.uid).or(change.gid).is_none();
        if is_truncation { Ok(()) } else { Err(Errno::EPERM) }
    }

    fn open(self: Arc<Self>, caller: &Caller<'_>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        let own = self.content.open(caller, flags)?;
        let text = OpenText { inode: self, own, snapshot: Mutex::default(), seen: AtomicU64::new(0) };
        let told = text.changes().filter(|changes| changes.until == Until::Told);
        text.seen.store(told.map_or(0, |changes| changes.count), Ordering::Relaxed);
        Ok(Arc::new(text))
    }
}

/// Texts up to this length are kept without asking whether there is room.
const SMALL_TEXT: usize = 16 << 10;

/// An open text file. A read at its start makes the text anew; later reads go on in the same text, which is kept until
/// one of them meets its end.
struct OpenText<C> {
    inode: Arc<TextFile<C>>,
    /// Instead of the inode's content.
    own: Option<Arc<dyn Content>>,
    snapshot: Mutex<Option<Vec<u8>>>,
    /// How many changes poll(2) has told of.
    seen: AtomicU64,
}

impl<C: Content> OpenText<C> {
    fn content(&self) -> &dyn Content {
        self.own.as_deref().unwrap_or(&self.inode.content)
    }

    fn changes(&self) -> Option<Changes<'_>> {
        self.content().changes()
    }
}

impl<C: Content> FileOps for OpenText<C> {
    fn read(&self, task: &Task, _file: &File, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let mut snapshot = self.snapshot.lock();
        if offset == 0 || snapshot.is_none() {
            let mut text = Vec::new();
            if let Some(changes) = self.changes().filter(|changes| changes.until == Until::Read) {
                self.seen.store(changes.count, Ordering::Release);
            }
            self.content().read(task, &mut text)?;
            if text.len() > SMALL_TEXT {
                heap::room_for(text.len() as u64, Purpose::Process)?;
            }
            *snapshot = Some(text);
        }
        let text = snapshot.as_deref().unwrap_or_default();
        let rest = usize::try_from(offset).ok().and_then(|at| text.get(at..)).unwrap_or_default();
        if rest.is_empty() {
            *snapshot = None;
            return Ok(0);
        }
        dst.put(rest)
    }

    fn write(&self, task: &Task, file: &File, at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let mut text = vec![0; src.remaining().min(MAX_WRITE)];
        let count = src.take(&mut text)?;
        text.truncate(count);
        self.content().write_opened(task, file.creds(), &text)?;
        let from = if let WriteAt::Offset(offset) = at { offset } else { 0 };
        Ok((count, from.saturating_add(count as u64)))
    }

    fn size(&self) -> Result<u64> {
        Ok(0)
    }

    fn poll(&self, _file: &File) -> Events {
        let Some(changes) = self.changes() else { return Events::READABLE | Events::WRITABLE };
        let (seen, always) = match changes.until {
            Until::Told => (self.seen.swap(changes.count, Ordering::AcqRel), Events::READABLE),
            Until::Read => (self.seen.load(Ordering::Acquire), Events::READABLE | Events::WRITABLE),
        };
        if seen == changes.count { always } else { always | Events::ERR | Events::PRI }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.changes().map(|changes| changes.queue)
    }
}
