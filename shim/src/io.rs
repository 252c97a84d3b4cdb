//! Standard streams: where containerd wants them, and what a container is given.
//!
//! Without a terminal a container has the other ends themselves: named pipes, files, or the pipes of a logging program.
//! Nothing is copied by the shim, and a stream ends when the last process that holds it does. The shim keeps each named
//! pipe open as a reader, so that a client that goes away (containerd restarts) is no broken pipe for the container;
//! and standard input as a writer too, until containerd closes it (CloseIO). With a terminal, threads copy between its
//! controlling side and the streams ([`crate::terminal`]).
//!
//! A stream is a path of a named pipe (also `fifo://`), `file://PATH` to be appended to, `binary://PROGRAM?ARGUMENTS`
//! for a program that takes the output on descriptors 3 and 4 and closes 5 when it is ready, or nothing at all.

use std::fs::{File, OpenOptions};
use std::io::pipe;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use host::fs::set_owner;
use host::process::pass_fds_in;

use crate::error::{Context, Failure, Result};
use crate::reaper::Reaper;
use crate::runsc::Streams;

const O_NONBLOCK: i32 = 0o4000;

/// How long a logging program may take to say that it is ready.
const LOGGER_TIMEOUT: Duration = Duration::from_secs(10);

/// The streams of a process, as containerd names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// For whom streams are opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner<'a> {
    /// The container.
    pub(crate) id: &'a str,
    /// containerd's name space.
    pub(crate) namespace: &'a str,
    /// The user that the streams are to belong to.
    pub(crate) uid: u32,
    /// Their group.
    pub(crate) gid: u32,
}

/// What the shim keeps open for a process.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Standard input's writer.
    stdin: Option<File>,
    /// Readers of the others.
    _readers: Vec<File>,
}

impl Kept {
    /// One with nothing but the writer of standard input.
    #[cfg(test)]
    pub(crate) fn with_stdin(writer: File) -> Self {
        Self { stdin: Some(writer), _readers: Vec::new() }
    }

    /// Standard input ends when its other writers do.
    pub(crate) fn close_stdin(&mut self) {
        self.stdin = None;
    }
}

/// The container's ends.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<File>,
    pub(crate) stdout: Option<File>,
    pub(crate) stderr: Option<File>,
}

impl From<Ends> for Streams {
    fn from(ends: Ends) -> Self {
        let stdio = |end: Option<File>| end.map_or_else(Stdio::null, Stdio::from);
        Self { stdin: stdio(ends.stdin), stdout: stdio(ends.stdout), stderr: stdio(ends.stderr) }
    }
}

/// Where output goes.
#[derive(Debug, PartialEq, Eq)]
enum Sink {
    Nowhere,
    Fifo(PathBuf),
    File(PathBuf),
    Program { path: PathBuf, arguments: Vec<String> },
}

impl Sink {
    fn parse(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(if text.is_empty() { Self::Nowhere } else { Self::Fifo(text.into()) });
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = PathBuf::from(decode(path)?);
        match scheme {
            "fifo" => Ok(Self::Fifo(path)),
            "file" => Ok(Self::File(path)),
            "binary" => Ok(Self::Program { path, arguments: arguments(query)? }),
            other => Err(Failure::Invalid(format!(
                "a stream is {other}://, which is not one of fifo, file and binary"
            ))),
        }
    }
}

/// The query of a URI as a program's arguments: names, and values where there are any.
fn arguments(query: &str) -> Result<Vec<String>> {
    let mut arguments = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        arguments.push(decode(&name.replace('+', " "))?);
        if !value.is_empty() {
            arguments.push(decode(&value.replace('+', " "))?);
        }
    }
    Ok(arguments)
}

/// Undoes a URI's `%XX`.
fn decode(text: &str) -> Result<String> {
    let bad = || Failure::Invalid(format!("a stream's URI is malformed at {text:?}"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(bad)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let (Some(high), Some(low)) = (digit(digits[0]), digit(digits[1])) else { return Err(bad()) };
        bytes.push((high * 16 + low) as u8);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// Opens a process's streams.
pub(crate) fn open(names: &Names, owner: Owner<'_>, reaper: &Reaper) -> Result<(Ends, Kept)> {
    let (mut ends, mut kept) = (Ends::default(), Kept::default());
    if !names.stdin.is_empty() {
        let path = Path::new(names.stdin.strip_prefix("fifo://").unwrap_or(&names.stdin));
        let (end, writer) = open_input(path)?;
        give(&end, owner)?;
        (ends.stdin, kept.stdin) = (Some(end), Some(writer));
    }
    let stdout = Sink::parse(&names.stdout)?;
    let stderr = if names.terminal { Sink::Nowhere } else { Sink::parse(&names.stderr)? };
    if let Sink::Program { path, arguments } = &stdout {
        let (out, error) = start_logger(path, arguments, owner, reaper)?;
        // One program takes both.
        (ends.stdout, ends.stderr) = (Some(out), Some(error));
        return Ok((ends, kept));
    }
    for (sink, end) in [(stdout, &mut ends.stdout), (stderr, &mut ends.stderr)] {
        let (writer, reader) = open_output(&sink)?;
        if let Some(writer) = &writer {
            give(writer, owner)?;
        }
        *end = writer;
        kept._readers.extend(reader);
    }
    Ok((ends, kept))
}

/// A named pipe to read from, and the writer that keeps it from ending.
fn open_input(path: &Path) -> Result<(File, File)> {
    let what = || format!("cannot open standard input {}", path.display());
    // Open for both does not wait for another side.
    let writer = OpenOptions::new().read(true).write(true).open(path).context(what())?;
    let end = File::open(path).context(what())?;
    Ok((end, writer))
}

/// Where to write, and the reader that keeps a named pipe from breaking.
fn open_output(sink: &Sink) -> Result<(Option<File>, Option<File>)> {
    match sink {
        Sink::Nowhere => Ok((None, None)),
        Sink::Fifo(path) => {
            let what = || format!("cannot open output {}", path.display());
            let reader = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).context(what())?;
            let writer = OpenOptions::new().write(true).open(path).context(what())?;
            Ok((Some(writer), Some(reader)))
        }
        Sink::File(path) => {
            let what = || format!("cannot open log file {}", path.display());
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).context(what())?;
            }
            let file = OpenOptions::new().create(true).append(true).mode(0o644).open(path).context(what())?;
            Ok((Some(file), None))
        }
        Sink::Program { path, .. } => {
            Err(Failure::Invalid(format!("{}: a logging program takes both outputs or none", path.display())))
        }
    }
}

/// Makes a stream belong to whom the options say.
fn give(stream: &File, owner: Owner<'_>) -> Result<()> {
    if (owner.uid, owner.gid) == (0, 0) {
        return Ok(());
    }
    set_owner(stream.as_fd(), Some(owner.uid), Some(owner.gid)).context("cannot give a stream to io_uid")
}

/// Starts a logging program; what a container writes to.
fn start_logger(
    path: &Path,
    arguments: &[String],
    owner: Owner<'_>,
    reaper: &Reaper,
) -> Result<(File, File)> {
    let what = || format!("cannot start the logging program {}", path.display());
    let (out_reader, out) = pipe().context(what())?;
    let (error_reader, error) = pipe().context(what())?;
    let (ready, said_ready) = pipe().context(what())?;
    let mut command = Command::new(path);
    command.args(arguments).env("CONTAINER_ID", owner.id).env("CONTAINER_NAMESPACE", owner.namespace);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    pass_fds_in(&mut command, &[out_reader.as_fd(), error_reader.as_fd(), said_ready.as_fd()])
        .context(what())?;
    reaper.spawn(&mut command).context(what())?;
    // Copies that stay here would hold back the end of each pipe.
    drop((command, out_reader, error_reader, said_ready));
    if !host::poll::readable(ready.as_fd(), Some(LOGGER_TIMEOUT)).context(what())? {
        return Err(Failure::other(what(), "it does not say that it is ready (closes descriptor 5)"));
    }
    let (out, error) = (File::from(OwnedFd::from(out)), File::from(OwnedFd::from(error)));
    give(&out, owner)?;
    give(&error, owner)?;
    Ok((out, error))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::path::PathBuf;

    use super::{Kept, Names, Owner, Sink, open};
    use crate::reaper::Reaper;

    const OWNER: Owner<'_> = Owner { id: "c", namespace: "n", uid: 0, gid: 0 };

    #[test]
    fn sinks_are_told_apart() {
        assert_eq!(Sink::parse("").unwrap(), Sink::Nowhere);
        assert_eq!(Sink::parse("/run/a b").unwrap(), Sink::Fifo("/run/a b".into()));
        assert_eq!(Sink::parse("fifo:///f").unwrap(), Sink::Fifo("/f".into()));
        assert_eq!(Sink::parse("file:///l%20g").unwrap(), Sink::File("/l g".into()));
        let program = Sink::parse("binary:///bin/log?_NERDCTL=x%2Fy&flag&a=b+c").unwrap();
        let arguments = ["_NERDCTL", "x/y", "flag", "a", "b c"].map(String::from).to_vec();
        assert_eq!(program, Sink::Program { path: "/bin/log".into(), arguments });
        for bad in ["npipe://x", "file://%", "file://%zz", "binary:///x?a=%f"] {
            assert!(Sink::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_is_appended_to() {
        let path = std::env::temp_dir().join(format!("shim-io-{}/log", std::process::id()));
        let uri = format!("file://{}", path.display());
        let names = Names { stdout: uri.clone(), stderr: uri, ..Names::default() };
        for text in ["a", "b"] {
            let (ends, Kept { stdin, _readers }) = open(&names, OWNER, &Reaper::default()).unwrap();
            ends.stdout.unwrap().write_all(text.as_bytes()).unwrap();
            ends.stderr.unwrap().write_all(b"!").unwrap();
            assert!(stdin.is_none() && _readers.is_empty() && ends.stdin.is_none());
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a!b!");
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn named_pipes_survive_their_clients_and_input_ends_when_it_is_closed() {
        let dir = std::env::temp_dir().join(format!("shim-fifo-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let make = |name: &str| -> PathBuf {
            let path = dir.join(name);
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let (input, output) = (make("in"), make("out"));
        let name = |path: &PathBuf| path.display().to_string();
        let names = Names { stdin: name(&input), stdout: name(&output), ..Names::default() };
        let (ends, mut kept) = open(&names, OWNER, &Reaper::default()).unwrap();
        for text in ["one", "two"] {
            let mut client = std::fs::File::options().write(true).open(&input).unwrap();
            client.write_all(text.as_bytes()).unwrap();
        }
        kept.close_stdin();
        let mut text = String::new();
        ends.stdin.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "onetwo");
        let client = std::fs::File::options().read(true).write(true).open(&output).unwrap();
        drop(client);
        ends.stdout.unwrap().write_all(b"no broken pipe").unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
