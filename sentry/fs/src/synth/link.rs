//! Symbolic links that make their target up.

use std::sync::Arc;

use abi::{OpenFlags, Result};
use kernel::vfs::{Attr, Caller, FileOps, Inode, InodeCommon, LinkTarget};

/// Where a link leads.
pub trait Target: Send + Sync + 'static {
    /// The text that readlink(2) gives.
    ///
    /// # Errors
    /// `ENOENT`, `EACCES`, `ESRCH`.
    fn text(&self, caller: &Caller<'_>) -> Result<Vec<u8>>;

    /// Where following it leads: by default to what the text says.
    ///
    /// # Errors
    /// As [`Self::text`].
    fn place(&self, caller: &Caller<'_>) -> Result<LinkTarget> {
        self.text(caller).map(LinkTarget::Path)
    }
}

impl Target for &'static str {
    fn text(&self, _caller: &Caller<'_>) -> Result<Vec<u8>> {
        Ok(self.as_bytes().to_vec())
    }
}

impl Target for String {
    fn text(&self, _caller: &Caller<'_>) -> Result<Vec<u8>> {
        Ok(self.as_bytes().to_vec())
    }
}

/// A symbolic link.
pub struct Link<T> {
    common: InodeCommon,
    attr: Attr,
    target: T,
}

impl<T: Target> Link<T> {
    /// A link with these attributes and target.
    pub fn new(attr: Attr, target: T) -> Arc<Self> {
        Arc::new(Self { common: InodeCommon::default(), attr, target })
    }
}

impl<T: Target> Inode for Link<T> {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn readlink(&self, caller: &Caller<'_>) -> Result<Vec<u8>> {
        self.target.text(caller)
    }

    fn follow(&self, caller: &Caller<'_>) -> Result<LinkTarget> {
        self.target.place(caller)
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Err(abi::Errno::ELOOP)
    }
}
