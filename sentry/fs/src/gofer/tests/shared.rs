//! Shared mounts: the guest sees what the host does, soon.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use abi::inotify::{IN_ALL_EVENTS, InotifyMask};
use abi::{Errno, OpenFlags};
use kernel::mm::IoDst;
use kernel::vfs::{Inotify, RenameFlags};

use super::{Temp, World};

/// Events take a moment.
pub(super) fn soon(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never became so");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_hosts_changes_are_seen() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    temp.write("d/f", "1");
    let w = World::new(&temp, true);
    assert_eq!(w.attr("/d/f").unwrap().size, 1);
    assert_eq!(w.find("/d/new").err(), Some(Errno::ENOENT));
    let (_, calls) = w.cost(|| {
        for _ in 0..10 {
            w.attr("/d/f").unwrap();
            w.find("/d/new").unwrap_err();
        }
    });
    assert_eq!(calls, 0, "while nothing changes, nothing is asked");
    temp.write("d/new", "appeared");
    soon(|| w.attr("/d/new").is_ok_and(|attr| attr.size == 8));
    temp.write("d/f", "longer now");
    soon(|| w.attr("/d/f").unwrap().size == 10);
    std::fs::remove_file(temp.path("d/f")).unwrap();
    soon(|| w.find("/d/f").is_err());
    std::fs::rename(temp.path("d/new"), temp.path("d/f")).unwrap();
    soon(|| w.attr("/d/f").is_ok_and(|attr| attr.size == 8) && w.find("/d/new").is_err());
    std::fs::remove_dir_all(temp.path("d")).unwrap();
    soon(|| w.find("/d").is_err());
    assert_eq!(w.open("/g", OpenFlags::CREAT | OpenFlags::RDWR).map(|_| ()).err(), None);
    soon(|| w.cost(|| w.attr("/g").unwrap()).1 == 0);
}

#[test]
fn who_may_open_is_what_the_host_says_now() {
    let temp = Temp::new();
    temp.write("f", "old");
    let w = World::new(&temp, true);
    let f = w.open("/f", OpenFlags::empty()).unwrap();
    let mode = || w.find("/f").unwrap().inode().ownership().unwrap().mode & 0o777;
    for (wanted, offset) in [(0o640, 0), (0o604, 1)] {
        std::fs::set_permissions(temp.path("f"), std::fs::Permissions::from_mode(wanted)).unwrap();
        soon(|| mode() == wanted);
        let (_, calls) = w.cost(|| {
            f.read(offset, 1);
            mode()
        });
        assert_eq!(calls, 0, "reading changes nothing of it");
    }
}

#[test]
fn a_replaced_file_is_another() {
    let temp = Temp::new();
    temp.write("f", "old");
    let w = World::new(&temp, true);
    let old = w.open("/f", OpenFlags::empty()).unwrap();
    temp.write("g", "new!");
    std::fs::rename(temp.path("g"), temp.path("f")).unwrap();
    soon(|| w.open("/f", OpenFlags::empty()).unwrap().read(0, 9) == "new!");
    assert_eq!(old.read(0, 9), "old");
}

#[test]
fn our_own_changes_are_no_news() {
    let temp = Temp::new();
    let w = World::new(&temp, true);
    w.mkdir("/d");
    w.find("/d/x").unwrap_err();
    for i in 0..20 {
        w.mkdir(&format!("/d/{i}"));
        if i % 2 == 0 {
            w.rename(&format!("/d/{i}"), &format!("/d/r{i}"), RenameFlags::empty()).unwrap();
        }
    }
    // The events have come by now, which the last one shows.
    temp.write("d/marker", "");
    soon(|| w.find("/d/marker").is_ok());
    let ((), calls) = w.cost(|| {
        for i in 0..20 {
            let name = if i % 2 == 0 { format!("/d/r{i}/x") } else { format!("/d/{i}/x") };
            w.find(&name).unwrap_err();
        }
    });
    assert!(calls <= 20, "one for what is in each, none for the names: {calls}");
    // What the host does to them is.
    std::fs::remove_dir(temp.path("d/1")).unwrap();
    soon(|| w.find("/d/1").is_err());
    assert_eq!(w.vfs.rmdir(&w.caller(), &w.origin, b"/d/1"), Err(Errno::ENOENT));
}

#[test]
fn guest_watchers_hear_of_the_hosts_changes() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    temp.write("d/old", "");
    let w = World::new(&temp, true);
    let inotify = Inotify::new(&w.vfs, &std::sync::Arc::default(), std::sync::Arc::default()).unwrap();
    let d = inotify.add_watch(&w.find("/d").unwrap(), IN_ALL_EVENTS).unwrap();
    let old = inotify.add_watch(&w.find("/d/old").unwrap(), IN_ALL_EVENTS).unwrap();
    temp.write("d/new", "x");
    std::fs::remove_file(temp.path("d/old")).unwrap();
    let mut seen = Vec::new();
    let mut has = |wd: i32, mask: InotifyMask| {
        let mut bytes = [0; 4096];
        let len = inotify.take_events(&mut IoDst::kernel(&mut bytes)).unwrap_or(0);
        let mut rest = &bytes[..len];
        while let Some((head, more)) = rest.split_at_checked(16) {
            let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().unwrap());
            seen.push((word(0).cast_signed(), word(4)));
            rest = &more[word(12) as usize..];
        }
        seen.contains(&(wd, mask.bits()))
    };
    soon(|| has(d, InotifyMask::CREATE));
    soon(|| has(d, InotifyMask::CLOSE_WRITE));
    soon(|| has(d, InotifyMask::DELETE));
    soon(|| has(old, InotifyMask::DELETE_SELF));
}
