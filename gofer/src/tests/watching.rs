//! Shared mounts: what the host changes is told.

use std::collections::VecDeque;
use std::path::Path;

use gofer_protocol::{
    Close, Event, EventBatch, Forget, NodeId, ReadDir, Target, Transport, Walk, WalkEnd, decode,
};
use host::fs::WatchMask;

use super::{Fixture, Temp, at, name};

/// Events that were not looked at yet.
struct Log<'a> {
    connection: &'a Transport,
    pending: VecDeque<(NodeId, Vec<u8>, WatchMask)>,
}

impl<'a> Log<'a> {
    fn of(f: &'a Fixture) -> Self {
        Self { connection: f.events.as_ref().unwrap(), pending: VecDeque::new() }
    }

    /// Waits for an event, passing over others.
    fn wait_for(&mut self, node: NodeId, name: &str, mask: WatchMask) {
        loop {
            while let Some(event) = self.pending.pop_front() {
                if event == (node, name.into(), mask) {
                    return;
                }
            }
            let frame = self.connection.receive(&mut Vec::new()).unwrap().expect("the server lives");
            for event in decode::<EventBatch<'_>>(&frame.body).unwrap().events {
                let Event::Changed { node, name, mask, .. } = event else { panic!("lost") };
                let name = name.map_or(Vec::new(), |n| n.as_bytes().to_vec());
                self.pending.push_back((node, name, WatchMask::from_bits_retain(mask)));
            }
        }
    }
}

#[test]
fn changes_by_the_host_are_pushed() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    temp.write("d/old", "");
    let f = Fixture::new(&[(&temp.0, false, true)]);
    let mut events = Log::of(&f);
    let walk = Walk { from: f.root(), names: vec![name("d"), name("absent")], open: None };
    let response = f.client.call(&walk).unwrap();
    let reply = response.get().unwrap();
    assert_eq!((reply.end, reply.is_cacheable), (WalkEnd::Absent, true));
    let dir = reply.found[0].node;
    temp.write("d/absent", "here");
    events.wait_for(dir, "absent", WatchMask::CREATE);
    events.wait_for(dir, "absent", WatchMask::CLOSE_WRITE);
    std::fs::remove_file(temp.path("d/old")).unwrap();
    events.wait_for(dir, "old", WatchMask::DELETE);
    std::fs::rename(temp.path("d"), temp.path("e")).unwrap();
    events.wait_for(f.root(), "e", WatchMask::MOVED_TO | WatchMask::IS_DIR);
    f.client.forget(&Close { nodes: vec![Forget { node: dir, count: 1 }] });
    let (result, server) = f.finish();
    result.unwrap();
    assert_eq!(server.watches.as_ref().unwrap().count(), 1, "the root's watch is left");
}

#[test]
fn a_mount_that_is_a_file_is_watched_itself() {
    let temp = Temp::new();
    temp.write("hosts", "127.0.0.1 localhost");
    let file = temp.path("hosts");
    let mounts: [(&Path, bool, bool); 2] = [(&temp.0, false, false), (&file, false, true)];
    let f = Fixture::new(&mounts);
    let open = gofer_protocol::Open {
        target: Target::node(f.roots[1]),
        flags: gofer_protocol::NodeOpenFlags::READ_WRITE,
        ahead: Vec::new(),
    };
    f.client.call(&open).unwrap().take_fd().unwrap();
    temp.write("hosts", "changed");
    Log::of(&f).wait_for(f.roots[1], "", WatchMask::MODIFY);
}

#[test]
fn what_cannot_be_watched_is_not_cacheable() {
    let temp = Temp::new();
    std::fs::create_dir(temp.path("d")).unwrap();
    let f = Fixture::with(&[(&temp.0, false, true)], |config| config.limits.watches = 1);
    let list = |target| {
        let request = ReadDir { target, stream: 0, with_attributes: false };
        f.client.call(&request).unwrap().get().unwrap().is_cacheable
    };
    assert!(list(Target::node(f.root())));
    assert!(!list(at(f.root(), "d")));
}
