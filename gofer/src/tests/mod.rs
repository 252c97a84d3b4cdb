//! The server against a temporary directory, with clients that behave and clients that do not.

mod files;
mod hostile;
mod limits;
mod names;
mod watching;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use gofer_protocol::{
    Client, Create, EntryReply, Name, NodeAttr, NodeId, NodeOpenFlags, Target, Transport, Walk, WalkEnd,
};
use host::unix::{Kind, pair};

use crate::{Config, Limits, MountConfig, ServeError, Server};

/// A directory that is removed at the end.
pub(crate) struct Temp(pub(crate) PathBuf);

impl Temp {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gofer-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server and its client.
pub(crate) struct Fixture {
    pub(crate) client: Client,
    pub(crate) roots: Vec<NodeId>,
    pub(crate) events: Option<Transport>,
    thread: Option<JoinHandle<(Result<(), ServeError>, Server)>>,
}

pub(crate) fn config(socket: OwnedFd, mounts: &[(&Path, bool, bool)]) -> Config {
    let mount = |&(path, read_only, shared): &(&Path, bool, bool)| MountConfig {
        path: path.to_path_buf(),
        read_only,
        shared,
    };
    Config { socket, mounts: mounts.iter().map(mount).collect(), limits: Limits::default() }
}

/// Starts a server on a thread of its own.
pub(crate) fn start(config: Config) -> JoinHandle<(Result<(), ServeError>, Server)> {
    std::thread::spawn(move || {
        host::fs::own_working_dir().unwrap();
        host::process::set_umask(0);
        let mut server = Server::new(config).unwrap();
        server.make_door();
        (server.run(), server)
    })
}

impl Fixture {
    /// Serves (path, read-only, shared).
    pub(crate) fn new(mounts: &[(&Path, bool, bool)]) -> Self {
        Self::with(mounts, |_| {})
    }

    pub(crate) fn with(mounts: &[(&Path, bool, bool)], adjust: impl FnOnce(&mut Config)) -> Self {
        let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
        let mut config = config(theirs, mounts);
        adjust(&mut config);
        let thread = start(config);
        let (client, hello, events) = Client::connect(ours).unwrap();
        let roots = hello.mounts.iter().map(|mount| mount.root).collect();
        Self { client, roots, events, thread: Some(thread) }
    }

    pub(crate) fn root(&self) -> NodeId {
        self.roots[0]
    }

    /// The node at the end of a walk that must succeed.
    pub(crate) fn node(&self, names: &[&str]) -> NodeAttr {
        let walk = Walk { from: self.root(), names: names.iter().map(|n| name(n)).collect(), open: None };
        let response = self.client.call(&walk).unwrap();
        let reply = response.get().unwrap();
        assert!(matches!(reply.end, WalkEnd::Complete | WalkEnd::Symlink(_)), "{:?}", reply.end);
        *reply.found.last().unwrap()
    }

    pub(crate) fn create(&self, dir: NodeId, file: &str) -> (EntryReply, OwnedFd) {
        let flags = NodeOpenFlags::READ_WRITE;
        let request = Create { dir, name: name(file), mode: 0o644, uid: 0, gid: 0, flags };
        let mut response = self.client.call(&request).unwrap();
        (response.get().unwrap(), response.take_fd().unwrap())
    }

    /// Ends the connection and looks at what the server leaves.
    pub(crate) fn finish(mut self) -> (Result<(), ServeError>, Server) {
        let thread = self.thread.take().unwrap();
        drop(self);
        thread.join().unwrap()
    }
}

pub(crate) fn name(name: &str) -> Name<'_> {
    Name::new(name.as_bytes()).unwrap()
}

pub(crate) fn at<'a>(dir: NodeId, file: &'a str) -> Target<'a> {
    Target::named(dir, name(file))
}
