//! Opening the mounts, before the first request and before the process is confined.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use abi::fs::OpenFlags;
use abi::{Errno, Result};
use gofer_protocol::{MountFlags, NodeId};
use host::fs;

use crate::config::{MountConfig, ServeError};
use crate::nodes::{Nodes, PATH_ONLY, Place};

/// A tree (or single file) as the server knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mount {
    pub(crate) root: NodeId,
    pub(crate) flags: MountFlags,
}

impl Mount {
    pub(crate) fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::READ_ONLY)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.flags.contains(MountFlags::SHARED)
    }
}

/// Opens all mounts.
pub(crate) fn attach_all(
    configs: &[MountConfig],
    nodes: &mut Nodes,
) -> std::result::Result<Vec<Mount>, ServeError> {
    let attach = |(index, config): (usize, &MountConfig)| {
        let root = attach(index, &config.path, nodes)
            .map_err(|error| ServeError::Mount { path: config.path.display().to_string(), error })?;
        let mut flags = MountFlags::empty();
        flags.set(MountFlags::READ_ONLY, config.read_only);
        flags.set(MountFlags::SHARED, config.shared);
        Ok(Mount { root, flags })
    };
    configs.iter().enumerate().map(attach).collect()
}

fn attach(index: usize, path: &Path, nodes: &mut Nodes) -> Result<NodeId> {
    let (fd, place) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let dir = fs::open(parent, OpenFlags::PATH | OpenFlags::DIRECTORY, 0)?;
            let fd = fs::open_at(dir.as_fd(), name.as_bytes(), PATH_ONLY, 0)?;
            (fd, Some((Arc::new(dir), name.as_bytes().into())))
        }
        _ => (fs::open(path, OpenFlags::PATH | OpenFlags::DIRECTORY, 0)?, None),
    };
    let stat = fs::stat(fd.as_fd())?;
    if stat.is_symlink() {
        return Err(Errno::ELOOP);
    }
    Ok(nodes.add_root(index, fd, &stat, Place::Root(place)))
}
