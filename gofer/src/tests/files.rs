//! Opening, attributes, listings, xattrs.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use abi::Errno;
use gofer_protocol::{
    Attr, GetAttr, GetXattr, ListXattr, NodeId, NodeOpenFlags, Open, ReadDir, RemoveXattr, SetAttr, SetTime,
    SetXattr, StatFs, Sync, Target, Time, Walk, WalkEnd, XattrFlags, XattrName,
};
use host::memory::{Mapping, preadv};

use super::{Fixture, Temp, at, name};

fn content(fd: &std::os::fd::OwnedFd) -> String {
    let memory = host::memory::memfd(c"test", 4096).unwrap();
    let map = Mapping::shared(memory.as_fd(), 0, 4096, true).unwrap();
    let len = preadv(fd.as_fd(), &[map.as_slice()], 0).unwrap();
    let mut bytes = vec![0; len];
    map.as_slice().read(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn keep(target: Target<'_>) -> SetAttr<'_> {
    SetAttr {
        target,
        mode: None,
        uid: None,
        gid: None,
        size: None,
        atime: SetTime::Keep,
        mtime: SetTime::Keep,
    }
}

#[test]
fn a_walk_opens_at_its_end_and_stops_at_links() {
    let temp = Temp::new();
    std::fs::create_dir_all(temp.path("a/b")).unwrap();
    temp.write("a/b/file", "hello");
    std::os::unix::fs::symlink("b/file", temp.path("a/link")).unwrap();
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let walk = |names: &[&'static str], open| {
        let names = names.iter().map(|n| name(n)).collect();
        f.client.call(&Walk { from: f.root(), names, open }).unwrap()
    };
    let mut response = walk(&["a", "b", "file"], Some(NodeOpenFlags::empty()));
    let reply = response.get().unwrap();
    assert_eq!((reply.found.len(), reply.end, reply.is_cacheable), (3, WalkEnd::Complete, true));
    assert_eq!(reply.found[2].attr.size, 5);
    assert_eq!(content(&response.take_fd().unwrap()), "hello");

    let response = walk(&["a", "link", "x"], Some(NodeOpenFlags::empty()));
    let reply = response.get().unwrap();
    assert_eq!((reply.found.len(), reply.end), (2, WalkEnd::Symlink(b"b/file")));
    let response = walk(&["a", "none", "x"], None);
    assert_eq!(response.get().unwrap().end, WalkEnd::Absent);
    let response = walk(&["a", "b", "file", "x"], None);
    let reply = response.get().unwrap();
    assert_eq!((reply.found.len(), reply.end), (3, WalkEnd::NotDirectory));
    // A directory is walked to, but no descriptor of one is ever given.
    let mut response = walk(&["a", "b"], Some(NodeOpenFlags::empty()));
    assert_eq!(response.get().unwrap().open_error, None);
    assert_eq!(response.take_fd().unwrap_err(), Errno::ENFILE);
    let open = Open { target: at(f.root(), "a"), flags: NodeOpenFlags::empty(), ahead: Vec::new() };
    assert_eq!(f.client.call(&open).unwrap_err(), Errno::EISDIR);
}

#[test]
fn neighbours_are_opened_along() {
    let temp = Temp::new();
    temp.write("file", "hello");
    temp.write("next", "you");
    std::fs::create_dir(temp.path("dir")).unwrap();
    std::os::unix::fs::symlink("file", temp.path("link")).unwrap();
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let ask = |target, ahead: &[&'static str]| {
        let ahead = ahead.iter().map(|n| name(n)).collect();
        f.client.call(&Open { target, flags: NodeOpenFlags::empty(), ahead })
    };
    let mut response = ask(at(f.root(), "file"), &["none", "dir", "next", "link"]).unwrap();
    let reply = response.get().unwrap();
    let is_there: Vec<_> = reply.ahead.iter().map(Option::is_some).collect();
    assert_eq!(is_there, [false, false, true, false]);
    assert_eq!(reply.ahead[2].unwrap().ino, std::fs::metadata(temp.path("next")).unwrap().ino());
    assert_eq!(content(&response.take_fd().unwrap()), "hello");
    assert_eq!(content(&response.take_fd().unwrap()), "you");
    assert_eq!(response.take_fd().unwrap_err(), Errno::ENFILE);
    // Too many, and neighbours of what has no name in the request.
    let error = ask(at(f.root(), "file"), &["next"; gofer_protocol::MAX_AHEAD + 1]).unwrap_err();
    assert_eq!(error, Errno::EINVAL);
    assert_eq!(ask(Target::node(reply.node), &["next"]).unwrap_err(), Errno::EINVAL);
}

#[test]
fn attributes_are_the_hosts() {
    let temp = Temp::new();
    temp.write("file", "12345");
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let target = at(f.root(), "file");
    let attr = f.client.call(&GetAttr { target }).unwrap().get().unwrap().attr;
    let host = std::fs::metadata(temp.path("file")).unwrap();
    assert_eq!((attr.ino, attr.dev, attr.mode, attr.size), (host.ino(), host.dev(), host.mode(), 5));
    let change = SetAttr {
        mode: Some(0o4711),
        uid: Some(12),
        gid: Some(34),
        size: Some(2),
        atime: SetTime::To(Time { seconds: 1, nanoseconds: 2 }),
        mtime: SetTime::To(Time { seconds: 3, nanoseconds: 4 }),
        ..keep(target)
    };
    let attr: Attr = f.client.call(&change).unwrap().get().unwrap();
    let host = std::fs::metadata(temp.path("file")).unwrap();
    assert_eq!((host.uid(), host.gid(), host.mode() & 0o7777, host.len()), (12, 34, 0o4711, 2));
    assert_eq!((host.atime(), host.mtime(), host.mtime_nsec()), (1, 3, 4));
    assert_eq!((attr.uid, attr.size, attr.mode & 0o7777), (12, 2, 0o4711));
    // Also of a file that has lost its name.
    let node = f.node(&["file"]).node;
    f.client.call(&gofer_protocol::Unlink { dir: f.root(), name: name("file"), is_dir: false }).unwrap();
    let attr = f.client.call(&SetAttr { uid: Some(0), ..keep(Target::node(node)) }).unwrap().get().unwrap();
    assert_eq!((attr.nlink, attr.uid), (0, 0));
    let error = f.client.call(&SetAttr { size: Some(0), ..keep(Target::node(f.root())) }).unwrap_err();
    assert_eq!(error, Errno::EISDIR);
    let stat = f.client.call(&StatFs { node: f.root() }).unwrap().get().unwrap();
    assert!(stat.block_size > 0 && stat.name_max >= 255);
    f.client.call(&Sync { target: Target::node(f.root()), data_only: false }).unwrap();
}

#[test]
fn new_files_have_the_owner_and_mode_that_were_asked_for() {
    let temp = Temp::new();
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let request = gofer_protocol::Create {
        dir: f.root(),
        name: name("new"),
        mode: 0o6755,
        uid: 5,
        gid: 6,
        flags: NodeOpenFlags::READ_WRITE,
    };
    let mut response = f.client.call(&request).unwrap();
    assert_eq!(response.get().unwrap().attr.mode & 0o7777, 0o6755);
    response.take_fd().unwrap();
    assert_eq!(f.client.call(&request).unwrap_err(), Errno::EEXIST);
    let host = std::fs::metadata(temp.path("new")).unwrap();
    assert_eq!((host.uid(), host.gid(), host.permissions().mode() & 0o7777), (5, 6, 0o6755));
    let request = gofer_protocol::Mkdir { dir: f.root(), name: name("d"), mode: 0o3777, uid: 7, gid: 8 };
    let attr = f.client.call(&request).unwrap().get().unwrap().attr;
    assert_eq!((attr.uid, attr.gid, attr.mode & 0o7777), (7, 8, 0o3777));
}

/// Lists everything, in as many parts as it takes.
fn list(f: &Fixture, dir: NodeId, with_attributes: bool) -> (BTreeMap<Vec<u8>, Option<u64>>, usize) {
    let (mut names, mut stream, mut parts) = (BTreeMap::new(), 0, 0);
    loop {
        let response =
            f.client.call(&ReadDir { target: Target::node(dir), stream, with_attributes }).unwrap();
        let reply = response.get().unwrap();
        for entry in &reply.entries {
            let old = names.insert(entry.name.as_bytes().to_vec(), entry.attr.map(|attr| attr.size));
            assert_eq!(old, None, "listed twice");
        }
        parts += 1;
        stream = reply.stream;
        if stream == 0 {
            return (names, parts);
        }
    }
}

#[test]
fn listings_come_in_parts_without_gaps() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    for i in 0..3000 {
        temp.write(&format!("d/{i}-{}", "x".repeat(i % 60)), &"y".repeat(i % 7));
    }
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let dir = f.node(&["d"]).node;
    let (names, parts) = list(&f, dir, true);
    assert!(names.len() == 3000 && parts > 3, "{} in {parts}", names.len());
    assert!(names.iter().all(|(name, size)| {
        let number: usize = String::from_utf8_lossy(name).split('-').next().unwrap().parse().unwrap();
        *size == Some(number as u64 % 7)
    }));
    let (names, plain_parts) = list(&f, dir, false);
    assert!(names.len() == 3000 && plain_parts < parts && names.values().all(Option::is_none));
    // Names that were only listed are no nodes.
    let (result, server) = f.finish();
    result.unwrap();
    assert_eq!(server.nodes.counts().0, 2);
}

#[test]
fn listings_carry_links_and_kinds() {
    let temp = Temp::new();
    std::os::unix::fs::symlink("over/there", temp.path("link")).unwrap();
    std::fs::create_dir(temp.path("dir")).unwrap();
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let request = ReadDir { target: Target::node(f.root()), stream: 0, with_attributes: true };
    let response = f.client.call(&request).unwrap();
    let mut entries: Vec<_> =
        response.get().unwrap().entries.iter().map(|e| (e.name.as_bytes(), e.kind, e.link)).collect();
    entries.sort();
    assert_eq!(entries, [(&b"dir"[..], 4, None), (b"link", 10, Some(&b"over/there"[..]))]);
    let target = at(f.root(), "link");
    let error = f.client.call(&ReadDir { target, stream: 0, with_attributes: true }).unwrap_err();
    assert_eq!(error, Errno::ENOTDIR);
    let error =
        f.client.call(&Open { target, flags: NodeOpenFlags::empty(), ahead: Vec::new() }).unwrap_err();
    assert_eq!(error, Errno::ENXIO);
}

#[test]
fn extended_attributes_of_files_and_directories() {
    let temp = Temp::new();
    temp.write("file", "");
    std::os::unix::fs::symlink("x", temp.path("link")).unwrap();
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let key = XattrName::new(b"user.key").unwrap();
    for target in [at(f.root(), "file"), Target::node(f.root())] {
        let set = SetXattr { target, name: key, value: b"value", flags: XattrFlags::CREATE };
        match f.client.call(&set) {
            Err(Errno::EOPNOTSUPP) => return,
            other => drop(other.unwrap()),
        }
        assert_eq!(f.client.call(&set).unwrap_err(), Errno::EEXIST);
        assert_eq!(f.client.call(&GetXattr { target, name: key }).unwrap().get().unwrap(), b"value");
        let response = f.client.call(&ListXattr { target }).unwrap();
        assert!(response.get().unwrap().split(|&b| b == 0).any(|n| n == b"user.key"));
        f.client.call(&RemoveXattr { target, name: key }).unwrap();
        assert_eq!(f.client.call(&GetXattr { target, name: key }).unwrap_err(), Errno::ENODATA);
    }
    let target = at(f.root(), "link");
    assert_eq!(f.client.call(&GetXattr { target, name: key }).unwrap_err(), Errno::ENODATA);
    assert_eq!(f.client.call(&ListXattr { target }).unwrap().get().unwrap(), b"");
    let odd = XattrName::new(b"system.odd").unwrap();
    let error = f.client.call(&GetXattr { target: at(f.root(), "file"), name: odd }).unwrap_err();
    assert_eq!(error, Errno::EOPNOTSUPP);
}
