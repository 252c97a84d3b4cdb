//! The start socket: what a process that is being set up tells whoever started it.
//!
//! One JSON document per line. The last one is [`StartMessage::Ready`] or [`StartMessage::Failed`]; the end of the
//! connection without either means that the process died, and the last stage says where.

use std::io::{BufRead, BufReader, IoSlice, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "start", content = "with")]
pub enum StartMessage {
    /// What is about to be done, as in "while *mounting the root*".
    Stage(String),
    /// Something that does not work here and that one can live without.
    Warning(String),
    /// Everything is set up and the jail is closed.
    Ready,
    /// It failed.
    Failed(Failure),
}

/// The child's end of a start socket, a stream socket: written with `sendmsg(2)`, which raises no signal where
/// nobody listens any more and which both jails allow.
#[derive(Debug)]
pub struct StartSocket<F: AsFd = OwnedFd>(F);

impl<F: AsFd> StartSocket<F> {
    /// Writes to `socket`.
    #[must_use]
    pub fn new(socket: F) -> Self {
        Self(socket)
    }
}

impl<F: AsFd> Write for StartSocket<F> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        host::unix::send(self.0.as_fd(), &[IoSlice::new(bytes)], &[])
            .map_err(|errno| std::io::Error::from_raw_os_error(errno.raw()))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The longest line.
const MAX_LINE: u64 = 64 << 10;

/// The end of the process that is being set up.
#[derive(Debug)]
pub struct Starter<W: Write>(W);

impl<W: Write> Starter<W> {
    /// Writes to `socket`.
    pub fn new(socket: W) -> Self {
        Self(socket)
    }

    /// Says what comes next. Errors are ignored: whoever started us may be gone, and then nobody wants to know.
    pub fn stage(&mut self, what: &str) {
        self.send(&StartMessage::Stage(what.into()));
    }

    /// Says what one can live without.
    pub fn warning(&mut self, what: impl Into<String>) {
        self.send(&StartMessage::Warning(what.into()));
    }

    /// Says that all is set up, and closes the socket.
    pub fn ready(mut self) {
        self.send(&StartMessage::Ready);
    }

    /// Says why it failed, and closes the socket.
    pub fn failed(mut self, why: Failure) {
        self.send(&StartMessage::Failed(why));
    }

    fn send(&mut self, message: &StartMessage) {
        if let Ok(mut line) = serde_json::to_vec(message) {
            line.push(b'\n');
            let _ = self.0.write_all(&line);
        }
    }
}

/// What a started process came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is ready.
    Ready,
    /// It said why not.
    Failed(Failure),
    /// It died without a word, during this stage.
    Died(Option<String>),
}

/// Reads a start socket to its end or its last message; also returns the warnings.
pub fn wait_for<R: Read>(socket: R) -> (Outcome, Vec<String>) {
    let mut lines = BufReader::new(socket);
    let (mut stage, mut warnings) = (None, Vec::new());
    loop {
        let mut line = Vec::new();
        let read = lines.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        if !matches!(read, Ok(1..)) {
            return (Outcome::Died(stage), warnings);
        }
        match serde_json::from_slice(&line) {
            Ok(StartMessage::Stage(what)) => stage = Some(what),
            Ok(StartMessage::Warning(what)) => warnings.push(what),
            Ok(StartMessage::Ready) => return (Outcome::Ready, warnings),
            Ok(StartMessage::Failed(why)) => return (Outcome::Failed(why), warnings),
            Err(_) => return (Outcome::Died(stage), warnings),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_ready_failed_and_dead_apart() {
        let mut socket = Vec::new();
        let mut starter = Starter::new(&mut socket);
        starter.stage("mounting\nthe root");
        starter.warning("no huge pages");
        starter.ready();
        assert_eq!(wait_for(&socket[..]), (Outcome::Ready, vec!["no huge pages".into()]));
        let cut = &socket[..socket.len() - 3];
        assert_eq!(wait_for(cut).0, Outcome::Died(Some("mounting\nthe root".into())));
        let mut socket = Vec::new();
        Starter::new(&mut socket).failed(Failure::host("no memory"));
        assert_eq!(wait_for(&socket[..]).0, Outcome::Failed(Failure::host("no memory")));
        assert_eq!(wait_for(&b""[..]).0, Outcome::Died(None));
        assert_eq!(wait_for(&b"junk\n"[..]).0, Outcome::Died(None));
    }
}
