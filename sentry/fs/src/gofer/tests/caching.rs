//! What costs a message and what does not; and what is given back.

use abi::{Errno, OpenFlags};
use kernel::mm::IoSrc;
use kernel::vfs::{Inode, RenameFlags, SetAttr, WriteAt};

use super::super::attr::Moment;
use super::super::inode::Origin;
use super::shared::soon;
use super::{GoferInode, Temp, World};

#[test]
fn a_directory_is_fetched_once() {
    let temp = Temp::new();
    std::fs::create_dir_all(temp.path("usr/bin")).unwrap();
    for i in 0..30 {
        temp.write(&format!("usr/bin/{i}"), "content");
    }
    let w = World::new(&temp, false);
    let (_, calls) = w.cost(|| w.attr("/usr/bin/0").unwrap());
    assert!(calls <= 3, "one for each directory on the way: {calls}");
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
fn files_that_are_opened_in_turn_are_opened_ahead() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    let name = |i| format!("/d/{i:03}");
    for i in 0..100 {
        temp.write(&name(i)[1..], &i.to_string());
    }
    let w = World::new(&temp, false);
    let read = |i| w.open(&name(i), OpenFlags::empty()).unwrap().read(0, 9);
    w.attr(&name(0)).unwrap();
    let ((), calls) = w.cost(|| (0..90).for_each(|i| assert_eq!(read(i), i.to_string())));
    assert!(calls <= 15, "{calls}");
    // Those that were opened already are not what is called so later.
    w.unlink(&name(91)).unwrap();
    w.rename(&name(93), &name(92), RenameFlags::empty()).unwrap();
    w.open(&name(93), OpenFlags::CREAT | OpenFlags::RDWR).unwrap().write(WriteAt::Append, "new");
    assert_eq!(w.open(&name(91), OpenFlags::empty()).map(|_| ()).err(), Some(Errno::ENOENT));
    assert_eq!((read(92).as_str(), read(93).as_str()), ("93", "new"));
    // One that is open can be changed without its name, whether it was opened ahead or not.
    for i in 90..100 {
        let Ok(file) = w.open(&name(i), OpenFlags::empty()) else { continue };
        w.unlink(&name(i)).unwrap();
        let change = SetAttr { mode: Some(0o600), ..SetAttr::default() };
        file.inode.set_attr(&w.caller(), &change).unwrap();
        assert_eq!(file.inode.attr().unwrap().mode & 0o777, 0o600);
    }
}

#[test]
fn who_only_wants_names_gets_no_attributes_of_files() {
    let temp = Temp::new();
    for dir in 0..10 {
        std::fs::create_dir_all(temp.path(&format!("{dir}/below"))).unwrap();
        for i in 0..20 {
            temp.write(&format!("{dir}/{i}"), "content");
        }
    }
    for shared in [false, true] {
        let w = World::new(&temp, shared);
        let dir = |i: u32| GoferInode::of(w.find(&format!("/{i}")).unwrap().inode()).unwrap().arc().unwrap();
        dir(0);
        let list = |i| {
            dir(i).entries().unwrap();
            w.attr(&format!("/{i}/below")).unwrap()
        };
        let (_, calls) = w.cost(|| (0..8).map(list).collect::<Vec<_>>());
        assert_eq!(calls, 8, "one for each directory");
        assert_eq!([0, 7].map(|i| dir(i).was_listing_useful()), [Some(false), None]);
        let sizes = || (0..20).for_each(|i| assert_eq!(w.attr(&format!("/7/{i}")).unwrap().size, 7));
        assert_eq!(w.cost(sizes).1, 1, "all at once when one is wanted");
        list(8);
        assert_eq!(dir(8).was_listing_useful(), Some(false), "attributes come again");
    }
}

#[test]
fn a_file_that_was_opened_ahead_is_given_up_when_the_host_replaces_it() {
    let temp = Temp::new();
    let name = |i| format!("/{i:03}");
    for i in 0..50 {
        temp.write(&name(i)[1..], "old");
    }
    let w = World::new(&temp, true);
    let read = |i| w.open(&name(i), OpenFlags::empty()).unwrap().read(0, 9);
    w.attr(&name(0)).unwrap();
    let ((), calls) = w.cost(|| (0..20).for_each(|i| assert_eq!(read(i), "old")));
    assert!(calls <= 10, "{calls}");
    for i in 20..50 {
        temp.write("new", &i.to_string());
        std::fs::rename(temp.path("new"), temp.path(&name(i)[1..])).unwrap();
        soon(|| read(i) == i.to_string());
    }
}

#[test]
fn small_reads_see_what_the_host_does_at_once() {
    let temp = Temp::new();
    let w = World::new(&temp, true);
    for round in 0..3 {
        temp.write("f", &"x".repeat(9000));
        // Later than its last change, so that the host notes the access.
        std::thread::sleep(std::time::Duration::from_millis(20));
        let f = w.open("/f", OpenFlags::empty()).unwrap();
        (0..100).for_each(|i| assert_eq!(f.read(i * 10, 1000), "x".repeat(1000)));
        temp.write("f", &"y".repeat(5000));
        assert_eq!(f.read(4096, 1000), "y".repeat(904), "in round {round}");
        assert_eq!(f.read(8000, 1000), "");
        temp.write("f", &"z".repeat(9000));
        assert_eq!(f.read(4096, 1000), "z".repeat(1000));
    }
}

#[test]
fn what_the_guest_has_written_the_host_can_execute() {
    let temp = Temp::new();
    let w = World::new(&temp, true);
    let f = w.open("/f", OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
    f.file.write_at(WriteAt::Offset(0), &mut IoSrc::kernel(&std::fs::read("/bin/true").unwrap())).unwrap();
    let change = SetAttr { mode: Some(0o755), ..SetAttr::default() };
    f.inode.set_attr(&w.caller(), &change).unwrap();
    drop(f);
    // A process that another test is about to start may have it open for a moment.
    soon(|| std::process::Command::new(temp.path("f")).status().is_ok_and(|status| status.success()));
}

#[test]
fn what_nobody_wants_is_not_opened_ahead_for_long() {
    let temp = Temp::new();
    for dir in 0..8 {
        std::fs::create_dir(temp.path(&dir.to_string())).unwrap();
        for i in 0..100 {
            temp.write(&format!("{dir}/{i:03}"), "");
        }
    }
    let w = World::new(&temp, false);
    for dir in 0..8 {
        // From the last to the first.
        for i in 0..20 {
            w.open(&format!("/{dir}/{:03}", 99 - i * 5), OpenFlags::empty()).unwrap();
        }
    }
    let prefix = temp.path("");
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    let targets = links.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let count = targets.filter(|target| target.starts_with(&prefix) && target.is_file()).count();
    // Those that were opened, and those that wait.
    assert!(count <= 8 * 20 + 32, "{count}");
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
    let entries = GoferInode::of(w.origin.root.inode()).unwrap().entries().unwrap();
    assert_eq!(entries.len(), 2000);
}

#[test]
fn inodes_and_descriptors_are_given_back() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    for i in 0..1500 {
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
    for i in 0..1500 {
        assert_eq!(w.open(&format!("/d/{i}"), OpenFlags::empty()).unwrap().read(0, 9), "x");
    }
    // The server's are in this process too, but only of what was walked through.
    assert!(open_descriptors() <= 1100, "{}", open_descriptors());
    // Files that were read and closed since have told how they are.
    let (sizes, calls) = w.cost(|| (0..1500).map(|i| w.attr(&format!("/d/{i}")).unwrap().size).sum::<u64>());
    assert_eq!((sizes, calls), (1500, 0));
    for i in 0..1500 {
        w.unlink(&format!("/d/{i}")).unwrap();
    }
    assert_eq!(w.vfs.rmdir(&w.caller(), &w.origin, b"/d"), Ok(()));
    assert_eq!(w.fs.volume().inode_count(), 1, "the root is left");
    assert_eq!(open_descriptors(), 0, "before the directory goes, the server gets back what was in it");
}

#[test]
fn directories_nested_deeper_than_a_stack_are_dropped() {
    let temp = Temp::new();
    let w = World::new(&temp, false);
    let mut dir = GoferInode::of(w.origin.root.inode()).unwrap().arc().unwrap();
    for ino in 0..200_000 {
        let attr = gofer_protocol::Attr { dev: 77, ino, mode: 0o040_755, nlink: 2, ..Default::default() };
        let origin = Origin::Name { parent: dir, name: b"d"[..].into(), node: None, link: None };
        dir = w.fs.volume().inode(attr, Moment::default(), origin);
    }
    drop(dir);
    assert_eq!(w.fs.volume().inode_count(), 1);
}
