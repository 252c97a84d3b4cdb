//! What a directory holds, as it came from the gofer: names, types, and mostly attributes too.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::{Errno, FileType, Result};
use gofer_protocol::{Attr as WireAttr, DirEntry, NodeId, ReadDir, Target};

use super::attr::Moment;
use super::inode::GoferInode;

/// A listing beyond this is not kept: the guest can make directories as large as it likes.
pub(super) const LISTING_MAX: usize = 8 << 20;

/// A name in a listing.
#[derive(Debug)]
pub(super) struct Listed {
    /// The number that the guest sees.
    pub(super) ino: u64,
    pub(super) file_type: FileType,
    /// Until an inode is made of it, which knows better from then on, or somebody else changes them.
    pub(super) attr: Option<Box<WireAttr>>,
    pub(super) link: Option<Box<[u8]>>,
}

/// All names of a directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// When they were asked for.
    pub(super) asked: Moment,
    pub(super) names: BTreeMap<Arc<[u8]>, Listed>,
    pub(super) bytes: usize,
    /// There is something else than directories.
    pub(super) has_files: bool,
    /// With attributes of directories alone.
    pub(super) lacks_attributes: bool,
    /// Attributes of something else than a directory have been of use.
    pub(super) was_useful: bool,
}

impl Listing {
    /// Adds or replaces a name.
    pub(super) fn insert(&mut self, name: Arc<[u8]>, listed: Listed) {
        let attr = listed.attr.as_ref().map_or(0, |_| size_of::<WireAttr>());
        let link = listed.link.as_ref().map_or(0, |link| link.len());
        // With what the map takes for itself. What is removed later still counts: an upper bound will do.
        self.bytes += 96 + name.len() + attr + link;
        self.has_files |= listed.file_type != FileType::Directory;
        self.names.insert(name, listed);
    }

    /// Attributes of `name` that were listed are not to be believed any more.
    pub(super) fn is_known_better(&mut self, name: &[u8]) {
        if let Some(listed) = self.names.get_mut(name) {
            listed.attr = None;
        }
    }
}

/// An answer of the gofer's.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    pub(super) listing: Listing,
    pub(super) is_cacheable: bool,
    pub(super) has_xattrs: bool,
    /// The host did not tell the types of some names.
    lacks_types: bool,
}

impl GoferInode {
    /// Asks for all names.
    pub(super) fn fetch(&self, with_attributes: bool) -> Result<Fetched> {
        let mut with_attributes = with_attributes;
        // A gofer keeps few unfinished listings; who loses one starts again.
        for _ in 0..8 {
            match self.fetch_once(with_attributes) {
                Ok(fetched) if fetched.lacks_types && !with_attributes => with_attributes = true,
                Err(Errno::ESTALE) if self.known_node().is_some() => {}
                other => return other,
            }
        }
        self.fetch_once(true)
    }

    fn fetch_once(&self, with_attributes: bool) -> Result<Fetched> {
        let lacks_attributes = !with_attributes;
        let listing = Listing { asked: self.attrs.now(), lacks_attributes, ..Listing::default() };
        let mut fetched = Fetched { listing, ..Fetched::default() };
        let first = self.with_target(|target| self.fetch_part(target, 0, with_attributes, &mut fetched))?;
        let (node, mut stream) = first;
        while stream != 0 {
            (_, stream) = self.fetch_part(Target::node(node), stream, with_attributes, &mut fetched)?;
        }
        Ok(fetched)
    }

    /// Asks for the next names; returns the directory's node and what to go on with.
    fn fetch_part(
        &self,
        target: Target<'_>,
        stream: u64,
        with_attributes: bool,
        to: &mut Fetched,
    ) -> Result<(NodeId, u64)> {
        let response = self.volume.connection().call(&ReadDir { target, stream, with_attributes })?;
        let reply = response.get()?;
        if target.name.is_some() {
            self.found_node(reply.dir);
        }
        // A listing without end would never let us go.
        if reply.stream != 0 && reply.entries.is_empty() {
            return Err(Errno::EIO);
        }
        to.is_cacheable = reply.is_cacheable;
        to.has_xattrs = reply.has_xattrs;
        for entry in &reply.entries {
            self.take_entry(entry, to);
        }
        Ok((reply.dir, reply.stream))
    }

    fn take_entry(&self, entry: &DirEntry<'_>, to: &mut Fetched) {
        let by_attr = entry.attr.as_ref().and_then(|attr| FileType::from_mode(attr.mode));
        let file_type = by_attr.or_else(|| FileType::from_mode(u32::from(entry.kind) << 12));
        to.lacks_types |= file_type.is_none();
        let by_number = || {
            let dev = self.attrs.last().dev;
            self.volume.guest_ino(&WireAttr { dev, ino: entry.ino, ..WireAttr::default() })
        };
        let listed = Listed {
            ino: entry.attr.as_ref().map_or_else(by_number, |attr| self.volume.guest_ino(attr)),
            file_type: file_type.unwrap_or(FileType::Regular),
            attr: entry.attr.map(Box::new),
            link: entry.link.map(Box::from),
        };
        to.listing.insert(entry.name.as_bytes().into(), listed);
    }
}
