//! Against a directory of the real host.

use std::os::fd::AsFd;
use std::path::PathBuf;

use abi::Errno;

use super::{
    Inotify, OpenFlags, RenameFlags, SetTime, WatchMask, change_dir, get_xattr, link_at, list_xattr,
    make_dir_at, open, open_at, read_dir, read_link_at, remove_xattr, rename_at, rewind_dir, set_mode,
    set_times, set_xattr, stat, stat_at, stat_file_system, symlink_at, sync, truncate, unlink_at,
};

struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("host-fs-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn names_are_made_listed_and_removed() {
    let temp = Temp::new("names");
    let dir = open(&temp.0, OpenFlags::PATH | OpenFlags::DIRECTORY, 0).unwrap();
    let dir = dir.as_fd();
    make_dir_at(dir, b"d", 0o755).unwrap();
    symlink_at(b"to/where", dir, b"l").unwrap();
    let file = open_at(dir, b"f", OpenFlags::RDWR | OpenFlags::CREAT | OpenFlags::EXCL, 0o640).unwrap();
    truncate(file.as_fd(), 5000).unwrap();
    set_mode(file.as_fd(), 0o4711).unwrap();
    sync(file.as_fd(), true).unwrap();
    link_at(dir, b"f", dir, b"f2").unwrap();
    let path_only = open_at(dir, b"f2", OpenFlags::PATH | OpenFlags::NOFOLLOW, 0).unwrap();
    set_times(path_only.as_fd(), SetTime::To(7, 8), SetTime::Keep).unwrap();
    let seen = stat(path_only.as_fd()).unwrap();
    assert_eq!((seen.mode & 0o7777, seen.nlink, seen.size, seen.atime), (0o4711, 2, 5000, (7, 8)));
    assert_eq!(stat_at(dir, b"f").unwrap().ino, seen.ino);
    assert!(stat_at(dir, b"l").unwrap().is_symlink());
    assert_eq!(read_link_at(dir, b"l").unwrap(), b"to/where");
    let link = open_at(dir, b"l", OpenFlags::PATH | OpenFlags::NOFOLLOW, 0).unwrap();
    assert_eq!(read_link_at(link.as_fd(), b"").unwrap(), b"to/where");
    assert_eq!(read_link_at(dir, b"d"), Err(Errno::EINVAL));
    rename_at(dir, b"f2", dir, b"d/f3", RenameFlags::NO_REPLACE).unwrap();
    assert_eq!(rename_at(dir, b"f", dir, b"l", RenameFlags::NO_REPLACE), Err(Errno::EEXIST));
    assert_eq!(stat_at(dir, b"a\0b"), Err(Errno::EINVAL));
    assert_eq!(stat_at(dir, &[b'x'; 256]), Err(Errno::ENAMETOOLONG));

    let listed = open_at(dir, b".", OpenFlags::DIRECTORY, 0).unwrap();
    let mut buffer = [0; 4096];
    let mut names: Vec<Vec<u8>> =
        read_dir(listed.as_fd(), &mut buffer).unwrap().map(|e| e.name.to_vec()).collect();
    names.sort();
    assert_eq!(names, [&b"."[..], b"..", b"d", b"f", b"l"]);
    assert!(read_dir(listed.as_fd(), &mut buffer).unwrap().is_empty());
    rewind_dir(listed.as_fd(), 0).unwrap();
    assert_eq!(read_dir(listed.as_fd(), &mut buffer).unwrap().count(), 5);
    assert!(stat_file_system(listed.as_fd()).unwrap().name_max >= 255);
    assert_eq!(unlink_at(dir, b"d", false), Err(Errno::EISDIR));
    assert_eq!(unlink_at(dir, b"d", true), Err(Errno::ENOTEMPTY));
    unlink_at(dir, b"l", false).unwrap();
}

#[test]
fn extended_attributes_come_back() {
    let temp = Temp::new("xattr");
    std::fs::write(temp.0.join("f"), b"").unwrap();
    let file = open(&temp.0.join("f"), OpenFlags::empty(), 0).unwrap();
    match set_xattr(file.as_fd(), b"user.a", b"value", 0) {
        Err(Errno::EOPNOTSUPP) => return,
        other => other.unwrap(),
    }
    let mut buffer = [0; 64];
    assert_eq!(get_xattr(file.as_fd(), b"user.a", &mut buffer), Ok(5));
    assert_eq!(get_xattr(file.as_fd(), b"user.a", &mut []), Ok(5));
    assert_eq!(get_xattr(file.as_fd(), b"user.a", &mut [0]), Err(Errno::ERANGE));
    let len = list_xattr(file.as_fd(), &mut buffer).unwrap();
    assert!(buffer[..len].split(|&b| b == 0).any(|n| n == b"user.a"));
    remove_xattr(file.as_fd(), b"user.a").unwrap();
    assert_eq!(get_xattr(file.as_fd(), b"user.a", &mut buffer), Err(Errno::ENODATA));
}

#[test]
fn watches_report_names() {
    let temp = Temp::new("inotify");
    let dir = open(&temp.0, OpenFlags::PATH | OpenFlags::DIRECTORY, 0).unwrap();
    change_dir(dir.as_fd()).unwrap();
    let inotify = Inotify::new().unwrap();
    let watch = inotify.watch(b".", WatchMask::CREATE | WatchMask::DELETE).unwrap();
    std::fs::write(temp.0.join("new"), b"").unwrap();
    std::fs::remove_file(temp.0.join("new")).unwrap();
    inotify.unwatch(watch).unwrap();
    let mut buffer = [0; 4096];
    let events: Vec<_> = inotify.wait(&mut buffer).unwrap().map(|e| (e.watch, e.mask, e.name)).collect();
    assert_eq!(
        events,
        [
            (watch, WatchMask::CREATE, &b"new"[..]),
            (watch, WatchMask::DELETE, b"new"),
            (watch, WatchMask::IGNORED, b"")
        ]
    );
}
