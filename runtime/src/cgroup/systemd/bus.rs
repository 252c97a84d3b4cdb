//! The system bus (the D-Bus specification): a connection on which one call at a time is made.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::message::{Kind, Message, Method, Writer, call};
use crate::error::{Context, Error, Result};

/// Where the bus listens.
const SOCKET: &str = "/run/dbus/system_bus_socket";
/// How long systemd may take for anything.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Signals that came before an answer did.
    signals: Vec<Message>,
}

/// Why a call has failed.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// What was called says so: the error's name, and a sentence.
    Refused(String, String),
    /// The bus itself.
    Broken(Error),
}

impl From<CallFailure> for Error {
    fn from(failure: CallFailure) -> Self {
        match failure {
            CallFailure::Refused(name, why) => Self::new(format!("systemd says {name}: {why}")),
            CallFailure::Broken(error) => error,
        }
    }
}

impl Bus {
    /// Connects to the system's bus.
    pub(super) fn connect() -> Result<Self> {
        let stream = UnixStream::connect(SOCKET).with_context(|| {
            format!("cannot reach systemd by {SOCKET}: start dbus, or use the cgroupfs driver")
        })?;
        let (uid, _) = host::process::effective_ids();
        Self::on(stream, uid)
    }

    /// Introduces the user `uid` to the bus at the other end of a socket.
    pub(super) fn on(stream: UnixStream, uid: u32) -> Result<Self> {
        let what = "the system bus does not let us in";
        stream.set_read_timeout(Some(TIMEOUT)).context(what)?;
        stream.set_write_timeout(Some(TIMEOUT)).context(what)?;
        let mut bus = Self { stream: BufReader::new(stream), serial: 0, signals: Vec::new() };
        bus.authenticate(uid).context(what)?;
        let hello = Method {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            name: "Hello",
        };
        bus.call(hello, "", &Writer::default())?;
        Ok(bus)
    }

    /// SASL's EXTERNAL: the kernel tells the bus who we are.
    fn authenticate(&mut self, uid: u32) -> io::Result<()> {
        let name: String = uid.to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        self.stream.get_mut().write_all(format!("\0AUTH EXTERNAL {name}\r\n").as_bytes())?;
        let mut answer = String::new();
        self.stream.read_line(&mut answer)?;
        if !answer.starts_with("OK") {
            return Err(io::Error::other(format!("it answers {:?}", answer.trim())));
        }
        self.stream.get_mut().write_all(b"BEGIN\r\n")
    }

    /// Calls a method and waits for its result.
    pub(super) fn call(
        &mut self,
        method: Method<'_>,
        signature: &str,
        body: &Writer,
    ) -> std::result::Result<Vec<String>, CallFailure> {
        self.serial += 1;
        let broken = |error: io::Error| {
            CallFailure::Broken(Error::new(format!("{}: the system bus fails: {error}", method.name)))
        };
        self.stream.get_mut().write_all(&call(self.serial, method, signature, body)).map_err(broken)?;
        loop {
            let message = Message::read(&mut self.stream).map_err(broken)?;
            match message.kind {
                Kind::Signal => self.signals.push(message),
                Kind::Return if message.reply_to == Some(self.serial) => return Ok(message.values()),
                Kind::Error if message.reply_to == Some(self.serial) => {
                    let why = message.values().into_iter().next().unwrap_or_default();
                    return Err(CallFailure::Refused(message.name, why));
                }
                _ => {}
            }
        }
    }

    /// Waits for a signal `name` whose values satisfy `wanted`.
    pub(super) fn wait(&mut self, name: &str, wanted: impl Fn(&[String]) -> bool) -> Result<Vec<String>> {
        let mut early = std::mem::take(&mut self.signals).into_iter();
        loop {
            let message = match early.next() {
                Some(message) => message,
                None => Message::read(&mut self.stream)
                    .with_context(|| format!("systemd does not say {name} in time"))?,
            };
            let values = message.values();
            if message.kind == Kind::Signal && message.name == name && wanted(&values) {
                return Ok(values);
            }
        }
    }
}
