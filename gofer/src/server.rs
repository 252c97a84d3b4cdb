//! The loop: one request, one answer.

use std::os::fd::{AsFd, OwnedFd};

use abi::{Errno, Result};
use gofer_protocol::{
    Attr, Close, DecodeError, DoorFds, Frame, Header, Hello, HelloFds, HelloReply, MAGIC, MessageKind,
    MountInfo, NodeId, Op, Request, ServerDoor, Transport, TransportError, VERSION, Wire, encode,
};
use host::fs;

use crate::attach::{Mount, attach_all};
use crate::config::{Config, ServeError};
use crate::listing::Streams;
use crate::nodes::Nodes;
use crate::watch::Watches;

/// A server for one client.
#[derive(Debug)]
pub struct Server {
    transport: Transport,
    pub(crate) nodes: Nodes,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) streams: Streams,
    pub(crate) watches: Option<Watches>,
    /// The client's end of the event connection, until it has been greeted.
    events: Option<OwnedFd>,
    /// Where to wait for requests, rather than in the socket; and what the client needs for it, until it has been greeted.
    door: Option<ServerDoor>,
    door_fds: Option<DoorFds>,
    has_greeted: bool,
}

/// What a request comes to: the reply's body and perhaps descriptors.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    body: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Answer {
    pub(crate) fn new<'a>(reply: &impl Wire<'a>) -> Self {
        Self::encoded(encode(reply))
    }

    pub(crate) fn encoded(body: Vec<u8>) -> Self {
        Self { body, fds: Vec::new() }
    }

    pub(crate) fn with_fd<'a>(reply: &impl Wire<'a>, fd: OwnedFd) -> Self {
        Self::with_fds(reply, vec![fd])
    }

    pub(crate) fn with_fds<'a>(reply: &impl Wire<'a>, fds: Vec<OwnedFd>) -> Self {
        Self { body: encode(reply), fds }
    }
}

impl Server {
    /// Opens the mounts and, where one is shared, starts the thread that watches.
    ///
    /// # Errors
    /// [`ServeError::Mount`], and [`ServeError::Jail`] where there is no thread to be had.
    pub fn new(config: Config) -> std::result::Result<Self, ServeError> {
        let mut nodes = Nodes::new(config.limits);
        let mounts = attach_all(&config.mounts, &mut nodes)?;
        let mut server = Self {
            transport: Transport::new(config.socket),
            nodes,
            mounts,
            streams: Streams::default(),
            watches: None,
            events: None,
            door: None,
            door_fds: None,
            has_greeted: false,
        };
        if server.mounts.iter().any(Mount::is_shared) {
            match Watches::start(config.limits.watches) {
                Ok((watches, events)) => (server.watches, server.events) = (Some(watches), Some(events)),
                // The host's limits on inotify are used up: without watches the client asks each time.
                Err(Errno::EMFILE | Errno::ENOSPC) => {}
                Err(error) => return Err(ServeError::Jail { what: "watch shared mounts", error }),
            }
        }
        Ok(server)
    }

    /// Waits for requests at a door from the greeting on, where the host has what that takes. The calling thread must be
    /// the one that [runs](Self::run).
    pub fn make_door(&mut self) {
        (self.door, self.door_fds) = ServerDoor::make().ok().unzip();
    }

    /// Answers requests until the client closes its end.
    ///
    /// # Errors
    /// [`ServeError::Connection`] where the client breaks the protocol's framing or the socket fails.
    pub fn run(&mut self) -> std::result::Result<(), ServeError> {
        let mut buffer = Vec::new();
        while let Some(frame) = self.receive(&mut buffer)? {
            if frame.header.kind != MessageKind::Request {
                return Err(TransportError::Protocol(DecodeError::Bad("message kind")).into());
            }
            // Descriptors from the client are closed unseen: none is ever expected.
            drop(frame.fds);
            let result = self.answer(frame.header.op, &frame.body);
            if frame.header.op != Op::Close as u16 && !self.reply(&frame.header, result)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> std::result::Result<Option<Frame>, TransportError> {
        match &mut self.door {
            Some(door) if self.has_greeted => door.receive(&self.transport, buffer),
            _ => self.transport.receive(buffer),
        }
    }

    /// Sends a reply; false where nobody is there to take it.
    fn reply(&self, request: &Header, result: Result<Answer>) -> std::result::Result<bool, ServeError> {
        let (error, answer) = match result {
            Ok(answer) => (None, answer),
            Err(error) => (Some(error), Answer::default()),
        };
        let header = Header { kind: MessageKind::Reply, op: request.op, id: request.id, error };
        let is_left = |door: &ServerDoor| answer.fds.is_empty() && door.leave(&header, &answer.body);
        if self.has_greeted && self.door.as_ref().is_some_and(is_left) {
            return Ok(true);
        }
        let fds: Vec<_> = answer.fds.iter().map(AsFd::as_fd).collect();
        match self.transport.send(&header, &answer.body, &fds) {
            Ok(()) => Ok(true),
            Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(false),
            // More descriptors under way than the host allows: the client may try again.
            Err(error @ (Errno::EMSGSIZE | Errno::ETOOMANYREFS)) => {
                let header = Header { error: Some(error), ..header };
                self.transport.send(&header, &[], &[]).map_err(TransportError::Socket)?;
                Ok(true)
            }
            Err(error) => Err(TransportError::Socket(error).into()),
        }
    }

    fn answer(&mut self, op: u16, body: &[u8]) -> Result<Answer> {
        let request = Request::decode(op, body)?;
        if !self.has_greeted && !matches!(request, Request::Hello(_)) {
            return Err(Errno::EPROTO);
        }
        let answer = self.dispatch(&request);
        self.end_orphaned_watches();
        answer
    }

    fn dispatch(&mut self, request: &Request<'_>) -> Result<Answer> {
        match request {
            Request::Hello(hello) => self.hello(hello),
            Request::Walk(walk) => self.walk(walk),
            Request::ReadDir(request) => self.read_dir(request),
            Request::Open(request) => self.open(request),
            Request::Create(request) => self.create(request),
            Request::Mkdir(request) => self.make_dir(request),
            Request::Symlink(request) => self.symlink(request),
            Request::Mknod(request) => self.make_node(request),
            Request::Link(request) => self.link(request),
            Request::Unlink(request) => self.unlink(request),
            Request::Rename(request) => self.rename(request),
            Request::Readlink(request) => self.read_link(request),
            Request::GetAttr(request) => self.get_attr(request),
            Request::SetAttr(request) => self.set_attr(request),
            Request::StatFs(request) => self.stat_fs(request),
            Request::GetXattr(request) => self.get_xattr(request),
            Request::SetXattr(request) => self.set_xattr(request),
            Request::ListXattr(request) => self.list_xattr(request),
            Request::RemoveXattr(request) => self.remove_xattr(request),
            Request::Sync(request) => self.sync(request),
            Request::Close(close) => self.close(close),
        }
    }

    fn hello(&mut self, hello: &Hello) -> Result<Answer> {
        if (hello.magic, hello.version) != (MAGIC, VERSION) {
            return Err(Errno::EPROTONOSUPPORT);
        }
        if self.has_greeted {
            return Err(Errno::EPROTO);
        }
        let mut mounts = Vec::with_capacity(self.mounts.len());
        for mount in self.mounts.clone() {
            let fd = self.nodes.fd(mount.root)?;
            // A root that is a file is watched itself: no directory of ours tells of it.
            self.watch(mount.root);
            let attr = Attr::from(&fs::stat(fd.as_fd())?);
            let fs_kind = fs::stat_file_system(fd.as_fd())?.kind;
            mounts.push(MountInfo { root: mount.root, attr, flags: mount.flags, fs_kind });
        }
        self.has_greeted = true;
        let events = self.events.take();
        let (listener, mailbox) = self.door_fds.take().map(|fds| (fds.listener, fds.mailbox)).unzip();
        let mut carried = HelloFds::empty();
        carried.set(HelloFds::EVENTS, events.is_some());
        carried.set(HelloFds::DOOR, listener.is_some());
        carried.set(HelloFds::MAILBOX, mailbox.is_some());
        let reply = HelloReply { version: VERSION, fds: carried, mounts };
        Ok(Answer { body: encode(&reply), fds: events.into_iter().chain(listener).chain(mailbox).collect() })
    }

    fn close(&mut self, close: &Close) -> Result<Answer> {
        for forget in &close.nodes {
            self.nodes.forget(forget.node, forget.count);
        }
        Ok(Answer::default())
    }

    fn end_orphaned_watches(&mut self) {
        let orphaned = std::mem::take(&mut self.nodes.orphaned_watches);
        if let Some(watches) = &self.watches {
            for (node, watch) in orphaned {
                watches.remove(node, watch);
            }
        }
    }

    /// The mount that a node is in.
    pub(crate) fn mount_of(&self, node: NodeId) -> Result<Mount> {
        let index = self.nodes.get(node)?.mount;
        self.mounts.get(index).copied().ok_or(Errno::ESTALE)
    }

    /// Refuses to change what is in a read-only mount.
    pub(crate) fn require_writable(&self, node: NodeId) -> Result<()> {
        if self.mount_of(node)?.is_read_only() { Err(Errno::EROFS) } else { Ok(()) }
    }
}
