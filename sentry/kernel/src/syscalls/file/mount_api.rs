//! The mount calls that work on descriptors: open_tree(2), move_mount(2), fsopen(2), fspick(2), fsconfig(2),
//! fsmount(2), mount_setattr(2).

use std::sync::Arc;

use abi::fcntl::AtFlags;
use abi::mount::{MountAttrs, MountFlags, MountSetattr};
use abi::{Errno, OpenFlags, PAGE_SIZE, Result, UserAddr};
use parking_lot::Mutex;

use super::args::{Identity, at_flags, file, find_bytes, path, uint, vfs};
use super::mount::{OwnedFs, check_admin, check_source, is_own, make_fs, mount_at, reconfigure};
use crate::mm::IoDst;
use crate::syscalls::table::Args;
use crate::vfs::{AnonKind, Extent, Fd, File, FileOps, Mount, PropagationType, VfsPath, WalkFlags};
use crate::{CurrentTask, SysResult, Task};

const OPEN_TREE_CLONE: u32 = 1;
const FS_CLOEXEC: u32 = 1;

/// What fsopen(2) makes: a file system in the making.
struct FsContextFile(Mutex<FsConfig>);

#[derive(Default)]
struct FsConfig {
    type_name: Vec<u8>,
    source: Vec<u8>,
    options: Vec<u8>,
    is_read_only: bool,
    /// The result, until it is mounted.
    fs: Option<OwnedFs>,
    /// fspick(2): the mount that is to be reconfigured.
    picked: Option<Arc<Mount>>,
}

impl FileOps for FsContextFile {
    /// The log of what went wrong is empty: errors say it.
    fn read(&self, _task: &Task, _file: &File, _offset: u64, _dst: &mut IoDst<'_>) -> Result<usize> {
        Err(Errno::ENODATA)
    }

    fn is_seekable(&self) -> bool {
        false
    }
}

fn install(task: &Task, file: Arc<File>, close_on_exec: bool) -> SysResult {
    Ok(task.install_fd(file, close_on_exec)? as u64)
}

/// A descriptor for a mount in no tree, opened as with `O_PATH`. When it goes, so does the mount, unless it has been
/// attached.
fn install_mount(task: &Task, mount: &Arc<Mount>, close_on_exec: bool) -> SysResult {
    mount.set_loose();
    let identity = Identity::of(task);
    let opened = vfs(task).open_place(&identity.caller(), &mount.root_path(), OpenFlags::PATH)?;
    install(task, opened.file, close_on_exec)
}

fn find_at(task: &Task, dirfd: Fd, path_addr: u64, walk: WalkFlags) -> Result<VfsPath> {
    find_bytes(task, dirfd, &path(task, path_addr)?, walk)
}

pub(super) fn open_tree(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = args.uint(2);
    let at = AtFlags::from_bits_retain(flags & !(OPEN_TREE_CLONE | OpenFlags::CLOEXEC.bits()));
    let known = AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT | AtFlags::RECURSIVE | AtFlags::SYMLINK_NOFOLLOW;
    let clones = flags & OPEN_TREE_CLONE != 0;
    if !known.contains(at) || (at.contains(AtFlags::RECURSIVE) && !clones) {
        return Err(Errno::EINVAL.into());
    }
    if clones {
        check_admin(task)?;
    }
    let place = find_at(task, args.int(0), args[1], at.into())?;
    let close_on_exec = flags & OpenFlags::CLOEXEC.bits() != 0;
    if clones {
        check_source(task, &place)?;
        let extent = if at.contains(AtFlags::RECURSIVE) { Extent::Recursive } else { Extent::Single };
        let tree = vfs(task).clone_tree(&place, extent)?;
        return install_mount(task, &tree, close_on_exec);
    }
    let identity = Identity::of(task);
    let opened = vfs(task).open_place(&identity.caller(), &place, OpenFlags::PATH)?;
    install(task, opened.file, close_on_exec)
}

pub(super) fn move_mount(task: &mut CurrentTask, args: Args) -> SysResult {
    const F_SYMLINKS: u32 = 0x1;
    const F_EMPTY_PATH: u32 = 0x4;
    const T_SYMLINKS: u32 = 0x10;
    const T_EMPTY_PATH: u32 = 0x40;
    const AUTOMOUNTS: u32 = 0x22;
    let flags = args.uint(4);
    if flags & !(F_SYMLINKS | F_EMPTY_PATH | T_SYMLINKS | T_EMPTY_PATH | AUTOMOUNTS) != 0 {
        return Err(Errno::EINVAL.into());
    }
    check_admin(task)?;
    let walk = |follow: u32, empty: u32| {
        let mut walk = WalkFlags::empty();
        walk.set(WalkFlags::FOLLOW, flags & follow != 0);
        walk.set(WalkFlags::EMPTY, flags & empty != 0);
        walk
    };
    let from = find_at(task, args.int(0), args[1], walk(F_SYMLINKS, F_EMPTY_PATH))?;
    let to = find_at(task, args.int(2), args[3], walk(T_SYMLINKS, T_EMPTY_PATH))?;
    if !Arc::ptr_eq(&from.dentry, from.mount.root()) || !is_own(task, &to.mount) {
        return Err(Errno::EINVAL.into());
    }
    if from.mount.is_loose() {
        vfs(task).attach_loose(&from.mount, &to)?;
    } else {
        vfs(task).move_mount(&mount_at(task, &from)?, &to)?;
    }
    Ok(0)
}

fn install_context(task: &Task, config: FsConfig, flags: u32) -> SysResult {
    let ops = Arc::new(FsContextFile(Mutex::new(config)));
    let kind = AnonKind::Named("[fscontext]");
    let file = vfs(task).anon_file(kind, ops, OpenFlags::RDWR, &task.creds());
    install(task, file, flags & FS_CLOEXEC != 0)
}

pub(super) fn fsopen(task: &mut CurrentTask, args: Args) -> SysResult {
    check_admin(task)?;
    let flags = args.uint(1);
    if flags & !FS_CLOEXEC != 0 {
        return Err(Errno::EINVAL.into());
    }
    let type_name = task.mm().read_cstring(args.addr(0), PAGE_SIZE as usize)?;
    vfs(task).fs_type(&type_name)?;
    install_context(task, FsConfig { type_name, ..FsConfig::default() }, flags)
}

pub(super) fn fspick(task: &mut CurrentTask, args: Args) -> SysResult {
    const SYMLINK_NOFOLLOW: u32 = 2;
    const NO_AUTOMOUNT: u32 = 4;
    const EMPTY_PATH: u32 = 8;
    check_admin(task)?;
    let flags = args.uint(2);
    if flags & !(FS_CLOEXEC | SYMLINK_NOFOLLOW | NO_AUTOMOUNT | EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & SYMLINK_NOFOLLOW == 0);
    walk.set(WalkFlags::EMPTY, flags & EMPTY_PATH != 0);
    let place = find_at(task, args.int(0), args[1], walk)?;
    let picked = Some(mount_at(task, &place)?);
    install_context(task, FsConfig { picked, ..FsConfig::default() }, flags)
}

/// The context behind a descriptor.
fn with_context<T>(task: &Task, fd: u64, f: impl FnOnce(&mut FsConfig) -> Result<T>) -> Result<T> {
    let file = file(task, fd)?;
    let context = file.ops_as::<FsContextFile>().ok_or(Errno::EINVAL)?;
    f(&mut context.0.lock())
}

pub(super) fn fsconfig(task: &mut CurrentTask, args: Args) -> SysResult {
    const SET_FLAG: u32 = 0;
    const SET_STRING: u32 = 1;
    const SET_PATH: u32 = 3;
    const CMD_CREATE: u32 = 6;
    const CMD_RECONFIGURE: u32 = 7;
    let [fd, command, key, value, aux, _] = args.0;
    let text = |addr: u64| -> Result<Vec<u8>> {
        if addr == 0 { Err(Errno::EINVAL) } else { task.mm().read_cstring(UserAddr(addr), 256) }
    };
    match uint(command) {
        SET_FLAG => {
            if value != 0 || aux != 0 {
                return Err(Errno::EINVAL.into());
            }
            let key = text(key)?;
            with_context(task, fd, |config| config.set(&key, None))?;
        }
        SET_STRING | SET_PATH => {
            let (key, value) = (text(key)?, path(task, value)?);
            with_context(task, fd, |config| config.set(&key, Some(&value)))?;
        }
        CMD_CREATE => {
            let (name, source, options) = with_context(task, fd, |config| {
                if config.fs.is_some() || config.picked.is_some() {
                    return Err(Errno::EBUSY);
                }
                Ok((config.type_name.clone(), config.source.clone(), config.options.clone()))
            })?;
            let fs = make_fs(task, &name, &source, &options)?;
            with_context(task, fd, |config| {
                config.fs = Some(fs);
                Ok(())
            })?;
        }
        CMD_RECONFIGURE => with_context(task, fd, |config| {
            let mount = config.picked.as_ref().ok_or(Errno::EINVAL)?;
            reconfigure(task, mount, &config.options, config.is_read_only)?;
            Ok(())
        })?,
        _ => return Err(Errno::EOPNOTSUPP.into()),
    }
    Ok(0)
}

impl FsConfig {
    /// One parameter. Options go to the file system as mount(2) would give them.
    fn set(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        match (key, value) {
            (b"source", Some(value)) if self.source.is_empty() => self.source = value.to_vec(),
            (b"source", _) => return Err(Errno::EINVAL),
            (b"ro", None) => self.is_read_only = true,
            (b"rw", None) => self.is_read_only = false,
            _ => {
                let longer = self.options.len() + 1 + key.len() + value.map_or(0, |value| 1 + value.len());
                if longer > PAGE_SIZE as usize {
                    return Err(Errno::E2BIG);
                }
                if !self.options.is_empty() {
                    self.options.push(b',');
                }
                self.options.extend_from_slice(key);
                if let Some(value) = value {
                    self.options.push(b'=');
                    self.options.extend_from_slice(value);
                }
            }
        }
        Ok(())
    }
}

pub(super) fn fsmount(task: &mut CurrentTask, args: Args) -> SysResult {
    check_admin(task)?;
    let flags = args.uint(1);
    let attrs = MountAttrs::from_bits(args[2]).ok_or(Errno::EINVAL)?;
    if flags & !FS_CLOEXEC != 0 || attrs.contains(MountAttrs::IDMAP) {
        return Err(Errno::EINVAL.into());
    }
    let ((fs, owner), source, is_read_only) = with_context(task, args[0], |config| {
        let fs = config.fs.take().ok_or(Errno::EINVAL)?;
        let source = if config.source.is_empty() { b"none".to_vec() } else { config.source.clone() };
        Ok((fs, source, config.is_read_only))
    })?;
    let mount = vfs(task).new_mount_in(&owner, &fs, &source, attr_flags(attrs)?, is_read_only);
    install_mount(task, &mount, flags & FS_CLOEXEC != 0)
}

/// `MOUNT_ATTR_*` as mount flags.
fn attr_flags(attrs: MountAttrs) -> Result<MountFlags> {
    const NAMES: [(MountAttrs, MountFlags); 6] = [
        (MountAttrs::RDONLY, MountFlags::RDONLY),
        (MountAttrs::NOSUID, MountFlags::NOSUID),
        (MountAttrs::NODEV, MountFlags::NODEV),
        (MountAttrs::NOEXEC, MountFlags::NOEXEC),
        (MountAttrs::NODIRATIME, MountFlags::NODIRATIME),
        (MountAttrs::NOSYMFOLLOW, MountFlags::NOSYMFOLLOW),
    ];
    let own = NAMES
        .iter()
        .filter(|(attr, _)| attrs.contains(*attr))
        .fold(MountFlags::empty(), |all, (_, f)| all | *f);
    // The three ways of keeping access times are a number, not bits.
    Ok(match attrs & MountAttrs::ATIME {
        MountAttrs::NOATIME => own | MountFlags::NOATIME,
        MountAttrs::STRICTATIME => own,
        relative if relative.is_empty() => own | MountFlags::RELATIME,
        _ => return Err(Errno::EINVAL),
    })
}

pub(super) fn mount_setattr(task: &mut CurrentTask, args: Args) -> SysResult {
    let known = AtFlags::EMPTY_PATH | AtFlags::RECURSIVE | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let flags = at_flags(args.uint(2), known)?;
    let smallest = size_of::<MountSetattr>();
    let wanted = task.mm().read_extensible(args.addr(3), args[4], smallest)?;
    check_admin(task)?;
    let change = decode_setattr(&wanted)?;
    let place = find_at(task, args.int(0), args[1], flags.into())?;
    let is_loose_root = place.mount.is_loose() && Arc::ptr_eq(&place.dentry, place.mount.root());
    let mount = if is_loose_root { place.mount.clone() } else { mount_at(task, &place)? };
    let is_recursive = flags.contains(AtFlags::RECURSIVE);
    let mounts = if is_recursive { mount.subtree() } else { vec![mount.clone()] };
    vfs(task).set_mount_flags(&mounts, change.mask, change.flags)?;
    if let Some(kind) = change.propagation {
        let extent = if is_recursive { Extent::Recursive } else { Extent::Single };
        vfs(task).set_propagation(&mount, kind, extent);
    }
    Ok(0)
}

struct AttrChange {
    mask: MountFlags,
    flags: MountFlags,
    propagation: Option<PropagationType>,
}

fn decode_setattr(wanted: &MountSetattr) -> Result<AttrChange> {
    let set = MountAttrs::from_bits(wanted.attr_set).ok_or(Errno::EINVAL)?;
    let clear = MountAttrs::from_bits(wanted.attr_clr).ok_or(Errno::EINVAL)?;
    if (set | clear).contains(MountAttrs::IDMAP) {
        return Err(Errno::EINVAL);
    }
    // Access times can only be changed as a whole.
    let changes_times = clear.intersects(MountAttrs::ATIME);
    if changes_times != clear.contains(MountAttrs::ATIME)
        || (set.intersects(MountAttrs::ATIME) && !changes_times)
    {
        return Err(Errno::EINVAL);
    }
    let times = MountFlags::NOATIME | MountFlags::RELATIME;
    let mut flags = attr_flags(set)?;
    let mut mask = attr_flags((set | clear) & !MountAttrs::ATIME)? & !times;
    if changes_times {
        mask |= times;
    } else {
        flags &= !times;
    }
    let propagation = match MountFlags::from_bits_retain(wanted.propagation) {
        MountFlags::SHARED => Some(PropagationType::Shared),
        MountFlags::PRIVATE => Some(PropagationType::Private),
        MountFlags::SLAVE => Some(PropagationType::Slave),
        MountFlags::UNBINDABLE => Some(PropagationType::Unbindable),
        none if none.is_empty() => None,
        _ => return Err(Errno::EINVAL),
    };
    Ok(AttrChange { mask, flags, propagation })
}

#[cfg(test)]
mod tests {
    use abi::{Errno, PAGE_SIZE};

    use super::FsConfig;

    #[test]
    fn options_stay_within_a_page() {
        let mut config = FsConfig::default();
        let value = vec![b'x'; 1000];
        let results: Vec<_> = (0..100).map(|_| config.set(b"key", Some(value.as_slice()))).collect();
        assert!(results[0].is_ok() && results[99] == Err(Errno::E2BIG));
        assert!(config.options.len() <= PAGE_SIZE as usize);
    }
}
