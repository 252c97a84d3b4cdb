//! What costs a message and what does not; and what is given back.

use abi::{Errno, OpenFlags};
use kernel::vfs::{Inode, RenameFlags};

use super::super::inode::Origin;
use super::{Temp, World};

#[test]
fn a_directory_is_fetched_once() {
    let temp = Temp::new();
    std::fs::create_dir_all(temp.path("usr/bin")).unwrap();
    for i in 0..30 {
        temp.write(&format!("usr/bin/{i}"), "content");
    }
    let w = World::new(&temp, false);
    w.attr("/usr/bin/0").unwrap();
    let ((), calls) = w.cost(|| {
        for i in 0..30 {
            assert_eq!(w.attr(&format!("/usr/bin/{i}")).unwrap().size, 7);
            assert_eq!(w.find(&format!("/usr/bin/no{i}")).err(), Some(Errno::ENOENT));
            assert_eq!(w.find(&format!("/nothing{i}/x")).err(), Some(Errno::ENOENT));
        }
    });
    assert_eq!(calls, 0, "all of it was told at the first look");
    let (_, calls) = w.cost(|| w.open("/usr/bin/3", OpenFlags::empty()).unwrap().read(0, 7));
    assert!(calls <= 2, "the node above, and the open: {calls}");
    let (text, calls) = w.cost(|| w.open("/usr/bin/3", OpenFlags::empty()).unwrap().read(0, 7));
    assert_eq!((text.as_str(), calls), ("content", 0), "a second open is free");
    let (_, calls) = w.cost(|| w.attr("/usr/bin/3").unwrap());
    assert_eq!(calls, 0, "also after it was read");
}

#[test]
fn making_names_keeps_the_cache() {
    let temp = Temp::new();
    let w = World::new(&temp, false);
    w.find("/x").unwrap_err();
    for i in 0..20 {
        let flags = OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::RDWR;
        let (file, calls) = w.cost(|| w.open(&format!("/{i}"), flags).unwrap());
        assert_eq!(calls, 1, "creation and open are one message");
        let (_, calls) = w.cost(|| {
            w.attr("/").unwrap();
            file.inode.attr().unwrap();
            w.find("/x").unwrap_err();
            w.attr(&format!("/{i}")).unwrap();
        });
        assert_eq!(calls, 0);
    }
    for i in 0..20 {
        let ((), calls) = w.cost(|| w.unlink(&format!("/{i}")).unwrap());
        assert_eq!(calls, 1);
        assert_eq!(w.find(&format!("/{i}")).err(), Some(Errno::ENOENT));
    }
    assert_eq!(std::fs::read_dir(&temp.0).unwrap().count(), 0);
}

#[test]
fn a_renamed_file_is_known() {
    let temp = Temp::new();
    temp.write("a", "text");
    let w = World::new(&temp, false);
    let before = w.attr("/a").unwrap();
    let ((), calls) = w.cost(|| {
        for (old, new) in [("/a", "/b"), ("/b", "/a")] {
            w.rename(old, new, RenameFlags::empty()).unwrap();
            let after = w.attr(new).unwrap();
            assert_eq!((after.ino, after.size), (before.ino, 4));
            assert!(after.ctime >= before.ctime);
        }
    });
    assert_eq!(calls, 2);
}

#[test]
fn a_large_directory_is_not_fetched_for_one_name() {
    let temp = Temp::new();
    for i in 0..2000 {
        temp.write(&format!("{i}-{}", "y".repeat(60)), "");
    }
    let w = World::new(&temp, false);
    let name = |i| format!("/{i}-{}", "y".repeat(60));
    for i in 0..100 {
        w.attr(&name(i)).unwrap();
    }
    let ((), calls) = w.cost(|| {
        for i in 100..2000 {
            w.attr(&name(i)).unwrap();
        }
        w.find("/none").unwrap_err();
    });
    // Whether the host calls it medium or huge, it is at most one message a name.
    assert!(calls <= 1901, "{calls}");
    let entries = super::GoferInode::of(w.origin.root.inode()).unwrap().entries().unwrap();
    assert_eq!(entries.len(), 2000);
}

#[test]
fn inodes_and_descriptors_are_given_back() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    for i in 0..600 {
        temp.write(&format!("d/{i}"), "x");
    }
    let open_descriptors = || {
        let prefix = temp.path("d");
        let links = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
        links.filter(|target| target.starts_with(&prefix) && *target != prefix).count()
    };
    let w = World::new(&temp, false);
    for i in 0..600 {
        assert_eq!(w.open(&format!("/d/{i}"), OpenFlags::empty()).unwrap().read(0, 9), "x");
    }
    // The server's are in this process too, but only of what was walked through.
    assert!(open_descriptors() <= 300, "{}", open_descriptors());
    for i in 0..600 {
        w.unlink(&format!("/d/{i}")).unwrap();
    }
    assert_eq!(w.vfs.rmdir(&w.caller(), &w.origin, b"/d"), Ok(()));
    assert_eq!(w.fs.volume().inode_count(), 1, "the root is left");
}

#[test]
fn directories_nested_deeper_than_a_stack_are_dropped() {
    let temp = Temp::new();
    let w = World::new(&temp, false);
    let mut dir = super::GoferInode::of(w.origin.root.inode()).unwrap().arc().unwrap();
    for ino in 0..200_000 {
        let attr = gofer_protocol::Attr { dev: 77, ino, mode: 0o040_755, nlink: 2, ..Default::default() };
        let origin = Origin::Name { parent: dir, name: b"d"[..].into(), node: None, link: None };
        dir = w.fs.volume().inode(attr, origin);
    }
    drop(dir);
    assert_eq!(w.fs.volume().inode_count(), 1);
}
