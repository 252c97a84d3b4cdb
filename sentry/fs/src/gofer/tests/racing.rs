//! What is cached when several threads, or the host and a guest, do things at once.

use std::os::unix::fs::{MetadataExt, symlink};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use abi::{Errno, OpenFlags};
use kernel::mm::IoSrc;
use kernel::vfs::{Inode, RenameFlags, SetAttr, WriteAt};

use super::shared::soon;
use super::{GoferFile, GoferInode, Temp, World};

fn root(w: &World) -> Arc<GoferInode> {
    GoferInode::of(w.origin.root.inode()).unwrap().arc().unwrap()
}

/// Ends what is done beside, also where a test fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does `beside` again and again while `action` runs.
fn while_others<T>(beside: &[&(dyn Fn() + Sync)], action: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for other in beside {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    other();
                }
            });
        }
        let _done = Done(&is_done);
        action()
    })
}

#[test]
fn a_change_is_seen_by_who_made_it() {
    let temp = Temp::new();
    let w = World::new(&temp, false);
    let f = w.open("/f", OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
    let look = || assert!(f.inode.attr().is_ok());
    let write = || assert_eq!(f.write(WriteAt::Offset(0), "x").0, 1);
    while_others(&[&look, &look, &write], || {
        for i in 0..3000 {
            let (mode, uid) = (0o600 + i % 8, i % 5);
            let change = SetAttr { mode: Some(mode), uid: Some(uid), ..SetAttr::default() };
            f.inode.set_attr(&w.caller(), &change).unwrap();
            let attr = f.inode.attr().unwrap();
            assert_eq!((attr.mode & 0o777, attr.uid), (mode, uid), "after {i} changes");
            assert_eq!(f.inode.mode().unwrap() & 0o777, mode);
        }
    });
}

#[test]
fn a_file_without_a_name_stays_without() {
    let temp = Temp::new();
    let w = World::new(&temp, false);
    for i in 0..500 {
        let f = w.open(&format!("/{i}"), OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
        let look = || {
            f.write(WriteAt::Offset(0), "x");
            f.inode.attr().unwrap();
        };
        while_others(&[&look, &look], || w.unlink(&format!("/{i}")).unwrap());
        assert_eq!(f.inode.attr().unwrap().nlink, 0);
    }
}

#[test]
fn a_change_that_fails_half_way_is_seen() {
    let temp = Temp::new();
    symlink("nowhere", temp.path("link")).unwrap();
    let w = World::new(&temp, false);
    let link = root(&w).find(b"link").unwrap();
    // The owner of a link can be changed, its mode cannot.
    let change = SetAttr { uid: Some(7), mode: Some(0o600), ..SetAttr::default() };
    assert_eq!(link.set_attr(&w.caller(), &change), Err(Errno::EOPNOTSUPP));
    assert_eq!(std::fs::symlink_metadata(temp.path("link")).unwrap().uid(), 7);
    assert_eq!(link.ownership().unwrap().uid, 7);
}

#[test]
fn two_links_found_at_once_are_one_file() {
    let temp = Temp::new();
    const COUNT: usize = 300;
    for dir in ["a", "b"] {
        std::fs::create_dir(temp.path(dir)).unwrap();
    }
    for i in 0..COUNT {
        temp.write(&format!("a/{i}"), "");
        std::fs::hard_link(temp.path(&format!("a/{i}")), temp.path(&format!("b/{i}"))).unwrap();
    }
    let w = World::new(&temp, false);
    let turn = Barrier::new(2);
    let find_all = |dir: &[u8]| {
        let dir = root(&w).find(dir).unwrap();
        dir.entries().unwrap();
        let one = |i: usize| {
            turn.wait();
            dir.find(i.to_string().as_bytes()).unwrap()
        };
        (0..COUNT).map(one).collect::<Vec<_>>()
    };
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(|| find_all(b"a"));
        (find_all(b"b"), a.join().unwrap())
    });
    assert_eq!(a.iter().zip(&b).filter(|(a, b)| !Arc::ptr_eq(a, b)).count(), 0);
}

#[test]
fn a_listing_does_not_outlive_what_it_says_of_a_file() {
    let temp = Temp::new();
    temp.write("f", "1");
    let w = World::new(&temp, false);
    let dir = root(&w);
    let size = || dir.find(b"f").unwrap().attr().unwrap().size;
    let f = GoferFile::open(dir.find(b"f").unwrap(), OpenFlags::RDWR).unwrap();
    dir.drop_listing();
    dir.entries().unwrap();
    f.write_at(WriteAt::Offset(0), &mut IoSrc::kernel(b"longer")).unwrap();
    assert_eq!(size(), 6);
    // The last that refers to its inode.
    drop(f);
    assert_eq!(size(), 6);
}

/// A file system with little room that is taken off at the end; `None` where that cannot be had.
struct Small<'a>(&'a Temp);

impl<'a> Small<'a> {
    fn mount(at: &'a Temp, how: &[&str]) -> Option<Self> {
        let mounted = Command::new("mount").args(how).arg(&at.0).status();
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("no file system can be mounted here");
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0.0).status();
    }
}

const SMALL: [&str; 5] = ["-t", "tmpfs", "-o", "size=256k", "none"];

#[test]
fn deleted_files_make_room_for_a_copy() {
    let (lower, room, merged) = (Temp::new(), Temp::new(), Temp::new());
    lower.write("big", &"x".repeat(100 << 10));
    let Some(_room) = Small::mount(&room, &SMALL) else { return };
    for dir in ["upper", "work"] {
        std::fs::create_dir(room.path(dir)).unwrap();
    }
    let [lower, upper, work] = [lower.0.clone(), room.path("upper"), room.path("work")];
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let Some(_merged) = Small::mount(&merged, &["-t", "overlay", "-o", &options, "none"]) else { return };
    let w = World::new(&merged, false);
    let content = "x".repeat(4096);
    for i in 0..50 {
        let file = w.open(&format!("/{i}"), OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
        file.write(WriteAt::Offset(0), &content);
    }
    (0..50).for_each(|i| w.unlink(&format!("/{i}")).unwrap());
    // A process that another test is about to start may have the deleted files open for a moment.
    soon(|| w.open("/big", OpenFlags::RDWR).is_ok_and(|big| big.write(WriteAt::Offset(0), "y").0 == 1));
}

#[test]
fn deleted_files_make_room() {
    let temp = Temp::new();
    let Some(_small) = Small::mount(&temp, &SMALL) else { return };
    let (sizes, refused) = {
        let w = World::new(&temp, false);
        let open = |name: &str| w.open(name, OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
        let content = "x".repeat(4096);
        let fill = || {
            for i in 0..60 {
                open(&format!("/{i}")).write(WriteAt::Offset(0), &content);
            }
            (0..60).for_each(|i| w.unlink(&format!("/{i}")).unwrap());
        };
        fill();
        let big = open("/big");
        let first = big.write(WriteAt::Offset(0), &content.repeat(50)).0;
        w.unlink("/big").unwrap();
        drop(big);
        fill();
        let big = open("/big");
        let second = big.inode.fallocate(0, 0, 200 << 10).map(|()| big.inode.attr().unwrap().size);
        let refused = big.inode.fallocate(0, 0, 300 << 10);
        ((first, second), refused)
    };
    assert_eq!((sizes, refused), ((50 * 4096, Ok(200 << 10)), Err(Errno::ENOSPC)));
}

#[test]
fn a_listing_is_no_news_of_a_file_that_was_changed_by_another_name() {
    let temp = Temp::new();
    for dir in ["a", "b"] {
        std::fs::create_dir(temp.path(dir)).unwrap();
    }
    temp.write("a/f", "1");
    std::fs::hard_link(temp.path("a/f"), temp.path("b/f")).unwrap();
    let w = World::new(&temp, false);
    let (a, b) = (root(&w).find(b"a").unwrap(), root(&w).find(b"b").unwrap());
    a.entries().unwrap();
    let by_b = b.find(b"f").unwrap();
    let change = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    by_b.set_attr(&w.caller(), &change).unwrap();
    let by_a = a.find(b"f").unwrap();
    assert!(Arc::ptr_eq(&by_a, &by_b));
    assert_eq!(by_a.attrs.last().mode & 0o777, 0o600);
}

#[test]
fn a_file_that_is_written_to_does_not_hide_its_neighbours() {
    let temp = Temp::new();
    for i in 0..40 {
        temp.write(&format!("{i}"), "content");
    }
    let w = World::new(&temp, true);
    let write = || {
        temp.write("0", "more content");
        thread::sleep(std::time::Duration::from_micros(100));
    };
    let ((), calls) = while_others(&[&write], || {
        w.cost(|| (1..40).for_each(|i| assert_eq!(w.attr(&format!("/{i}")).unwrap().size, 7)))
    });
    assert!(calls < 10, "{calls}");
}

#[test]
fn directories_that_the_host_moves_into_each_other_are_let_go() {
    let temp = Temp::new();
    std::fs::create_dir_all(temp.path("a/b")).unwrap();
    let w = World::new(&temp, true);
    {
        let a = root(&w).find(b"a").unwrap();
        let b = a.find(b"b").unwrap();
        b.entries().unwrap();
        std::fs::rename(temp.path("a/b"), temp.path("b")).unwrap();
        std::fs::rename(temp.path("a"), temp.path("b/a")).unwrap();
        soon(|| b.find(b"a").is_ok_and(|found| Arc::ptr_eq(&a, &found)));
        assert_eq!(a.node().and_then(|_| b.node()).err(), None);
    }
    root(&w).drop_listing();
    assert_eq!(w.fs.volume().inode_count(), 1, "the root");
}

#[test]
fn a_file_that_the_host_changes_as_it_is_made_is_as_the_host_says() {
    use std::os::unix::fs::PermissionsExt;
    let mode_of = |path: &std::path::Path| std::fs::metadata(path).unwrap().mode();
    let temp = Temp::new();
    let w = World::new(&temp, true);
    w.find("/nothing").unwrap_err();
    for i in 0..100 {
        let path = temp.path(&i.to_string());
        thread::scope(|scope| {
            let mode = std::fs::Permissions::from_mode(0o600);
            let path = &path;
            scope.spawn(move || while std::fs::set_permissions(path, mode.clone()).is_err() {});
            w.open(&format!("/{i}"), OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
        });
        soon(|| w.attr(&format!("/{i}")).unwrap().mode == mode_of(&path));
    }
}

#[test]
fn a_file_with_a_name_that_nobody_has_told_of_stays() {
    let temp = Temp::new();
    temp.write("f", "");
    let w = World::new(&temp, true);
    let f = root(&w).find(b"f").unwrap();
    f.node().unwrap();
    std::fs::hard_link(temp.path("f"), temp.path("g")).unwrap();
    w.unlink("/f").unwrap();
    assert_eq!(f.attr().unwrap().nlink, 1);
    soon(|| {
        w.find("/g")
            .is_ok_and(|g| GoferInode::of(g.inode()).unwrap().arc().is_ok_and(|g| Arc::ptr_eq(&f, &g)))
    });
    std::fs::rename(temp.path("g"), temp.path("h")).unwrap();
    temp.write("new", "");
    soon(|| w.find("/h").is_ok());
    w.rename("/new", "/h", RenameFlags::empty()).unwrap();
    assert_eq!(f.attr().unwrap().nlink, 0);
}

#[test]
fn a_file_that_loses_one_name_of_two_is_known_without_asking() {
    let temp = Temp::new();
    let w = World::new(&temp, false);
    let f = w.open("/f", OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
    w.vfs.link(&w.caller(), &w.find("/f").unwrap(), &w.origin, b"/g").unwrap();
    w.unlink("/f").unwrap();
    assert_eq!(w.cost(|| f.inode.attr().unwrap().nlink), (1, 0));
    w.unlink("/g").unwrap();
    assert_eq!(f.inode.attr().unwrap().nlink, 0);
}

#[test]
fn names_that_were_listed_since_are_as_listed() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    temp.write("d/f", "old");
    let w = World::new(&temp, true);
    assert_eq!(w.attr("/d/f").unwrap().size, 3);
    assert_eq!(w.find("/d/new").err(), Some(Errno::ENOENT));
    temp.write("g", "newer");
    std::fs::rename(temp.path("g"), temp.path("d/f")).unwrap();
    temp.write("d/new", "there");
    temp.write("d/marker", "");
    // The events of the others came before its.
    soon(|| w.find("/d/marker").is_ok());
    let dir = w.find("/d").unwrap();
    assert_eq!(GoferInode::of(dir.inode()).unwrap().entries().unwrap().len(), 3);
    assert_eq!(w.attr("/d/f").unwrap().size, 5);
    assert_eq!(w.attr("/d/new").map(|attr| attr.size), Ok(5));
}

#[test]
fn a_file_that_the_host_has_moved_is_there() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    temp.write("d/f", "f");
    temp.write("d/g", "g!");
    let w = World::new(&temp, true);
    // Both are known to the gofer by a node.
    for name in ["/d/f", "/d/g"] {
        w.attr(name).unwrap();
        root(&w).find(b"d").unwrap().find(&name.as_bytes()[3..]).unwrap().node().unwrap();
    }
    std::fs::rename(temp.path("d/g"), temp.path("d/f")).unwrap();
    soon(|| w.attr("/d/f").unwrap().size == 2);
    assert_eq!(w.open("/d/f", OpenFlags::empty()).unwrap().read(0, 9), "g!");
    assert_eq!(w.find("/d/g").err(), Some(Errno::ENOENT));
    std::fs::rename(temp.path("d"), temp.path("e")).unwrap();
    soon(|| w.find("/e/f").is_ok());
    let change = SetAttr { mode: Some(0o600), ..SetAttr::default() };
    w.find("/e/f").unwrap().inode().set_attr(&w.caller(), &change).unwrap();
    w.open("/e/new", OpenFlags::CREAT | OpenFlags::RDWR).unwrap();
    w.rename("/e/f", "/e/h", RenameFlags::empty()).unwrap();
    assert_eq!((temp.read("e/h").as_str(), temp.read("e/new").as_str()), ("g!", ""));
}

#[test]
fn a_link_that_the_host_replaces_again_and_again_is_the_last() {
    let temp = Temp::new();
    let w = World::new(&temp, true);
    for i in 0..20 {
        // Some hosts give the new one the number of the last but one.
        symlink(i.to_string(), temp.path("new")).unwrap();
        std::fs::rename(temp.path("new"), temp.path("link")).unwrap();
        let link = || w.vfs.lookup(&w.caller(), &w.origin, b"/link", kernel::vfs::WalkFlags::empty());
        soon(|| {
            link().is_ok_and(|link| link.inode().readlink(&w.caller()).unwrap() == i.to_string().as_bytes())
        });
    }
}

#[test]
fn who_may_look_into_a_directory_is_what_the_host_says_now() {
    use std::os::unix::fs::PermissionsExt;
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    let w = World::new(&temp, true);
    let d = w.find("/d").unwrap();
    for mode in [0o755, 0o700, 0o711] {
        std::fs::set_permissions(temp.path("d"), std::fs::Permissions::from_mode(mode)).unwrap();
        soon(|| d.inode().mode().unwrap() & 0o777 == mode);
    }
}

#[test]
fn an_open_file_that_the_host_removes_can_still_be_looked_at() {
    use std::os::unix::fs::PermissionsExt;
    let temp = Temp::new();
    temp.write("f", "text");
    let w = World::new(&temp, true);
    let f = w.open("/f", OpenFlags::RDWR).unwrap();
    std::fs::set_permissions(temp.path("f"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::remove_file(temp.path("f")).unwrap();
    soon(|| w.find("/f").is_err());
    let attr = f.inode.attr().unwrap();
    assert_eq!((attr.mode & 0o777, attr.nlink, attr.size), (0o600, 0, 4));
}

#[test]
fn a_name_that_always_is_can_always_be_opened() {
    let temp = Temp::new();
    for i in 0..300 {
        temp.write(&i.to_string(), "content");
    }
    temp.write("name", "content");
    let w = World::new(&temp, false);
    let open = || assert_eq!(w.open("/name", OpenFlags::empty()).unwrap().read(0, 9), "content");
    while_others(&[&open, &open], || {
        (0..300).for_each(|i| w.rename(&format!("/{i}"), "/name", RenameFlags::empty()).unwrap());
    });
}

#[test]
fn a_name_that_the_host_gives_to_another_file_can_be_opened() {
    let temp = Temp::new();
    temp.write("name", "content");
    let w = World::new(&temp, true);
    for i in 0..100 {
        // The gofer knows the old one by a node, or the client knows just its name.
        let old = w.find("/name").unwrap();
        if i % 2 == 0 {
            GoferInode::of(old.inode()).unwrap().node().unwrap();
        }
        temp.write("new", &i.to_string());
        std::fs::rename(temp.path("new"), temp.path("name")).unwrap();
        // The event of it may not be here yet, and then it is the last one, if that was opened.
        w.open("/name", OpenFlags::empty()).unwrap();
    }
}

#[test]
fn a_name_that_the_host_gives_to_another_file_can_be_changed() {
    let temp = Temp::new();
    temp.write("name", "content");
    let w = World::new(&temp, true);
    for i in 0..100u32 {
        let old = w.find("/name").unwrap();
        if i % 2 == 0 {
            GoferInode::of(old.inode()).unwrap().node().unwrap();
        }
        temp.write("new", "");
        std::fs::rename(temp.path("new"), temp.path("name")).unwrap();
        let change = |place: &kernel::vfs::VfsPath| w.vfs.chmod(&w.caller(), place, 0o600 + i % 8);
        let flags = kernel::vfs::WalkFlags::FOLLOW;
        w.vfs.with_place(&w.caller(), &w.origin, b"/name", flags, change).unwrap();
    }
}

#[test]
fn a_file_that_the_host_makes_first_is_opened() {
    let temp = Temp::new();
    let w = World::new(&temp, true);
    for i in 0..50 {
        let name = i.to_string();
        let path = format!("/{name}");
        assert_eq!(w.find(&path).err(), Some(Errno::ENOENT));
        temp.write(&name, "the host's");
        let flags = OpenFlags::CREAT | OpenFlags::RDWR;
        assert_eq!(w.open(&path, flags).unwrap().read(0, 99), "the host's");
        assert_eq!(w.open(&path, flags | OpenFlags::EXCL).err(), Some(Errno::EEXIST));
    }
}
