//! A container's standard streams: the caller's own, or a terminal.
//!
//! The sandbox always gets a terminal in raw mode; line discipline, job control and Ctrl-C are the sentry's, behind the
//! terminal that the guest sees.

use std::fs::File;
use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use host::terminal::{self, RawMode, WindowSize};
use host::unix::{self, Kind};
use serde_json::Value;

use crate::error::{Context, Error, Result};

/// Standard input, output and error for a guest process.
#[derive(Debug)]
pub(crate) struct Streams {
    /// The descriptors.
    pub(crate) fds: [OwnedFd; 3],
    /// Whether they are a terminal.
    pub(crate) terminal: bool,
    /// The window's size where they are.
    pub(crate) window: Option<(u16, u16)>,
    /// The caller's terminal, raw as long as this lives.
    #[expect(dead_code, reason = "held for what its drop does")]
    pub(crate) raw: Option<RawMode>,
}

/// Where a process's streams come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Whether the process wants a terminal.
    pub(crate) terminal: bool,
    /// A socket that a new terminal's controlling side is to be sent to.
    pub(crate) socket: Option<&'a Path>,
    /// The window's size for a new terminal, from the process's `consoleSize`.
    pub(crate) size: Option<WindowSize>,
    /// Whether we stay with the process and can look after the caller's own terminal.
    pub(crate) attached: bool,
}

/// The window's size that a process asks for.
pub(crate) fn size_of(process: &Value) -> Option<WindowSize> {
    let number =
        |name: &str| process["consoleSize"][name].as_u64().and_then(|number| u16::try_from(number).ok());
    Some(WindowSize { rows: number("height")?, columns: number("width")? })
}

/// Gets the streams.
pub(crate) fn streams(wanted: &Wanted<'_>) -> Result<Streams> {
    match (wanted.terminal, wanted.socket) {
        (false, None) => Ok(Streams { fds: own_streams()?, terminal: false, window: None, raw: None }),
        (false, Some(_)) => Err(Error::new(
            "--console-socket is there and the process wants no terminal: set process.terminal to true or leave it out",
        )),
        (true, Some(socket)) => new_terminal(socket, wanted.size),
        (true, None) if !wanted.attached => Err(Error::new(
            "the process wants a terminal and nobody would hold it: give --console-socket, or set process.terminal to \
             false",
        )),
        (true, None) => own_terminal(),
    }
}

/// Whether our own streams are all terminals: a person is there.
pub(crate) fn is_interactive() -> bool {
    own_streams().is_ok_and(|fds| are_terminals(&fds))
}

fn are_terminals(fds: &[OwnedFd]) -> bool {
    fds.iter().all(|fd| terminal::is_terminal(fd.as_fd()))
}

/// Copies of our own streams; one that is closed becomes `/dev/null`.
fn own_streams() -> Result<[OwnedFd; 3]> {
    let copy = |fd: BorrowedFd<'_>| match fd.try_clone_to_owned() {
        Ok(copy) => Ok(copy),
        Err(_) => File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from),
    };
    let what = "cannot pass the standard streams";
    let stdin = copy(std::io::stdin().as_fd()).context(what)?;
    let stdout = copy(std::io::stdout().as_fd()).context(what)?;
    let stderr = copy(std::io::stderr().as_fd()).context(what)?;
    Ok([stdin, stdout, stderr])
}

/// The caller's own terminal, in raw mode while we live; plain streams where the caller has none.
fn own_terminal() -> Result<Streams> {
    let fds = own_streams()?;
    if !are_terminals(&fds) {
        crate::logging::warning(
            "the process wants a terminal and the standard streams are none: it gets them as they are",
        );
        return Ok(Streams { fds, terminal: false, window: None, raw: None });
    }
    let raw = RawMode::enter(fds[0].as_fd()).context("cannot set the terminal to raw mode")?;
    let window = window(fds[0].as_fd());
    Ok(Streams { fds, terminal: true, window, raw: Some(raw) })
}

/// The size of a terminal's window.
pub(crate) fn window(terminal: BorrowedFd<'_>) -> Option<(u16, u16)> {
    terminal::window_size(terminal).ok().map(|size| (size.rows, size.columns))
}

/// A new terminal, whose controlling side goes to whoever listens at `socket`.
fn new_terminal(socket: &Path, size: Option<WindowSize>) -> Result<Streams> {
    let (master, slave) = terminal::open_pair().context("cannot make a terminal")?;
    if let Some(size) = size {
        terminal::set_window_size(slave.as_fd(), size).context("cannot set the terminal's size")?;
    }
    terminal::set_raw(slave.as_fd()).context("cannot set the terminal to raw mode")?;
    let what = || format!("cannot send the terminal to the console socket {}", socket.display());
    let connection = unix::connect(socket, Kind::Stream).with_context(what)?;
    unix::send(connection.as_fd(), &[IoSlice::new(b"/dev/ptmx")], &[master.as_fd()]).with_context(what)?;
    let copy = || slave.try_clone().context("cannot pass the terminal");
    let window = window(slave.as_fd());
    Ok(Streams { fds: [copy()?, copy()?, slave], terminal: true, window, raw: None })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use host::terminal::WindowSize;
    use host::unix::{self, Kind, Wait};

    use super::{Wanted, streams};

    #[test]
    fn the_controlling_side_arrives() {
        let dir =
            std::env::temp_dir().join(format!("runsc-console-{}-{}", std::process::id(), "x".repeat(120)));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("tty.sock");
        let listener = unix::listen(&path, Kind::Stream, 1).unwrap();
        let size = Some(WindowSize { rows: 3, columns: 5 });
        let wanted = Wanted { terminal: true, socket: Some(&path), size, attached: false };
        let got = streams(&wanted).unwrap();
        let connection = unix::accept(listener.as_fd()).unwrap();
        let message = unix::receive(connection.as_fd(), &mut [0; 64], Wait::Block).unwrap();
        assert_eq!((message.fds.len(), got.window), (1, Some((3, 5))));
        assert!(host::terminal::is_terminal(message.fds[0].as_fd()));
        assert!(
            streams(&Wanted { socket: None, ..wanted }).unwrap_err().to_string().contains("--console-socket")
        );
        assert!(streams(&Wanted { terminal: false, ..wanted }).is_err());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
