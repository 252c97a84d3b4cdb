//! `/proc/sys/net`: settings that socket families keep, those of interfaces among them.

use std::sync::Arc;

use abi::{Errno, FileType, Result};
use kernel::Task;
use kernel::vfs::Inode;

use super::system::put;
use crate::synth::{Builder, Content, Inodes, PerName, TextFile};

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

/// The directory at `tree`: one for each interface, with these files.
pub(super) fn interfaces(tree: &'static str, files: Vec<&'static str>, inodes: &Inodes) -> Arc<dyn Inode> {
    let names = move |task: &Task| task.kernel().sockets.interfaces(task, tree);
    let own = inodes.clone();
    PerName::directory(inodes, FileType::Directory, names, move |name| {
        let add = |builder: Builder, file: &&str| {
            let attr = own.attr(FileType::Regular, 0o644);
            builder.node(file, TextFile::new(attr, NetSetting(format!("{tree}/{name}/{file}"))))
        };
        files.iter().fold(Builder::new(&own), add).build()
    })
}
