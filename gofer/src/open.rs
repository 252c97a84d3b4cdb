//! `Open` and `Create`: the requests that donate a descriptor.

use std::os::fd::AsFd;

use abi::fs::OpenFlags;
use abi::{Errno, Result};
use gofer_protocol::{Attr, Create, EntryReply, FileId, MAX_AHEAD, NodeOpenFlags, Open, OpenReply, Target};
use host::fs;

use crate::server::{Answer, Server};

impl Server {
    pub(crate) fn open(&mut self, request: &Open<'_>) -> Result<Answer> {
        if request.ahead.len() > MAX_AHEAD || request.target.name.is_none() && !request.ahead.is_empty() {
            return Err(Errno::EINVAL);
        }
        let (fd, stat) = self.open_for_client(&request.target, request.flags)?;
        let node = self.node_of(&request.target, &stat)?;
        let mut fds = vec![fd];
        let ahead = request.ahead.iter().map(|name| {
            // A file that cannot be opened now is asked for by itself, if ever.
            let target = Target::named(request.target.node, *name);
            let (fd, stat) = self.open_for_client(&target, NodeOpenFlags::empty()).ok()?;
            fds.push(fd);
            Some(FileId { dev: stat.dev, ino: stat.ino })
        });
        let ahead = ahead.collect();
        Ok(Answer::with_fds(&OpenReply { node, attr: Attr::from(&stat), ahead }, fds))
    }

    pub(crate) fn create(&mut self, request: &Create<'_>) -> Result<Answer> {
        self.require_writable(request.dir)?;
        if !request.flags.is_valid() {
            return Err(Errno::EINVAL);
        }
        let dir = self.nodes.fd(request.dir)?;
        let name = request.name.as_bytes();
        let flags = OpenFlags::from_bits_truncate(request.flags.bits())
            | OpenFlags::CREAT
            | OpenFlags::EXCL
            | OpenFlags::NOFOLLOW;
        let mode = request.mode & 0o7777;
        let fd = fs::open_at(dir.as_fd(), name, flags, mode & 0o777)?;
        let made = self.finish_new(dir.as_fd(), name, false, || {
            let mut seen = fs::stat(fd.as_fd())?;
            if (seen.uid, seen.gid) != (request.uid, request.gid) {
                fs::set_owner(fd.as_fd(), Some(request.uid), Some(request.gid))?;
                seen = fs::stat(fd.as_fd())?;
            }
            // Changing the owner takes the set-id bits away, and the directory's ACL may have changed the rest.
            if seen.mode & 0o7777 != mode {
                fs::set_mode(fd.as_fd(), mode)?;
                seen = fs::stat(fd.as_fd())?;
            }
            Ok(seen)
        });
        let stat = made?;
        let node = self.nodes.enter(request.dir, name, &stat, None)?;
        Ok(Answer::with_fd(
            &EntryReply { node, attr: Attr::from(&stat), dir: Attr::from(&fs::stat(dir.as_fd())?) },
            fd,
        ))
    }
}
