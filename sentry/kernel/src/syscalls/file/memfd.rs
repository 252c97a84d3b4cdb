//! memfd_create(2).

use abi::fcntl::Seals;
use abi::{DeviceId, Errno, FileType, OpenFlags};

use super::args::{Identity, vfs};
use crate::syscalls::table::Args;
use crate::vfs::NewNode;
use crate::{CurrentTask, SysResult};

const MFD_CLOEXEC: u32 = 1;
const MFD_ALLOW_SEALING: u32 = 2;
const MFD_HUGETLB: u32 = 4;
const MFD_NOEXEC_SEAL: u32 = 8;
const MFD_EXEC: u32 = 16;
/// The name with its NUL: 255 bytes less the prefix `memfd:`.
const NAME_MAX: usize = 250;

pub(super) fn memfd_create(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = args.uint(1);
    let known = MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL | MFD_EXEC;
    if flags & MFD_HUGETLB != 0 {
        // There are no huge pages to be had.
        return Err(Errno::ENODEV.into());
    }
    if flags & !known != 0 || flags & (MFD_EXEC | MFD_NOEXEC_SEAL) == MFD_EXEC | MFD_NOEXEC_SEAL {
        return Err(Errno::EINVAL.into());
    }
    let name = match task.mm().read_cstring(args.addr(0), NAME_MAX) {
        Err(Errno::ENAMETOOLONG) => return Err(Errno::EINVAL.into()),
        name => name?,
    };
    let identity = Identity::of(task);
    let caller = identity.caller();
    let is_noexec = flags & MFD_NOEXEC_SEAL != 0;
    let node = NewNode {
        file_type: FileType::Regular,
        mode: if is_noexec { 0o666 } else { 0o777 },
        uid: caller.creds.fsuid,
        gid: caller.creds.fsgid,
        rdev: DeviceId::default(),
        target: b"",
    };
    let mount = vfs(task).memfd_mount()?;
    let inode = mount.root().inode().create_unnamed(&caller, &node)?;
    if is_noexec {
        inode.add_seals(Seals::EXEC)?;
    }
    if flags & (MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL) == 0 {
        inode.add_seals(Seals::SEAL)?;
    }
    let place = vfs(task).unattached_path(mount, inode, &[b"/memfd:", &name[..], b" (deleted)"].concat());
    let open = OpenFlags::RDWR | OpenFlags::LARGEFILE;
    let opened = vfs(task).open_place(&caller, &place, open)?;
    Ok(task.install_fd(opened.file, flags & MFD_CLOEXEC != 0)? as u64)
}
