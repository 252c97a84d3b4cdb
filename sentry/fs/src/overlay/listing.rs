//! The merged listing of a directory's layers.

use std::collections::HashSet;
use std::sync::Arc;

use abi::{Errno, FileType, OpenFlags, Result};
use kernel::Task;
use kernel::vfs::{File, Inode};

use super::inode::{OvlInode, layer_path};
use super::is_whiteout;

/// A name as it is listed.
pub(super) struct ListedName {
    pub(super) name: Box<[u8]>,
    pub(super) ino: u64,
    pub(super) file_type: FileType,
}

/// All names of a directory, without `.` and `..`.
#[derive(Default)]
pub(super) struct Listing {
    entries: Vec<ListedName>,
}

impl Listing {
    pub(super) fn entries(&self) -> &[ListedName] {
        &self.entries
    }
}

impl OvlInode {
    /// What the directory shows now.
    pub(super) fn list(&self, task: &Task) -> Result<Listing> {
        let mut layers: Vec<(usize, &Arc<dyn Inode>)> = Vec::new();
        layers.extend(self.upper.get().map(|upper| (self.shared.upper_index(), upper)));
        layers.extend(self.lowers.iter().map(|lower| (lower.layer, &lower.inode)));
        if let [(layer, inode)] = layers[..] {
            return Ok(Listing { entries: self.list_layer(task, layer, inode)? });
        }
        let (mut seen, mut listing) = (HashSet::new(), Listing::default());
        for (layer, inode) in layers {
            for entry in self.list_layer(task, layer, inode)? {
                if !seen.insert(entry.name.clone()) {
                    continue;
                }
                let covers = entry.file_type == FileType::Char
                    && is_whiteout(&inode.lookup(&self.shared.caller(), &entry.name)?);
                if !covers {
                    listing.entries.push(entry);
                }
            }
        }
        Ok(listing)
    }

    /// The names in one layer, whiteouts included.
    pub(super) fn list_layer(
        &self,
        task: &Task,
        layer: usize,
        inode: &Arc<dyn Inode>,
    ) -> Result<Vec<ListedName>> {
        let flags = OpenFlags::DIRECTORY;
        let ops = inode.clone().open(&self.shared.caller(), flags)?;
        let path = layer_path(&self.shared, layer, inode)?;
        let file = File::new(path, ops, flags, self.shared.creds.clone());
        let mut names = Vec::new();
        let mut at = 0;
        loop {
            let before = names.len();
            let next = file.ops().readdir(task, &file, at, &mut |entry| {
                if entry.name != b"." && entry.name != b".." {
                    let name = entry.name.into();
                    names.push(ListedName {
                        name,
                        ino: self.listed_ino(layer, entry.ino),
                        file_type: entry.file_type,
                    });
                }
                true
            })?;
            if next == at || names.len() == before {
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
