//! `/proc/sys/net`: settings that socket families keep, those of interfaces among them.
//!
//! Which interfaces there are is asked anew each time, in the asking task's name space. Lock: `made`, a leaf.

use std::collections::HashMap;
use std::sync::Arc;

use abi::{Errno, FileType, Result};
use kernel::Task;
use kernel::vfs::{Attr, Caller, Inode};
use parking_lot::Mutex;

use super::system::put;
use crate::synth::{Builder, Content, Dir, DirContent, Entry, Inodes, TextFile};

/// Directories of interfaces that are kept; names of interfaces that have gone are forgotten at some time.
const KEPT: usize = 256;

/// A setting of the reader's network name space.
pub(super) struct NetSetting(pub(super) String);

impl Content for NetSetting {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        put!(out, "{}\n", task.kernel().sockets.setting(task, &self.0)?);
        Ok(())
    }

    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        task.kernel().sockets.change_setting(task, &self.0, text.trim())
    }
}

/// A directory with one subdirectory for each interface.
pub(super) struct Interfaces {
    tree: &'static str,
    files: Vec<&'static str>,
    inodes: Inodes,
    attr: Attr,
    /// Directories by the name of the interface.
    made: Mutex<HashMap<String, Arc<dyn Inode>>>,
}

impl Interfaces {
    /// The directory at `tree`, with these files for each interface.
    pub(super) fn make(tree: &'static str, files: Vec<&'static str>, inodes: &Inodes) -> Arc<dyn Inode> {
        let (inodes, attr) = (inodes.clone(), inodes.attr(FileType::Directory, 0o555));
        Dir::new(Self { tree, files, inodes, attr, made: Mutex::default() })
    }

    fn directory(&self, name: &str) -> Arc<dyn Inode> {
        let mut made = self.made.lock();
        if let Some(directory) = made.get(name) {
            return Arc::clone(directory);
        }
        if made.len() >= KEPT {
            made.clear();
        }
        let add = |builder: Builder, file: &&str| {
            let path = format!("{}/{name}/{file}", self.tree);
            let attr = self.inodes.attr(FileType::Regular, 0o644);
            builder.node(file, TextFile::new(attr, NetSetting(path)))
        };
        let directory: Arc<dyn Inode> = self.files.iter().fold(Builder::new(&self.inodes), add).build();
        made.insert(name.to_owned(), Arc::clone(&directory));
        directory
    }
}

impl DirContent for Interfaces {
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let (task, name) = (caller.task.ok_or(Errno::ENOENT)?, std::str::from_utf8(name));
        let name = name.map_err(|_| Errno::ENOENT)?;
        let is_there = task.kernel().sockets.interfaces(task, self.tree).iter().any(|other| other == name);
        if is_there { Ok(self.directory(name)) } else { Err(Errno::ENOENT) }
    }

    fn next(&self, task: &Task, from: u64) -> Option<Entry> {
        let names = task.kernel().sockets.interfaces(task, self.tree);
        let name = names.into_iter().nth(usize::try_from(from).ok()?)?;
        let ino = self.directory(&name).attr().map_or(self.attr.ino, |attr| attr.ino);
        Some(Entry { name: name.into_bytes(), ino, file_type: FileType::Directory, next: from + 1 })
    }
}
