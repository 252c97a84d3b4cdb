//! `ReadDir`: a directory at a time, with attributes and links' targets.
//!
//! A listing that does not fit in one reply goes on from an open directory that is kept as a *stream*. There are few;
//! a client that opens more loses its oldest and starts again.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use abi::fs::{FileType, OpenFlags};
use abi::{Errno, Result};
use gofer_protocol::{Attr, DirEntry, DirReplyWriter, Name, NodeId, ReadDir, Target};
use host::fs;

use crate::server::{Answer, Server};

const MAX_STREAMS: usize = 16;
/// Of the host's entries at a time. More than a reply holds when attributes are wanted would be read in vain.
const BUFFER: usize = 16 << 10;

/// Directories that are being listed.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    open: VecDeque<Stream>,
    last_id: u64,
}

#[derive(Debug)]
struct Stream {
    id: u64,
    node: NodeId,
    dir: OwnedFd,
    is_cacheable: bool,
}

impl Streams {
    fn take(&mut self, id: u64, node: NodeId) -> Result<Stream> {
        let at = self.open.iter().position(|stream| (stream.id, stream.node) == (id, node));
        at.and_then(|at| self.open.remove(at)).ok_or(Errno::ESTALE)
    }

    fn put_back(&mut self, stream: Stream) {
        if self.open.len() >= MAX_STREAMS {
            self.open.pop_front();
        }
        self.open.push_back(stream);
    }

    fn new_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl Server {
    pub(crate) fn read_dir(&mut self, request: &ReadDir<'_>) -> Result<Answer> {
        let stream = if request.stream == 0 {
            self.start_listing(&request.target)?
        } else {
            if request.target.name.is_some() {
                return Err(Errno::EINVAL);
            }
            self.streams.take(request.stream, request.target.node)?
        };
        let mut reply = DirReplyWriter::new(stream.node, has_xattrs(stream.dir.as_fd()));
        let is_end = match fill(stream.dir.as_fd(), request.with_attributes, &mut reply) {
            Ok(is_end) => is_end,
            Err(error) => {
                if request.target.name.is_some() {
                    self.nodes.forget(stream.node, 1);
                }
                return Err(error);
            }
        };
        let (id, is_cacheable) = (stream.id, stream.is_cacheable);
        if is_end {
            return Ok(Answer::encoded(reply.finish(0, is_cacheable)));
        }
        self.streams.put_back(stream);
        Ok(Answer::encoded(reply.finish(id, is_cacheable)))
    }

    fn start_listing(&mut self, target: &Target<'_>) -> Result<Stream> {
        let (dir, stat) = match self.open_target(target, OpenFlags::DIRECTORY) {
            Err(Errno::ENXIO) => Err(Errno::ENOTDIR),
            other => other,
        }?;
        let node = self.node_of(target, &stat)?;
        // Before the first entry is read: nothing that changes from now on goes unnoticed.
        let is_cacheable = self.watch(node);
        Ok(Stream { id: self.streams.new_id(), node, dir, is_cacheable })
    }
}

/// Where that cannot be told, the client has to ask.
fn has_xattrs(dir: BorrowedFd<'_>) -> bool {
    !matches!(fs::list_xattr(dir, &mut []), Ok(0) | Err(Errno::EOPNOTSUPP))
}

/// Adds entries until the reply is full (false) or the directory ends (true).
fn fill(dir: BorrowedFd<'_>, with_attributes: bool, reply: &mut DirReplyWriter) -> Result<bool> {
    let mut buffer = vec![0; BUFFER];
    // Where the entry that is being added begins.
    let mut position = None;
    loop {
        let entries = fs::read_dir(dir, &mut buffer)?;
        if entries.is_empty() {
            return Ok(true);
        }
        for entry in entries {
            if !add(dir, &entry, with_attributes, reply) {
                // The buffer's rest is given back to the directory.
                fs::rewind_dir(dir, position.unwrap_or(0))?;
                return Ok(false);
            }
            position = Some(entry.offset);
        }
        if position.is_none() {
            return Err(Errno::EIO);
        }
    }
}

/// Adds one entry; false where there is no room.
fn add(
    dir: BorrowedFd<'_>,
    entry: &fs::DirEntry<'_>,
    with_attributes: bool,
    reply: &mut DirReplyWriter,
) -> bool {
    // `.` and `..`, and names that a broken file system should not have.
    let Some(name) = Name::new(entry.name) else { return true };
    let mut listed = DirEntry { name, ino: entry.ino, kind: entry.kind, attr: None, link: None };
    let link;
    if with_attributes || FileType::from_mode(u32::from(entry.kind) << 12) == Some(FileType::Directory) {
        match fs::stat_at(dir, entry.name) {
            Ok(stat) => {
                listed.attr = Some(Attr::from(&stat));
                listed.ino = stat.ino;
                listed.kind = (stat.kind() >> 12) as u8;
                if stat.is_symlink() {
                    link = fs::read_link_at(dir, entry.name).ok();
                    listed.link = link.as_deref();
                }
            }
            // Removed since it was listed.
            Err(Errno::ENOENT) => return true,
            Err(_) => {}
        }
    }
    reply.push(&listed)
}
