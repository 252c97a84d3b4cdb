//! Values to little-endian bytes and back.
//!
//! Decoding is total: each value says what it accepts, a message must be used up to its last byte, and a list's
//! room is reserved by what is really there, not by what its length claims.

use abi::Errno;

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A value goes past the end.
    #[error("message ends inside a value")]
    Truncated,
    /// Bytes are left over.
    #[error("{0} bytes after the end of the message")]
    Trailing(usize),
    /// A value that its type does not allow.
    #[error("bad {0}")]
    Bad(&'static str),
}

impl From<DecodeError> for Errno {
    fn from(_: DecodeError) -> Self {
        Self::EPROTO
    }
}

/// Bytes being taken apart.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        self.take(N)?.try_into().map_err(|_| DecodeError::Truncated)
    }

    /// Bytes not taken yet.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    /// The next value.
    ///
    /// # Errors
    /// What its type says.
    pub fn get<T: Wire<'a>>(&mut self) -> Result<T, DecodeError> {
        T::get(self)
    }

    /// Ends the message.
    ///
    /// # Errors
    /// [`DecodeError::Trailing`] where bytes are left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.bytes.len())) }
    }
}

/// Bytes being put together.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Appends a value.
    pub fn put<'a>(&mut self, value: &impl Wire<'a>) {
        value.put(self);
    }

    /// Appends bytes as they are.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes back everything after the first `len` bytes.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// Replaces the bytes at `at`, which were written before.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        if let Some(room) = self.bytes.get_mut(at..at.saturating_add(bytes.len())) {
            room.copy_from_slice(bytes);
        }
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A type with one encoding.
pub trait Wire<'a>: Sized {
    /// Appends the encoding.
    fn put(&self, to: &mut Writer);
    /// Takes a value and checks it.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// The encoding of one value.
pub fn encode<'a>(value: &impl Wire<'a>) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.put(value);
    writer.into_bytes()
}

/// The one value that `bytes` encode.
///
/// # Errors
/// What is wrong with them; left-over bytes too.
pub fn decode<'a, T: Wire<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let value = reader.get()?;
    reader.finish()?;
    Ok(value)
}

macro_rules! integers {
    ($($ty:ty)*) => {$(
        impl<'a> Wire<'a> for $ty {
            fn put(&self, to: &mut Writer) {
                to.extend(&self.to_le_bytes());
            }
            fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
                from.array().map(Self::from_le_bytes)
            }
        }
    )*};
}

integers!(u8 u16 u32 u64 i32 i64);

impl<'a> Wire<'a> for bool {
    fn put(&self, to: &mut Writer) {
        to.put(&u8::from(*self));
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match from.get::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Bad("truth value")),
        }
    }
}

impl<'a> Wire<'a> for () {
    fn put(&self, _: &mut Writer) {}
    fn get(_: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(())
    }
}

/// A string of bytes. Longer than `u32` says cannot be sent: the frame's limit is far below.
impl<'a> Wire<'a> for &'a [u8] {
    fn put(&self, to: &mut Writer) {
        to.put(&(self.len() as u32));
        to.extend(self);
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let len = from.get::<u32>()?;
        from.take(usize::try_from(len).map_err(|_| DecodeError::Truncated)?)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Vec<T> {
    fn put(&self, to: &mut Writer) {
        to.put(&(self.len() as u32));
        for item in self {
            to.put(item);
        }
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let count = from.get::<u32>()? as usize;
        // No element is shorter than a byte, so a count beyond what is left is a lie; and what is reserved in
        // advance stays within a small multiple of the message.
        if count > from.left() {
            return Err(DecodeError::Truncated);
        }
        let mut items = Self::with_capacity(count.min(64));
        for _ in 0..count {
            items.push(from.get()?);
        }
        Ok(items)
    }
}

impl<'a, T: Wire<'a>> Wire<'a> for Option<T> {
    fn put(&self, to: &mut Writer) {
        to.put(&self.is_some());
        if let Some(value) = self {
            to.put(value);
        }
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if from.get()? { from.get().map(Some) } else { Ok(None) }
    }
}

/// An error number: `1..4096`.
impl<'a> Wire<'a> for Errno {
    fn put(&self, to: &mut Writer) {
        to.put(&self.raw());
    }
    fn get(from: &mut Reader<'a>) -> Result<Self, DecodeError> {
        match from.get::<i32>()? {
            raw @ 1..4096 => Ok(Self::from_raw(raw)),
            _ => Err(DecodeError::Bad("error number")),
        }
    }
}

/// Structures that are their fields one after the other.
macro_rules! wire_struct {
    ($($(#[$meta:meta])* $name:ident $(<$lt:lifetime>)? { $($(#[$fmeta:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name $(<$lt>)? { $($(#[$fmeta])* pub $field: $ty,)* }
        $crate::wire::wire_struct!(@impl $name [$($lt)?] { $($field)* });
    )*};
    (@impl $name:ident [] $body:tt) => {
        impl<'a> $crate::wire::Wire<'a> for $name { $crate::wire::wire_struct!(@body $body); }
    };
    (@impl $name:ident [$lt:lifetime] $body:tt) => {
        impl<'a> $crate::wire::Wire<'a> for $name<'a> { $crate::wire::wire_struct!(@body $body); }
    };
    (@body { $($field:ident)* }) => {
        fn put(&self, to: &mut $crate::wire::Writer) {
            let _ = &to;
            $(to.put(&self.$field);)*
        }
        fn get(from: &mut $crate::wire::Reader<'a>) -> Result<Self, $crate::wire::DecodeError> {
            let _ = &from;
            Ok(Self { $($field: from.get()?,)* })
        }
    };
}
pub(crate) use wire_struct;

/// Sets of flags of which all unknown bits are refused.
macro_rules! wire_flags {
    ($($name:ty, $what:literal;)*) => {$(
        impl<'a> $crate::wire::Wire<'a> for $name {
            fn put(&self, to: &mut $crate::wire::Writer) {
                to.put(&self.bits());
            }
            fn get(from: &mut $crate::wire::Reader<'a>) -> Result<Self, $crate::wire::DecodeError> {
                Self::from_bits(from.get()?).ok_or($crate::wire::DecodeError::Bad($what))
            }
        }
    )*};
}
pub(crate) use wire_flags;
