//! Finding a name in the layers of a directory.

use std::sync::Arc;

use abi::{Errno, FileType, Result};
use kernel::vfs::Inode;

use super::inode::{LowerFile, Lowers, OvlInode, Parts, Place};
use super::{Link, REDIRECT, Shared, is_opaque, is_whiteout};

/// What the lower layers have under a name.
struct Found {
    lowers: Lowers,
    path: Box<[u8]>,
}

impl OvlInode {
    /// The file called `name` in this directory.
    pub(super) fn find(self: &Arc<Self>, name: &[u8]) -> Result<Option<Arc<Self>>> {
        if !self.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let upper = self.find_upper(name)?;
        let lowers = match &upper {
            Some(inode) if is_whiteout(inode) => return Ok(None),
            Some(inode) if !is_directory(inode)? || is_opaque(inode) => Found::nothing(),
            Some(inode) => self.find_below(name, redirect(inode))?,
            None => self.find_lowers(name)?,
        };
        if upper.is_none() && lowers.lowers.is_empty() {
            return Ok(None);
        }
        self.assemble(name, upper, lowers).map(Some)
    }

    /// What the upper directory has under `name`, whiteouts included.
    pub(super) fn find_upper(&self, name: &[u8]) -> Result<Option<Arc<dyn Inode>>> {
        match self.upper.get() {
            None => Ok(None),
            Some(dir) => absent_as_none(dir.lookup(&self.shared.caller(), name)),
        }
    }

    /// Whether a lower layer shows something under `name` where the upper one does not.
    pub(super) fn has_lower(&self, name: &[u8]) -> Result<bool> {
        Ok(!self.find_lowers(name)?.lowers.is_empty())
    }

    fn find_lowers(&self, name: &[u8]) -> Result<Found> {
        let lowers = merge(&self.shared, self.shown_lowers(), name)?;
        let path = if lowers.is_empty() {
            Box::default()
        } else {
            [&self.lower_path[..], b"/", name].concat().into()
        };
        Ok(Found { lowers, path })
    }

    /// The lower directories that an upper one is merged with: those of the same name, or where it was moved from.
    fn find_below(&self, name: &[u8], redirect: Option<Vec<u8>>) -> Result<Found> {
        let mut found = match redirect {
            None => self.find_lowers(name)?,
            Some(path) => find_from_roots(&self.shared, &path)?,
        };
        if let Some(first) = found.lowers.first()
            && !is_directory(&first.inode)?
        {
            found.lowers.clear();
        }
        Ok(found)
    }

    /// The overlay's file for what the layers have: the one there is already where it has several names.
    fn assemble(
        self: &Arc<Self>,
        name: &[u8],
        upper: Option<Arc<dyn Inode>>,
        found: Found,
    ) -> Result<Arc<Self>> {
        let place = Some(Place { parent: self.clone(), name: name.into() });
        if let Some(known) = self.known_link(upper.as_ref(), &found.lowers)? {
            let mut slot = known.place.lock();
            if slot.is_none() {
                *slot = place;
            }
            drop(slot);
            return Ok(known);
        }
        OvlInode::new(&self.shared, Parts { upper, lowers: found.lowers, lower_path: found.path, place })
    }

    fn known_link(&self, upper: Option<&Arc<dyn Inode>>, lowers: &[LowerFile]) -> Result<Option<Arc<Self>>> {
        let (layer, real) = match (upper, lowers.first()) {
            (Some(upper), _) => (self.shared.upper_index(), upper),
            (None, Some(lower)) => (lower.layer, &lower.inode),
            (None, None) => return Ok(None),
        };
        if self.shared.links.lock().is_empty() {
            return Ok(None);
        }
        let attr = real.attr()?;
        if attr.file_type() == FileType::Directory {
            return Ok(None);
        }
        Ok(match self.shared.links.lock().get(&(layer, attr.ino)) {
            Some(Link::Weak(weak)) => weak.upgrade(),
            Some(Link::Strong(inode)) => Some(inode.clone()),
            None => None,
        })
    }
}

impl Found {
    fn nothing() -> Self {
        Self { lowers: Lowers::new(), path: Box::default() }
    }
}

/// What `dirs`, the highest first, show together under `name`.
fn merge(shared: &Shared, dirs: &[LowerFile], name: &[u8]) -> Result<Lowers> {
    let caller = shared.caller();
    let mut found = Lowers::new();
    for (index, dir) in dirs.iter().enumerate() {
        let Some(inode) = absent_as_none(dir.inode.lookup(&caller, name))? else { continue };
        let is_lowest = index + 1 == dirs.len();
        let is_dir = is_directory(&inode)?;
        if (!is_dir && !found.is_empty()) || (!is_lowest && is_whiteout(&inode)) {
            break;
        }
        let ends = !is_dir || (!is_lowest && is_opaque(&inode));
        found.push(LowerFile { layer: dir.layer, inode });
        if ends {
            break;
        }
    }
    Ok(found)
}

/// Follows a redirect: an absolute path in the lower layers.
fn find_from_roots(shared: &Shared, path: &[u8]) -> Result<Found> {
    let mut at: Lowers = (0..)
        .zip(&shared.lowers)
        .map(|(layer, lower)| LowerFile { layer, inode: lower.root.clone() })
        .collect();
    for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        at = merge(shared, &at, name)?;
    }
    Ok(Found { lowers: at, path: path.into() })
}

fn redirect(inode: &Arc<dyn Inode>) -> Option<Vec<u8>> {
    inode.xattr()?.get(REDIRECT).ok()
}

fn is_directory(inode: &Arc<dyn Inode>) -> Result<bool> {
    Ok(FileType::from_mode(inode.mode()?) == Some(FileType::Directory))
}

fn absent_as_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
