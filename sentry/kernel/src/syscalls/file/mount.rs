//! mount(2), umount2(2), pivot_root(2).

use std::sync::Arc;

use abi::fs::AT_FDCWD;
use abi::mount::{MS_MGC_MSK, MS_MGC_VAL, MountFlags, UmountFlags};
use abi::{Errno, PAGE_SIZE, Result, UserAddr};

use super::args::{Identity, find, find_bytes, path, vfs};
use crate::syscalls::table::Args;
use crate::task::{Capability, UserNamespace};
use crate::vfs::{Extent, FileSystem, Mount, MountOwner, PropagationType, VfsPath, WalkFlags, leads_back};
use crate::{CurrentTask, SysResult, Task};

/// Whether the caller may change its mount name space.
///
/// # Errors
/// `EPERM`.
pub(super) fn check_admin(task: &Task) -> Result<()> {
    let is_allowed = task.creds().has_in(task.namespaces().mnt.user_ns(), Capability::SysAdmin);
    if is_allowed { Ok(()) } else { Err(Errno::EPERM) }
}

/// The mount that `place` is the root of, in the caller's name space.
///
/// # Errors
/// `EINVAL`.
pub(super) fn mount_at(task: &Task, place: &VfsPath) -> Result<Arc<Mount>> {
    let is_root = Arc::ptr_eq(&place.dentry, place.mount.root());
    if is_root && is_own(task, &place.mount) { Ok(place.mount.clone()) } else { Err(Errno::EINVAL) }
}

/// Whether a mount is in the caller's name space.
pub(super) fn is_own(task: &Task, mount: &Mount) -> bool {
    mount.namespace().is_some_and(|ns| Arc::ptr_eq(&ns, &task.namespaces().mnt))
}

pub(super) fn mount(task: &mut CurrentTask, args: Args) -> SysResult {
    let [source, target, fs_type, flags, data, _] = args.0;
    let flags = if flags & MS_MGC_MSK == MS_MGC_VAL { flags & !MS_MGC_MSK } else { flags };
    let flags = MountFlags::from_bits_retain(flags);
    let place = find(task, AT_FDCWD, target, WalkFlags::FOLLOW)?;
    check_admin(task)?;
    if !is_own(task, &place.mount) {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(MountFlags::REMOUNT | MountFlags::BIND) {
        let mount = mount_at(task, &place)?;
        let own = own_flags(flags, Some(mount.flags()));
        vfs(task).set_mount_flags(&[mount], MountFlags::PER_MOUNT, own)?;
    } else if flags.contains(MountFlags::REMOUNT) {
        remount(task, &place, flags, &options(task, data)?)?;
    } else if flags.contains(MountFlags::BIND) {
        bind(task, source, &place, flags)?;
    } else if flags.intersects(MountFlags::PROPAGATION) {
        set_propagation(task, &place, flags)?;
    } else if flags.contains(MountFlags::MOVE) {
        let from = find(task, AT_FDCWD, source, WalkFlags::FOLLOW)?;
        vfs(task).move_mount(&mount_at(task, &from)?, &place)?;
    } else {
        new_mount(task, source, &place, fs_type, flags, data)?;
    }
    Ok(0)
}

/// The flags that a mount has by itself. Without a word on access times they stay as they were.
fn own_flags(flags: MountFlags, old: Option<MountFlags>) -> MountFlags {
    const TIMES: MountFlags = MountFlags::NOATIME
        .union(MountFlags::NODIRATIME)
        .union(MountFlags::RELATIME)
        .union(MountFlags::STRICTATIME);
    let mut own = flags & MountFlags::PER_MOUNT;
    match old {
        Some(old) if !flags.intersects(TIMES) => own |= old & TIMES & MountFlags::PER_MOUNT,
        _ if flags.contains(MountFlags::STRICTATIME) => {
            own.remove(MountFlags::RELATIME | MountFlags::NOATIME);
        }
        _ if !flags.contains(MountFlags::NOATIME) => own |= MountFlags::RELATIME,
        _ => own.remove(MountFlags::RELATIME),
    }
    own
}

fn remount(task: &Task, place: &VfsPath, flags: MountFlags, options: &[u8]) -> Result<()> {
    let mount = mount_at(task, place)?;
    vfs(task).check_mount_flags(&mount, MountFlags::PER_MOUNT, own_flags(flags, Some(mount.flags())))?;
    reconfigure(task, &mount, options, flags.contains(MountFlags::RDONLY))?;
    let own = own_flags(flags, Some(mount.flags()));
    vfs(task).set_mount_flags(&[mount], MountFlags::PER_MOUNT, own)
}

/// Changes the file system behind a mount, for all who have it mounted: a right of those who could mount it.
///
/// # Errors
/// `EPERM`; what the file system says of the options.
pub(super) fn reconfigure(task: &Task, mount: &Mount, options: &[u8], is_read_only: bool) -> Result<()> {
    if !mount.superblock().is_capable(&task.creds(), Capability::SysAdmin) {
        return Err(Errno::EPERM);
    }
    mount.fs().remount(options)?;
    mount.superblock().set_read_only(is_read_only);
    Ok(())
}

fn bind(task: &Task, source: u64, place: &VfsPath, flags: MountFlags) -> Result<()> {
    let from = find(task, AT_FDCWD, source, WalkFlags::FOLLOW)?;
    check_source(task, &from)?;
    if leads_back(&from.dentry, &task.namespaces().mnt) {
        return Err(Errno::EINVAL);
    }
    let tree = vfs(task).clone_tree(&from, extent(flags))?;
    vfs(task).attach_tree(&tree, place)
}

/// Whether the tree at `from` may be copied: it is in the caller's name space, or loose, or the file of a name space.
///
/// # Errors
/// `EINVAL`.
pub(super) fn check_source(task: &Task, from: &VfsPath) -> Result<()> {
    let may = is_own(task, &from.mount)
        || from.mount.is_loose()
        || Arc::ptr_eq(&from.mount, vfs(task).namespace_files());
    if may { Ok(()) } else { Err(Errno::EINVAL) }
}

fn extent(flags: MountFlags) -> Extent {
    if flags.contains(MountFlags::REC) { Extent::Recursive } else { Extent::Single }
}

fn set_propagation(task: &Task, place: &VfsPath, flags: MountFlags) -> Result<()> {
    let kind = match flags & MountFlags::PROPAGATION {
        MountFlags::SHARED => PropagationType::Shared,
        MountFlags::PRIVATE => PropagationType::Private,
        MountFlags::SLAVE => PropagationType::Slave,
        MountFlags::UNBINDABLE => PropagationType::Unbindable,
        _ => return Err(Errno::EINVAL),
    };
    let allowed = MountFlags::PROPAGATION | MountFlags::REC | MountFlags::SILENT;
    if !allowed.contains(flags) {
        return Err(Errno::EINVAL);
    }
    vfs(task).set_propagation(&mount_at(task, place)?, kind, extent(flags));
    Ok(())
}

fn new_mount(
    task: &Task,
    source: u64,
    place: &VfsPath,
    fs_type: u64,
    flags: MountFlags,
    data: u64,
) -> Result<()> {
    if fs_type == 0 {
        return Err(Errno::EINVAL);
    }
    let mm = task.mm();
    let name = mm.read_cstring(UserAddr(fs_type), PAGE_SIZE as usize)?;
    let source = if source == 0 { b"none".to_vec() } else { path(task, source)? };
    let (fs, owner) = make_fs(task, &name, &source, &options(task, data)?)?;
    let is_read_only = flags.contains(MountFlags::RDONLY);
    let mount = vfs(task).new_mount_in(&owner, &fs, &source, own_flags(flags, None), is_read_only);
    vfs(task).attach_tree(&mount, place)
}

/// A file system, and the user name space that it belongs to.
pub(super) type OwnedFs = (Arc<dyn FileSystem>, Arc<UserNamespace>);

/// An instance of file system type `name`.
///
/// # Errors
/// `ENODEV` for an unknown type, `EPERM` for one that the caller may not mount.
pub(super) fn make_fs(task: &Task, name: &[u8], source: &[u8], options: &[u8]) -> Result<OwnedFs> {
    let fs_type = vfs(task).fs_type(name)?;
    let identity = Identity::of(task);
    let creds = identity.caller().creds;
    let own = creds.user_ns.clone();
    let (owner, is_allowed) = match fs_type.mount_owner() {
        MountOwner::First => (own, creds.capable(Capability::SysAdmin)),
        MountOwner::Caller => (own, creds.has_in_own(Capability::SysAdmin)),
        MountOwner::Of(kind) => {
            let owner = kind.of(task).owner().ok_or(Errno::EPERM)?;
            let is_allowed = creds.has_in(&owner, Capability::SysAdmin);
            (owner, is_allowed)
        }
    };
    if !is_allowed {
        return Err(Errno::EPERM);
    }
    Ok((fs_type.mount(task.kernel(), &identity.caller(), source, options)?, owner))
}

/// The options of a mount: a string in a page that need not be whole.
fn options(task: &Task, addr: u64) -> Result<Vec<u8>> {
    if addr == 0 {
        return Ok(Vec::new());
    }
    task.mm().read_cstring(UserAddr(addr), PAGE_SIZE as usize).map_err(|errno| match errno {
        Errno::ENAMETOOLONG => Errno::EINVAL,
        other => other,
    })
}

pub(super) fn umount2(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = UmountFlags::from_bits(args.uint(1)).ok_or(Errno::EINVAL)?;
    if flags.contains(UmountFlags::EXPIRE) && flags.intersects(UmountFlags::FORCE | UmountFlags::DETACH) {
        return Err(Errno::EINVAL.into());
    }
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, !flags.contains(UmountFlags::NOFOLLOW));
    let mount = {
        let place = find_bytes(task, AT_FDCWD, &path(task, args[0])?, walk)?;
        check_admin(task)?;
        mount_at(task, &place)?
    };
    if flags.contains(UmountFlags::EXPIRE) && mount.mark_expiring() {
        return Err(Errno::EAGAIN.into());
    }
    vfs(task).unmount(&mount, flags.contains(UmountFlags::DETACH))?;
    Ok(0)
}

pub(super) fn pivot_root(task: &mut CurrentTask, args: Args) -> SysResult {
    check_admin(task)?;
    let directory = WalkFlags::FOLLOW | WalkFlags::DIRECTORY;
    let new = find(task, AT_FDCWD, args[0], directory)?;
    let put_old = find(task, AT_FDCWD, args[1], directory)?;
    let old = task.fs().root();
    vfs(task).pivot_root(&old, &new, &put_old)?;
    // Everybody who had the old root or stood in it goes along.
    let moved = |path: &VfsPath| (*path == old).then(|| new.clone());
    for other in task.kernel().tasks.tasks() {
        other.fs().map_places(&moved);
    }
    Ok(0)
}
