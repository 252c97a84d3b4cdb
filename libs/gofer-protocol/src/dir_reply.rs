//! A [`crate::ReadDirReply`] written entry by entry, until the message is full.

use crate::reply::DirEntry;
use crate::types::NodeId;
use crate::wire::Writer;
use crate::{Header, MAX_MESSAGE};

/// Where the fields that are known last stand.
const STREAM_AT: usize = 8;
const CACHEABLE_AT: usize = STREAM_AT + 8;
const COUNT_AT: usize = CACHEABLE_AT + 2;

/// The body of a reply under construction.
#[derive(Debug)]
pub struct DirReplyWriter {
    body: Writer,
    count: u32,
}

impl DirReplyWriter {
    /// Without entries.
    #[must_use]
    pub fn new(dir: NodeId, has_xattrs: bool) -> Self {
        let mut body = Writer::default();
        body.put(&dir);
        body.put(&0u64);
        body.put(&false);
        body.put(&has_xattrs);
        body.put(&0u32);
        Self { body, count: 0 }
    }

    /// Appends `entry`, or returns false where the message has no room for it.
    #[must_use]
    pub fn push(&mut self, entry: &DirEntry<'_>) -> bool {
        let before = self.body.len();
        self.body.put(entry);
        if self.body.len() > MAX_MESSAGE - Header::LEN {
            self.body.truncate(before);
            return false;
        }
        self.count = self.count.saturating_add(1);
        true
    }

    /// Entries so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The body: `stream` is 0 at the directory's end.
    #[must_use]
    pub fn finish(mut self, stream: u64, is_cacheable: bool) -> Vec<u8> {
        self.body.patch(STREAM_AT, &stream.to_le_bytes());
        self.body.patch(CACHEABLE_AT, &[u8::from(is_cacheable)]);
        self.body.patch(COUNT_AT, &self.count.to_le_bytes());
        self.body.into_bytes()
    }
}
