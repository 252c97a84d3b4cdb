//! A client whose server lies gets an error on every call, in finite time, and closes what it was sent.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use abi::Errno;
use host::unix::{Kind, pair};

use crate::*;

/// How the server waits for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Socket,
    Door,
}

pub(super) const WAYS: [Way; 2] = [Way::Socket, Way::Door];

/// Serves on a thread of its own: greets, and leaves all else to `answer` until that says that it is enough.
pub(super) fn server(
    socket: OwnedFd,
    way: Way,
    mut answer: impl FnMut(&Transport, Frame) -> bool + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let transport = Transport::new(socket);
        let (mut door, fds) = (way == Way::Door).then(|| ServerDoor::make().unwrap()).unzip();
        let mut buffer = Vec::new();
        let hello = transport.receive(&mut buffer).unwrap().unwrap();
        let carried: Vec<OwnedFd> = fds.into_iter().flat_map(|fds| [fds.listener, fds.mailbox]).collect();
        let flags = HelloFds::DOOR | HelloFds::MAILBOX;
        let flags = if way == Way::Door { flags } else { HelloFds::empty() };
        greet(&transport, &hello, VERSION, flags, &carried);
        drop(carried);
        loop {
            let received = match &mut door {
                Some(door) => door.receive(&transport, &mut buffer),
                None => transport.receive(&mut buffer),
            };
            let Ok(Some(frame)) = received else { break };
            if !answer(&transport, frame) {
                break;
            }
        }
    })
}

pub(super) fn reply(transport: &Transport, frame: &Frame, body: &[u8]) -> bool {
    reply_with(transport, frame, body, &[])
}

fn reply_with(transport: &Transport, frame: &Frame, body: &[u8], fds: &[OwnedFd]) -> bool {
    let header = Header { kind: MessageKind::Reply, error: None, ..frame.header };
    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
    transport.send(&header, body, &fds).is_ok()
}

fn greet(transport: &Transport, frame: &Frame, version: u16, fds: HelloFds, carried: &[OwnedFd]) {
    let hello = HelloReply { version, fds, mounts: Vec::new() };
    reply_with(transport, frame, &encode(&hello), carried);
}

/// Connects, then answers every request with `lie`.
pub(super) fn client_of(way: Way, lie: impl Fn(&Transport, &Frame) -> bool + Send + 'static) -> Client {
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    limit_waits(ours.as_fd()).unwrap();
    server(theirs, way, move |transport, frame| lie(transport, &frame));
    Client::connect(ours).unwrap().0
}

/// Greets and does no more.
fn greeted(version: u16, fds: HelloFds, carried: Vec<OwnedFd>) -> Result<(), Errno> {
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    let server = thread::spawn(move || {
        let transport = Transport::new(theirs);
        let hello = transport.receive(&mut Vec::new()).unwrap().unwrap();
        greet(&transport, &hello, version, fds, &carried);
    });
    let result = Client::connect(ours).map(|_| ());
    server.join().unwrap();
    result
}

pub(super) const STAT_FS: StatFs = StatFs { node: NodeId(1) };

#[test]
fn many_threads_get_their_own_replies() {
    WAYS.into_iter().for_each(many_threads);
}

fn many_threads(way: Way) {
    let client = Arc::new(client_of(way, |transport, frame| {
        let node = decode::<StatFs>(&frame.body).unwrap().node.0;
        let body = StatFsReply {
            kind: node,
            block_size: 0,
            blocks: 0,
            blocks_free: 0,
            blocks_available: 0,
            files: 0,
            files_free: 0,
            name_max: 0,
        };
        reply(transport, frame, &encode(&body))
    }));
    let threads: Vec<_> = (0..8u64)
        .map(|thread| {
            let client = Arc::clone(&client);
            thread::spawn(move || {
                for round in 0..200 {
                    let node = NodeId(thread * 1000 + round);
                    assert_eq!(client.call(&StatFs { node }).unwrap().get().unwrap().kind, node.0);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(client.state_is_empty());
}

#[test]
fn lies_end_in_errors() {
    WAYS.into_iter().for_each(lies);
}

fn lies(way: Way) {
    let wrong_id = client_of(way, |t, f| {
        t.send(&Header { kind: MessageKind::Reply, id: f.header.id + 9, ..f.header }, &[], &[]).is_ok()
    });
    let wrong_op = client_of(way, |t, f| {
        t.send(&Header { kind: MessageKind::Reply, op: 2, ..f.header }, &[], &[]).is_ok()
    });
    let wrong_kind = client_of(way, |t, f| t.send(&f.header, &[], &[]).is_ok());
    let no_message =
        client_of(way, |t, _| host::unix::send(t.as_fd(), &[std::io::IoSlice::new(b"xyz")], &[]).is_ok());
    let too_long = client_of(way, |t, _| {
        host::unix::send(t.as_fd(), &[std::io::IoSlice::new(&vec![0; MAX_MESSAGE + 1])], &[]).is_ok()
    });
    let gone = client_of(way, |_, _| false);
    for client in [wrong_id, wrong_op, wrong_kind, no_message, too_long, gone] {
        assert_eq!(client.call(&STAT_FS).unwrap_err(), Errno::EIO);
        assert!(client.is_closed());
        assert_eq!(client.call(&STAT_FS).unwrap_err(), Errno::EIO);
    }
}

#[test]
fn nonsense_in_a_body_fails_that_call_alone() {
    let client = client_of(Way::Door, |transport, frame| {
        // Descriptors that nobody asked for are closed on arrival.
        let fds = [transport.as_fd(), transport.as_fd()];
        let header = Header { kind: MessageKind::Reply, ..frame.header };
        transport.send(&header, b"nonsense", &fds).is_ok()
    });
    for _ in 0..3 {
        assert_eq!(client.call(&STAT_FS).unwrap().get().unwrap_err(), Errno::EIO);
    }
    assert!(!client.is_closed());
    let long = [0; MAX_MESSAGE];
    let name = XattrName::new(b"user.x").unwrap();
    let request =
        SetXattr { target: Target::node(NodeId(1)), name, value: &long, flags: XattrFlags::empty() };
    assert_eq!(client.call(&request).unwrap_err(), Errno::EMSGSIZE);
}

#[test]
fn another_version_is_refused() {
    assert_eq!(greeted(VERSION, HelloFds::empty(), Vec::new()), Ok(()));
    assert_eq!(greeted(VERSION + 1, HelloFds::empty(), Vec::new()), Err(Errno::EIO));
}

#[test]
fn what_is_no_listener_is_refused() {
    let socket = || pair(Kind::SeqPacket).unwrap().0;
    assert_eq!(greeted(VERSION, HelloFds::DOOR, vec![socket()]), Err(Errno::EINVAL));
    assert_eq!(greeted(VERSION, HelloFds::DOOR, Vec::new()), Err(Errno::EIO));
    assert_eq!(greeted(VERSION, HelloFds::DOOR, vec![socket(), socket()]), Err(Errno::EIO));
    assert_eq!(greeted(VERSION, HelloFds::empty(), vec![socket()]), Err(Errno::EIO));
}

#[test]
fn threads_that_wait_learn_of_the_end() {
    WAYS.into_iter().for_each(threads_learn);
}

fn threads_learn(way: Way) {
    let client = Arc::new(client_of(way, move |_, frame| frame.header.id < 5));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let client = Arc::clone(&client);
            thread::spawn(move || client.call(&STAT_FS).unwrap_err())
        })
        .collect();
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Errno::EIO);
    }
}

#[test]
fn a_server_that_hangs_holds_nobody_who_gives_up() {
    WAYS.into_iter().for_each(a_server_hangs);
}

fn a_server_hangs(way: Way) {
    let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
    limit_waits(ours.as_fd()).unwrap();
    // Answers what it holds back when it is told to.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let mut hangs = true;
    server(theirs, way, move |transport, frame| {
        if std::mem::take(&mut hangs) {
            released.recv().unwrap();
        }
        reply(transport, &frame, &frame.header.id.to_le_bytes())
    });
    let client = Arc::new(Client::connect(ours).unwrap().0);
    let wanted = Arc::new(AtomicBool::new(true));
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let (client, wanted) = (Arc::clone(&client), Arc::clone(&wanted));
            thread::spawn(move || {
                client.call_while(&STAT_FS, || wanted.load(Ordering::SeqCst)).map(|_| ()).unwrap_err()
            })
        })
        .collect();
    // One whose answer is wanted stays, and becomes the reader when those before it have gone.
    let patient = {
        let client = Arc::clone(&client);
        thread::spawn(move || client.call(&STAT_FS).is_ok())
    };
    thread::sleep(TIMEOUT / 4);
    wanted.store(false, Ordering::SeqCst);
    for thread in threads {
        assert_eq!(thread.join().unwrap(), Errno::EINTR);
    }
    // As long as it hangs, nobody waits whose answer is not wanted.
    assert_eq!(client.call_while(&STAT_FS, || false).map(|_| ()).unwrap_err(), Errno::EINTR);
    release.send(()).unwrap();
    assert!(patient.join().unwrap());
    // The late answers are dropped, and calls go on.
    client.call_while(&STAT_FS, || false).map(|_| ()).unwrap();
    client.call(&STAT_FS).unwrap();
    assert!(client.state_is_empty());
}
