//! Extended attributes. Which names a file has is cached (mostly none); values are asked for.

use std::sync::Arc;

use abi::{Errno, Result};
use gofer_protocol::{GetXattr, ListXattr, RemoveXattr, SetXattr, XattrFlags, XattrName};
use kernel::vfs::{SetXattrFlags, Xattr};
use parking_lot::Mutex;

use super::inode::GoferInode;

/// The names of all attributes of a file.
type Names = Arc<[Box<[u8]>]>;

/// The names of a file's attributes. Locks: leaves.
#[derive(Debug)]
pub(super) struct XattrNames {
    names: Mutex<Option<Names>>,
    /// ACLs are asked for with each path walk.
    acls: Mutex<Acls>,
    /// Whether the host keeps attributes for this kind of file.
    can_have: bool,
}

/// Access and default ACL: `None` is unknown.
#[derive(Debug, Default)]
struct Acls {
    access: Option<Option<Arc<[u8]>>>,
    default: Option<Option<Arc<[u8]>>>,
}

impl Acls {
    fn slot(&mut self, name: &[u8]) -> &mut Option<Option<Arc<[u8]>>> {
        if name.ends_with(b"default") { &mut self.default } else { &mut self.access }
    }
}

impl XattrNames {
    pub(super) fn new(can_have: bool) -> Self {
        let names = if can_have { None } else { Some(Arc::from([])) };
        Self { names: Mutex::new(names), acls: Mutex::default(), can_have }
    }

    /// There are none.
    pub(super) fn set_empty(&self) {
        *self.names.lock() = Some(Arc::from([]));
        *self.acls.lock() = Acls { access: Some(None), default: Some(None) };
    }

    /// Whether new files inherit no ACL.
    pub(super) fn has_no_default_acl(&self) -> bool {
        self.acls.lock().default == Some(None)
    }

    /// They may have changed.
    pub(super) fn forget(&self) {
        *self.acls.lock() = Acls::default();
        if self.can_have {
            *self.names.lock() = None;
        }
    }
}

impl GoferInode {
    fn xattr_list(&self) -> Result<Names> {
        let known = || self.xattr_names.names.lock().clone();
        if let Some(names) = known() {
            return Ok(names);
        }
        // Whoever asks may look into the directory is about to do so, and is told then whether it has any.
        if self.fill_first()
            && let Some(names) = known()
        {
            return Ok(names);
        }
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
            *self.xattr_names.names.lock() = Some(names.clone());
        }
        Ok(names)
    }

    fn xattrs_changed(&self, name: XattrName<'_>) {
        self.xattr_names.forget();
        self.changed_by_us();
        if name.as_bytes().starts_with(b"system.posix_acl_") {
            // The group's bits of the mode follow the ACL; where they cannot be had now, they will be later.
            let _ = self.refreshed();
        }
    }

    pub(super) fn acl(&self, name: &[u8]) -> Result<Option<Arc<[u8]>>> {
        if let Some(known) = self.xattr_names.acls.lock().slot(name).clone() {
            return Ok(known);
        }
        let acl = match self.get(name) {
            Err(Errno::ENODATA | Errno::EOPNOTSUPP) => None,
            other => Some(Arc::from(other?)),
        };
        if self.is_cacheable() {
            *self.xattr_names.acls.lock().slot(name) = Some(acl.clone());
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
        let done = self.with_target(|target| {
            self.volume.connection().call(&SetXattr { target, name, value, flags }).map(|_| ())
        });
        self.xattrs_changed(name);
        done
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        if !self.xattr_list()?.iter().any(|known| **known == *name) {
            return Err(Errno::ENODATA);
        }
        let name = XattrName::new(name).ok_or(Errno::ERANGE)?;
        let done = self
            .with_target(|target| self.volume.connection().call(&RemoveXattr { target, name }).map(|_| ()));
        self.xattrs_changed(name);
        done
    }

    fn list(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.xattr_list()?.iter().map(|name| name.to_vec()).collect())
    }
}
