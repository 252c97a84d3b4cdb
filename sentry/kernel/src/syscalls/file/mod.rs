//! System calls on files and directories.

mod access;
mod aio;
pub(crate) mod args;
mod chdir;
mod chmod_chown_utime;
mod dup;
mod fadvise;
mod fcntl;
mod flock;
mod getdents;
mod inotify;
mod ioctl;
mod memfd;
mod mount;
mod mount_api;
mod namei;
mod open;
mod read_write;
mod seek;
mod splice;
mod stat;
mod statfs;
mod sync;
mod truncate;
mod xattr;

use abi::{Errno, OpenFlags};

use super::table::{Arg, Row};

/// `O_*` as `--strace` names them.
const OPEN_FLAGS: &[(u64, &str)] = &[
    (OpenFlags::WRONLY.bits() as u64, "O_WRONLY"),
    (OpenFlags::RDWR.bits() as u64, "O_RDWR"),
    (OpenFlags::CREAT.bits() as u64, "O_CREAT"),
    (OpenFlags::EXCL.bits() as u64, "O_EXCL"),
    (OpenFlags::NOCTTY.bits() as u64, "O_NOCTTY"),
    (OpenFlags::TRUNC.bits() as u64, "O_TRUNC"),
    (OpenFlags::APPEND.bits() as u64, "O_APPEND"),
    (OpenFlags::NONBLOCK.bits() as u64, "O_NONBLOCK"),
    (OpenFlags::DSYNC.bits() as u64, "O_DSYNC"),
    (OpenFlags::ASYNC.bits() as u64, "O_ASYNC"),
    (OpenFlags::DIRECT.bits() as u64, "O_DIRECT"),
    (OpenFlags::DIRECTORY.bits() as u64, "O_DIRECTORY"),
    (OpenFlags::NOFOLLOW.bits() as u64, "O_NOFOLLOW"),
    (OpenFlags::NOATIME.bits() as u64, "O_NOATIME"),
    (OpenFlags::CLOEXEC.bits() as u64, "O_CLOEXEC"),
    (OpenFlags::PATH.bits() as u64, "O_PATH"),
];

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::full(0, "read", &[Arg::Fd, Arg::OutBuf, Arg::Size], read_write::read),
    Row::full(1, "write", &[Arg::Fd, Arg::InBuf(2), Arg::Size], read_write::write),
    Row::full(2, "open", &[Arg::Path, Arg::Flags(OPEN_FLAGS), Arg::Mode], open::open).takes_memory(),
    Row::full(3, "close", &[Arg::Fd], open::close),
    Row::full(4, "stat", &[Arg::Path, Arg::Hex], stat::stat),
    Row::full(5, "fstat", &[Arg::Fd, Arg::Hex], stat::fstat),
    Row::full(6, "lstat", &[Arg::Path, Arg::Hex], stat::lstat),
    Row::full(8, "lseek", &[Arg::Fd, Arg::Int, Arg::Int], seek::lseek),
    Row::partial(
        16,
        "ioctl",
        &[Arg::Fd, Arg::Hex, Arg::Hex],
        ioctl::ioctl,
        "file systems share no blocks (FICLONE, FIDEDUPERANGE) and have no flags to set",
    ),
    Row::full(17, "pread64", &[Arg::Fd, Arg::OutBuf, Arg::Size, Arg::Int], read_write::pread64),
    Row::full(18, "pwrite64", &[Arg::Fd, Arg::InBuf(2), Arg::Size, Arg::Int], read_write::pwrite64),
    Row::full(19, "readv", &[Arg::Fd, Arg::Hex, Arg::Size], read_write::readv),
    Row::full(20, "writev", &[Arg::Fd, Arg::Hex, Arg::Size], read_write::writev),
    Row::full(21, "access", &[Arg::Path, Arg::Int], access::access),
    Row::full(32, "dup", &[Arg::Fd], dup::dup).takes_memory(),
    Row::full(33, "dup2", &[Arg::Fd, Arg::Fd], dup::dup2).takes_memory(),
    Row::partial(
        72,
        "fcntl",
        &[Arg::Fd, Arg::Int, Arg::Hex],
        fcntl::fcntl,
        "no leases, no directory notification (F_NOTIFY); deadlocks are seen within one file",
    ),
    Row::full(73, "flock", &[Arg::Fd, Arg::Int], flock::flock),
    Row::full(74, "fsync", &[Arg::Fd], sync::fsync),
    Row::full(75, "fdatasync", &[Arg::Fd], sync::fdatasync),
    Row::full(76, "truncate", &[Arg::Path, Arg::Int], truncate::truncate),
    Row::full(77, "ftruncate", &[Arg::Fd, Arg::Int], truncate::ftruncate),
    Row::full(78, "getdents", &[Arg::Fd, Arg::Hex, Arg::Size], getdents::getdents).takes_memory(),
    Row::full(79, "getcwd", &[Arg::Hex, Arg::Size], chdir::getcwd),
    Row::full(80, "chdir", &[Arg::Path], chdir::chdir),
    Row::full(81, "fchdir", &[Arg::Fd], chdir::fchdir),
    Row::full(82, "rename", &[Arg::Path, Arg::Path], namei::rename),
    Row::full(83, "mkdir", &[Arg::Path, Arg::Mode], namei::mkdir).takes_memory(),
    Row::full(84, "rmdir", &[Arg::Path], namei::rmdir),
    Row::full(85, "creat", &[Arg::Path, Arg::Mode], open::creat).takes_memory(),
    Row::full(86, "link", &[Arg::Path, Arg::Path], namei::link).takes_memory(),
    Row::full(87, "unlink", &[Arg::Path], namei::unlink),
    Row::full(88, "symlink", &[Arg::Str, Arg::Path], namei::symlink).takes_memory(),
    Row::full(89, "readlink", &[Arg::Path, Arg::Hex, Arg::Size], namei::readlink),
    Row::full(90, "chmod", &[Arg::Path, Arg::Mode], chmod_chown_utime::chmod),
    Row::full(91, "fchmod", &[Arg::Fd, Arg::Mode], chmod_chown_utime::fchmod),
    Row::full(92, "chown", &[Arg::Path, Arg::Int, Arg::Int], chmod_chown_utime::chown),
    Row::full(93, "fchown", &[Arg::Fd, Arg::Int, Arg::Int], chmod_chown_utime::fchown),
    Row::full(94, "lchown", &[Arg::Path, Arg::Int, Arg::Int], chmod_chown_utime::lchown),
    Row::full(95, "umask", &[Arg::Mode], chmod_chown_utime::umask),
    Row::full(132, "utime", &[Arg::Path, Arg::Hex], chmod_chown_utime::utime),
    Row::full(133, "mknod", &[Arg::Path, Arg::Mode, Arg::Hex], namei::mknod).takes_memory(),
    Row::full(136, "ustat", &[Arg::Hex, Arg::Hex], statfs::ustat),
    Row::full(137, "statfs", &[Arg::Path, Arg::Hex], statfs::statfs),
    Row::full(138, "fstatfs", &[Arg::Fd, Arg::Hex], statfs::fstatfs),
    Row::full(161, "chroot", &[Arg::Path], chdir::chroot),
    Row::full(162, "sync", &[], sync::sync),
    Row::full(187, "readahead", &[Arg::Fd, Arg::Int, Arg::Size], fadvise::readahead),
    Row::full(217, "getdents64", &[Arg::Fd, Arg::Hex, Arg::Size], getdents::getdents64).takes_memory(),
    Row::full(221, "fadvise64", &[Arg::Fd, Arg::Int, Arg::Int, Arg::Int], fadvise::fadvise64),
    Row::full(235, "utimes", &[Arg::Path, Arg::Hex], chmod_chown_utime::utimes),
    Row::full(257, "openat", &[Arg::DirFd, Arg::Path, Arg::Flags(OPEN_FLAGS), Arg::Mode], open::openat)
        .takes_memory(),
    Row::full(258, "mkdirat", &[Arg::DirFd, Arg::Path, Arg::Mode], namei::mkdirat).takes_memory(),
    Row::full(259, "mknodat", &[Arg::DirFd, Arg::Path, Arg::Mode, Arg::Hex], namei::mknodat).takes_memory(),
    Row::full(
        260,
        "fchownat",
        &[Arg::DirFd, Arg::Path, Arg::Int, Arg::Int, Arg::Hex],
        chmod_chown_utime::fchownat,
    ),
    Row::full(261, "futimesat", &[Arg::DirFd, Arg::Path, Arg::Hex], chmod_chown_utime::futimesat),
    Row::full(262, "newfstatat", &[Arg::DirFd, Arg::Path, Arg::Hex, Arg::Hex], stat::newfstatat),
    Row::full(263, "unlinkat", &[Arg::DirFd, Arg::Path, Arg::Hex], namei::unlinkat),
    Row::full(264, "renameat", &[Arg::DirFd, Arg::Path, Arg::DirFd, Arg::Path], namei::renameat),
    Row::full(265, "linkat", &[Arg::DirFd, Arg::Path, Arg::DirFd, Arg::Path, Arg::Hex], namei::linkat)
        .takes_memory(),
    Row::full(266, "symlinkat", &[Arg::Str, Arg::DirFd, Arg::Path], namei::symlinkat).takes_memory(),
    Row::full(267, "readlinkat", &[Arg::DirFd, Arg::Path, Arg::Hex, Arg::Size], namei::readlinkat),
    Row::full(268, "fchmodat", &[Arg::DirFd, Arg::Path, Arg::Mode], chmod_chown_utime::fchmodat),
    Row::full(269, "faccessat", &[Arg::DirFd, Arg::Path, Arg::Int], access::faccessat),
    Row::full(277, "sync_file_range", &[Arg::Fd, Arg::Int, Arg::Int, Arg::Hex], sync::sync_file_range),
    Row::full(280, "utimensat", &[Arg::DirFd, Arg::Path, Arg::Hex, Arg::Hex], chmod_chown_utime::utimensat),
    Row::full(285, "fallocate", &[Arg::Fd, Arg::Hex, Arg::Int, Arg::Int], truncate::fallocate),
    Row::full(292, "dup3", &[Arg::Fd, Arg::Fd, Arg::Hex], dup::dup3).takes_memory(),
    Row::full(295, "preadv", &[Arg::Fd, Arg::Hex, Arg::Size, Arg::Int], read_write::preadv),
    Row::full(296, "pwritev", &[Arg::Fd, Arg::Hex, Arg::Size, Arg::Int], read_write::pwritev),
    Row::full(306, "syncfs", &[Arg::Fd], sync::syncfs),
    Row::full(316, "renameat2", &[Arg::DirFd, Arg::Path, Arg::DirFd, Arg::Path, Arg::Hex], namei::renameat2),
    Row::full(
        327,
        "preadv2",
        &[Arg::Fd, Arg::Hex, Arg::Size, Arg::Int, Arg::Int, Arg::Hex],
        read_write::preadv2,
    ),
    Row::full(
        328,
        "pwritev2",
        &[Arg::Fd, Arg::Hex, Arg::Size, Arg::Int, Arg::Int, Arg::Hex],
        read_write::pwritev2,
    ),
    Row::full(332, "statx", &[Arg::DirFd, Arg::Path, Arg::Hex, Arg::Hex, Arg::Hex], stat::statx),
    Row::full(436, "close_range", &[Arg::Size, Arg::Size, Arg::Hex], open::close_range),
    Row::full(437, "openat2", &[Arg::DirFd, Arg::Path, Arg::Hex, Arg::Size], open::openat2).takes_memory(),
    Row::full(439, "faccessat2", &[Arg::DirFd, Arg::Path, Arg::Int, Arg::Hex], access::faccessat2),
    Row::full(452, "fchmodat2", &[Arg::DirFd, Arg::Path, Arg::Mode, Arg::Hex], chmod_chown_utime::fchmodat2),
    Row::full(40, "sendfile", &[Arg::Fd, Arg::Fd, Arg::Hex, Arg::Size], splice::sendfile),
    Row::full(188, "setxattr", &[Arg::Path, Arg::Str, Arg::Hex, Arg::Size, Arg::Hex], xattr::setxattr)
        .takes_memory(),
    Row::full(189, "lsetxattr", &[Arg::Path, Arg::Str, Arg::Hex, Arg::Size, Arg::Hex], xattr::lsetxattr)
        .takes_memory(),
    Row::full(190, "fsetxattr", &[Arg::Fd, Arg::Str, Arg::Hex, Arg::Size, Arg::Hex], xattr::fsetxattr)
        .takes_memory(),
    Row::full(191, "getxattr", &[Arg::Path, Arg::Str, Arg::Hex, Arg::Size], xattr::getxattr),
    Row::full(192, "lgetxattr", &[Arg::Path, Arg::Str, Arg::Hex, Arg::Size], xattr::lgetxattr),
    Row::full(193, "fgetxattr", &[Arg::Fd, Arg::Str, Arg::Hex, Arg::Size], xattr::fgetxattr),
    Row::full(194, "listxattr", &[Arg::Path, Arg::Hex, Arg::Size], xattr::listxattr),
    Row::full(195, "llistxattr", &[Arg::Path, Arg::Hex, Arg::Size], xattr::llistxattr),
    Row::full(196, "flistxattr", &[Arg::Fd, Arg::Hex, Arg::Size], xattr::flistxattr),
    Row::full(197, "removexattr", &[Arg::Path, Arg::Str], xattr::removexattr),
    Row::full(198, "lremovexattr", &[Arg::Path, Arg::Str], xattr::lremovexattr),
    Row::full(199, "fremovexattr", &[Arg::Fd, Arg::Str], xattr::fremovexattr),
    Row::full(275, "splice", &[Arg::Fd, Arg::Hex, Arg::Fd, Arg::Hex, Arg::Size, Arg::Hex], splice::splice),
    Row::full(276, "tee", &[Arg::Fd, Arg::Fd, Arg::Size, Arg::Hex], splice::tee),
    Row::full(278, "vmsplice", &[Arg::Fd, Arg::Hex, Arg::Size, Arg::Hex], splice::vmsplice),
    Row::partial(
        319,
        "memfd_create",
        &[Arg::Str, Arg::Hex],
        memfd::memfd_create,
        "there are no huge pages (MFD_HUGETLB)",
    )
    .takes_memory(),
    Row::full(
        326,
        "copy_file_range",
        &[Arg::Fd, Arg::Hex, Arg::Fd, Arg::Hex, Arg::Size, Arg::Hex],
        splice::copy_file_range,
    ),
    Row::full(155, "pivot_root", &[Arg::Path, Arg::Path], mount::pivot_root),
    Row::full(165, "mount", &[Arg::Str, Arg::Path, Arg::Str, Arg::Hex, Arg::Hex], mount::mount)
        .takes_memory(),
    Row::full(166, "umount2", &[Arg::Path, Arg::Hex], mount::umount2),
    Row::full(253, "inotify_init", &[], inotify::inotify_init).takes_memory(),
    Row::partial(
        254,
        "inotify_add_watch",
        &[Arg::Fd, Arg::Path, Arg::Hex],
        inotify::inotify_add_watch,
        "IN_DELETE_SELF comes with the last name, even while the file is open",
    )
    .takes_memory(),
    Row::full(255, "inotify_rm_watch", &[Arg::Fd, Arg::Int], inotify::inotify_rm_watch),
    Row::full(294, "inotify_init1", &[Arg::Hex], inotify::inotify_init1).takes_memory(),
    Row::full(428, "open_tree", &[Arg::DirFd, Arg::Path, Arg::Hex], mount_api::open_tree).takes_memory(),
    Row::partial(
        429,
        "move_mount",
        &[Arg::DirFd, Arg::Path, Arg::DirFd, Arg::Path, Arg::Hex],
        mount_api::move_mount,
        "no MOVE_MOUNT_SET_GROUP, no MOVE_MOUNT_BENEATH",
    ),
    Row::full(430, "fsopen", &[Arg::Str, Arg::Hex], mount_api::fsopen).takes_memory(),
    Row::partial(
        431,
        "fsconfig",
        &[Arg::Fd, Arg::Int, Arg::Str, Arg::Hex, Arg::Int],
        mount_api::fsconfig,
        "no binary, descriptor or empty-path parameters",
    ),
    Row::full(432, "fsmount", &[Arg::Fd, Arg::Hex, Arg::Hex], mount_api::fsmount).takes_memory(),
    Row::full(433, "fspick", &[Arg::DirFd, Arg::Path, Arg::Hex], mount_api::fspick).takes_memory(),
    Row::partial(
        442,
        "mount_setattr",
        &[Arg::DirFd, Arg::Path, Arg::Hex, Arg::Hex, Arg::Size],
        mount_api::mount_setattr,
        "no id-mapped mounts",
    ),
    Row::absent(303, "name_to_handle_at", Errno::EOPNOTSUPP, "file systems give no handles"),
    Row::absent(304, "open_by_handle_at", Errno::EOPNOTSUPP, "file systems give no handles"),
    Row::full(206, "io_setup", &[Arg::Size, Arg::Hex], aio::io_setup).takes_memory(),
    Row::full(207, "io_destroy", &[Arg::Hex], aio::io_destroy),
    Row::full(
        208,
        "io_getevents",
        &[Arg::Hex, Arg::Int, Arg::Int, Arg::Hex, Arg::Timespec],
        aio::io_getevents,
    ),
    Row::partial(
        209,
        "io_submit",
        &[Arg::Hex, Arg::Int, Arg::Hex],
        aio::io_submit,
        "requests are carried out while they are submitted; no IOCB_CMD_POLL",
    ),
    Row::full(210, "io_cancel", &[Arg::Hex, Arg::Hex, Arg::Hex], aio::io_cancel),
    Row::full(
        333,
        "io_pgetevents",
        &[Arg::Hex, Arg::Int, Arg::Int, Arg::Hex, Arg::Timespec, Arg::Hex],
        aio::io_pgetevents,
    ),
    Row::absent(457, "statmount", Errno::ENOSYS, "use /proc/self/mountinfo"),
    Row::absent(458, "listmount", Errno::ENOSYS, "use /proc/self/mountinfo"),
];
