//! A process's terminal: its controlling side comes from `runsc` by a socket, and threads copy between it and the
//! streams that containerd reads and writes.

use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use host::terminal::{WindowSize, set_window_size};
use host::unix::{Kind, Wait, accept, listen, receive};

use crate::error::{Context, Failure, Result};
use crate::io::Ends;

/// A copying thread needs little.
const STACK_SIZE: usize = 128 << 10;

/// The socket that `runsc` sends a new terminal to.
#[derive(Debug)]
pub(crate) struct ConsoleSocket {
    listener: OwnedFd,
    path: PathBuf,
}

impl ConsoleSocket {
    /// A new one beside the shim's own socket: a bundle's path is too long for a socket's.
    pub(crate) fn new(beside: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut name = beside.as_os_str().to_owned();
        name.push(format!("-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let path = PathBuf::from(name);
        let _ = std::fs::remove_file(&path);
        let listener = listen(&path, Kind::Stream, 1).context("cannot listen for a terminal")?;
        Ok(Self { listener, path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the terminal that was sent.
    pub(crate) fn take(&self) -> Result<File> {
        let what = "cannot take the terminal";
        let connection = accept(self.listener.as_fd()).context(what)?;
        let mut message = receive(connection.as_fd(), &mut [0; 64], Wait::Block).context(what)?;
        message.fds.pop().map(File::from).ok_or_else(|| Failure::other(what, "runsc sent none"))
    }
}

impl Drop for ConsoleSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A terminal that is being copied from and to.
#[derive(Debug)]
pub(crate) struct Terminal {
    controlling: Arc<File>,
    /// Its end ends the thread that copies input.
    _stop: std::io::PipeWriter,
}

impl Terminal {
    /// Copies between the controlling side and the streams, until the process has closed its side.
    pub(crate) fn copy(controlling: File, ends: Ends) -> Result<Self> {
        let controlling = Arc::new(controlling);
        let (stopped, stop) = pipe().context("cannot copy a terminal")?;
        if let Some(stdin) = ends.stdin {
            let controlling = controlling.clone();
            spawn("terminal-in", move || copy_input(&stdin, &controlling, &stopped))?;
        }
        let output = ends.stdout;
        let source = controlling.clone();
        spawn("terminal-out", move || copy_output(&source, output))?;
        Ok(Self { controlling, _stop: stop })
    }

    /// Tells the terminal its window's size.
    pub(crate) fn resize(&self, columns: u32, rows: u32) -> Result<()> {
        let number = |value: u32| {
            u16::try_from(value).map_err(|_| Failure::Invalid(format!("a window of {columns}x{rows}")))
        };
        let size = WindowSize { rows: number(rows)?, columns: number(columns)? };
        set_window_size(self.controlling.as_fd(), size).context("cannot set the size of the window")
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = thread::Builder::new().name(name.into()).stack_size(STACK_SIZE);
    builder.spawn(body).map(drop).context("cannot copy a terminal")
}

fn copy_input(mut stdin: &File, mut terminal: &File, stopped: &impl AsFd) {
    let mut buffer = [0; 16 << 10];
    loop {
        match host::poll::any_readable([stdin.as_fd(), stopped.as_fd()], None) {
            Ok(ready) if !ready[1] => {}
            _ => return,
        }
        let Ok(len @ 1..) = stdin.read(&mut buffer) else { return };
        if terminal.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}

/// Goes on until the process's side is closed (`EIO`). Output that nobody takes any more is thrown away: the process
/// must not stand still for it.
fn copy_output(mut terminal: &File, mut output: Option<File>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(len @ 1..) = terminal.read(&mut buffer) {
        if let Some(file) = &mut output
            && file.write_all(&buffer[..len]).is_err()
        {
            output = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write, pipe};
    use std::os::fd::OwnedFd;

    use super::Terminal;
    use crate::io::Ends;

    #[test]
    fn both_directions_are_copied_and_end_with_the_process() {
        let (controlling, process) = host::terminal::open_pair().unwrap();
        host::terminal::set_raw(std::os::fd::AsFd::as_fd(&process)).unwrap();
        let file = |fd: OwnedFd| File::from(fd);
        let ((stdin, mut typed), (mut shown, stdout)) = (pipe().unwrap(), pipe().unwrap());
        let ends =
            Ends { stdin: Some(file(stdin.into())), stdout: Some(file(stdout.into())), ..Ends::default() };
        let terminal = Terminal::copy(controlling.into(), ends).unwrap();
        terminal.resize(90, 30).unwrap();
        assert!(terminal.resize(1 << 16, 1).is_err());
        let mut process = File::from(process);
        typed.write_all(b"in").unwrap();
        let mut buffer = [0; 2];
        process.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"in");
        process.write_all(b"out").unwrap();
        drop((process, terminal));
        let mut text = String::new();
        shown.read_to_string(&mut text).unwrap();
        assert_eq!(text, "out");
    }
}
