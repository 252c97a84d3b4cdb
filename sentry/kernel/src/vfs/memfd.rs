//! memfd_create(2): files without a name in a file system of their own.

use std::sync::Arc;

use abi::fcntl::{MemfdFlags, Seals};
use abi::mount::MountFlags;
use abi::{DeviceId, Errno, FileType, OpenFlags, Result};

use super::{Caller, File, FileSystem, NewNode, Vfs};

impl Vfs {
    /// Sets the file system that memfds are made in: one whose unnamed files can be sealed.
    pub fn set_memfd_fs(&self, fs: &Arc<dyn FileSystem>) {
        let mount = self.new_mount(fs, b"tmpfs", MountFlags::NOSUID);
        // Set once, while the sandbox is assembled; a second one is not used.
        let _ = self.memfds.set(mount);
    }

    /// memfd_create(2), but for the flags that say what is no memfd or how the descriptor behaves.
    ///
    /// # Errors
    /// `ENOSYS` where there is no file system for them; else what that says.
    pub fn create_memfd(&self, caller: &Caller<'_>, name: &[u8], flags: MemfdFlags) -> Result<Arc<File>> {
        let mount = self.memfds.get().ok_or(Errno::ENOSYS)?;
        let is_noexec = flags.contains(MemfdFlags::NOEXEC_SEAL);
        let node = NewNode {
            file_type: FileType::Regular,
            mode: if is_noexec { 0o666 } else { 0o777 },
            uid: caller.creds.fsuid,
            gid: caller.creds.fsgid,
            rdev: DeviceId::default(),
            target: b"",
        };
        let inode = mount.root().inode().create_unnamed(caller, &node)?;
        if is_noexec {
            inode.add_seals(Seals::EXEC)?;
        }
        if !flags.intersects(MemfdFlags::ALLOW_SEALING | MemfdFlags::NOEXEC_SEAL) {
            inode.add_seals(Seals::SEAL)?;
        }
        let place = self.unattached_path(mount, inode, &[b"/memfd:", name, b" (deleted)"].concat());
        Ok(self.open_place(caller, &place, OpenFlags::RDWR | OpenFlags::LARGEFILE)?.file)
    }
}
