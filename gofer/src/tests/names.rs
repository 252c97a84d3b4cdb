//! Making, linking, renaming, removing; what becomes of nodes then.

use std::os::unix::fs::FileTypeExt;

use abi::Errno;
use gofer_protocol::{
    GetAttr, Link, Mknod, NodeOpenFlags, Open, Readlink, Rename, RenameFlags, Symlink, Target, Unlink,
};

use super::{Fixture, Temp, at, name};

fn rename(f: &Fixture, old: (&[&str], &str), new: (&[&str], &str), flags: RenameFlags) -> Result<(), Errno> {
    let dir = |names: &[&str]| if names.is_empty() { f.root() } else { f.node(names).node };
    let (old_dir, new_dir) = (dir(old.0), dir(new.0));
    let (old_name, new_name) = (name(old.1), name(new.1));
    f.client.call(&Rename { old_dir, old_name, new_dir, new_name, flags }).map(|_| ())
}

#[test]
fn nodes_follow_their_files() {
    let temp = Temp::new();
    std::fs::create_dir_all(temp.path("a/b")).unwrap();
    std::fs::create_dir(temp.path("c")).unwrap();
    temp.write("a/b/file", "one");
    temp.write("c/victim", "second");
    let f = Fixture::with(&[(&temp.0, false, false)], |config| config.limits.descriptors = 1);
    let (b, file, victim) =
        (f.node(&["a", "b"]).node, f.node(&["a", "b", "file"]).node, f.node(&["c", "victim"]).node);
    let size =
        |node| f.client.call(&GetAttr { target: Target::node(node) }).map(|r| r.get().unwrap().attr.size);
    // A directory above moves: what is below is found again, descriptors or not.
    rename(&f, (&["a"], "b"), (&["c"], "moved"), RenameFlags::empty()).unwrap();
    assert_eq!(size(file), Ok(3));
    assert_eq!(f.node(&["c", "moved", "file"]).node, file);
    assert_eq!(f.node(&["c", "moved"]).node, b);
    // A replaced file lives on for who has it.
    rename(&f, (&["c", "moved"], "file"), (&["c"], "victim"), RenameFlags::empty()).unwrap();
    assert_eq!((size(file), size(victim)), (Ok(3), Ok(6)));
    assert_eq!(f.node(&["c", "victim"]).node, file);
    let open = Open { target: Target::node(victim), flags: NodeOpenFlags::empty(), ahead: Vec::new() };
    assert_eq!(f.client.call(&open).unwrap_err(), Errno::ESTALE);
    // Swapped.
    temp.write("other", "12345");
    let other = f.node(&["other"]).node;
    rename(&f, (&[], "other"), (&["c"], "victim"), RenameFlags::EXCHANGE).unwrap();
    assert_eq!((f.node(&["other"]).node, f.node(&["c", "victim"]).node), (file, other));
    let kept = rename(&f, (&[], "other"), (&["c"], "victim"), RenameFlags::NO_REPLACE);
    assert_eq!(kept, Err(Errno::EEXIST));
    // Below itself.
    let below = rename(&f, (&[], "c"), (&["c", "moved"], "x"), RenameFlags::empty());
    assert_eq!(below, Err(Errno::EINVAL));
    // Two names of one file: nothing happens, says rename(2).
    let link = Link { target: at(f.root(), "other"), dir: f.root(), name: name("twin") };
    let twin = f.client.call(&link).unwrap().get().unwrap();
    assert_eq!(twin.attr.nlink, 2);
    rename(&f, (&[], "other"), (&[], "twin"), RenameFlags::empty()).unwrap();
    assert_eq!((f.node(&["twin"]).node, f.node(&["other"]).node), (twin.node, file));
}

#[test]
fn all_kinds_of_names() {
    let temp = Temp::new();
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let dir = f.root();
    let made =
        f.client.call(&Symlink { dir, name: name("l"), link: b"../../etc/passwd", uid: 1, gid: 2 }).unwrap();
    assert_eq!((made.get().unwrap().attr.uid, made.get().unwrap().attr.gid), (1, 2));
    assert_eq!(
        f.client.call(&Readlink { target: at(dir, "l") }).unwrap().get().unwrap(),
        b"../../etc/passwd"
    );
    let node = made.get().unwrap().node;
    assert_eq!(
        f.client.call(&Readlink { target: Target::node(node) }).unwrap().get().unwrap(),
        b"../../etc/passwd"
    );
    let mknod = |file, mode, rdev| {
        f.client
            .call(&Mknod { dir, name: name(file), mode, rdev, uid: 3, gid: 4 })
            .map(|r| r.get().unwrap().attr)
    };
    assert_eq!(mknod("fifo", 0o010622, 0).unwrap().mode, 0o010622);
    assert_eq!(mknod("sock", 0o140600, 0).unwrap().uid, 3);
    assert_eq!(mknod("null", 0o020666, 0x103).unwrap_err(), Errno::EPERM);
    assert_eq!(mknod("disk", 0o060666, 0x801).unwrap_err(), Errno::EPERM);
    assert_eq!(mknod("file", 0o100666, 0).unwrap_err(), Errno::EINVAL);
    assert!(std::fs::symlink_metadata(temp.path("fifo")).unwrap().file_type().is_fifo());
    // A fifo is never opened: that could wait for ever.
    let open = Open { target: at(dir, "fifo"), flags: NodeOpenFlags::empty(), ahead: Vec::new() };
    assert_eq!(f.client.call(&open).unwrap_err(), Errno::ENXIO);
    let link =
        |target, new| f.client.call(&Link { target, dir, name: name(new) }).map(|r| r.get().unwrap().attr);
    assert_eq!(link(at(dir, "l"), "l2").unwrap().nlink, 2);
    assert!(std::fs::symlink_metadata(temp.path("l2")).unwrap().is_symlink());
    assert_eq!(link(Target::node(dir), "d2").unwrap_err(), Errno::EPERM);
    let unlink = |file, is_dir| f.client.call(&Unlink { dir, name: name(file), is_dir }).map(|_| ());
    assert_eq!(unlink("fifo", true), Err(Errno::ENOTDIR));
    assert_eq!(unlink("fifo", false), Ok(()));
    assert_eq!(unlink("fifo", false), Err(Errno::ENOENT));
    let (entry, _fd) = f.create(dir, "f");
    unlink("f", false).unwrap();
    assert_eq!(link(Target::node(entry.node), "again").unwrap_err(), Errno::ENOENT);
}
