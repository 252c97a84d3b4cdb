//! Gofers that were taken over: errors for the guest, nothing worse.

use std::os::fd::AsFd;

use abi::{Errno, OpenFlags};
use gofer_protocol::{
    Attr, DirEntry, DirReplyWriter, FileId, Frame, Header, HelloFds, HelloReply, MessageKind, MountFlags,
    MountInfo, Name, NodeAttr, NodeId, Op, Open, OpenReply, Request, Transport, VERSION, WalkEnd, WalkReply,
    encode,
};
use host::unix::{Kind, pair};

use kernel::vfs::RenameFlags;

use super::{GoferInode, World};

const DIR: u32 = 0o040_755;
const FILE: u32 = 0o100_644;

fn attr(ino: u64, mode: u32) -> Attr {
    // A size that makes the client ask name by name.
    Attr { dev: 1, ino, mode, nlink: 1, size: 1 << 30, ..Attr::default() }
}

fn reply(transport: &Transport, frame: &Frame, body: &[u8]) -> bool {
    let header = Header { kind: MessageKind::Reply, error: None, ..frame.header };
    transport.send(&header, body, &[]).is_ok()
}

/// A reply that says that a file was opened, and so many ahead, all of them the same.
fn opened(node: u64, ino: u64, ahead: usize) -> Vec<u8> {
    let ahead = vec![Some(FileId { dev: 1, ino }); ahead];
    encode(&OpenReply { node: NodeId(node), attr: attr(ino, FILE), ahead })
}

/// A world whose gofer answers with `lie`.
fn world(lie: impl Fn(&Transport, &Frame) -> bool + Send + 'static) -> World {
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    std::thread::spawn(move || {
        let transport = Transport::new(theirs);
        let mut buffer = Vec::new();
        while let Ok(Some(frame)) = transport.receive(&mut buffer) {
            let goes_on = match Op::from_raw(frame.header.op) {
                Some(Op::Hello) => {
                    let root = MountInfo {
                        root: NodeId(1),
                        attr: attr(1, DIR),
                        flags: MountFlags::empty(),
                        fs_kind: gofer_protocol::OVERLAYFS,
                    };
                    reply(
                        &transport,
                        &frame,
                        &encode(&HelloReply { version: VERSION, fds: HelloFds::empty(), mounts: vec![root] }),
                    )
                }
                Some(Op::Close) => true,
                // No extended attributes, so that the path walk gets anywhere.
                Some(Op::ListXattr) => reply(&transport, &frame, &encode(&&b""[..])),
                _ => lie(&transport, &frame),
            };
            if !goes_on {
                return;
            }
        }
    });
    World::over(ours).unwrap()
}

fn found(node: u64, ino: u64, mode: u32) -> NodeAttr {
    NodeAttr { node: NodeId(node), attr: attr(ino, mode) }
}

fn walk_reply(found: Vec<NodeAttr>, end: WalkEnd<'_>) -> Vec<u8> {
    encode(&WalkReply { found, end, is_cacheable: true, open_error: None })
}

#[test]
fn nonsense_is_an_error() {
    let w = world(|t, f| reply(t, f, b"nonsense"));
    assert_eq!(w.attr("/f").err(), Some(Errno::EIO));
    let w = world(|_, _| false);
    assert_eq!(w.attr("/f").err(), Some(Errno::EIO));
    assert_eq!(w.attr("/f").err(), Some(Errno::EIO));
    assert_eq!(w.attr("/").map(|attr| attr.ino).ok(), Some(1));
    // Success without an entry.
    let w = world(|t, f| reply(t, f, &walk_reply(vec![], WalkEnd::Complete)));
    assert_eq!(w.attr("/f").err(), Some(Errno::ENOENT));
    // More entries than names.
    let w =
        world(|t, f| reply(t, f, &walk_reply(vec![found(2, 2, FILE), found(3, 3, DIR)], WalkEnd::Complete)));
    assert_eq!(w.attr("/f").unwrap().ino, 2);
}

#[test]
fn permissions_that_nobody_tells_are_not_those_of_before() {
    let w = world(|_, _| false);
    let root = w.origin.root.inode();
    assert!(root.mode().is_ok());
    GoferInode::of(root).unwrap().attrs.doubt();
    assert_eq!((root.mode(), root.file_type()), (Err(Errno::EIO), Some(abi::FileType::Directory)));
}

#[test]
fn a_file_that_is_its_own_directory_hangs_nobody() {
    // Every name is the root itself.
    let w = world(|t, f| reply(t, f, &walk_reply(vec![found(1, 1, DIR)], WalkEnd::Complete)));
    assert_eq!(w.attr("/a/b/c/../d").map(|attr| attr.ino).ok(), Some(1));
    // Two names of one file, as it seems: nothing is to be done.
    assert_eq!(w.rename("/a/b", "/c", RenameFlags::empty()), Ok(()));
}

#[test]
fn a_file_that_changes_its_type_is_another() {
    let count = std::sync::atomic::AtomicU32::new(0);
    let w = world(move |t, f| {
        let kind = if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2) {
            FILE
        } else {
            DIR
        };
        reply(t, f, &walk_reply(vec![found(5, 5, kind)], WalkEnd::Complete))
    });
    assert_eq!(w.attr("/a").unwrap().mode, FILE);
    assert_eq!(w.attr("/b").unwrap().mode, DIR);
    assert_eq!(w.attr("/a").unwrap().mode, FILE);
}

#[test]
fn an_open_without_a_descriptor_fails() {
    let w = world(|t, f| match Op::from_raw(f.header.op) {
        Some(Op::Walk) => reply(t, f, &walk_reply(vec![found(2, 2, FILE)], WalkEnd::Complete)),
        Some(Op::Open) => reply(t, f, &opened(2, 2, 0)),
        _ => reply(t, f, b""),
    });
    assert_eq!(w.open("/f", OpenFlags::RDWR).err(), Some(Errno::ENFILE));
    // A descriptor of something that cannot be read at a position.
    let w = world(|t, f| match Op::from_raw(f.header.op) {
        Some(Op::Walk) => reply(t, f, &walk_reply(vec![found(2, 2, FILE)], WalkEnd::Complete)),
        Some(Op::Open) => {
            let header = Header { kind: MessageKind::Reply, ..f.header };
            t.send(&header, &opened(2, 2, 0), &[t.as_fd()]).is_ok()
        }
        _ => reply(t, f, b""),
    });
    let file = w.open("/f", OpenFlags::RDWR).unwrap();
    let mut byte = [0];
    let read = file.file.read_at(0, &mut kernel::mm::IoDst::kernel(&mut byte));
    assert_eq!(read, Err(Errno::ESPIPE));
}

#[test]
fn files_opened_ahead_are_those_that_were_asked_for() {
    // (how many more than asked for, what opening the third file then says)
    for (more, expected) in [(0, None), (1, Some(Errno::EIO)), (1000, Some(Errno::EIO))] {
        let w = world(move |t, f| {
            let files = [b"a", b"b", b"c", b"d", b"e"].map(|name| Name::new(name).unwrap());
            match Op::from_raw(f.header.op) {
                Some(Op::ReadDir) => {
                    let mut writer = DirReplyWriter::new(NodeId(1), false);
                    for (ino, name) in (10..).zip(files) {
                        let of_file = Some(attr(ino, FILE));
                        assert!(writer.push(&DirEntry { name, ino, kind: 8, attr: of_file, link: None }));
                    }
                    reply(t, f, &writer.finish(0, true))
                }
                Some(Op::Open) => {
                    let request = Request::decode(f.header.op, &f.body).unwrap();
                    let Request::Open(Open { target, ahead, .. }) = request else { return false };
                    let ino = 10 + u64::from(target.name.unwrap().as_bytes()[0] - b'a');
                    let ahead = if ahead.is_empty() { 0 } else { ahead.len() + more };
                    // Fewer descriptors than it says.
                    let header = Header { kind: MessageKind::Reply, ..f.header };
                    t.send(&header, &opened(ino, ino, ahead), &[t.as_fd(), t.as_fd()]).is_ok()
                }
                _ => reply(t, f, b""),
            }
        });
        GoferInode::of(w.origin.root.inode()).unwrap().entries().unwrap();
        w.open("/a", OpenFlags::empty()).unwrap();
        w.open("/b", OpenFlags::empty()).unwrap();
        assert_eq!(w.open("/c", OpenFlags::empty()).err(), expected);
        // The one that came says that it is the third file, too: the fourth is asked for.
        let (error, calls) = w.cost(|| w.open("/d", OpenFlags::empty()).err());
        assert_eq!((error, calls), (expected, 1));
    }
}

#[test]
fn a_listing_without_end_ends() {
    let w = world(|t, f| {
        let body = DirReplyWriter::new(NodeId(1), false).finish(7, true);
        reply(t, f, &body)
    });
    let root = GoferInode::of(w.origin.root.inode()).unwrap();
    assert_eq!(root.entries().err(), Some(Errno::EIO));
    // The same names again and again.
    let count = std::sync::atomic::AtomicU64::new(0);
    let w = world(move |t, f| {
        let mut writer = DirReplyWriter::new(NodeId(1), false);
        let name = Name::new(b"same").unwrap();
        assert!(writer.push(&DirEntry { name, ino: 1, kind: 8, attr: None, link: None }));
        let n = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        reply(t, f, &writer.finish(u64::from(n < 5), true))
    });
    let root = GoferInode::of(w.origin.root.inode()).unwrap();
    assert_eq!(root.entries().unwrap().len(), 1);
}

#[test]
fn a_directory_that_is_numbered_anew_is_no_lie() {
    let born = |seconds| Some(gofer_protocol::Time { seconds, nanoseconds: 0 });
    for (birth, expected) in [(born(1), Ok(3)), (born(2), Err(Errno::ESTALE)), (None, Err(Errno::ESTALE))] {
        let w = world(move |t, f| {
            let dir = |ino, btime| NodeAttr { attr: Attr { btime, ..attr(ino, DIR) }, ..found(2, ino, DIR) };
            match Op::from_raw(f.header.op) {
                Some(Op::ReadDir) => {
                    let mut writer = DirReplyWriter::new(NodeId(1), false);
                    let (name, of_dir) = (Name::new(b"d").unwrap(), dir(2, born(1)).attr);
                    assert!(writer.push(&DirEntry { name, ino: 2, kind: 4, attr: Some(of_dir), link: None }));
                    reply(t, f, &writer.finish(0, true))
                }
                _ => {
                    let asked = |name: u8, answer| f.body.contains(&name).then_some(answer);
                    let there = [asked(b'd', dir(77, birth)), asked(b'f', found(3, 3, FILE))];
                    reply(t, f, &walk_reply(there.into_iter().flatten().collect(), WalkEnd::Complete))
                }
            }
        });
        let root = GoferInode::of(w.origin.root.inode()).unwrap();
        root.entries().unwrap();
        assert_eq!(w.attr("/d").map(|attr| attr.ino).ok(), Some(2));
        assert_eq!(w.attr("/d/f").map(|attr| attr.ino), expected);
    }
}
