//! A directory with one entry for each name of a set that changes, such as the network's interfaces.
//!
//! Which names there are is asked anew each time, by the asking task. Lock: `made`, a leaf.

use std::collections::HashMap;
use std::sync::Arc;

use abi::{Errno, FileType, Result};
use kernel::Task;
use kernel::vfs::{Attr, Caller, Inode};
use parking_lot::Mutex;

use super::{Dir, DirContent, Entry, Inodes};

/// Entries that are kept; those of names that have gone are forgotten at some time.
const KEPT: usize = 256;

/// Such a directory: `names` lists, and `make` makes an entry of the type `file_type`.
pub struct PerName<N, M> {
    attr: Attr,
    file_type: FileType,
    names: N,
    make: M,
    made: Mutex<HashMap<String, Arc<dyn Inode>>>,
}

impl<N, M> PerName<N, M>
where
    N: Fn(&Task) -> Vec<String> + Send + Sync + 'static,
    M: Fn(&str) -> Arc<dyn Inode> + Send + Sync + 'static,
{
    /// Makes one.
    pub fn directory(inodes: &Inodes, file_type: FileType, names: N, make: M) -> Arc<dyn Inode> {
        let attr = inodes.attr(FileType::Directory, 0o555);
        Dir::new(Self { attr, file_type, names, make, made: Mutex::default() })
    }

    fn entry(&self, name: &str) -> Arc<dyn Inode> {
        let mut made = self.made.lock();
        if let Some(entry) = made.get(name) {
            return Arc::clone(entry);
        }
        if made.len() >= KEPT {
            made.clear();
        }
        let entry = (self.make)(name);
        made.insert(name.to_owned(), Arc::clone(&entry));
        entry
    }
}

impl<N, M> DirContent for PerName<N, M>
where
    N: Fn(&Task) -> Vec<String> + Send + Sync + 'static,
    M: Fn(&str) -> Arc<dyn Inode> + Send + Sync + 'static,
{
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let task = caller.task.ok_or(Errno::ENOENT)?;
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let is_there = (self.names)(task).iter().any(|other| other == name);
        if is_there { Ok(self.entry(name)) } else { Err(Errno::ENOENT) }
    }

    fn next(&self, task: &Task, from: u64) -> Option<Entry> {
        let name = (self.names)(task).into_iter().nth(usize::try_from(from).ok()?)?;
        let ino = self.entry(&name).attr().map_or(self.attr.ino, |attr| attr.ino);
        Some(Entry { name: name.into_bytes(), ino, file_type: self.file_type, next: from + 1 })
    }
}
