//! Expressions in messages: `NFTA_EXPR_NAME` says which, `NFTA_EXPR_DATA` holds its own attributes.

use abi::{Errno, Result};
use netstack::netfilter::expr::{
    Base, BitOp, Comparison, Count, CtKey, Expr, FibResult, Limit, Log, MetaKey, Nat, Register, Reject, Side,
};
use netstack::netfilter::ruleset::{IPV4, IPV6, Table};
use netstack::netfilter::xt::{Match, Target};
use netstack::{Error, Family};

use super::super::message::{Attributes, Body};
use super::attributes::{be32, be64, get_be16, get_be32, get_be64, need_be32, need_register, nested};
use super::{Transaction, sets, verdict};

const NAME: u16 = 1;
const DATA: u16 = 2;
const VALUE: u16 = 1;
const VERDICT: u16 = 2;
/// The register that holds the verdict.
const VERDICT_REGISTER: u32 = 0;

/// The expression in a list's entry.
///
/// # Errors
/// `EINVAL`, `ERANGE`, `ENOENT` for an expression that there is not, `EOPNOTSUPP` for a variant.
pub(super) fn parse(transaction: &Transaction, table: &Table, attributes: Attributes<'_>) -> Result<Expr> {
    let name = attributes.text(NAME).ok_or(Errno::EINVAL)?;
    let data = nested(attributes, DATA).unwrap_or(Attributes(&[]));
    match name {
        "immediate" => immediate(transaction, table, data),
        "cmp" => compare(data),
        "range" => range(data),
        "bitwise" => bitwise(data),
        "byteorder" => byte_order(data),
        "payload" => payload(data),
        "meta" => meta(data),
        "ct" => ct(table, data),
        "lookup" => lookup(table, data),
        "counter" => {
            let (packets, bytes) = (get_be64(data, 2).unwrap_or(0), get_be64(data, 1).unwrap_or(0));
            Ok(Expr::Counter(Count::new(packets, bytes)))
        }
        "limit" => limit(data),
        "log" => Ok(Expr::Log(log(data))),
        "reject" => reject(data),
        "nat" => nat(data),
        "masq" => {
            Ok(Expr::Masquerade { port: port_range(data, 2, 3)?, flags: get_be32(data, 1).unwrap_or(0) })
        }
        "redir" => {
            Ok(Expr::Redirect { port: port_range(data, 1, 2)?, flags: get_be32(data, 3).unwrap_or(0) })
        }
        "fib" => fib(data),
        "notrack" => Ok(Expr::NoTrack),
        "match" => {
            let (name, revision, info) = extension(data)?;
            Match::parse(name, revision, info).map(Expr::Match).map_err(extension_errno)
        }
        "target" => {
            let (name, revision, info) = extension(data)?;
            let family = match table.family {
                IPV4 => Family::V4,
                IPV6 => Family::V6,
                _ => return Err(Errno::EOPNOTSUPP),
            };
            Target::parse(name, revision, family, info).map(Expr::Target).map_err(extension_errno)
        }
        _ => Err(Errno::ENOENT),
    }
}

fn extension_errno(error: Error) -> Errno {
    Errno::from_raw(error.errno())
}

/// Name, revision and structure of an iptables extension.
fn extension(data: Attributes<'_>) -> Result<(&str, u32, &[u8])> {
    let name = data.text(1).ok_or(Errno::EINVAL)?;
    Ok((name, need_be32(data, 2)?, data.get(3).ok_or(Errno::EINVAL)?))
}

/// The bytes in `NFTA_DATA_VALUE`.
fn value(attributes: Attributes<'_>, kind: u16) -> Result<Box<[u8]>> {
    let data = nested(attributes, kind).ok_or(Errno::EINVAL)?;
    let bytes = data.get(VALUE).filter(|bytes| (1..=64).contains(&bytes.len()));
    Ok(bytes.ok_or(Errno::EINVAL)?.into())
}

fn immediate(transaction: &Transaction, table: &Table, data: Attributes<'_>) -> Result<Expr> {
    if need_be32(data, 1)? == VERDICT_REGISTER {
        let verdict = nested(data, 2).and_then(|data| nested(data, VERDICT)).ok_or(Errno::EINVAL)?;
        return verdict::parse(transaction, table, verdict).map(Expr::Verdict);
    }
    let value = value(data, 2)?;
    Ok(Expr::Immediate(need_register(data, 1, value.len())?, value))
}

fn compare(data: Attributes<'_>) -> Result<Expr> {
    let value = value(data, 3)?;
    let comparison = Comparison::from_number(need_be32(data, 2)?).ok_or(Errno::EINVAL)?;
    Ok(Expr::Compare(need_register(data, 1, value.len())?, comparison, value))
}

fn range(data: Attributes<'_>) -> Result<Expr> {
    let (low, high) = (value(data, 3)?, value(data, 4)?);
    let operator = need_be32(data, 2)?;
    if low.len() != high.len() || operator > 1 {
        return Err(Errno::EINVAL);
    }
    Ok(Expr::Range { from: need_register(data, 1, low.len())?, is_inverted: operator == 1, low, high })
}

/// A length that fits the registers.
fn length(data: Attributes<'_>, kind: u16) -> Result<u8> {
    let len = need_be32(data, kind)?;
    u8::try_from(len).ok().filter(|len| (1..=64).contains(len)).ok_or(Errno::ERANGE)
}

fn bitwise(data: Attributes<'_>) -> Result<Expr> {
    let len = length(data, 3)?;
    let op = match get_be32(data, 6).unwrap_or(0) {
        0 => {
            let (mask, xor) = (value(data, 4)?, value(data, 5)?);
            if mask.len() != usize::from(len) || xor.len() != usize::from(len) {
                return Err(Errno::EINVAL);
            }
            BitOp::MaskXor(mask, xor)
        }
        direction @ (1 | 2) => {
            let bits = value(data, 7)?.first_chunk().map(|bits| u32::from_ne_bytes(*bits));
            let bits = bits.filter(|bits| *bits < 32).ok_or(Errno::EINVAL)?;
            if direction == 1 { BitOp::ShiftLeft(bits) } else { BitOp::ShiftRight(bits) }
        }
        _ => return Err(Errno::EINVAL),
    };
    let (from, to) = (need_register(data, 1, len.into())?, need_register(data, 2, len.into())?);
    Ok(Expr::Bitwise { from, to, len, op })
}

fn byte_order(data: Attributes<'_>) -> Result<Expr> {
    let (len, size) = (length(data, 4)?, length(data, 5)?);
    let operator = need_be32(data, 3)?;
    if !matches!(size, 2 | 4 | 8) || operator > 1 {
        return Err(Errno::EINVAL);
    }
    let (from, to) = (need_register(data, 1, len.into())?, need_register(data, 2, len.into())?);
    Ok(Expr::ByteOrder { from, to, to_network: operator == 1, len, size })
}

fn payload(data: Attributes<'_>) -> Result<Expr> {
    if get_be32(data, 5).is_some() {
        // Writing into packets.
        return Err(Errno::EOPNOTSUPP);
    }
    let base = match need_be32(data, 2)? {
        0 => Base::Link,
        1 => Base::Network,
        2 => Base::Transport,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let len = length(data, 4)?;
    Ok(Expr::Payload { to: need_register(data, 1, len.into())?, base, offset: need_be32(data, 3)?, len })
}

fn meta(data: Attributes<'_>) -> Result<Expr> {
    let key = MetaKey::from_number(need_be32(data, 2)?).ok_or(Errno::EOPNOTSUPP)?;
    if get_be32(data, 3).is_some() {
        let from = need_register(data, 3, 4)?;
        return if key == MetaKey::Mark { Ok(Expr::SetMark(from)) } else { Err(Errno::EOPNOTSUPP) };
    }
    Ok(Expr::Meta(need_register(data, 1, key.value_len())?, key))
}

/// Bytes of the addresses of a table's packets.
fn address_len(table: &Table) -> usize {
    if table.family == IPV4 { 4 } else { 16 }
}

fn ct(table: &Table, data: Attributes<'_>) -> Result<Expr> {
    let key = CtKey::from_number(need_be32(data, 2)?).ok_or(Errno::EOPNOTSUPP)?;
    if get_be32(data, 4).is_some() {
        let from = need_register(data, 4, 4)?;
        return if key == CtKey::Mark { Ok(Expr::SetCtMark(from)) } else { Err(Errno::EOPNOTSUPP) };
    }
    let is_reply = match data.get(3).and_then(|direction| direction.first()) {
        None => None,
        Some(0) => Some(false),
        Some(1) => Some(true),
        Some(_) => return Err(Errno::EINVAL),
    };
    if is_reply.is_some() != key.is_directed() && !matches!(key, CtKey::L3Protocol | CtKey::Protocol) {
        return Err(Errno::EINVAL);
    }
    Ok(Expr::Ct { to: need_register(data, 1, key.value_len(address_len(table)))?, key, is_reply })
}

fn lookup(table: &Table, data: Attributes<'_>) -> Result<Expr> {
    let set = sets::find(table, data.text(1), get_be32(data, 4))?;
    let from = need_register(data, 2, set.key_len as usize)?;
    let is_inverted = get_be32(data, 5).unwrap_or(0) & 1 != 0;
    let is_map = get_be32(data, 3).is_some();
    let is_verdict = set.is_verdict_map() && is_map;
    if is_map && (is_inverted || set.flags & netstack::netfilter::set::MAP == 0) {
        return Err(Errno::EINVAL);
    }
    let to = match is_map && !is_verdict {
        true => Some(need_register(data, 3, set.data_len as usize)?),
        false => None,
    };
    Ok(Expr::Lookup { set: set.handle, from, to, is_verdict, is_inverted })
}

fn limit(data: Attributes<'_>) -> Result<Expr> {
    let rate = get_be64(data, 1).filter(|rate| *rate != 0).ok_or(Errno::EINVAL)?;
    let unit = get_be64(data, 2).filter(|unit| *unit != 0).ok_or(Errno::EINVAL)?;
    let (burst, kind) = (get_be32(data, 3).unwrap_or(0), get_be32(data, 4).unwrap_or(0));
    if kind > 1 {
        return Err(Errno::EOPNOTSUPP);
    }
    let burst = if burst == 0 && kind == 0 { 5 } else { burst };
    let is_inverted = get_be32(data, 5).unwrap_or(0) & 1 != 0;
    Ok(Expr::Limit(Limit::new(rate, unit, burst, kind == 1, is_inverted)))
}

fn log(data: Attributes<'_>) -> Log {
    Log {
        group: get_be16(data, 1),
        prefix: data.text(2).map(str::to_owned),
        snap_len: get_be32(data, 3),
        threshold: get_be16(data, 4),
        level: get_be32(data, 5),
        flags: get_be32(data, 6),
    }
}

fn reject(data: Attributes<'_>) -> Result<Expr> {
    let code = data.get(2).and_then(|code| code.first()).copied();
    Ok(Expr::Reject(match need_be32(data, 1)? {
        0 => Reject::Icmp(code.ok_or(Errno::EINVAL)?),
        1 => Reject::Reset,
        2 => Reject::Either(code.filter(|code| *code <= 3).ok_or(Errno::EINVAL)?),
        _ => return Err(Errno::EINVAL),
    }))
}

/// Registers of the lowest and the highest of something; without the latter there is just one.
fn register_pair(
    data: Attributes<'_>,
    low: u16,
    high: u16,
    len: usize,
) -> Result<Option<(Register, Register)>> {
    if data.get(low).is_none() {
        return Ok(None);
    }
    let low = need_register(data, low, len)?;
    let high = if data.get(high).is_some() { need_register(data, high, len)? } else { low };
    Ok(Some((low, high)))
}

fn port_range(data: Attributes<'_>, low: u16, high: u16) -> Result<Option<(Register, Register)>> {
    register_pair(data, low, high, 2)
}

fn nat(data: Attributes<'_>) -> Result<Expr> {
    let side = match need_be32(data, 1)? {
        0 => Side::Source,
        1 => Side::Destination,
        _ => return Err(Errno::EINVAL),
    };
    let family = u8::try_from(need_be32(data, 2)?).map_err(|_| Errno::EAFNOSUPPORT)?;
    let len = match family {
        IPV4 => 4,
        IPV6 => 16,
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    let addr = register_pair(data, 3, 4, len)?;
    let port = port_range(data, 5, 6)?;
    Ok(Expr::Nat(Nat { side, family, addr, port, flags: get_be32(data, 7).unwrap_or(0) }))
}

fn fib(data: Attributes<'_>) -> Result<Expr> {
    let result = match need_be32(data, 2)? {
        1 => FibResult::Index,
        2 => FibResult::Name,
        3 => FibResult::Kind,
        _ => return Err(Errno::EINVAL),
    };
    let flags = need_be32(data, 3)?;
    // Either the source or the destination.
    if !matches!(flags & 3, 1 | 2) {
        return Err(Errno::EINVAL);
    }
    let len = if result == FibResult::Name { 16 } else { 4 };
    Ok(Expr::Fib { to: need_register(data, 1, len)?, result, flags })
}

/// Writes an expression; counts begin anew where it `resets`.
pub(super) fn encode(table: &Table, expr: &Expr, resets: bool, body: &mut Body<'_>) {
    body.attr_text(NAME, name_of(expr));
    body.nest(DATA, |body| encode_data(table, expr, resets, body));
}

const fn name_of(expr: &Expr) -> &'static str {
    match expr {
        Expr::Immediate(..) | Expr::Verdict(_) => "immediate",
        Expr::Compare(..) => "cmp",
        Expr::Range { .. } => "range",
        Expr::Bitwise { .. } => "bitwise",
        Expr::ByteOrder { .. } => "byteorder",
        Expr::Payload { .. } => "payload",
        Expr::Meta(..) | Expr::SetMark(_) => "meta",
        Expr::Ct { .. } | Expr::SetCtMark(_) => "ct",
        Expr::Lookup { .. } => "lookup",
        Expr::Counter(_) => "counter",
        Expr::Limit(_) => "limit",
        Expr::Log(_) => "log",
        Expr::Reject(_) => "reject",
        Expr::Nat(_) => "nat",
        Expr::Masquerade { .. } => "masq",
        Expr::Redirect { .. } => "redir",
        Expr::Fib { .. } => "fib",
        Expr::NoTrack => "notrack",
        Expr::Match(_) => "match",
        Expr::Target(_) => "target",
    }
}

fn register(body: &mut Body<'_>, kind: u16, register: Register) {
    be32(body, kind, register.number());
}

fn registers(body: &mut Body<'_>, pair: Option<(Register, Register)>, low: u16, high: u16) {
    if let Some((from, to)) = pair {
        register(body, low, from);
        register(body, high, to);
    }
}

fn data(body: &mut Body<'_>, kind: u16, value: &[u8]) {
    body.nest(kind, |body| {
        body.attr(VALUE, value);
    });
}

fn encode_data(table: &Table, expr: &Expr, resets: bool, body: &mut Body<'_>) {
    match expr {
        Expr::Immediate(to, value) => {
            register(body, 1, *to);
            data(body, 2, value);
        }
        Expr::Verdict(verdict) => {
            be32(body, 1, VERDICT_REGISTER);
            body.nest(2, |body| {
                body.nest(VERDICT, |body| verdict::encode(table, *verdict, body));
            });
        }
        Expr::Compare(from, comparison, value) => {
            register(body, 1, *from);
            be32(body, 2, *comparison as u32);
            data(body, 3, value);
        }
        Expr::Range { from, is_inverted, low, high } => {
            register(body, 1, *from);
            be32(body, 2, u32::from(*is_inverted));
            data(body, 3, low);
            data(body, 4, high);
        }
        Expr::Bitwise { from, to, len, op } => encode_bitwise(body, (*from, *to, *len), op),
        Expr::ByteOrder { from, to, to_network, len, size } => {
            register(body, 1, *from);
            register(body, 2, *to);
            be32(body, 3, u32::from(*to_network));
            be32(body, 4, (*len).into());
            be32(body, 5, (*size).into());
        }
        Expr::Payload { to, base, offset, len } => {
            register(body, 1, *to);
            be32(body, 2, *base as u32);
            be32(body, 3, *offset);
            be32(body, 4, (*len).into());
        }
        Expr::Meta(to, key) => {
            be32(body, 2, *key as u32);
            register(body, 1, *to);
        }
        Expr::SetMark(from) => {
            be32(body, 2, MetaKey::Mark as u32);
            register(body, 3, *from);
        }
        Expr::SetCtMark(from) => {
            be32(body, 2, CtKey::Mark as u32);
            register(body, 4, *from);
        }
        Expr::Ct { to, key, is_reply } => {
            register(body, 1, *to);
            be32(body, 2, *key as u32);
            if let Some(is_reply) = is_reply {
                body.attr(3, &[u8::from(*is_reply)]);
            }
        }
        Expr::Fib { to, result, flags } => {
            register(body, 1, *to);
            be32(body, 2, *result as u32);
            be32(body, 3, *flags);
        }
        Expr::Lookup { set, from, to, is_verdict, is_inverted } => {
            if let Some(set) = table.sets.get(set) {
                body.attr_text(1, &set.name);
            }
            register(body, 2, *from);
            match to {
                Some(to) => register(body, 3, *to),
                None if *is_verdict => be32(body, 3, VERDICT_REGISTER),
                None => {}
            }
            be32(body, 5, u32::from(*is_inverted));
        }
        _ => encode_statement(expr, resets, body),
    }
}

fn encode_bitwise(body: &mut Body<'_>, (from, to, len): (Register, Register, u8), op: &BitOp) {
    register(body, 1, from);
    register(body, 2, to);
    be32(body, 3, len.into());
    let number = match op {
        BitOp::MaskXor(..) => 0,
        BitOp::ShiftLeft(_) => 1,
        BitOp::ShiftRight(_) => 2,
    };
    be32(body, 6, number);
    match op {
        BitOp::MaskXor(mask, xor) => {
            data(body, 4, mask);
            data(body, 5, xor);
        }
        BitOp::ShiftLeft(bits) | BitOp::ShiftRight(bits) => data(body, 7, &bits.to_ne_bytes()),
    }
}

/// The expressions that do something.
fn encode_statement(expr: &Expr, resets: bool, body: &mut Body<'_>) {
    match expr {
        Expr::Counter(count) => {
            let (packets, bytes) = count.read(resets);
            be64(body, 1, bytes);
            be64(body, 2, packets);
        }
        Expr::Limit(limit) => {
            be64(body, 1, limit.rate);
            be64(body, 2, limit.unit);
            be32(body, 3, limit.burst);
            be32(body, 4, u32::from(limit.is_bytes));
            be32(body, 5, u32::from(limit.is_inverted));
        }
        Expr::Log(log) => encode_log(log, body),
        Expr::Reject(how) => {
            let (kind, code) = match how {
                Reject::Icmp(code) => (0, Some(code)),
                Reject::Reset => (1, None),
                Reject::Either(code) => (2, Some(code)),
            };
            be32(body, 1, kind);
            if let Some(code) = code {
                body.attr(2, &[*code]);
            }
        }
        Expr::Nat(nat) => {
            be32(body, 1, u32::from(nat.side == Side::Destination));
            be32(body, 2, nat.family.into());
            registers(body, nat.addr, 3, 4);
            registers(body, nat.port, 5, 6);
            flags(body, 7, nat.flags);
        }
        Expr::Masquerade { port, flags: bits } => {
            flags(body, 1, *bits);
            registers(body, *port, 2, 3);
        }
        Expr::Redirect { port, flags: bits } => {
            registers(body, *port, 1, 2);
            flags(body, 3, *bits);
        }
        Expr::Match(extension) => {
            encode_extension(body, &extension.name, extension.revision, &extension.info);
        }
        Expr::Target(extension) => {
            encode_extension(body, &extension.name, extension.revision, &extension.info);
        }
        // The others are written by `encode_data`, or have no attributes.
        _ => {}
    }
}

fn flags(body: &mut Body<'_>, kind: u16, bits: u32) {
    if bits != 0 {
        be32(body, kind, bits);
    }
}

fn encode_extension(body: &mut Body<'_>, name: &str, revision: u32, info: &[u8]) {
    body.attr_text(1, name);
    be32(body, 2, revision);
    body.attr(3, info);
}

fn encode_log(log: &Log, body: &mut Body<'_>) {
    if let Some(prefix) = &log.prefix {
        body.attr_text(2, prefix);
    }
    if let Some(group) = log.group {
        body.attr(1, &group.to_be_bytes());
        be32(body, 3, log.snap_len.unwrap_or(0));
        body.attr(4, &log.threshold.unwrap_or(0).to_be_bytes());
        return;
    }
    be32(body, 5, log.level.unwrap_or(4));
    if let Some(bits) = log.flags {
        be32(body, 6, bits);
    }
}
