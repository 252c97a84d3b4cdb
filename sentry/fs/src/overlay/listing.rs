//! The merged listing of a directory's layers.

use std::collections::HashMap;
use std::sync::Arc;

use abi::{Errno, FileType, OpenFlags, Result};
use kernel::Task;
use kernel::vfs::{File, Inode};

use super::inode::{OvlInode, layer_path};
use super::is_whiteout;

/// A name as it is listed.
pub(super) struct ListedName<'a> {
    pub(super) name: &'a [u8],
    pub(super) ino: u64,
    pub(super) file_type: FileType,
}

/// Names of a directory, without `.` and `..`.
#[derive(Default)]
pub(super) struct Listing {
    /// All names in a row: an allocation for each would take longer than the rest of a listing.
    text: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    /// Where in the text its name is.
    start: usize,
    len: usize,
    ino: u64,
    file_type: FileType,
}

impl Listing {
    /// All names but the first `count`.
    pub(super) fn skip(&self, count: usize) -> impl Iterator<Item = ListedName<'_>> {
        self.entries.iter().skip(count).map(|entry| {
            let name = &self.text[entry.start..entry.start + entry.len];
            ListedName { name, ino: entry.ino, file_type: entry.file_type }
        })
    }

    fn push(&mut self, listed: ListedName<'_>) {
        let (start, len) = (self.text.len(), listed.name.len());
        self.text.extend_from_slice(listed.name);
        self.entries.push(Entry { start, len, ino: listed.ino, file_type: listed.file_type });
    }
}

impl OvlInode {
    /// What the directory shows now.
    pub(super) fn list(&self, task: &Task) -> Result<Listing> {
        let mut layers: Vec<(usize, &Arc<dyn Inode>)> = Vec::new();
        layers.extend(self.upper.get().map(|upper| (self.shared.upper_index(), upper)));
        layers.extend(self.shown_lowers().iter().map(|lower| (lower.layer, &lower.inode)));
        if let [(layer, inode)] = layers[..] {
            return self.list_layer(task, layer, inode);
        }
        let Some(((lowest, inode), above)) = layers.split_last() else { return Ok(Listing::default()) };
        self.merge(task, above, &self.list_layer(task, *lowest, inode)?, inode)
    }

    /// The names of the lowest layer in its order, whichever layer covers them, then those of the layers above: so Linux
    /// has it, and most names keep their place.
    fn merge(
        &self,
        task: &Task,
        above: &[(usize, &Arc<dyn Inode>)],
        lowest: &Listing,
        lowest_inode: &Arc<dyn Inode>,
    ) -> Result<Listing> {
        let (mut seen, mut added) = (HashMap::<Box<[u8]>, Option<usize>>::new(), Listing::default());
        for (layer, inode) in above {
            for entry in self.list_layer(task, *layer, inode)?.skip(0) {
                if seen.contains_key(entry.name) {
                    continue;
                }
                let covers = self.covers(inode, &entry)?;
                seen.insert(entry.name.into(), (!covers).then_some(added.entries.len()));
                if !covers {
                    added.push(entry);
                }
            }
        }
        let (mut listing, mut is_placed) = (Listing::default(), vec![false; added.entries.len()]);
        for entry in lowest.skip(0) {
            match seen.get(entry.name) {
                Some(Some(index)) => {
                    is_placed[*index] = true;
                    added.skip(*index).take(1).for_each(|entry| listing.push(entry));
                }
                Some(None) => {}
                None if self.covers(lowest_inode, &entry)? => {}
                None => listing.push(entry),
            }
        }
        let rest = added.skip(0).zip(is_placed).filter(|(_, is_placed)| !is_placed);
        rest.for_each(|(entry, _)| listing.push(entry));
        Ok(listing)
    }

    /// Whether a name in a layer says only that layers below do not have it.
    fn covers(&self, directory: &Arc<dyn Inode>, entry: &ListedName<'_>) -> Result<bool> {
        Ok(entry.file_type == FileType::Char
            && is_whiteout(&directory.lookup(&self.shared.caller(), entry.name)?))
    }

    /// The names in one layer, whiteouts included.
    pub(super) fn list_layer(&self, task: &Task, layer: usize, inode: &Arc<dyn Inode>) -> Result<Listing> {
        let flags = OpenFlags::DIRECTORY;
        let ops = inode.clone().open(&self.shared.caller(), flags)?;
        let path = layer_path(&self.shared, layer, inode)?;
        let file = File::new(path, ops, flags, self.shared.creds.clone());
        let mut names = Listing::default();
        let mut at = 0;
        loop {
            let before = names.entries.len();
            let next = file.ops().readdir(task, &file, at, &mut |entry| {
                if entry.name != b"." && entry.name != b".." {
                    let ino = self.listed_ino(layer, entry.ino);
                    names.push(ListedName { name: entry.name, ino, file_type: entry.file_type });
                }
                true
            })?;
            if next == at || names.entries.len() == before {
                return Ok(names);
            }
            at = next;
        }
    }

    /// Whether the directory shows no name.
    pub(super) fn check_empty(&self, task: Option<&Task>) -> Result<()> {
        let listing = self.list(task.ok_or(Errno::EIO)?)?;
        if listing.entries.is_empty() { Ok(()) } else { Err(Errno::ENOTEMPTY) }
    }
}
