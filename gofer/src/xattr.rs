//! Extended attributes. The host keeps them for regular files and directories; others have none here.

use std::os::fd::{AsFd, OwnedFd};

use abi::fs::OpenFlags;
use abi::{Errno, Result};
use gofer_protocol::{GetXattr, ListXattr, RemoveXattr, SetXattr, Target};
use host::fs;

use crate::server::{Answer, Server};

/// The longest value and the longest list that Linux has (`XATTR_SIZE_MAX`, `XATTR_LIST_MAX`).
const SIZE_MAX: usize = 64 << 10;
/// What most values and lists fit into.
const SIZE_USUAL: usize = 256;

/// Name spaces that pass; what the host's kernel wants of a caller there is checked by it.
const SPACES: [&[u8]; 4] = [b"user.", b"trusted.", b"security.", b"system.posix_acl_"];

impl Server {
    pub(crate) fn get_xattr(&mut self, request: &GetXattr<'_>) -> Result<Answer> {
        let name = known(request.name.as_bytes())?;
        let Some(file) = self.open_for_xattr(&request.target)? else { return Err(Errno::ENODATA) };
        answer_with(&|value| fs::get_xattr(file.as_fd(), name, value))
    }

    pub(crate) fn set_xattr(&mut self, request: &SetXattr<'_>) -> Result<Answer> {
        self.require_writable(request.target.node)?;
        let name = known(request.name.as_bytes())?;
        if request.value.len() > SIZE_MAX {
            return Err(Errno::E2BIG);
        }
        let file = self.open_for_xattr(&request.target)?.ok_or(Errno::EPERM)?;
        fs::set_xattr(file.as_fd(), name, request.value, request.flags.bits().cast_signed())?;
        Ok(Answer::default())
    }

    pub(crate) fn list_xattr(&mut self, request: &ListXattr<'_>) -> Result<Answer> {
        let Some(file) = self.open_for_xattr(&request.target)? else { return Ok(Answer::new(&&b""[..])) };
        answer_with(&|names| fs::list_xattr(file.as_fd(), names))
    }

    pub(crate) fn remove_xattr(&mut self, request: &RemoveXattr<'_>) -> Result<Answer> {
        self.require_writable(request.target.node)?;
        let name = known(request.name.as_bytes())?;
        let file = self.open_for_xattr(&request.target)?.ok_or(Errno::EPERM)?;
        fs::remove_xattr(file.as_fd(), name)?;
        Ok(Answer::default())
    }

    /// The file opened for reading, which is enough to change its attributes; `None` where it is of a kind that
    /// cannot be opened.
    fn open_for_xattr(&mut self, target: &Target<'_>) -> Result<Option<OwnedFd>> {
        match self.open_target(target, OpenFlags::empty()) {
            Err(Errno::ENXIO) => Ok(None),
            other => other.map(|(file, _)| Some(file)),
        }
    }
}

/// The answer that `read` writes into a buffer, of which it returns the length.
fn answer_with(read: &dyn Fn(&mut [u8]) -> Result<usize>) -> Result<Answer> {
    let answer = |buffer: &mut [u8]| {
        let len = read(buffer)?;
        Ok(Answer::new(&buffer.get(..len).unwrap_or_default()))
    };
    match answer(&mut [0; SIZE_USUAL]) {
        Err(Errno::ERANGE) => answer(&mut vec![0; SIZE_MAX]),
        other => other,
    }
}

fn known(name: &[u8]) -> Result<&[u8]> {
    if SPACES.iter().any(|space| name.starts_with(space)) { Ok(name) } else { Err(Errno::EOPNOTSUPP) }
}
