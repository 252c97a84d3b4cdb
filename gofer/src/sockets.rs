//! Unix sockets of the host, where `--host-uds` allows them.
//!
//! `connect(2)` and `bind(2)` know only paths, so the directory becomes the working directory for the moment (this
//! thread's own, see `jail.rs`) and the path is one name in it. `connect` follows a symbolic link there: a name that
//! becomes one between the look and the call leads at most to another socket within this process's root.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use abi::fs::FileType;
use abi::{Errno, Result};
use gofer_protocol::{Bind, Connect, SocketKind};
use host::{fs, unix};

use crate::names::Ownership;
use crate::server::{Answer, Server};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

impl Server {
    pub(crate) fn connect(&mut self, request: &Connect<'_>) -> Result<Answer> {
        if !self.host_sockets.connect {
            return Err(Errno::ECONNREFUSED);
        }
        let (dir, name, stat) = self.locate(&request.target)?;
        if FileType::from_mode(stat.mode) != Some(FileType::Socket) {
            return Err(Errno::ECONNREFUSED);
        }
        fs::change_dir(dir.as_fd())?;
        // Not waiting: a listener that accepts nothing must not hold up everybody.
        let socket = unix::connect_at_once(Path::new(OsStr::from_bytes(&name)), kind(request.kind))?;
        Ok(Answer::with_fd(&(), socket))
    }

    pub(crate) fn bind(&mut self, request: &Bind<'_>) -> Result<Answer> {
        if !self.host_sockets.create {
            return Err(Errno::EPERM);
        }
        self.require_writable(request.dir)?;
        let dir = self.nodes.fd(request.dir)?;
        let socket = unix::socket(kind(request.kind))?;
        fs::change_dir(dir.as_fd())?;
        unix::bind(&socket, Path::new(OsStr::from_bytes(request.name.as_bytes())))?;
        if request.kind != SocketKind::Datagram {
            unix::start_listening(socket.as_fd(), BACKLOG)?;
        }
        let owner = Ownership { uid: request.uid, gid: request.gid, mode: Some(request.mode) };
        let mut answer = self.own_new(request.dir, request.name, owner)?;
        answer.set_fd(socket);
        Ok(answer)
    }
}

fn kind(kind: SocketKind) -> unix::Kind {
    match kind {
        SocketKind::Stream => unix::Kind::Stream,
        SocketKind::Datagram => unix::Kind::Datagram,
        SocketKind::SeqPacket => unix::Kind::SeqPacket,
    }
}
