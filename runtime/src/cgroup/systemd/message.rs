//! Messages of D-Bus as bytes (the D-Bus specification, "Type System" and "Message Protocol"): as much of it as a talk
//! with systemd takes. Numbers are little-endian, as on every machine that we run on; what a peer sends is checked.

use std::io::{self, Read};

/// The largest message that we take.
const MAX_LEN: usize = 1 << 20;
/// The first part of a header, up to the length of its fields.
const FIXED_LEN: usize = 16;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A call of a method.
    Call = 1,
    /// Its result.
    Return = 2,
    /// Its failure.
    Error = 3,
    /// Something that happened.
    Signal = 4,
}

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `b`
    Bool(bool),
    /// `t`
    Number(u64),
    /// `s`
    Text(String),
    /// `au`
    Pids(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Self::Bool(_) => "b",
            Self::Number(_) => "t",
            Self::Text(_) => "s",
            Self::Pids(_) => "au",
            Self::Bytes(_) => "ay",
        }
    }
}

/// Bytes being written, each value at its alignment.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    /// `u`; `b` as well.
    pub(super) fn number(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    /// `s` and `o`.
    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.bytes.push(text.len() as u8);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// An array of elements that are aligned to `align`.
    fn array<T>(&mut self, align: usize, elements: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.number(0);
        let length_at = self.bytes.len() - 4;
        // Not counted, and there without an element too.
        self.align(align);
        let start = self.bytes.len();
        elements.iter().for_each(|element| write(self, element));
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.number(u32::from(*value)),
            Value::Number(value) => {
                self.align(8);
                self.bytes.extend_from_slice(&value.to_le_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Pids(pids) => self.array(4, pids, |writer, pid| writer.number(*pid)),
            Value::Bytes(bytes) => self.array(1, bytes, |writer, byte| writer.bytes.push(*byte)),
        }
    }

    /// `a(sv)`: properties.
    pub(super) fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, properties, |writer, (name, value)| {
            writer.align(8);
            writer.text(name);
            writer.variant(value);
        });
    }

    /// `a(sa(sv))` without an element: units that are to be made as well.
    pub(super) fn no_units(&mut self) {
        self.array(8, &[], |_, (): &()| {});
    }
}

/// A method and the object that has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) name: &'a str,
}

/// The bytes of a call; `signature` describes `body`.
pub(super) fn call(serial: u32, method: Method<'_>, signature: &str, body: &Writer) -> Vec<u8> {
    let mut message = Writer::default();
    message.bytes.extend_from_slice(&[b'l', Kind::Call as u8, 0, 1]);
    message.number(body.bytes.len() as u32);
    message.number(serial);
    let fields = [
        (1, "o", method.path),
        (2, "s", method.interface),
        (3, "s", method.name),
        (6, "s", method.destination),
        (8, "g", signature),
    ];
    let wanted = if signature.is_empty() { &fields[..4] } else { &fields[..] };
    message.array(8, wanted, |writer, (code, kind, text)| {
        writer.align(8);
        writer.bytes.push(*code);
        writer.signature(kind);
        if *kind == "g" { writer.signature(text) } else { writer.text(text) }
    });
    message.align(8);
    message.bytes.extend_from_slice(&body.bytes);
    message.bytes
}

/// A message that came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: Kind,
    /// To which call it is the answer.
    pub(super) reply_to: Option<u32>,
    /// The name of a signal, a method or an error.
    pub(super) name: String,
    signature: String,
    body: Vec<u8>,
}

impl Message {
    /// Reads one.
    pub(super) fn read(stream: &mut impl Read) -> io::Result<Self> {
        let mut fixed = [0; FIXED_LEN];
        stream.read_exact(&mut fixed)?;
        let number = |at: usize| Reader { bytes: &fixed, at }.number().unwrap_or(0) as usize;
        let (body_len, fields_len) = (number(4), number(12));
        if fixed[0] != b'l' || fixed[3] != 1 || body_len > MAX_LEN || fields_len > MAX_LEN {
            return Err(broken());
        }
        let kind = match fixed[1] {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Err(broken()),
        };
        let mut rest = vec![0; fields_len.next_multiple_of(8) + body_len];
        stream.read_exact(&mut rest)?;
        let body = rest.split_off(fields_len.next_multiple_of(8));
        rest.truncate(fields_len);
        let (reply_to, name, signature) = fields(&rest).ok_or_else(broken)?;
        Ok(Self { kind, reply_to, name, signature, body })
    }

    /// Its leading values, as far as they are texts and numbers, or variants of those: numbers as texts, so that one
    /// list holds all.
    pub(super) fn values(&self) -> Vec<String> {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        self.signature.bytes().map_while(|kind| reader.value(kind)).collect()
    }
}

/// The fields of a header that matter: the serial that is answered, the name, the signature.
fn fields(bytes: &[u8]) -> Option<(Option<u32>, String, String)> {
    let (mut reply_to, mut name, mut signature) = (None, String::new(), String::new());
    let mut reader = Reader { bytes, at: 0 };
    while reader.at < bytes.len() {
        reader.at = reader.at.next_multiple_of(8);
        let code = reader.take(1)?[0];
        match (code, reader.signature()?.as_str()) {
            (3 | 4, "s") => name = reader.text()?,
            (5, "u") => reply_to = Some(reader.number()?),
            (8, "g") => signature = reader.signature()?,
            (_, "s" | "o") => drop(reader.text()?),
            (_, "u") => drop(reader.number()?),
            (_, "g") => drop(reader.signature()?),
            _ => return None,
        }
    }
    Some((reply_to, name, signature))
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the bus sent something that is no message")
}

/// Bytes being read. `None` is the end of them, or nonsense.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.at = self.at.next_multiple_of(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    /// A text or a number, or a variant of one, as text.
    fn value(&mut self, kind: u8) -> Option<String> {
        match kind {
            b's' | b'o' => self.text(),
            b'u' => self.number().map(|number| number.to_string()),
            b'v' => match self.signature()?.as_bytes() {
                [kind] if *kind != b'v' => self.value(*kind),
                _ => None,
            },
            _ => None,
        }
    }

    fn text(&mut self) -> Option<String> {
        let len = self.number()? as usize;
        self.terminated(len)
    }

    fn signature(&mut self) -> Option<String> {
        let len = self.take(1)?[0];
        self.terminated(len.into())
    }

    fn terminated(&mut self, len: usize) -> Option<String> {
        let text = String::from_utf8(self.take(len)?.to_vec()).ok()?;
        (self.take(1)? == [0]).then_some(text)
    }
}
