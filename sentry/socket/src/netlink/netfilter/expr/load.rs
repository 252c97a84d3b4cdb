//! Expressions that load something about a packet into a register, and those that change its mark.

use abi::{Errno, Result};
use netstack::netfilter::expr::{Base, CtKey, Expr, FibResult, MetaKey, Register};
use netstack::netfilter::ruleset::{IPV4, Table};

use super::super::super::message::{Attributes, Body};
use super::super::attributes::{be32, get_be32, need_be32, need_register};
use super::{need_len, register};

/// Bytes of a mark.
const MARK_LEN: usize = 4;

/// `NFTA_PAYLOAD_*`.
const PAYLOAD_DREG: u16 = 1;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const PAYLOAD_LEN: u16 = 4;
const PAYLOAD_SREG: u16 = 5;

pub(super) fn payload(data: Attributes<'_>) -> Result<Expr> {
    if get_be32(data, PAYLOAD_SREG).is_some() {
        // Writing into packets.
        return Err(Errno::EOPNOTSUPP);
    }
    let base = Base::from_number(need_be32(data, PAYLOAD_BASE)?).ok_or(Errno::EOPNOTSUPP)?;
    let len = need_len(data, PAYLOAD_LEN)?;
    let to = need_register(data, PAYLOAD_DREG, len.into())?;
    Ok(Expr::Payload { to, base, offset: need_be32(data, PAYLOAD_OFFSET)?, len })
}

pub(super) fn encode_payload(body: &mut Body<'_>, to: Register, base: Base, (offset, len): (u32, u8)) {
    register(body, PAYLOAD_DREG, to);
    be32(body, PAYLOAD_BASE, base as u32);
    be32(body, PAYLOAD_OFFSET, offset);
    be32(body, PAYLOAD_LEN, len.into());
}

/// `NFTA_META_*`.
const META_DREG: u16 = 1;
const META_KEY: u16 = 2;
const META_SREG: u16 = 3;

pub(super) fn meta(data: Attributes<'_>) -> Result<Expr> {
    let key = MetaKey::from_number(need_be32(data, META_KEY)?).ok_or(Errno::EOPNOTSUPP)?;
    if get_be32(data, META_SREG).is_some() {
        let from = need_register(data, META_SREG, MARK_LEN)?;
        return if key == MetaKey::Mark { Ok(Expr::SetMark(from)) } else { Err(Errno::EOPNOTSUPP) };
    }
    Ok(Expr::Meta(need_register(data, META_DREG, key.value_len())?, key))
}

pub(super) fn encode_meta(body: &mut Body<'_>, to: Register, key: MetaKey) {
    be32(body, META_KEY, key as u32);
    register(body, META_DREG, to);
}

pub(super) fn encode_set_mark(body: &mut Body<'_>, from: Register) {
    be32(body, META_KEY, MetaKey::Mark as u32);
    register(body, META_SREG, from);
}

/// `NFTA_CT_*`.
const CT_DREG: u16 = 1;
const CT_KEY: u16 = 2;
const CT_DIRECTION: u16 = 3;
const CT_SREG: u16 = 4;
/// `IP_CT_DIR_*`.
const DIR_ORIGINAL: u8 = 0;
const DIR_REPLY: u8 = 1;

pub(super) fn ct(table: &Table, data: Attributes<'_>) -> Result<Expr> {
    let key = CtKey::from_number(need_be32(data, CT_KEY)?).ok_or(Errno::EOPNOTSUPP)?;
    if get_be32(data, CT_SREG).is_some() {
        let from = need_register(data, CT_SREG, MARK_LEN)?;
        return if key == CtKey::Mark { Ok(Expr::SetCtMark(from)) } else { Err(Errno::EOPNOTSUPP) };
    }
    let is_reply = match data.get(CT_DIRECTION).and_then(|direction| direction.first()) {
        None => None,
        Some(&DIR_ORIGINAL) => Some(false),
        Some(&DIR_REPLY) => Some(true),
        Some(_) => return Err(Errno::EINVAL),
    };
    if is_reply.is_some() != key.is_directed() && !matches!(key, CtKey::L3Protocol | CtKey::Protocol) {
        return Err(Errno::EINVAL);
    }
    Ok(Expr::Ct { to: need_register(data, CT_DREG, key.value_len(address_len(table)))?, key, is_reply })
}

/// Bytes of the addresses of a table's packets.
fn address_len(table: &Table) -> usize {
    if table.family == IPV4 { 4 } else { 16 }
}

pub(super) fn encode_ct(body: &mut Body<'_>, to: Register, key: CtKey, is_reply: Option<bool>) {
    register(body, CT_DREG, to);
    be32(body, CT_KEY, key as u32);
    if let Some(is_reply) = is_reply {
        body.attr(CT_DIRECTION, &[if is_reply { DIR_REPLY } else { DIR_ORIGINAL }]);
    }
}

pub(super) fn encode_set_ct_mark(body: &mut Body<'_>, from: Register) {
    be32(body, CT_KEY, CtKey::Mark as u32);
    register(body, CT_SREG, from);
}

/// `NFTA_FIB_*`.
const FIB_DREG: u16 = 1;
const FIB_RESULT: u16 = 2;
const FIB_FLAGS: u16 = 3;
/// `NFTA_FIB_F_*`.
const FIB_F_SADDR: u32 = 1;
const FIB_F_DADDR: u32 = 2;

pub(super) fn fib(data: Attributes<'_>) -> Result<Expr> {
    let result = FibResult::from_number(need_be32(data, FIB_RESULT)?).ok_or(Errno::EINVAL)?;
    let flags = need_be32(data, FIB_FLAGS)?;
    // Either the source or the destination.
    if (flags & FIB_F_SADDR == 0) == (flags & FIB_F_DADDR == 0) {
        return Err(Errno::EINVAL);
    }
    Ok(Expr::Fib { to: need_register(data, FIB_DREG, result.value_len())?, result, flags })
}

pub(super) fn encode_fib(body: &mut Body<'_>, to: Register, result: FibResult, flags: u32) {
    register(body, FIB_DREG, to);
    be32(body, FIB_RESULT, result as u32);
    be32(body, FIB_FLAGS, flags);
}
