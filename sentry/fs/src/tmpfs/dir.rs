//! A tmpfs directory: names in the order of their making, so that a listing can go on after any change. It is listed as
//! Linux does it, the newest name first; what is added meanwhile is for the next listing.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use abi::{Errno, FileType, Result};

use super::inode::TmpInode;

/// Where a listing stands after `.` and `..`, before the newest name.
const START: u64 = 2;
/// The oldest name's.
const FIRST_COOKIE: u64 = START + 1;

#[derive(Debug)]
struct Entry {
    inode: Arc<TmpInode>,
    cookie: u64,
}

/// What a listing says of a name. Kept here, since to look at 20,000 inodes takes longer than all the rest of a walk.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) name: Arc<[u8]>,
    pub(super) ino: u64,
    pub(super) file_type: FileType,
}

impl Listed {
    fn new(name: Arc<[u8]>, inode: &TmpInode) -> Self {
        Self { name, ino: inode.ino, file_type: inode.file_type() }
    }
}

/// The names in a directory.
#[derive(Debug)]
pub(super) struct Names {
    map: HashMap<Arc<[u8]>, Entry>,
    order: BTreeMap<u64, Listed>,
    next_cookie: u64,
    /// Nothing may be added any more.
    is_dead: bool,
}

impl Default for Names {
    fn default() -> Self {
        Self { map: HashMap::new(), order: BTreeMap::new(), next_cookie: FIRST_COOKIE, is_dead: false }
    }
}

impl Names {
    pub(super) fn get(&self, name: &[u8]) -> Option<&Arc<TmpInode>> {
        self.map.get(name).map(|entry| &entry.inode)
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Whether a name may be added.
    pub(super) fn check_alive(&self) -> Result<()> {
        if self.is_dead { Err(Errno::ENOENT) } else { Ok(()) }
    }

    /// Ends the directory: it must be empty.
    pub(super) fn kill(&mut self) -> Result<()> {
        if !self.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.is_dead = true;
        Ok(())
    }

    /// Adds a name, or gives it another inode, which is returned.
    pub(super) fn put(&mut self, name: &[u8], inode: Arc<TmpInode>) -> Option<Arc<TmpInode>> {
        if let Some(entry) = self.map.get_mut(name) {
            if let Some(listed) = self.order.get_mut(&entry.cookie) {
                *listed = Listed::new(listed.name.clone(), &inode);
            }
            return Some(std::mem::replace(&mut entry.inode, inode));
        }
        let (name, cookie): (Arc<[u8]>, u64) = (Arc::from(name), self.next_cookie);
        self.next_cookie += 1;
        self.order.insert(cookie, Listed::new(name.clone(), &inode));
        self.map.insert(name, Entry { inode, cookie });
        None
    }

    pub(super) fn remove(&mut self, name: &[u8]) -> Option<Arc<TmpInode>> {
        let entry = self.map.remove(name)?;
        self.order.remove(&entry.cookie);
        Some(entry.inode)
    }

    /// The names that a listing at position `from` has still to give, with the position after each.
    pub(super) fn from(&self, from: u64) -> impl Iterator<Item = (u64, &Listed)> {
        let end = if from == START { u64::MAX } else { from };
        self.order.range(..end).rev().map(|(cookie, listed)| (*cookie, listed))
    }

    /// Takes all inodes out, for an end without recursion.
    pub(super) fn drain(&mut self) -> Vec<Arc<TmpInode>> {
        self.order.clear();
        self.map.drain().map(|(_, entry)| entry.inode).collect()
    }
}
