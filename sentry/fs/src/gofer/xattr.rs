//! Extended attributes. Which names a file has is cached (mostly none); values are asked for.

use std::sync::Arc;

use abi::{Errno, Result};
use gofer_protocol::{GetXattr, ListXattr, RemoveXattr, SetXattr, Target, XattrFlags, XattrName};
use kernel::vfs::{SetXattrFlags, Xattr};
use parking_lot::Mutex;

use super::attr::{Moment, Reach, Standing};
use super::inode::GoferInode;

/// The names of all attributes of a file.
type Names = Arc<[Box<[u8]>]>;

/// What is known of a file's attributes. Lock: a leaf.
#[derive(Debug)]
pub(super) struct XattrNames {
    known: Mutex<Known>,
    /// Whether the host keeps attributes for this kind of file.
    can_have: bool,
}

/// `None` is unknown.
#[derive(Debug, Default)]
struct Known {
    names: Option<Names>,
    /// ACLs are asked for with each path walk.
    access_acl: Option<Option<Arc<[u8]>>>,
    default_acl: Option<Option<Arc<[u8]>>>,
    standing: Standing,
}

impl Known {
    fn acl(&mut self, name: &[u8]) -> &mut Option<Option<Arc<[u8]>>> {
        if name.ends_with(b"default") { &mut self.default_acl } else { &mut self.access_acl }
    }
}

impl XattrNames {
    pub(super) fn new(can_have: bool) -> Self {
        let names = if can_have { None } else { Some(Arc::from([])) };
        Self { known: Mutex::new(Known { names, ..Known::default() }), can_have }
    }

    /// There were none at `asked`.
    pub(super) fn set_empty(&self, asked: Moment) {
        self.learn(asked, |known| {
            known.names = Some(Arc::from([]));
            (known.access_acl, known.default_acl) = (Some(None), Some(None));
        });
    }

    /// Notes what the host said when it was asked at `asked`, if nothing has changed since.
    fn learn(&self, asked: Moment, note: impl FnOnce(&mut Known)) {
        let mut known = self.known.lock();
        if known.standing.is_settled_since(asked) {
            note(&mut known);
        }
    }

    /// Whether files made since `asked` have inherited no ACL.
    pub(super) fn had_no_default_acl(&self, asked: Moment) -> bool {
        let known = self.known.lock();
        known.default_acl == Some(None) && known.standing.is_settled_since(asked)
    }

    /// They may have changed, by `at`.
    pub(super) fn forget(&self, at: Moment) {
        self.known.lock().forget(at, self.can_have);
    }
}

impl Known {
    fn forget(&mut self, at: Moment, can_have: bool) {
        self.standing.changed(at);
        (self.access_acl, self.default_acl) = (None, None);
        if can_have {
            self.names = None;
        }
    }
}

impl GoferInode {
    fn xattr_list(&self) -> Result<Names> {
        let known = || self.xattr_names.known.lock().names.clone();
        if let Some(names) = known() {
            return Ok(names);
        }
        // Whoever asks may look into the directory is about to do so, and is told then whether it has any.
        if self.fill_first()
            && let Some(names) = known()
        {
            return Ok(names);
        }
        let asked = self.attrs.now();
        let listed = self.with_target(|target| {
            let response = self.volume.connection().call(&ListXattr { target })?;
            let names = response.get()?;
            Ok(names.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(Box::from).collect())
        });
        let names: Names = match listed {
            // A file system without attributes.
            Err(Errno::EOPNOTSUPP) => Arc::from([]),
            other => other?,
        };
        if self.is_cacheable() {
            self.xattr_names.learn(asked, |known| known.names = Some(names.clone()));
        }
        Ok(names)
    }

    /// Changes the attribute `name` by `call`.
    fn change_xattr(
        &self,
        name: XattrName<'_>,
        call: impl FnMut(Target<'_>) -> Result<()> + Copy,
    ) -> Result<()> {
        // The group's bits of the mode follow the ACL.
        let is_acl = name.as_bytes().starts_with(b"system.posix_acl_");
        let _change = self.begin_change(if is_acl { Reach::All } else { Reach::Content });
        let before = self.xattr_names.known.lock().standing.begin();
        let done = self.with_room(|| self.with_target(call));
        let mut known = self.xattr_names.known.lock();
        let at = self.attrs.tick();
        known.standing.end(before, at);
        known.forget(at, self.xattr_names.can_have);
        done
    }

    pub(super) fn acl(&self, name: &[u8]) -> Result<Option<Arc<[u8]>>> {
        if let Some(known) = self.xattr_names.known.lock().acl(name).clone() {
            return Ok(known);
        }
        let asked = self.attrs.now();
        let acl = match self.get(name) {
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => None,
            other => Some(Arc::from(other?)),
        };
        if self.is_cacheable() {
            self.xattr_names.learn(asked, |known| *known.acl(name) = Some(acl.clone()));
        }
        Ok(acl)
    }
}

impl Xattr for GoferInode {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        if !self.xattr_list()?.iter().any(|known| **known == *name) {
            return Err(Errno::ENODATA);
        }
        let name = XattrName::new(name).ok_or(Errno::ERANGE)?;
        self.with_target(|target| {
            let response = self.volume.connection().call(&GetXattr { target, name })?;
            response.get().map(<[u8]>::to_vec)
        })
    }

    fn set(&self, name: &[u8], value: &[u8], how: SetXattrFlags) -> Result<()> {
        let name = XattrName::new(name).ok_or(Errno::ERANGE)?;
        let mut flags = XattrFlags::empty();
        flags.set(XattrFlags::CREATE, how.contains(SetXattrFlags::CREATE));
        flags.set(XattrFlags::REPLACE, how.contains(SetXattrFlags::REPLACE));
        self.change_xattr(name, |target| {
            self.volume.connection().call(&SetXattr { target, name, value, flags }).map(|_| ())
        })
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        if !self.xattr_list()?.iter().any(|known| **known == *name) {
            return Err(Errno::ENODATA);
        }
        let name = XattrName::new(name).ok_or(Errno::ERANGE)?;
        self.change_xattr(name, |target| {
            self.volume.connection().call(&RemoveXattr { target, name }).map(|_| ())
        })
    }

    fn list(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.xattr_list()?.iter().map(|name| name.to_vec()).collect())
    }
}
