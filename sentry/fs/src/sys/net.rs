//! `/sys/class/net`: the links of the asking task's network name space (kernel `ABI/testing/sysfs-class-net`).

use std::sync::Arc;

use abi::{Errno, FileType, Result};
use kernel::Task;
use kernel::vfs::Inode;

use crate::synth::{Builder, Content, Inodes, Link, PerName, TextFile};

/// What a link shows of itself: file, permissions.
const FILES: [(&str, u32); 21] = [
    ("addr_assign_type", 0o444),
    ("addr_len", 0o444),
    ("address", 0o444),
    ("broadcast", 0o444),
    ("carrier", 0o644),
    ("dev_id", 0o444),
    ("dev_port", 0o444),
    ("dormant", 0o444),
    ("duplex", 0o444),
    ("flags", 0o644),
    ("group", 0o644),
    ("ifalias", 0o644),
    ("ifindex", 0o444),
    ("iflink", 0o444),
    ("link_mode", 0o444),
    ("mtu", 0o644),
    ("operstate", 0o444),
    ("speed", 0o444),
    ("tx_queue_len", 0o644),
    ("type", 0o444),
    ("uevent", 0o644),
];

/// Its counters.
const STATISTICS: [&str; 9] = [
    "collisions",
    "multicast",
    "rx_bytes",
    "rx_dropped",
    "rx_errors",
    "rx_packets",
    "tx_bytes",
    "tx_dropped",
    "tx_packets",
];

/// One file of one link.
struct LinkFile {
    link: String,
    file: String,
}

impl Content for LinkFile {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        // What a link does not have cannot be read (a loopback has no speed), and neither can one that has gone.
        let text = task.kernel().sockets.link_file(task, &self.link, &self.file).ok_or(Errno::EINVAL)?;
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
        Ok(())
    }
}

fn names(task: &Task) -> Vec<String> {
    task.kernel().sockets.links(task)
}

/// `/sys/class/net`: a symbolic link for each link.
pub(super) fn class(inodes: &Inodes) -> Arc<dyn Inode> {
    let own = inodes.clone();
    PerName::directory(inodes, FileType::Symlink, names, move |name| {
        Link::new(own.attr(FileType::Symlink, 0o777), format!("../../devices/virtual/net/{name}"))
    })
}

/// `/sys/devices/virtual/net`: a directory for each link.
pub(super) fn devices(inodes: &Inodes) -> Arc<dyn Inode> {
    let own = inodes.clone();
    PerName::directory(inodes, FileType::Directory, names, move |name| {
        let add = |dir: Builder, file: &str, path: &str, mode| {
            let content = LinkFile { link: name.into(), file: path.into() };
            dir.node(file, TextFile::new(own.attr(FileType::Regular, mode), content))
        };
        let dir = FILES.iter().fold(Builder::new(&own), |dir, (file, mode)| add(dir, file, file, *mode));
        dir.dir("statistics", |dir| {
            STATISTICS.iter().fold(dir, |dir, file| add(dir, file, &format!("statistics/{file}"), 0o444))
        })
        .link("subsystem", "../../../../class/net")
        .build()
    })
}
