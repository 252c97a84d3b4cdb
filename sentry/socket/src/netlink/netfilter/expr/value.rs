//! Expressions that work on what is in registers: constants, comparisons, arithmetic, sets.

use abi::{Errno, Result};
use netstack::netfilter::expr::{BitOp, Comparison, Expr, Register, Verdict};
use netstack::netfilter::ruleset::Table;
use netstack::netfilter::set;

use super::super::super::message::{Attributes, Body};
use super::super::attributes::{be32, get_be32, need_be32, need_register, nested};
use super::super::{Transaction, sets, verdict};
use super::{DATA_VERDICT, VERDICT_REGISTER, data, need_data, need_len, register};

/// `NFTA_IMMEDIATE_*`.
const IMMEDIATE_DREG: u16 = 1;
const IMMEDIATE_DATA: u16 = 2;

pub(super) fn immediate(transaction: &Transaction, table: &Table, data: Attributes<'_>) -> Result<Expr> {
    if need_be32(data, IMMEDIATE_DREG)? == VERDICT_REGISTER {
        let verdict = nested(data, IMMEDIATE_DATA).and_then(|data| nested(data, DATA_VERDICT));
        return verdict::parse(transaction, table, verdict.ok_or(Errno::EINVAL)?).map(Expr::Verdict);
    }
    let value = need_data(data, IMMEDIATE_DATA)?;
    Ok(Expr::Immediate(need_register(data, IMMEDIATE_DREG, value.len())?, value))
}

pub(super) fn encode_immediate(body: &mut Body<'_>, to: Register, value: &[u8]) {
    register(body, IMMEDIATE_DREG, to);
    data(body, IMMEDIATE_DATA, value);
}

pub(super) fn encode_verdict(body: &mut Body<'_>, table: &Table, verdict: Verdict) {
    be32(body, IMMEDIATE_DREG, VERDICT_REGISTER);
    body.nest(IMMEDIATE_DATA, |body| {
        body.nest(DATA_VERDICT, |body| verdict::encode(table, verdict, body));
    });
}

/// `NFTA_CMP_*`.
const CMP_SREG: u16 = 1;
const CMP_OP: u16 = 2;
const CMP_DATA: u16 = 3;

pub(super) fn compare(data: Attributes<'_>) -> Result<Expr> {
    let value = need_data(data, CMP_DATA)?;
    let comparison = Comparison::from_number(need_be32(data, CMP_OP)?).ok_or(Errno::EINVAL)?;
    Ok(Expr::Compare(need_register(data, CMP_SREG, value.len())?, comparison, value))
}

pub(super) fn encode_compare(body: &mut Body<'_>, from: Register, comparison: Comparison, value: &[u8]) {
    register(body, CMP_SREG, from);
    be32(body, CMP_OP, comparison as u32);
    data(body, CMP_DATA, value);
}

/// `NFTA_RANGE_*`.
const RANGE_SREG: u16 = 1;
const RANGE_OP: u16 = 2;
const RANGE_FROM_DATA: u16 = 3;
const RANGE_TO_DATA: u16 = 4;
/// `NFT_RANGE_*`: inside, or outside.
const RANGE_EQ: u32 = 0;
const RANGE_NEQ: u32 = 1;

pub(super) fn range(data: Attributes<'_>) -> Result<Expr> {
    let (low, high) = (need_data(data, RANGE_FROM_DATA)?, need_data(data, RANGE_TO_DATA)?);
    let operator = need_be32(data, RANGE_OP)?;
    if low.len() != high.len() || !matches!(operator, RANGE_EQ | RANGE_NEQ) {
        return Err(Errno::EINVAL);
    }
    let from = need_register(data, RANGE_SREG, low.len())?;
    Ok(Expr::Range { from, is_inverted: operator == RANGE_NEQ, low, high })
}

pub(super) fn encode_range(
    body: &mut Body<'_>,
    from: Register,
    is_inverted: bool,
    (low, high): (&[u8], &[u8]),
) {
    register(body, RANGE_SREG, from);
    be32(body, RANGE_OP, if is_inverted { RANGE_NEQ } else { RANGE_EQ });
    data(body, RANGE_FROM_DATA, low);
    data(body, RANGE_TO_DATA, high);
}

/// `NFTA_BITWISE_*`.
const BITWISE_SREG: u16 = 1;
const BITWISE_DREG: u16 = 2;
const BITWISE_LEN: u16 = 3;
const BITWISE_MASK: u16 = 4;
const BITWISE_XOR: u16 = 5;
const BITWISE_OP: u16 = 6;
const BITWISE_DATA: u16 = 7;
/// `NFT_BITWISE_*`.
const BITWISE_MASK_XOR: u32 = 0;
const BITWISE_LSHIFT: u32 = 1;
const BITWISE_RSHIFT: u32 = 2;

pub(super) fn bitwise(data: Attributes<'_>) -> Result<Expr> {
    let len = need_len(data, BITWISE_LEN)?;
    let op = match get_be32(data, BITWISE_OP).unwrap_or(BITWISE_MASK_XOR) {
        BITWISE_MASK_XOR => {
            let (mask, xor) = (need_data(data, BITWISE_MASK)?, need_data(data, BITWISE_XOR)?);
            if mask.len() != usize::from(len) || xor.len() != usize::from(len) {
                return Err(Errno::EINVAL);
            }
            BitOp::MaskXor(mask, xor)
        }
        BITWISE_LSHIFT => BitOp::ShiftLeft(shift(data)?),
        BITWISE_RSHIFT => BitOp::ShiftRight(shift(data)?),
        _ => return Err(Errno::EINVAL),
    };
    let from = need_register(data, BITWISE_SREG, len.into())?;
    let to = need_register(data, BITWISE_DREG, len.into())?;
    Ok(Expr::Bitwise { from, to, len, op })
}

/// By how many bits.
fn shift(data: Attributes<'_>) -> Result<u32> {
    let bits = need_data(data, BITWISE_DATA)?.first_chunk().map(|bits| u32::from_ne_bytes(*bits));
    bits.filter(|bits| *bits < u32::BITS).ok_or(Errno::EINVAL)
}

pub(super) fn encode_bitwise(body: &mut Body<'_>, (from, to, len): (Register, Register, u8), op: &BitOp) {
    register(body, BITWISE_SREG, from);
    register(body, BITWISE_DREG, to);
    be32(body, BITWISE_LEN, len.into());
    match op {
        BitOp::MaskXor(mask, xor) => {
            be32(body, BITWISE_OP, BITWISE_MASK_XOR);
            data(body, BITWISE_MASK, mask);
            data(body, BITWISE_XOR, xor);
        }
        BitOp::ShiftLeft(bits) => {
            be32(body, BITWISE_OP, BITWISE_LSHIFT);
            data(body, BITWISE_DATA, &bits.to_ne_bytes());
        }
        BitOp::ShiftRight(bits) => {
            be32(body, BITWISE_OP, BITWISE_RSHIFT);
            data(body, BITWISE_DATA, &bits.to_ne_bytes());
        }
    }
}

/// `NFTA_BYTEORDER_*`.
const BYTEORDER_SREG: u16 = 1;
const BYTEORDER_DREG: u16 = 2;
const BYTEORDER_OP: u16 = 3;
const BYTEORDER_LEN: u16 = 4;
const BYTEORDER_SIZE: u16 = 5;
/// `NFT_BYTEORDER_*`.
const BYTEORDER_NTOH: u32 = 0;
const BYTEORDER_HTON: u32 = 1;

pub(super) fn byte_order(data: Attributes<'_>) -> Result<Expr> {
    let (len, size) = (need_len(data, BYTEORDER_LEN)?, need_len(data, BYTEORDER_SIZE)?);
    let operator = need_be32(data, BYTEORDER_OP)?;
    if !matches!(size, 2 | 4 | 8) || !matches!(operator, BYTEORDER_NTOH | BYTEORDER_HTON) {
        return Err(Errno::EINVAL);
    }
    let from = need_register(data, BYTEORDER_SREG, len.into())?;
    let to = need_register(data, BYTEORDER_DREG, len.into())?;
    Ok(Expr::ByteOrder { from, to, to_network: operator == BYTEORDER_HTON, len, size })
}

pub(super) fn encode_byte_order(
    body: &mut Body<'_>,
    (from, to, len): (Register, Register, u8),
    to_network: bool,
    size: u8,
) {
    register(body, BYTEORDER_SREG, from);
    register(body, BYTEORDER_DREG, to);
    be32(body, BYTEORDER_OP, if to_network { BYTEORDER_HTON } else { BYTEORDER_NTOH });
    be32(body, BYTEORDER_LEN, len.into());
    be32(body, BYTEORDER_SIZE, size.into());
}

/// `NFTA_LOOKUP_*`.
const LOOKUP_SET: u16 = 1;
const LOOKUP_SREG: u16 = 2;
const LOOKUP_DREG: u16 = 3;
const LOOKUP_SET_ID: u16 = 4;
const LOOKUP_FLAGS: u16 = 5;
/// `NFT_LOOKUP_F_INV`.
const LOOKUP_F_INV: u32 = 1;

pub(super) fn lookup(table: &Table, data: Attributes<'_>) -> Result<Expr> {
    let set = sets::find(table, data.text(LOOKUP_SET), get_be32(data, LOOKUP_SET_ID))?;
    let from = need_register(data, LOOKUP_SREG, set.key_len as usize)?;
    let is_inverted = get_be32(data, LOOKUP_FLAGS).unwrap_or(0) & LOOKUP_F_INV != 0;
    let is_map = get_be32(data, LOOKUP_DREG).is_some();
    let is_verdict = set.is_verdict_map() && is_map;
    if is_map && (is_inverted || set.flags & set::MAP == 0) {
        return Err(Errno::EINVAL);
    }
    let to = match is_map && !is_verdict {
        true => Some(need_register(data, LOOKUP_DREG, set.data_len as usize)?),
        false => None,
    };
    Ok(Expr::Lookup { set: set.handle, from, to, is_verdict, is_inverted })
}

/// `to` is a register's number.
pub(super) fn encode_lookup(
    body: &mut Body<'_>,
    set: Option<&str>,
    from: Register,
    to: Option<u32>,
    is_inverted: bool,
) {
    if let Some(name) = set {
        body.attr_text(LOOKUP_SET, name);
    }
    register(body, LOOKUP_SREG, from);
    if let Some(to) = to {
        be32(body, LOOKUP_DREG, to);
    }
    be32(body, LOOKUP_FLAGS, if is_inverted { LOOKUP_F_INV } else { 0 });
}
