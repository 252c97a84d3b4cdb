//! Attributes, sizes, the file system's figures, writing back.

use std::os::fd::AsFd;

use abi::fs::OpenFlags;
use abi::{Errno, Result};
use gofer_protocol::{Attr, GetAttr, NodeAttr, SetAttr, SetTime, StatFs, StatFsReply, Sync};
use host::fs;

use crate::names::set_mode_of;
use crate::server::{Answer, Server};

impl Server {
    pub(crate) fn get_attr(&mut self, request: &GetAttr<'_>) -> Result<Answer> {
        let fd = self.nodes.fd(request.target.node)?;
        let stat = match request.target.name {
            None => fs::stat(fd.as_fd())?,
            Some(name) => fs::stat_at(fd.as_fd(), name.as_bytes())?,
        };
        Ok(Answer::new(&NodeAttr { node: request.target.node, attr: Attr::from(&stat) }))
    }

    pub(crate) fn set_attr(&mut self, request: &SetAttr<'_>) -> Result<Answer> {
        self.require_writable(request.target.node)?;
        let (fd, seen) = self.target(&request.target)?;
        if let Some(size) = request.size {
            if seen.is_dir() {
                return Err(Errno::EISDIR);
            }
            if !seen.is_file() {
                return Err(Errno::EINVAL);
            }
            let (file, _) = self.open_target(&request.target, OpenFlags::WRONLY)?;
            fs::truncate(file.as_fd(), size)?;
        }
        if request.uid.is_some() || request.gid.is_some() {
            fs::set_owner(fd.as_fd(), request.uid, request.gid)?;
        }
        if let Some(mode) = request.mode {
            // The place matters only to old hosts, and only for a regular file.
            let place = self.locate(&request.target);
            let (dir, name) = match &place {
                Ok((dir, name, _)) => (dir.as_fd(), &name[..]),
                Err(_) => (fd.as_fd(), &b""[..]),
            };
            set_mode_of(fd.as_fd(), &seen, dir, name, mode)?;
        }
        if (request.atime, request.mtime) != (SetTime::Keep, SetTime::Keep) {
            fs::set_times(fd.as_fd(), time(request.atime), time(request.mtime))?;
        }
        Ok(Answer::new(&Attr::from(&fs::stat(fd.as_fd())?)))
    }

    pub(crate) fn stat_fs(&mut self, request: &StatFs) -> Result<Answer> {
        let fd = self.nodes.fd(request.node)?;
        let stat = fs::stat_file_system(fd.as_fd())?;
        Ok(Answer::new(&StatFsReply {
            kind: stat.kind,
            block_size: stat.block_size,
            blocks: stat.blocks,
            blocks_free: stat.blocks_free,
            blocks_available: stat.blocks_available,
            files: stat.files,
            files_free: stat.files_free,
            name_max: stat.name_max,
        }))
    }

    pub(crate) fn sync(&mut self, request: &Sync<'_>) -> Result<Answer> {
        let (file, _) = self.open_target(&request.target, OpenFlags::empty())?;
        fs::sync(file.as_fd(), request.data_only)?;
        Ok(Answer::default())
    }
}

fn time(time: SetTime) -> fs::SetTime {
    match time {
        SetTime::Keep => fs::SetTime::Keep,
        SetTime::Now => fs::SetTime::Now,
        SetTime::To(time) => fs::SetTime::To(time.seconds, time.nanoseconds),
    }
}
