//! Looking names up, and finding the file that a request is about.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::fs::OpenFlags;
use abi::{Errno, Result};
use gofer_protocol::{Attr, Name, NodeAttr, NodeId, NodeOpenFlags, Target, Walk, WalkEnd, WalkReply};
use host::fs::{self, Stat};

use crate::nodes::PATH_ONLY;
use crate::server::{Answer, Server};

/// What one step of a walk found.
struct Step {
    node: NodeAttr,
    stat: Stat,
}

impl Server {
    pub(crate) fn walk(&mut self, walk: &Walk<'_>) -> Result<Answer> {
        let mut found = Vec::new();
        let mut is_cacheable = true;
        let link;
        let mut fd = None;
        let mut open_error = None;
        let end = loop {
            let Some(name) = walk.names.get(found.len()) else { break WalkEnd::Complete };
            let parent = found.last().map_or(walk.from, |last: &NodeAttr| last.node);
            let is_last = found.len() + 1 == walk.names.len();
            is_cacheable &= self.watch(parent);
            let step = match self.step(parent, name, is_last) {
                Ok(step) => step,
                Err(Errno::ENOENT) => break WalkEnd::Absent,
                // What the client gave must be right; what comes later may go wrong.
                Err(error) if found.is_empty() => return Err(error),
                Err(error) => break WalkEnd::Failed(error),
            };
            found.push(step.node);
            if step.stat.is_symlink() {
                break match self.read_link_of(&Target::node(step.node.node)) {
                    Ok(target) => {
                        link = target;
                        WalkEnd::Symlink(&link)
                    }
                    Err(error) => WalkEnd::Failed(error),
                };
            }
            if !is_last && !step.stat.is_dir() {
                break WalkEnd::NotDirectory;
            }
            if let (true, Some(flags), true) = (is_last, walk.open, step.stat.is_file()) {
                match self.open_node(step.node.node, flags) {
                    Ok((opened, _)) => fd = Some(opened),
                    Err(error) => open_error = Some(error),
                }
            }
        };
        let reply = WalkReply { found, end, is_cacheable, open_error };
        Ok(match fd {
            Some(fd) => Answer::with_fd(&reply, fd),
            None => Answer::new(&reply),
        })
    }

    /// One name further. Only what is walked through is opened; the last one is just looked at.
    fn step(&mut self, parent: NodeId, name: &Name<'_>, is_last: bool) -> Result<Step> {
        let dir = self.nodes.fd(parent)?;
        let name = name.as_bytes();
        let (stat, fd) = if is_last {
            (fs::stat_at(dir.as_fd(), name)?, None)
        } else {
            let fd = fs::open_at(dir.as_fd(), name, PATH_ONLY, 0)?;
            (fs::stat(fd.as_fd())?, Some(fd))
        };
        let node = self.nodes.enter(parent, name, &stat, fd)?;
        Ok(Step { node: NodeAttr { node, attr: Attr::from(&stat) }, stat })
    }

    /// A path descriptor of a request's target and what it is.
    pub(crate) fn target(&mut self, target: &Target<'_>) -> Result<(Arc<OwnedFd>, Stat)> {
        let fd = self.nodes.fd(target.node)?;
        let fd = match target.name {
            None => fd,
            Some(name) => Arc::new(fs::open_at(fd.as_fd(), name.as_bytes(), PATH_ONLY, 0)?),
        };
        let stat = fs::stat(fd.as_fd())?;
        Ok((fd, stat))
    }

    /// The directory and name under which a target can be found, and what is there now. For a node, that is the
    /// node's own file: anything else at its name is `ESTALE`.
    pub(crate) fn locate(&mut self, target: &Target<'_>) -> Result<(Arc<OwnedFd>, Box<[u8]>, Stat)> {
        if let Some(name) = target.name {
            let dir = self.nodes.fd(target.node)?;
            let stat = fs::stat_at(dir.as_fd(), name.as_bytes())?;
            return Ok((dir, name.as_bytes().into(), stat));
        }
        let (dir, name) = self.nodes.place(target.node)?;
        let stat = fs::stat_at(dir.as_fd(), &name).map_err(|_| Errno::ESTALE)?;
        if !self.nodes.get(target.node)?.is_same(&stat) {
            return Err(Errno::ESTALE);
        }
        Ok((dir, name, stat))
    }

    /// The node of a target, entered if it is a name. `stat` is what the name was just seen to be.
    pub(crate) fn node_of(&mut self, target: &Target<'_>, stat: &Stat) -> Result<NodeId> {
        match target.name {
            None => Ok(target.node),
            Some(name) => self.nodes.enter(target.node, name.as_bytes(), stat, None),
        }
    }

    /// Really opens a regular file or directory. Nothing else: opening a fifo could wait, opening a device could do
    /// anything. Between looking and opening the name may change, so what was opened is compared.
    pub(crate) fn open_target(&mut self, target: &Target<'_>, flags: OpenFlags) -> Result<(OwnedFd, Stat)> {
        let (dir, name, seen) = match self.locate(target) {
            // A directory needs no name to be opened again.
            Err(Errno::ESTALE) if target.name.is_none() && self.nodes.get(target.node)?.is_dir() => {
                (self.nodes.fd(target.node)?, b"."[..].into(), None)
            }
            other => other.map(|(dir, name, stat)| (dir, name, Some(stat)))?,
        };
        if seen.is_some_and(|stat| !stat.is_file() && !stat.is_dir()) {
            return Err(Errno::ENXIO);
        }
        // Not waiting matters only where the name has become a fifo since.
        let fd = fs::open_at(dir.as_fd(), &name, flags | OpenFlags::NOFOLLOW | OpenFlags::NONBLOCK, 0)?;
        let stat = fs::stat(fd.as_fd())?;
        let is_same = match seen {
            Some(seen) => (seen.dev, seen.ino, seen.kind()) == (stat.dev, stat.ino, stat.kind()),
            None => self.nodes.get(target.node)?.is_same(&stat),
        };
        if is_same { Ok((fd, stat)) } else { Err(Errno::ESTALE) }
    }

    /// Opens a node's regular file for the client.
    pub(crate) fn open_node(&mut self, node: NodeId, flags: NodeOpenFlags) -> Result<(OwnedFd, Stat)> {
        self.open_for_client(&Target::node(node), flags)
    }

    /// Opens a regular file for the client. A directory's descriptor is never given away: with one, a sandbox
    /// that was taken over could name files by itself.
    pub(crate) fn open_for_client(
        &mut self,
        target: &Target<'_>,
        flags: NodeOpenFlags,
    ) -> Result<(OwnedFd, Stat)> {
        if !flags.is_valid() {
            return Err(Errno::EINVAL);
        }
        if flags.is_write() {
            self.require_writable(target.node)?;
        }
        let (fd, stat) = self.open_target(target, OpenFlags::from_bits_truncate(flags.bits()))?;
        if stat.is_dir() { Err(Errno::EISDIR) } else { Ok((fd, stat)) }
    }
}
