//! Attributes of nf_tables: numbers in network order.

use abi::{Errno, Result};
use netstack::netfilter::expr::Register;

use super::super::message::{Attributes, Body};

/// The only type of a list's entries.
pub(super) const LIST_ELEM: u16 = 1;

/// The 32-bit number of an attribute.
pub(super) fn get_be32(attributes: Attributes<'_>, kind: u16) -> Option<u32> {
    attributes.get(kind)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The 64-bit number of an attribute.
pub(super) fn get_be64(attributes: Attributes<'_>, kind: u16) -> Option<u64> {
    attributes.get(kind)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The 16-bit number of an attribute.
pub(super) fn get_be16(attributes: Attributes<'_>, kind: u16) -> Option<u16> {
    attributes.get(kind)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// The attributes inside an attribute.
pub(super) fn nested(attributes: Attributes<'_>, kind: u16) -> Option<Attributes<'_>> {
    attributes.get(kind).map(Attributes)
}

/// A number that must be there.
///
/// # Errors
/// `EINVAL`.
pub(super) fn need_be32(attributes: Attributes<'_>, kind: u16) -> Result<u32> {
    get_be32(attributes, kind).ok_or(Errno::EINVAL)
}

/// A register that must be there, with room for `len` bytes.
///
/// # Errors
/// `EINVAL`; `ERANGE` for one that there is not.
pub(super) fn need_register(attributes: Attributes<'_>, kind: u16, len: usize) -> Result<Register> {
    Register::from_number(need_be32(attributes, kind)?, len).ok_or(Errno::ERANGE)
}

/// A 32-bit number.
pub(super) fn be32(body: &mut Body<'_>, kind: u16, value: u32) {
    body.attr(kind, &value.to_be_bytes());
}

/// A 64-bit number.
pub(super) fn be64(body: &mut Body<'_>, kind: u16, value: u64) {
    body.attr(kind, &value.to_be_bytes());
}

/// Bytes of a user's program at most (`NFT_USERDATA_MAXLEN`).
const USERDATA_MAX: usize = 256;

/// What a user's program keeps with an object.
///
/// # Errors
/// `ERANGE` for more than [`USERDATA_MAX`] bytes.
pub(super) fn get_userdata(attributes: Attributes<'_>, kind: u16) -> Result<Box<[u8]>> {
    let data = attributes.get(kind).unwrap_or_default();
    if data.len() <= USERDATA_MAX { Ok(data.into()) } else { Err(Errno::ERANGE) }
}

/// Text of a user's program, where there is any.
pub(super) fn userdata(body: &mut Body<'_>, kind: u16, data: &[u8]) {
    if !data.is_empty() {
        body.attr(kind, data);
    }
}
