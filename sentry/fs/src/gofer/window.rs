//! Small reads of an open file by a mapping of it.
//!
//! preadv(2) of 4 KiB takes the host two to three times as long as a copy from a mapping of the same pages. So an open
//! file from which a guest reads again and again in small pieces is mapped whole, for as long as it is open. Where it can
//! be written, only on host file systems of which it is known that they read and map from the same pages (an overlay does
//! not, once it has copied the file up), while nothing has changed of it that is known, and once the host has noted the
//! access, which a mapping does not. A file that somebody has just cut shows zeros from its end to that of the page: where the
//! last byte that is wanted is one, the host is asked for the size.
//!
//! What is not wholly within the size that is known, and what cannot be copied since the file was cut all the same, is
//! left to preadv(2). Connections bound the number of windows.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use host::memory::Mapping;
use kernel::mm::{HostFile, IoDst};

use super::inode::GoferInode;
use super::volume::Volume;

/// A read of at most this size is small.
const SMALL: usize = 16 << 10;
/// So many by the host come before one by the mapping, which takes as long as some ten of them to make and to fault in.
const READS_BEFORE: u32 = 16;
/// A larger file is not mapped.
const LARGEST: u64 = 64 << 20;

/// Of one open file.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Small reads since the size was last asked for.
    reads: AtomicU32,
    /// Nothing where the host has none.
    mapping: OnceLock<Option<Counted>>,
}

/// A mapping that its connection has allowed.
#[derive(Debug)]
struct Counted {
    mapping: Mapping,
    volume: Arc<Volume>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.volume.connection().window_gone();
    }
}

impl GoferInode {
    /// Whether a mapping of the file shows what reading it tells.
    fn is_read_from_pages(&self) -> bool {
        self.is_settled() || self.is_of_local_fs()
    }

    /// Whether nobody changes it.
    fn is_settled(&self) -> bool {
        self.volume.is_read_only() && !self.volume.is_shared()
    }
}

impl Window {
    /// Fills `dst` from `offset` of an open file, if that is worth while and can be done; else nothing has happened.
    pub(super) fn read(
        &self,
        inode: &GoferInode,
        file: &HostFile,
        offset: u64,
        dst: &mut IoDst<'_>,
    ) -> Option<usize> {
        let len = dst.remaining();
        if len > SMALL || !inode.is_read_from_pages() {
            return None;
        }
        if self.reads.load(Ordering::Relaxed) < READS_BEFORE {
            self.reads.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let Some(attr) = inode.attrs.current() else {
            self.reads.store(0, Ordering::Relaxed);
            // Whatever is wrong, preadv(2) will say it.
            let _ = inode.refreshed();
            return None;
        };
        let end = offset.checked_add(len as u64)?;
        let is_noted = || inode.volume.is_read_only() || inode.attrs.is_access_noted();
        if end > attr.size || !is_noted() {
            return None;
        }
        let mapping = self.mapping(inode, file, attr.size)?;
        if !inode.is_settled() && !reaches(mapping, file, end) {
            return None;
        }
        copy(mapping, offset, dst)
    }

    fn mapping(&self, inode: &GoferInode, file: &HostFile, size: u64) -> Option<&Mapping> {
        let map = || {
            let len = usize::try_from(size).ok().filter(|_| size <= LARGEST)?;
            let connection = inode.volume.connection();
            if !connection.takes_window() {
                return None;
            }
            let mapping = Mapping::shared(file.fd(), 0, len, false).inspect_err(|_| connection.window_gone());
            mapping.ok().map(|mapping| Counted { mapping, volume: Arc::clone(&inode.volume) })
        };
        self.mapping.get_or_init(map).as_ref().map(|counted| &counted.mapping)
    }
}

/// Whether the file still has bytes up to `end`.
fn reaches(mapping: &Mapping, file: &HostFile, end: u64) -> bool {
    let mut last = [0];
    let Some(at) = end.checked_sub(1) else { return false };
    let is_there = mapping.slice(at, 1).and_then(|byte| byte.read(&mut last)) == Ok(1);
    is_there && (last != [0] || host::fs::stat_open(file.fd()).is_ok_and(|stat| stat.size >= end))
}

fn copy(from: &Mapping, offset: u64, dst: &mut IoDst<'_>) -> Option<usize> {
    let mut at = offset;
    let filled = dst.fill_with(dst.remaining(), &mut |to| {
        let mut done = 0;
        for slice in to {
            let copied = from.slice(at, slice.len())?.copy_to(slice)?;
            at += copied as u64;
            done += copied;
        }
        Ok(done)
    });
    filled.ok().filter(|len| *len > 0)
}
