//! Every message survives encoding, no prefix of one is another, and no bytes at all make the decoder panic.

use proptest::collection::vec;
use proptest::prelude::*;

use crate::*;

fn node() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(NodeId)
}

fn name() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 1..20).prop_filter_map("a legal name", |bytes| {
        Name::new(&bytes).is_some().then(|| &*Box::leak(bytes.into_boxed_slice()))
    })
}

fn bytes() -> impl Strategy<Value = &'static [u8]> {
    vec(any::<u8>(), 0..40).prop_map(|bytes| &*Box::leak(bytes.into_boxed_slice()))
}

fn target() -> impl Strategy<Value = Target<'static>> {
    (node(), proptest::option::of(name()))
        .prop_map(|(node, name)| Target { node, name: name.and_then(Name::new) })
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanoseconds)| Time { seconds, nanoseconds })
}

fn set_time() -> impl Strategy<Value = SetTime> {
    prop_oneof![Just(SetTime::Keep), Just(SetTime::Now), time().prop_map(SetTime::To)]
}

fn open_flags() -> impl Strategy<Value = NodeOpenFlags> {
    any::<u32>().prop_map(NodeOpenFlags::from_bits_truncate)
}

fn attr() -> impl Strategy<Value = Attr> {
    (any::<[u64; 5]>(), any::<[u32; 5]>(), time(), time(), time(), proptest::option::of(time())).prop_map(
        |(long, short, atime, mtime, ctime, btime)| Attr {
            dev: long[0],
            ino: long[1],
            rdev: long[2],
            size: long[3],
            blocks: long[4],
            mode: short[0],
            nlink: short[1],
            uid: short[2],
            gid: short[3],
            block_size: short[4],
            atime,
            mtime,
            ctime,
            btime,
        },
    )
}

fn named(name: &'static [u8]) -> Name<'static> {
    Name::new(name).expect("the strategy makes legal names")
}

fn request() -> impl Strategy<Value = Request<'static>> {
    let ids = (any::<u32>(), any::<u32>(), any::<u32>());
    prop_oneof![
        (any::<u32>(), any::<u16>()).prop_map(|(magic, version)| Request::Hello(Hello { magic, version })),
        (node(), vec(name(), 0..5), proptest::option::of(open_flags())).prop_map(|(from, names, open)| {
            Request::Walk(Walk { from, names: names.into_iter().map(named).collect(), open })
        }),
        (target(), any::<u64>(), any::<bool>()).prop_map(|(target, stream, with_attributes)| {
            Request::ReadDir(ReadDir { target, stream, with_attributes })
        }),
        (target(), open_flags(), vec(name(), 0..5)).prop_map(|(target, flags, names)| {
            Request::Open(Open { target, flags, ahead: names.into_iter().map(named).collect() })
        }),
        (node(), name(), ids, open_flags()).prop_map(|(dir, name, (mode, uid, gid), flags)| {
            Request::Create(Create { dir, name: named(name), mode, uid, gid, flags })
        }),
        (node(), name(), ids).prop_map(|(dir, name, (mode, uid, gid))| {
            Request::Mkdir(Mkdir { dir, name: named(name), mode, uid, gid })
        }),
        (node(), name(), bytes(), ids).prop_map(|(dir, name, link, (uid, gid, _))| {
            Request::Symlink(Symlink { dir, name: named(name), link, uid, gid })
        }),
        (node(), name(), ids, any::<u64>()).prop_map(|(dir, name, (mode, uid, gid), rdev)| {
            Request::Mknod(Mknod { dir, name: named(name), mode, rdev, uid, gid })
        }),
        (target(), node(), name()).prop_map(|(target, dir, name)| Request::Link(Link {
            target,
            dir,
            name: named(name)
        })),
        (node(), name(), any::<bool>()).prop_map(|(dir, name, is_dir)| Request::Unlink(Unlink {
            dir,
            name: named(name),
            is_dir
        })),
        (node(), name(), node(), name(), 0..4u32).prop_map(|(old_dir, old, new_dir, new, flags)| {
            let flags = RenameFlags::from_bits_truncate(flags);
            Request::Rename(Rename { old_dir, old_name: named(old), new_dir, new_name: named(new), flags })
        }),
        (target(), any::<Option<u32>>(), any::<Option<u64>>(), set_time(), set_time()).prop_map(
            |(target, id, size, atime, mtime)| {
                Request::SetAttr(SetAttr { target, mode: id, uid: id, gid: None, size, atime, mtime })
            }
        ),
        (target(), name(), bytes(), 0..4u32).prop_map(|(target, name, value, flags)| {
            let name = XattrName::new(name).expect("a file name is one for an attribute");
            let flags = XattrFlags::from_bits_truncate(flags);
            Request::SetXattr(SetXattr { target, name, value, flags })
        }),
        vec((node(), any::<u32>()), 0..9).prop_map(|nodes| {
            let nodes = nodes.into_iter().map(|(node, count)| Forget { node, count }).collect();
            Request::Close(Close { nodes })
        }),
    ]
}

fn walk_reply() -> impl Strategy<Value = WalkReply<'static>> {
    let end = prop_oneof![
        Just(WalkEnd::Complete),
        Just(WalkEnd::Absent),
        bytes().prop_map(WalkEnd::Symlink),
        Just(WalkEnd::NotDirectory),
        (1..4096i32).prop_map(|raw| WalkEnd::Failed(abi::Errno::from_raw(raw))),
    ];
    let found = vec((node(), attr()).prop_map(|(node, attr)| NodeAttr { node, attr }), 0..4);
    (found, end, any::<bool>(), proptest::option::of(1..4096i32)).prop_map(
        |(found, end, is_cacheable, error)| WalkReply {
            found,
            end,
            is_cacheable,
            open_error: error.map(abi::Errno::from_raw),
        },
    )
}

fn dir_entry() -> impl Strategy<Value = DirEntry<'static>> {
    (name(), any::<u64>(), any::<u8>(), proptest::option::of(attr()), proptest::option::of(bytes()))
        .prop_map(|(name, ino, kind, attr, link)| DirEntry { name: named(name), ino, kind, attr, link })
}

fn event() -> impl Strategy<Value = Event<'static>> {
    prop_oneof![
        Just(Event::Lost),
        (target(), any::<u32>(), any::<u32>()).prop_map(|(target, mask, cookie)| Event::Changed {
            node: target.node,
            name: target.name,
            mask,
            cookie
        }),
    ]
}

fn assert_total<'a, T: Wire<'a> + PartialEq + std::fmt::Debug>(value: &T, bytes: &'a [u8]) {
    assert_eq!(&decode::<T>(bytes).unwrap(), value);
    for len in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..len]).is_err(), "a prefix of {len} bytes was taken for the whole");
    }
}

fn leak(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into_boxed_slice())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn requests_round_trip(request in request()) {
        let bytes = request.encode();
        let op = request.op() as u16;
        prop_assert_eq!(Request::decode(op, &bytes), Ok(request.clone()));
        for len in 0..bytes.len() {
            prop_assert!(Request::decode(op, &bytes[..len]).is_err());
        }
        let mut longer = bytes.clone();
        longer.push(0);
        prop_assert!(Request::decode(op, &longer).is_err());
        prop_assert_eq!(Op::from_raw(op), Some(request.op()));
    }

    #[test]
    fn replies_round_trip(walk in walk_reply(), entries in vec(dir_entry(), 0..6), events in vec(event(), 0..5)) {
        assert_total(&walk, leak(encode(&walk)));
        let batch = EventBatch { events };
        assert_total(&batch, leak(encode(&batch)));
        let mut writer = DirReplyWriter::new(NodeId(7), true);
        for entry in &entries {
            prop_assert!(writer.push(entry));
        }
        let whole = ReadDirReply { dir: NodeId(7), stream: 9, is_cacheable: true, has_xattrs: true, entries };
        let bytes = writer.finish(9, true);
        prop_assert_eq!(&encode(&whole), &bytes);
        assert_total(&whole, leak(bytes));
    }

    #[test]
    fn noise_is_refused_or_valid(op in 0..32u16, noise in vec(any::<u8>(), 0..200)) {
        if let Ok(request) = Request::decode(op, &noise) {
            prop_assert_eq!(request.encode(), noise.clone());
        }
        let _ = decode::<HelloReply>(&noise);
        let _ = decode::<WalkReply<'_>>(&noise);
        let _ = decode::<ReadDirReply<'_>>(&noise);
        let _ = decode::<EventBatch<'_>>(&noise);
        let _ = decode::<StatFsReply>(&noise);
        let _ = Header::read(&noise);
    }

    /// Noise that gets further than random bytes: one byte of a valid message changed.
    #[test]
    fn damaged_requests_are_refused_or_valid(request in request(), at in any::<usize>(), to in any::<u8>()) {
        let mut bytes = request.encode();
        if !bytes.is_empty() {
            let at = at % bytes.len();
            bytes[at] = to;
        }
        if let Ok(other) = Request::decode(request.op() as u16, &bytes) {
            prop_assert_eq!(other.encode(), bytes);
        }
    }

    #[test]
    fn headers_round_trip(op in any::<u16>(), id in any::<u64>(), body in vec(any::<u8>(), 0..50), kind in 0..3usize) {
        let kind = [MessageKind::Request, MessageKind::Reply, MessageKind::Event][kind];
        let header = Header { kind, op, id, error: None };
        let mut message = header.encode(body.len());
        message.extend_from_slice(&body);
        prop_assert_eq!(Header::read(&message), Ok((header, &body[..])));
        message.push(0);
        prop_assert!(Header::read(&message).is_err());
    }
}

#[test]
fn names_that_could_leave_a_directory_are_refused() {
    for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", &[b'x'; 256]] {
        assert_eq!(Name::new(bad), None);
        assert_eq!(decode::<Name<'_>>(leak(encode(&bad))), Err(DecodeError::Bad("file name")));
    }
    for good in [&b"..."[..], b"a", b"-", b"\xff\n", &[b'x'; 255]] {
        assert!(Name::new(good).is_some());
    }
}

#[test]
fn a_count_that_lies_reserves_nothing() {
    let mut bytes = u32::MAX.to_le_bytes().to_vec();
    bytes.extend([0; 16]);
    assert_eq!(decode::<Vec<u64>>(&bytes), Err(DecodeError::Truncated));
    assert_eq!(decode::<Vec<u8>>(&[255, 255, 0, 0, 1]), Err(DecodeError::Truncated));
}

#[test]
fn a_full_directory_reply_stays_within_a_message() {
    let mut writer = DirReplyWriter::new(NodeId(1), false);
    let name = [b'n'; 255];
    let attr = Attr::default();
    let entry = DirEntry { name: named(leak(name.to_vec())), ino: 1, kind: 8, attr: Some(attr), link: None };
    while writer.push(&entry) {}
    let count = writer.count();
    let body = writer.finish(5, false);
    assert!(body.len() <= MAX_MESSAGE - Header::LEN && count > 200);
    assert_eq!(decode::<ReadDirReply<'_>>(&body).unwrap().entries.len(), count as usize);
}
