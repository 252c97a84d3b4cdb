//! Making, removing and moving names: always in the upper layer, with whiteouts where a lower one would show through.
//! What takes more than one step there is prepared in the work directory ([`super::work`]).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::{Errno, FileType, Result};
use kernel::vfs::{Caller, Inode, NewNode, Rename, RenameFlags, SetXattrFlags};

use super::inode::{Lowers, OvlInode, Parts, Place};
use super::work::WHITEOUT;
use super::{Link, OPAQUE, ORIGIN, REDIRECT, is_whiteout};

impl OvlInode {
    /// Makes a file called `name`, where there is none to be seen.
    pub(super) fn make(self: &Arc<Self>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<Self>> {
        let (dir, caller) = (self.upper_dir()?, self.shared.caller());
        let upper = match self.find_whiteout(name)? {
            None => dir.create(&caller, name, node)?,
            Some(whiteout) => {
                let mut spare = self.shared.work()?.create(caller, node)?;
                if node.file_type == FileType::Directory {
                    // It would show what was deleted.
                    set_mark(&spare.inode, OPAQUE, b"y")?;
                }
                spare.exchange(dir, name, &whiteout)?
            }
        };
        let place = Some(Place { parent: self.clone(), name: name.into() });
        let parts = Parts { upper: Some(upper), lowers: Lowers::new(), lower_path: Box::default(), place };
        OvlInode::new(&self.shared, parts)
    }

    /// Gives `target` another name here.
    pub(super) fn add_link(self: &Arc<Self>, name: &[u8], target: &Arc<Self>) -> Result<()> {
        let upper = target.copy_up(true)?;
        let (dir, caller) = (self.upper_dir()?, self.shared.caller());
        match self.find_whiteout(name)? {
            None => dir.link(&caller, name, upper)?,
            Some(whiteout) => {
                self.shared.work()?.link(caller, upper)?.exchange(dir, name, &whiteout)?;
            }
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
        let (dir, caller) = (self.upper_dir()?, self.shared.caller());
        // A copy made meanwhile would bring the name back.
        let _copying = child.copying.lock();
        match (self.find_upper(name)?, self.has_lower(name)?) {
            (None, true) => _ = dir.create(&caller, name, &WHITEOUT)?,
            (Some(upper), true) => {
                self.shared.work()?.create(caller, &WHITEOUT)?.exchange(dir, name, &upper)?;
            }
            (Some(upper), false) => dir.unlink(&caller, name, &upper)?,
            (None, false) => {}
        }
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
        let (dir, kernel) = (self.upper_dir()?, self.shared.caller());
        let has_lower = self.has_lower(name)?;
        match self.find_upper(name)? {
            Some(upper) if !has_lower && child.shown_lowers().is_empty() => {
                dir.rmdir(&kernel, name, &upper)?;
            }
            Some(upper) => {
                child.check_empty(caller.task)?;
                let work = self.shared.work()?;
                let mut gone;
                if has_lower {
                    gone = work.create(kernel, &WHITEOUT)?;
                    gone.exchange(dir, name, &upper)?;
                } else {
                    gone = work.take(kernel, dir, name, &upper)?;
                }
                // The name is gone: what cannot be taken away now is only memory.
                let _ = child.clear_whiteouts(caller);
                drop(gone);
            }
            None => {
                child.check_empty(caller.task)?;
                if has_lower {
                    dir.create(&kernel, name, &WHITEOUT)?;
                }
            }
        }
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
        let mut whiteout = None;
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
            None => whiteout = new_dir.find_whiteout(new_name)?,
        }
        source.mark_moved(new_dir.has_lower(new_name)?)?;
        let leaves_whiteout = !is_exchange && self.has_lower(name)?;
        let real_flags = match &whiteout {
            _ if is_exchange => RenameFlags::EXCHANGE,
            // The whiteout there is the one that is needed here; a directory replaces no other kind of file.
            Some(_) if leaves_whiteout || source.is_dir() => RenameFlags::EXCHANGE,
            None if leaves_whiteout => RenameFlags::WHITEOUT,
            _ => RenameFlags::empty(),
        };
        let replaced = whiteout.as_ref().or(target.as_ref().and_then(|target| target.upper.get()));
        let real = Rename { name, source: upper_source, new_dir: to, new_name, replaced, flags: real_flags };
        from.rename(&self.shared.caller(), &real)?;
        if let Some(whiteout) = whiteout.filter(|_| real_flags == RenameFlags::EXCHANGE && !leaves_whiteout) {
            // It covers nothing here.
            let _ = from.unlink(&self.shared.caller(), name, &whiteout);
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

    /// Readies this file for being replaced: a directory must show no name, and its upper one hold none. That one
    /// covers the lower ones first, so that they do not show again should the directory stay.
    fn make_room(&self, caller: &Caller<'_>) -> Result<()> {
        if !self.is_dir() || self.shown_lowers().is_empty() {
            return Ok(());
        }
        self.check_empty(caller.task)?;
        let Some(upper) = self.upper.get() else { return Ok(()) };
        set_mark(upper, ORIGIN, &self.ino.to_le_bytes())?;
        set_mark(upper, OPAQUE, b"y")?;
        self.is_cut_off.store(true, Ordering::Release);
        self.clear_whiteouts(caller)
    }

    /// Notes on an upper directory what it is merged with under its new name: what it was merged with before, or
    /// nothing.
    fn mark_moved(&self, covers_lower: bool) -> Result<()> {
        let Some(upper) = self.upper.get().filter(|_| self.is_dir()) else { return Ok(()) };
        if !self.shown_lowers().is_empty() {
            set_mark(upper, REDIRECT, &self.lower_path)
        } else if covers_lower {
            set_mark(upper, OPAQUE, b"y")
        } else {
            Ok(())
        }
    }

    /// The whiteout under `name`.
    fn find_whiteout(&self, name: &[u8]) -> Result<Option<Arc<dyn Inode>>> {
        Ok(self.find_upper(name)?.filter(is_whiteout))
    }

    /// Empties the upper directory of whiteouts, which are all that an empty one holds.
    fn clear_whiteouts(&self, caller: &Caller<'_>) -> Result<()> {
        let Some(dir) = self.upper.get() else { return Ok(()) };
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
    inode.xattr().ok_or(Errno::EXDEV)?.set(name, value, SetXattrFlags::empty())
}
