//! rename(2) and renameat2(2).

use std::sync::Arc;

use abi::{Errno, Result};
use parking_lot::MutexGuard;

use super::create::{Target, check_not_mounted, walk_to_name};
use super::open::while_stale;
use super::permission::{MAY_WRITE, Victim, check_access, check_create, check_delete, check_mount_writable};
use super::{Caller, Dentry, Origin, Rename, RenameFlags, Vfs, inotify};

/// The names of one or two directories, locked.
struct LockedNames<'a> {
    _first: MutexGuard<'a, ()>,
    _second: Option<MutexGuard<'a, ()>>,
}

/// Locks the ancestor first, so that two renames cannot wait for each other. The rename lock must be held.
fn lock_both<'a>(a: &'a Arc<Dentry>, b: &'a Arc<Dentry>) -> Result<LockedNames<'a>> {
    if Arc::ptr_eq(a, b) {
        return Ok(LockedNames { _first: a.lock_names()?, _second: None });
    }
    let is_a_first = a.is_ancestor_of(b) || (!b.is_ancestor_of(a) && Arc::as_ptr(a) < Arc::as_ptr(b));
    let (first, second) = if is_a_first { (a, b) } else { (b, a) };
    Ok(LockedNames { _first: first.lock_names()?, _second: Some(second.lock_names()?) })
}

impl Vfs {
    /// renameat2(2).
    ///
    /// # Errors
    /// As renameat2(2).
    pub fn rename(
        &self,
        caller: &Caller<'_>,
        old: (&Origin, &[u8]),
        new: (&Origin, &[u8]),
        flags: RenameFlags,
    ) -> Result<()> {
        let is_exchange = flags.contains(RenameFlags::EXCHANGE);
        if is_exchange && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT) {
            return Err(Errno::EINVAL);
        }
        while_stale(|| Self::rename_once(caller, old, new, flags))
    }

    fn rename_once(
        caller: &Caller<'_>,
        old: (&Origin, &[u8]),
        new: (&Origin, &[u8]),
        flags: RenameFlags,
    ) -> Result<()> {
        let is_exchange = flags.contains(RenameFlags::EXCHANGE);
        let no_replace = flags.contains(RenameFlags::NOREPLACE);
        let from = walk_to_name(caller, old.0, old.1, |_| Errno::EBUSY)?;
        let to =
            walk_to_name(caller, new.0, new.1, |_| if no_replace { Errno::EEXIST } else { Errno::EBUSY })?;
        if !Arc::ptr_eq(&from.dir.mount, &to.dir.mount) {
            return Err(Errno::EXDEV);
        }
        check_mount_writable(&from.dir)?;
        let sb = from.dir.dentry.superblock().clone();
        let _rename = sb.rename_lock.lock();
        let names = lock_both(&from.dir.dentry, &to.dir.dentry)?;
        let pair = Pair::find(caller, &from, &to, flags)?;
        let Some(pair) = pair else { return Ok(()) };
        pair.check(caller, &from, &to, flags)?;
        let rename = Rename {
            name: &from.name,
            source: pair.source.inode(),
            new_dir: to.dir.inode(),
            new_name: &to.name,
            replaced: pair.replaced.as_ref().map(|other| other.inode()),
            flags,
        };
        from.dir.inode().rename(caller, &rename)?;
        pair.note(&from, &to, is_exchange);
        if flags.contains(RenameFlags::WHITEOUT) {
            from.dir.dentry.forget(&from.name);
        }
        drop(names);
        inotify::on_move(&from.dir.dentry, &from.name, &to.dir.dentry, &to.name, &pair.source);
        if is_exchange && let Some(other) = &pair.replaced {
            inotify::on_move(&to.dir.dentry, &to.name, &from.dir.dentry, &from.name, other);
        } else if let Some(replaced) = &pair.replaced {
            inotify::on_replaced(replaced);
        }
        Ok(())
    }
}

/// What is moved, and what is at its target.
struct Pair {
    source: Arc<Dentry>,
    replaced: Option<Arc<Dentry>>,
}

impl Pair {
    /// Finds both; `None` where they are the same file already, and nothing is to be done.
    fn find(caller: &Caller<'_>, from: &Target, to: &Target, flags: RenameFlags) -> Result<Option<Self>> {
        let source = from.dir.dentry.child_locked(caller, &from.name)?.ok_or(Errno::ENOENT)?;
        let replaced = to.dir.dentry.child_locked(caller, &to.name)?;
        if flags.contains(RenameFlags::NOREPLACE) && replaced.is_some() {
            return Err(Errno::EEXIST);
        }
        if flags.contains(RenameFlags::EXCHANGE) {
            let other = replaced.as_ref().ok_or(Errno::ENOENT)?;
            if !other.is_dir() && to.has_trailing_slash {
                return Err(Errno::ENOTDIR);
            }
        }
        if !source.is_dir() && (from.has_trailing_slash || to.has_trailing_slash) {
            let is_exchange = flags.contains(RenameFlags::EXCHANGE);
            if from.has_trailing_slash || !is_exchange {
                return Err(Errno::ENOTDIR);
            }
        }
        if source.is_dir() && source.is_ancestor_of(&to.dir.dentry) {
            return Err(Errno::EINVAL);
        }
        if let Some(other) = &replaced
            && other.is_dir()
            && other.is_ancestor_of(&from.dir.dentry)
        {
            let is_exchange = flags.contains(RenameFlags::EXCHANGE);
            return Err(if is_exchange { Errno::EINVAL } else { Errno::ENOTEMPTY });
        }
        let is_same = replaced.as_ref().is_some_and(|other| Arc::ptr_eq(other.inode(), source.inode()));
        Ok(if is_same { None } else { Some(Self { source, replaced }) })
    }

    fn check(&self, caller: &Caller<'_>, from: &Target, to: &Target, flags: RenameFlags) -> Result<()> {
        let is_exchange = flags.contains(RenameFlags::EXCHANGE);
        check_delete(caller, &from.dir, &self.source, Victim::Any)?;
        match &self.replaced {
            None => check_create(caller, &to.dir)?,
            Some(other) => {
                let kind = match (is_exchange, self.source.is_dir()) {
                    (true, _) => Victim::Any,
                    (false, true) => Victim::Directory,
                    (false, false) => Victim::Other,
                };
                check_delete(caller, &to.dir, other, kind)?;
            }
        }
        // Its `..` changes.
        let is_other_dir = !Arc::ptr_eq(&from.dir.dentry, &to.dir.dentry);
        if is_other_dir && self.source.is_dir() {
            check_access(caller, self.source.inode(), MAY_WRITE)?;
        }
        if is_exchange
            && is_other_dir
            && let Some(other) = self.replaced.as_ref().filter(|other| other.is_dir())
        {
            check_access(caller, other.inode(), MAY_WRITE)?;
        }
        check_not_mounted(&from.dir.mount, &self.source)?;
        self.replaced.as_ref().map_or(Ok(()), |other| check_not_mounted(&to.dir.mount, other))
    }

    /// Tells the dentries.
    fn note(&self, from: &Target, to: &Target, is_exchange: bool) {
        let (from_dir, to_dir) = (&from.dir.dentry, &to.dir.dentry);
        match &self.replaced {
            Some(other) if is_exchange => {
                other.moved(to_dir, from_dir, &from.name);
                self.source.moved(from_dir, to_dir, &to.name);
                // The first move was undone by the second one's forgetting the old name.
                from_dir.forget(&from.name);
                other.moved(from_dir, from_dir, &from.name);
            }
            other => {
                // First: who looks the name up meanwhile, with nothing locked, finds the one or the other.
                self.source.moved(from_dir, to_dir, &to.name);
                if let Some(other) = other {
                    other.note_unlinked();
                }
                from_dir.note_absent(&from.name);
            }
        }
    }
}
