//! Making, removing and moving names: always in the upper layer, with whiteouts where a lower one would show through.

use std::sync::Arc;

use abi::{DeviceId, Errno, FileType, Result};
use kernel::vfs::{Caller, Inode, NewNode, Rename, RenameFlags};

use super::inode::{Lowers, OvlInode, Parts, Place};
use super::{Link, OPAQUE, REDIRECT, is_whiteout};

const WHITEOUT: NewNode<'static> = NewNode {
    file_type: FileType::Char,
    mode: 0,
    uid: 0,
    gid: 0,
    rdev: DeviceId { major: 0, minor: 0 },
    target: b"",
};

impl OvlInode {
    /// Makes a file called `name`, where there is none to be seen.
    pub(super) fn make(self: &Arc<Self>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<Self>> {
        let dir = self.upper_dir()?;
        let covered = self.lift_whiteout(name)?;
        let upper = match dir.create(&self.shared.caller(), name, node) {
            Ok(upper) => upper,
            Err(errno) => {
                self.restore_whiteout(name, covered);
                return Err(errno);
            }
        };
        if covered
            && node.file_type == FileType::Directory
            && let Err(errno) = set_mark(&upper, OPAQUE, b"y")
        {
            // It would show what was deleted.
            dir.rmdir(&self.shared.caller(), name, &upper)?;
            self.restore_whiteout(name, covered);
            return Err(errno);
        }
        let place = Some(Place { parent: self.clone(), name: name.into() });
        let parts = Parts { upper: Some(upper), lowers: Lowers::new(), lower_path: Box::default(), place };
        OvlInode::new(&self.shared, parts)
    }

    /// Gives `target` another name here.
    pub(super) fn add_link(self: &Arc<Self>, name: &[u8], target: &Arc<Self>) -> Result<()> {
        let upper = target.copy_up(true)?;
        let dir = self.upper_dir()?;
        let covered = self.lift_whiteout(name)?;
        if let Err(errno) = dir.link(&self.shared.caller(), name, upper) {
            self.restore_whiteout(name, covered);
            return Err(errno);
        }
        // Both names lead to the same file from now on, also when the dentries are forgotten.
        let key = (self.shared.upper_index(), upper.attr()?.ino);
        self.shared.links.lock().insert(key, Link::Weak(Arc::downgrade(target)));
        let mut place = target.place.lock();
        if place.is_none() {
            *place = Some(Place { parent: self.clone(), name: name.into() });
        }
        Ok(())
    }

    /// Removes a name that is not a directory's.
    pub(super) fn remove_file(self: &Arc<Self>, name: &[u8], child: &Arc<Self>) -> Result<()> {
        let dir = self.upper_dir()?;
        // A copy made meanwhile would bring the name back.
        let _copying = child.copying.lock();
        if let Some(upper) = self.find_upper(name)?.filter(|upper| !is_whiteout(upper)) {
            dir.unlink(&self.shared.caller(), name, &upper)?;
        }
        self.cover(name)?;
        child.lose_name(self, name);
        Ok(())
    }

    /// Removes a directory that shows no name.
    pub(super) fn remove_dir(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        name: &[u8],
        child: &Arc<Self>,
    ) -> Result<()> {
        let dir = self.upper_dir()?;
        if !child.lowers.is_empty() {
            child.check_empty(caller.task)?;
        }
        if let Some(upper) = self.find_upper(name)?.filter(|upper| !is_whiteout(upper)) {
            child.clear_whiteouts(caller)?;
            dir.rmdir(&self.shared.caller(), name, &upper)?;
        }
        self.cover(name)?;
        child.lose_name(self, name);
        Ok(())
    }

    /// Moves a name.
    pub(super) fn move_name(self: &Arc<Self>, caller: &Caller<'_>, rename: &Rename<'_>) -> Result<()> {
        let Rename { name, new_name, flags, .. } = *rename;
        if flags.contains(RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        let is_exchange = flags.contains(RenameFlags::EXCHANGE);
        let (source, new_dir) = (Self::downcast(rename.source)?, Self::downcast(rename.new_dir)?);
        let target = rename.replaced.map(Self::downcast).transpose()?;
        let (from, to) = (self.upper_dir()?, new_dir.upper_dir()?);
        let upper_source = source.copy_up(true)?;
        let mut copying = None;
        let mut covered = false;
        match &target {
            Some(target) if is_exchange => {
                target.copy_up(true)?;
                target.mark_moved(self.has_lower(name)?)?;
            }
            Some(target) => {
                // A copy made meanwhile would bring the name back.
                copying = Some(target.copying.lock());
                target.make_room(caller)?;
            }
            None => covered = new_dir.lift_whiteout(new_name)?,
        }
        let mut real_flags = if is_exchange { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
        if !is_exchange && self.has_lower(name)? {
            real_flags |= RenameFlags::WHITEOUT;
        }
        let replaced = target.as_ref().and_then(|target| target.upper.get());
        let real = Rename { name, source: upper_source, new_dir: to, new_name, replaced, flags: real_flags };
        let moved = new_dir
            .has_lower(new_name)
            .and_then(|covers_lower| source.mark_moved(covers_lower))
            .and_then(|()| from.rename(&self.shared.caller(), &real));
        if let Err(errno) = moved {
            new_dir.restore_whiteout(new_name, covered);
            return Err(errno);
        }
        drop(copying);
        source.set_place(Some(Place { parent: new_dir.clone(), name: new_name.into() }));
        match target {
            Some(target) if is_exchange => {
                target.set_place(Some(Place { parent: self.clone(), name: name.into() }));
            }
            Some(target) => target.lose_name(&new_dir, new_name),
            None => {}
        }
        Ok(())
    }

    /// Readies this file for being replaced: a directory must show no name, and hold none.
    fn make_room(&self, caller: &Caller<'_>) -> Result<()> {
        if !self.is_dir() || self.lowers.is_empty() {
            return Ok(());
        }
        self.check_empty(caller.task)?;
        self.clear_whiteouts(caller)
    }

    /// Notes on an upper directory what it is merged with under its new name: what it was merged with before, or
    /// nothing.
    fn mark_moved(&self, covers_lower: bool) -> Result<()> {
        let Some(upper) = self.upper.get().filter(|_| self.is_dir()) else { return Ok(()) };
        if !self.lowers.is_empty() {
            set_mark(upper, REDIRECT, &self.lower_path)
        } else if covers_lower {
            set_mark(upper, OPAQUE, b"y")
        } else {
            Ok(())
        }
    }

    /// Takes away a whiteout under `name`; says whether there was one.
    fn lift_whiteout(&self, name: &[u8]) -> Result<bool> {
        match self.find_upper(name)? {
            Some(inode) if is_whiteout(&inode) => {
                let dir = self.upper.get().ok_or(Errno::EIO)?;
                dir.unlink(&self.shared.caller(), name, &inode)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn restore_whiteout(&self, name: &[u8], was_covered: bool) {
        if was_covered && let Some(dir) = self.upper.get() {
            // The error that led here is the one to tell.
            let _ = dir.create(&self.shared.caller(), name, &WHITEOUT);
        }
    }

    /// Puts a whiteout where a lower layer would show through.
    fn cover(&self, name: &[u8]) -> Result<()> {
        if !self.has_lower(name)? || self.find_upper(name)?.is_some() {
            return Ok(());
        }
        let dir = self.upper.get().ok_or(Errno::EIO)?;
        dir.create(&self.shared.caller(), name, &WHITEOUT).map(|_| ())
    }

    /// Empties the upper directory of whiteouts, which are all that an empty one holds.
    fn clear_whiteouts(&self, caller: &Caller<'_>) -> Result<()> {
        let Some(dir) = self.upper.get() else { return Ok(()) };
        if self.lowers.is_empty() {
            return Ok(());
        }
        let names = self.list_layer(caller.task.ok_or(Errno::EIO)?, self.shared.upper_index(), dir)?;
        for entry in names.skip(0) {
            if entry.file_type == FileType::Char {
                let inode = dir.lookup(&self.shared.caller(), entry.name)?;
                dir.unlink(&self.shared.caller(), entry.name, &inode)?;
            }
        }
        Ok(())
    }

    /// Its name in `dir` is gone: a later copy must not bring it back.
    fn lose_name(&self, dir: &Arc<Self>, name: &[u8]) {
        let mut place = self.place.lock();
        if place.as_ref().is_some_and(|place| Arc::ptr_eq(&place.parent, dir) && *place.name == *name) {
            let gone = place.take();
            drop(place);
            drop(gone);
        }
    }
}

/// Sets an attribute of ours. Without it a moved or new directory would show what it must not.
fn set_mark(inode: &Arc<dyn Inode>, name: &[u8], value: &[u8]) -> Result<()> {
    inode.xattr().ok_or(Errno::EXDEV)?.set(name, value, false, false)
}
