//! Clients that lie, and hosts whose files change at the worst moment.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::Errno;
use gofer_protocol::{
    Client, Close, Create, Forget, GetAttr, Header, MAGIC, MessageKind, Mkdir, NodeId, NodeOpenFlags, Op,
    Open, ReadDir, Rename, RenameFlags, SetAttr, SetTime, SetXattr, StatFs, Symlink, Target, Transport,
    Unlink, VERSION, Walk, XattrFlags, XattrName, encode,
};
use host::unix::{Kind, pair};

use super::{Fixture, Temp, at, config, name, start};

#[test]
fn nodes_that_were_never_given_are_stale() {
    let temp = Temp::new();
    let f = Fixture::new(&[(&temp.0, false, false)]);
    for id in [0, 2, 77, u64::MAX] {
        let node = NodeId(id);
        let target = Target::node(node);
        assert_eq!(f.client.call(&GetAttr { target }).unwrap_err(), Errno::ESTALE);
        assert_eq!(f.client.call(&StatFs { node }).unwrap_err(), Errno::ESTALE);
        let flags = NodeOpenFlags::empty();
        assert_eq!(f.client.call(&Open { target, flags, ahead: Vec::new() }).unwrap_err(), Errno::ESTALE);
        let walk = Walk { from: node, names: vec![name("x")], open: None };
        assert_eq!(f.client.call(&walk).unwrap_err(), Errno::ESTALE);
        let list = ReadDir { target, stream: 0, with_attributes: true };
        assert_eq!(f.client.call(&list).unwrap_err(), Errno::ESTALE);
        f.client.forget(&Close { nodes: vec![Forget { node, count: u32::MAX }] });
    }
    let list = ReadDir { target: Target::node(f.root()), stream: 99, with_attributes: true };
    assert_eq!(f.client.call(&list).unwrap_err(), Errno::ESTALE);
    // The root cannot be given back.
    f.client.forget(&Close { nodes: vec![Forget { node: f.root(), count: u32::MAX }; 10] });
    f.client.call(&StatFs { node: f.root() }).unwrap();
}

#[test]
fn a_forgotten_node_is_gone_and_numbers_are_not_used_again() {
    let temp = Temp::new();
    temp.write("a", "");
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let first = f.node(&["a"]).node;
    assert_eq!(f.node(&["a"]).node, first);
    f.client.forget(&Close { nodes: vec![Forget { node: first, count: 1 }] });
    f.client.call(&GetAttr { target: Target::node(first) }).unwrap();
    f.client.forget(&Close { nodes: vec![Forget { node: first, count: 1 }] });
    assert_eq!(f.client.call(&GetAttr { target: Target::node(first) }).unwrap_err(), Errno::ESTALE);
    assert_ne!(f.node(&["a"]).node, first);
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let (temp, other) = (Temp::new(), Temp::new());
    temp.write("f", "x");
    let f = Fixture::new(&[(&temp.0, true, false), (&other.0, false, false)]);
    let dir = f.root();
    let target = at(dir, "f");
    let flags = NodeOpenFlags::READ_WRITE;
    let new = name("new");
    let keep = SetTime::Keep;
    let xattr = XattrName::new(b"user.x").unwrap();
    let attr = SetAttr { target, mode: Some(0), uid: None, gid: None, size: None, atime: keep, mtime: keep };
    let move_out = Rename {
        old_dir: dir,
        old_name: name("f"),
        new_dir: f.roots[1],
        new_name: new,
        flags: RenameFlags::empty(),
    };
    let errors = [
        f.client.call(&Open { target, flags, ahead: Vec::new() }).err(),
        f.client.call(&Open { target, flags: NodeOpenFlags::TRUNCATE, ahead: Vec::new() }).err(),
        f.client.call(&Create { dir, name: new, mode: 0o600, uid: 0, gid: 0, flags }).err(),
        f.client.call(&Mkdir { dir, name: new, mode: 0o700, uid: 0, gid: 0 }).err(),
        f.client.call(&Symlink { dir, name: new, link: b"x", uid: 0, gid: 0 }).err(),
        f.client.call(&Unlink { dir, name: name("f"), is_dir: false }).err(),
        f.client.call(&attr).err(),
        f.client.call(&SetXattr { target, name: xattr, value: b"", flags: XattrFlags::empty() }).err(),
        f.client.call(&move_out).err(),
    ];
    assert!(errors.iter().all(|error| *error == Some(Errno::EROFS)), "{errors:?}");
    assert_eq!(std::fs::read(temp.path("f")).unwrap(), b"x");
    f.client.call(&Open { target, flags: NodeOpenFlags::empty(), ahead: Vec::new() }).unwrap();
    let walk = Walk { from: dir, names: vec![name("f")], open: Some(flags) };
    assert_eq!(f.client.call(&walk).unwrap().get().unwrap().open_error, Some(Errno::EROFS));
}

#[test]
fn nothing_crosses_from_one_mount_to_another() {
    let (a, b) = (Temp::new(), Temp::new());
    a.write("f", "");
    let f = Fixture::new(&[(&a.0, false, false), (&b.0, false, false)]);
    let rename = Rename {
        old_dir: f.roots[0],
        old_name: name("f"),
        new_dir: f.roots[1],
        new_name: name("f"),
        flags: RenameFlags::empty(),
    };
    assert_eq!(f.client.call(&rename).unwrap_err(), Errno::EXDEV);
    let link = gofer_protocol::Link { target: at(f.roots[0], "f"), dir: f.roots[1], name: name("f") };
    assert_eq!(f.client.call(&link).unwrap_err(), Errno::EXDEV);
}

/// Sends frames by hand; returns the error in the reply.
fn raw(transport: &Transport, op: u16, body: &[u8]) -> Option<Errno> {
    transport.send(&Header { kind: MessageKind::Request, op, id: 5, error: None }, body, &[]).unwrap();
    transport.receive(&mut Vec::new()).unwrap().expect("a reply").header.error
}

#[test]
fn names_that_lead_out_are_refused_before_they_are_used() {
    let temp = Temp::new();
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    start(config(theirs, &[(&temp.0, false, false)]));
    let transport = Transport::new(ours);
    assert_eq!(raw(&transport, Op::StatFs as u16, &encode(&StatFs { node: NodeId(1) })), Some(Errno::EPROTO));
    let hello = gofer_protocol::Hello { magic: MAGIC, version: VERSION };
    let old = gofer_protocol::Hello { version: VERSION + 1, ..hello };
    assert_eq!(raw(&transport, Op::Hello as u16, &encode(&old)), Some(Errno::EPROTONOSUPPORT));
    assert_eq!(raw(&transport, Op::Hello as u16, &encode(&hello)), None);
    assert_eq!(raw(&transport, Op::Hello as u16, &encode(&hello)), Some(Errno::EPROTO));
    for bad in [&b".."[..], b".", b"a/b", b"", b"a\0b", b"/etc"] {
        let mut body = encode(&NodeId(1));
        body.extend(encode(&bad));
        body.extend(encode(&false));
        assert_eq!(raw(&transport, Op::Unlink as u16, &body), Some(Errno::EPROTO));
    }
    assert_eq!(raw(&transport, 999, b""), Some(Errno::EPROTO));
    assert_eq!(raw(&transport, Op::Walk as u16, &[0xff; 40]), Some(Errno::EPROTO));
    // Unknown flags, both access modes at once.
    let mut body = encode(&Target::node(NodeId(1)));
    body.extend(encode(&0o100u32));
    assert_eq!(raw(&transport, Op::Open as u16, &body), Some(Errno::EPROTO));
    assert_eq!(raw(&transport, Op::StatFs as u16, &encode(&StatFs { node: NodeId(1) })), None);
}

#[test]
fn broken_frames_end_the_connection_and_nothing_else() {
    let temp = Temp::new();
    let frames: [&[u8]; 4] = [b"x", &[0; 20], &[0xff; 64], &vec![7; gofer_protocol::MAX_MESSAGE + 1]];
    for frame in frames {
        let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
        let thread = start(config(theirs, &[(&temp.0, false, false)]));
        // With descriptors, which must not stay open.
        let fds = [ours.as_fd(); 3];
        host::unix::send(ours.as_fd(), &[std::io::IoSlice::new(frame)], &fds).unwrap();
        assert!(thread.join().unwrap().0.is_err());
    }
}

#[test]
fn a_client_that_leaves_without_reading_leaves_nothing_behind() {
    let temp = Temp::new();
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    let thread = start(config(theirs, &[(&temp.0, false, false)]));
    let transport = Transport::new(ours);
    let body = encode(&gofer_protocol::Hello { magic: MAGIC, version: VERSION });
    // As many requests as the socket takes without anybody reading a reply.
    for id in 0..20 {
        transport.send(&Header { kind: MessageKind::Request, op: 1, id, error: None }, &body, &[]).unwrap();
    }
    drop(transport);
    thread.join().unwrap().0.unwrap();
}

/// One thread swaps a directory and a file with symbolic links that lead out, as fast as it can; the client
/// must never reach the secret.
#[test]
fn renames_at_the_wrong_moment_lead_nowhere() {
    let (temp, outside) = (Temp::new(), Temp::new());
    outside.write("file", "secret");
    std::fs::create_dir(temp.path("dir")).unwrap();
    temp.write("dir/file", "public");
    std::os::unix::fs::symlink(&outside.0, temp.path("evil")).unwrap();
    temp.write("plain", "public");
    std::os::unix::fs::symlink(outside.path("file"), temp.path("evil-file")).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let swapper = {
        let (stop, root) = (Arc::clone(&stop), temp.0.clone());
        std::thread::spawn(move || {
            let dir = host::fs::open(&root, abi::fs::OpenFlags::PATH, 0).unwrap();
            while !stop.load(Ordering::Relaxed) {
                for (a, b) in [(&b"dir"[..], &b"evil"[..]), (b"plain", b"evil-file")] {
                    let flags = host::fs::RenameFlags::EXCHANGE;
                    host::fs::rename_at(dir.as_fd(), a, dir.as_fd(), b, flags).unwrap();
                }
            }
        })
    };
    let f = Fixture::with(&[(&temp.0, false, false)], |config| config.limits.descriptors = 1);
    let secret =
        host::fs::stat(host::fs::open(&outside.path("file"), abi::fs::OpenFlags::PATH, 0).unwrap().as_fd())
            .unwrap()
            .ino;
    let flags = NodeOpenFlags::empty();
    let mut opened = 0;
    for round in 0..3000 {
        let names = if round % 2 == 0 { vec![name("dir"), name("file")] } else { vec![name("plain")] };
        let mut response = f.client.call(&Walk { from: f.root(), names, open: Some(flags) }).unwrap();
        let nodes: Vec<_> = response.get().unwrap().found.iter().map(|found| found.node).collect();
        let fds = [
            response.take_fd().ok(),
            nodes.last().and_then(|node| {
                f.client
                    .call(&Open { target: Target::node(*node), flags, ahead: Vec::new() })
                    .ok()?
                    .take_fd()
                    .ok()
            }),
        ];
        for fd in fds.iter().flatten() {
            assert_ne!(host::fs::stat(fd.as_fd()).unwrap().ino, secret);
            opened += 1;
        }
        let nodes = nodes.into_iter().map(|node| Forget { node, count: 1 }).collect();
        f.client.forget(&Close { nodes });
    }
    stop.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
    assert!(opened > 0);
    let (result, server) = f.finish();
    result.unwrap();
    assert_eq!(server.nodes.counts().0, 1, "everything was given back");
}

/// A host that moves directories behind the table's back can make it believe in a ring; nothing hangs or leaks.
#[test]
fn a_ring_of_nodes_is_cut() {
    let temp = Temp::new();
    std::fs::create_dir_all(temp.path("a/b")).unwrap();
    let f = Fixture::new(&[(&temp.0, false, false)]);
    let (a, b) = (f.node(&["a"]).node, f.node(&["a", "b"]).node);
    // So that its descriptor is there.
    f.client.call(&GetAttr { target: Target::node(b) }).unwrap();
    std::fs::rename(temp.path("a/b"), temp.path("b")).unwrap();
    let rename = Rename {
        old_dir: f.root(),
        old_name: name("a"),
        new_dir: b,
        new_name: name("x"),
        flags: RenameFlags::empty(),
    };
    f.client.call(&rename).unwrap();
    for node in [a, b] {
        let _ = f.client.call(&GetAttr { target: Target::node(node) });
        f.client.forget(&Close { nodes: vec![Forget { node, count: 9 }; 2] });
    }
    let (result, server) = f.finish();
    result.unwrap();
    assert_eq!(server.nodes.counts().0, 1);
}

#[test]
fn the_wrong_root_is_an_error_and_not_a_panic() {
    let temp = Temp::new();
    let (_ours, theirs) = pair(Kind::SeqPacket).unwrap();
    let missing = temp.path("missing");
    let error = crate::Server::new(config(theirs, &[(&missing, false, false)])).unwrap_err();
    assert!(error.to_string().contains("missing: No such file"), "{error}");
    // A server that is not there.
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    drop(theirs);
    assert_eq!(Client::connect(ours).unwrap_err(), Errno::EIO);
}
