//! Copying a file to the upper layer before it changes.
//!
//! Content is copied frame to frame through [`Mappable::backing`], without a task: attributes are changed where there
//! is none.

use std::sync::Arc;

use abi::{DeviceId, Errno, FileType, OpenFlags, PAGE_SIZE, Result, page_ceil};
use host::memory::{VolatileSlice, preadv, pwritev};
use kernel::mm::{Access, Backing, Mappable, MemoryFile};
use kernel::task::is_current_killed;
use kernel::vfs::{Attr, File, FileOps, Inode, NewNode, SeekExtent, SetAttr, SetTime, SetXattrFlags};

use super::inode::{LowerFile, OvlInode, layer_path};
use super::{Link, ORIGIN, PRIVATE};

/// Bytes copied at a time.
const CHUNK: u64 = 1 << 20;

impl OvlInode {
    /// The upper file, made now where there is none. Without `with_data` the copy is empty: the caller is about to
    /// truncate it.
    pub(super) fn copy_up(self: &Arc<Self>, with_data: bool) -> Result<&Arc<dyn Inode>> {
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        self.shared.upper()?;
        // From the highest directory without an upper one down, without recursion.
        let mut chain = vec![self.clone()];
        while let Some(place) = chain.last().and_then(|last| last.place()) {
            if place.parent.upper.get().is_some() {
                break;
            }
            chain.push(place.parent);
        }
        while let Some(inode) = chain.pop() {
            inode.copy_up_one(with_data)?;
        }
        self.upper.get().ok_or(Errno::EIO)
    }

    fn copy_up_one(self: &Arc<Self>, with_data: bool) -> Result<()> {
        let _copying = self.copying.lock();
        if self.upper.get().is_some() {
            return Ok(());
        }
        let lower = self.lowers.first().ok_or(Errno::EIO)?;
        let attr = lower.inode.attr()?;
        let caller = self.shared.caller();
        let target =
            if attr.file_type() == FileType::Symlink { lower.inode.readlink(&caller)? } else { Vec::new() };
        let node = NewNode {
            file_type: attr.file_type(),
            mode: attr.mode & 0o7777,
            uid: attr.uid,
            gid: attr.gid,
            rdev: if is_device(&attr) { attr.rdev } else { DeviceId::default() },
            target: &target,
        };
        let place = self.place();
        let upper = match &place {
            Some(place) => place.parent.upper.get().ok_or(Errno::EIO)?.create(&caller, &place.name, &node)?,
            // Its name is gone; only open files refer to it.
            None => self.shared.upper()?.root.create_unnamed(&caller, &node)?,
        };
        let filled = self.fill_copy(lower, &attr, &upper, with_data);
        if let (Err(_), Some(place)) = (&filled, &place)
            && let Some(dir) = place.parent.upper.get()
        {
            let _ = match attr.file_type() {
                FileType::Directory => dir.rmdir(&caller, &place.name, &upper),
                _ => dir.unlink(&caller, &place.name, &upper),
            };
        }
        filled?;
        let _ = self.upper.set(upper);
        if let Some(key) = self.link_key {
            self.shared.links.lock().insert(key, Link::Strong(self.clone()));
        }
        Ok(())
    }

    fn fill_copy(
        &self,
        lower: &LowerFile,
        attr: &Attr,
        upper: &Arc<dyn Inode>,
        with_data: bool,
    ) -> Result<()> {
        let caller = self.shared.caller();
        if attr.file_type() == FileType::Regular && with_data && attr.size > 0 {
            let from = self.open_in_layer(lower.layer, &lower.inode, OpenFlags::empty())?;
            let to = self.open_in_layer(self.shared.upper_index(), upper, OpenFlags::RDWR)?;
            upper.set_attr(&caller, &SetAttr { size: Some(attr.size), ..SetAttr::default() })?;
            copy_content(&self.shared.memory, &from, &to, attr.size)?;
        }
        copy_xattrs(&lower.inode, upper)?;
        if attr.file_type() != FileType::Directory
            && let Some(xattr) = upper.xattr()
        {
            xattr.set(ORIGIN, &self.ino.to_le_bytes(), SetXattrFlags::empty())?;
        }
        if attr.file_type() == FileType::Symlink {
            return Ok(());
        }
        // Writing took set-ID bits away and moved the times.
        let (atime, mtime) = (Some(SetTime::At(attr.atime)), Some(SetTime::At(attr.mtime)));
        upper.set_attr(
            &caller,
            &SetAttr { mode: Some(attr.mode & 0o7777), atime, mtime, ..SetAttr::default() },
        )
    }

    fn open_in_layer(&self, layer: usize, inode: &Arc<dyn Inode>, flags: OpenFlags) -> Result<Arc<File>> {
        let ops: Arc<dyn FileOps> = inode.clone().open(&self.shared.caller(), flags)?;
        Ok(File::new(layer_path(&self.shared, layer, inode)?, ops, flags, self.shared.creds.clone()))
    }
}

fn is_device(attr: &Attr) -> bool {
    matches!(attr.file_type(), FileType::Char | FileType::Block)
}

/// Copies all attributes but the overlay's own. ACLs are among them; those that the upper layer cannot hold are left.
fn copy_xattrs(lower: &Arc<dyn Inode>, upper: &Arc<dyn Inode>) -> Result<()> {
    let (Some(from), Some(to)) = (lower.xattr(), upper.xattr()) else { return Ok(()) };
    let names = match from.list() {
        Err(Errno::EOPNOTSUPP) => return Ok(()),
        names => names?,
    };
    for name in names.iter().filter(|name| !name.starts_with(PRIVATE)) {
        let value = match from.get(name) {
            Err(Errno::ENODATA) => continue,
            value => value?,
        };
        match to.set(name, &value, SetXattrFlags::empty()) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Copies `size` bytes, leaving out holes. `EINTR` where the task is told to end.
fn copy_content(memory: &MemoryFile, from: &File, to: &File, size: u64) -> Result<()> {
    let (source, target) = (from.ops().mappable(from)?, to.ops().mappable(to)?);
    let mut at = 0;
    while at < size {
        at = match from.ops().seek_extent(at, SeekExtent::Data) {
            Err(Errno::ENXIO) => break,
            data => data?,
        };
        let end = from.ops().seek_extent(at, SeekExtent::Hole).unwrap_or(size).min(size);
        while at < end {
            if is_current_killed() {
                return Err(Errno::EINTR);
            }
            let copied = copy_chunk(memory, &*source, &*target, at, (end - at).min(CHUNK))?;
            at += copied;
        }
    }
    Ok(())
}

/// Copies up to `len` bytes at `at`; returns how many.
fn copy_chunk(memory: &MemoryFile, from: &dyn Mappable, to: &dyn Mappable, at: u64, len: u64) -> Result<u64> {
    let page = at - at % PAGE_SIZE;
    let skip = at - page;
    let span = page_ceil(skip + len).ok_or(Errno::EFBIG)?;
    let source = Held { memory, backing: from.backing(page, span, Access::READ)? };
    let target = Held { memory, backing: to.backing(page, span.min(source.len()), Access::WRITE)? };
    let count = len.min(source.len().min(target.len()).saturating_sub(skip));
    if count == 0 {
        return Err(Errno::EIO);
    }
    move_bytes(memory, &source.backing, &target.backing, skip, count as usize)?;
    Ok(count)
}

fn move_bytes(memory: &MemoryFile, from: &Backing, to: &Backing, skip: u64, count: usize) -> Result<()> {
    match (from, to) {
        (Backing::Memory { offset: from, .. }, Backing::Memory { offset: to, .. }) => {
            memory.slice(from + skip, count)?.copy_to(&memory.slice(to + skip, count)?)?;
        }
        (Backing::Host { file, offset, .. }, Backing::Memory { offset: to, .. }) => {
            let slice = memory.slice(to + skip, count)?;
            whole(count, |done| {
                preadv(file.fd(), &[slice.sub(done, count - done)?], offset + skip + done as u64)
            })?;
        }
        (Backing::Memory { offset: from, .. }, Backing::Host { file, offset, .. }) => {
            let slice = memory.slice(from + skip, count)?;
            whole(count, |done| {
                pwritev(file.fd(), &[slice.sub(done, count - done)?], offset + skip + done as u64)
            })?;
        }
        (Backing::Host { file: from, offset, .. }, Backing::Host { file: to, offset: to_offset, .. }) => {
            let mut bytes = vec![0; count];
            let slice = VolatileSlice::from_mut(&mut bytes);
            let read = preadv(from.fd(), &[slice], offset + skip)?;
            let slice = slice.sub(0, read)?;
            whole(read, |done| {
                pwritev(to.fd(), &[slice.sub(done, read - done)?], to_offset + skip + done as u64)
            })?;
        }
    }
    Ok(())
}

/// Repeats a partial transfer until all is moved or the file ends.
fn whole(count: usize, mut step: impl FnMut(usize) -> Result<usize>) -> Result<()> {
    let mut done = 0;
    while done < count {
        match step(done)? {
            0 => break,
            moved => done += moved,
        }
    }
    Ok(())
}

/// A backing with the references to its frames.
struct Held<'a> {
    memory: &'a MemoryFile,
    backing: Backing,
}

impl Held<'_> {
    fn len(&self) -> u64 {
        match &self.backing {
            Backing::Memory { len, .. } | Backing::Host { len, .. } => *len,
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Backing::Memory { offset, len } = self.backing {
            self.memory.release(offset, len);
        }
    }
}
