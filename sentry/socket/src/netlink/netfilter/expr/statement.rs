//! Expressions that do something: counts, limits, logs, refusals, translations, and the extensions of iptables.

use std::sync::Arc;

use abi::{Errno, Result};
use netstack::netfilter::expr::{Count, Expr, Limit, Log, Nat, Register, Reject, Side};
use netstack::netfilter::ruleset::{IPV4, IPV6, Table};
use netstack::netfilter::xt::{Match, Target};
use netstack::{Error, Family};

use super::super::super::message::{Attributes, Body};
use super::super::attributes::{be32, be64, get_be16, get_be32, get_be64, need_be32, need_register};
use super::register;

/// Registers of the lowest and the highest of something.
type Registers = Option<(Register, Register)>;

/// Bytes of a port.
const PORT_LEN: usize = 2;

/// `NFTA_COUNTER_*`.
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

pub(super) fn counter(data: Attributes<'_>) -> Expr {
    let packets = get_be64(data, COUNTER_PACKETS).unwrap_or(0);
    Expr::Counter(Count::new(packets, get_be64(data, COUNTER_BYTES).unwrap_or(0)))
}

pub(super) fn encode_counter(body: &mut Body<'_>, (packets, bytes): (u64, u64)) {
    be64(body, COUNTER_BYTES, bytes);
    be64(body, COUNTER_PACKETS, packets);
}

/// `NFTA_LIMIT_*`.
const LIMIT_RATE: u16 = 1;
const LIMIT_UNIT: u16 = 2;
const LIMIT_BURST: u16 = 3;
const LIMIT_TYPE: u16 = 4;
const LIMIT_FLAGS: u16 = 5;
/// `NFT_LIMIT_*`.
const LIMIT_PKTS: u32 = 0;
const LIMIT_PKT_BYTES: u32 = 1;
/// `NFT_LIMIT_F_INV`.
const LIMIT_F_INV: u32 = 1;
/// `NFT_LIMIT_PKT_BURST_DEFAULT`.
const BURST_DEFAULT: u32 = 5;

pub(super) fn limit(data: Attributes<'_>) -> Result<Expr> {
    let rate = get_be64(data, LIMIT_RATE).filter(|rate| *rate != 0).ok_or(Errno::EINVAL)?;
    let unit = get_be64(data, LIMIT_UNIT).filter(|unit| *unit != 0).ok_or(Errno::EINVAL)?;
    let burst = get_be32(data, LIMIT_BURST).unwrap_or(0);
    let (is_bytes, burst) = match get_be32(data, LIMIT_TYPE).unwrap_or(LIMIT_PKTS) {
        LIMIT_PKTS if burst == 0 => (false, BURST_DEFAULT),
        LIMIT_PKTS => (false, burst),
        LIMIT_PKT_BYTES => (true, burst),
        _ => return Err(Errno::EOPNOTSUPP),
    };
    let is_inverted = get_be32(data, LIMIT_FLAGS).unwrap_or(0) & LIMIT_F_INV != 0;
    Ok(Expr::Limit(Limit::new(rate, unit, burst, is_bytes, is_inverted)))
}

pub(super) fn encode_limit(body: &mut Body<'_>, limit: &Arc<Limit>) {
    be64(body, LIMIT_RATE, limit.rate);
    be64(body, LIMIT_UNIT, limit.unit);
    be32(body, LIMIT_BURST, limit.burst);
    be32(body, LIMIT_TYPE, if limit.is_bytes { LIMIT_PKT_BYTES } else { LIMIT_PKTS });
    be32(body, LIMIT_FLAGS, if limit.is_inverted { LIMIT_F_INV } else { 0 });
}

/// `NFTA_LOG_*`.
const LOG_GROUP: u16 = 1;
const LOG_PREFIX: u16 = 2;
const LOG_SNAPLEN: u16 = 3;
const LOG_QTHRESHOLD: u16 = 4;
const LOG_LEVEL: u16 = 5;
const LOG_FLAGS: u16 = 6;
/// `NFT_LOGLEVEL_WARNING`.
const LOGLEVEL_WARNING: u32 = 4;

pub(super) fn log(data: Attributes<'_>) -> Expr {
    Expr::Log(Log {
        group: get_be16(data, LOG_GROUP),
        prefix: data.text(LOG_PREFIX).map(str::to_owned),
        snap_len: get_be32(data, LOG_SNAPLEN),
        threshold: get_be16(data, LOG_QTHRESHOLD),
        level: get_be32(data, LOG_LEVEL),
        flags: get_be32(data, LOG_FLAGS),
    })
}

pub(super) fn encode_log(body: &mut Body<'_>, log: &Log) {
    if let Some(prefix) = &log.prefix {
        body.attr_text(LOG_PREFIX, prefix);
    }
    if let Some(group) = log.group {
        body.attr(LOG_GROUP, &group.to_be_bytes());
        be32(body, LOG_SNAPLEN, log.snap_len.unwrap_or(0));
        body.attr(LOG_QTHRESHOLD, &log.threshold.unwrap_or(0).to_be_bytes());
        return;
    }
    be32(body, LOG_LEVEL, log.level.unwrap_or(LOGLEVEL_WARNING));
    if let Some(bits) = log.flags {
        be32(body, LOG_FLAGS, bits);
    }
}

/// `NFTA_REJECT_*`.
const REJECT_TYPE: u16 = 1;
const REJECT_ICMP_CODE: u16 = 2;
/// `NFT_REJECT_*`.
const REJECT_ICMP_UNREACH: u32 = 0;
const REJECT_TCP_RST: u32 = 1;
const REJECT_ICMPX_UNREACH: u32 = 2;
/// The highest of the codes that are translated for both families (`NFT_REJECT_ICMPX_MAX`).
const ICMPX_MAX: u8 = 3;

pub(super) fn reject(data: Attributes<'_>) -> Result<Expr> {
    let code = data.get(REJECT_ICMP_CODE).and_then(|code| code.first()).copied();
    Ok(Expr::Reject(match need_be32(data, REJECT_TYPE)? {
        REJECT_ICMP_UNREACH => Reject::Icmp(code.ok_or(Errno::EINVAL)?),
        REJECT_TCP_RST => Reject::Reset,
        REJECT_ICMPX_UNREACH => Reject::Either(code.filter(|code| *code <= ICMPX_MAX).ok_or(Errno::EINVAL)?),
        _ => return Err(Errno::EINVAL),
    }))
}

pub(super) fn encode_reject(body: &mut Body<'_>, how: Reject) {
    let (kind, code) = match how {
        Reject::Icmp(code) => (REJECT_ICMP_UNREACH, Some(code)),
        Reject::Reset => (REJECT_TCP_RST, None),
        Reject::Either(code) => (REJECT_ICMPX_UNREACH, Some(code)),
    };
    be32(body, REJECT_TYPE, kind);
    if let Some(code) = code {
        body.attr(REJECT_ICMP_CODE, &[code]);
    }
}

/// `NFTA_NAT_*`.
const NAT_TYPE: u16 = 1;
const NAT_FAMILY: u16 = 2;
const NAT_REG_ADDR_MIN: u16 = 3;
const NAT_REG_ADDR_MAX: u16 = 4;
const NAT_REG_PROTO_MIN: u16 = 5;
const NAT_REG_PROTO_MAX: u16 = 6;
const NAT_FLAGS: u16 = 7;
/// `NFT_NAT_*`.
const NAT_SNAT: u32 = 0;
const NAT_DNAT: u32 = 1;

pub(super) fn nat(data: Attributes<'_>) -> Result<Expr> {
    let side = match need_be32(data, NAT_TYPE)? {
        NAT_SNAT => Side::Source,
        NAT_DNAT => Side::Destination,
        _ => return Err(Errno::EINVAL),
    };
    let family = u8::try_from(need_be32(data, NAT_FAMILY)?).map_err(|_| Errno::EAFNOSUPPORT)?;
    let len = match family {
        IPV4 => 4,
        IPV6 => 16,
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    let addr = get_registers(data, NAT_REG_ADDR_MIN, NAT_REG_ADDR_MAX, len)?;
    let port = get_registers(data, NAT_REG_PROTO_MIN, NAT_REG_PROTO_MAX, PORT_LEN)?;
    Ok(Expr::Nat(Nat { side, family, addr, port, flags: get_be32(data, NAT_FLAGS).unwrap_or(0) }))
}

pub(super) fn encode_nat(body: &mut Body<'_>, nat: &Nat) {
    let kind = match nat.side {
        Side::Source => NAT_SNAT,
        Side::Destination => NAT_DNAT,
    };
    be32(body, NAT_TYPE, kind);
    be32(body, NAT_FAMILY, nat.family.into());
    registers(body, nat.addr, NAT_REG_ADDR_MIN, NAT_REG_ADDR_MAX);
    registers(body, nat.port, NAT_REG_PROTO_MIN, NAT_REG_PROTO_MAX);
    nonzero(body, NAT_FLAGS, nat.flags);
}

/// `NFTA_MASQ_*`.
const MASQ_FLAGS: u16 = 1;
const MASQ_REG_PROTO_MIN: u16 = 2;
const MASQ_REG_PROTO_MAX: u16 = 3;

pub(super) fn masquerade(data: Attributes<'_>) -> Result<Expr> {
    let port = get_registers(data, MASQ_REG_PROTO_MIN, MASQ_REG_PROTO_MAX, PORT_LEN)?;
    Ok(Expr::Masquerade { port, flags: get_be32(data, MASQ_FLAGS).unwrap_or(0) })
}

pub(super) fn encode_masquerade(body: &mut Body<'_>, port: Registers, flags: u32) {
    nonzero(body, MASQ_FLAGS, flags);
    registers(body, port, MASQ_REG_PROTO_MIN, MASQ_REG_PROTO_MAX);
}

/// `NFTA_REDIR_*`.
const REDIR_REG_PROTO_MIN: u16 = 1;
const REDIR_REG_PROTO_MAX: u16 = 2;
const REDIR_FLAGS: u16 = 3;

pub(super) fn redirect(data: Attributes<'_>) -> Result<Expr> {
    let port = get_registers(data, REDIR_REG_PROTO_MIN, REDIR_REG_PROTO_MAX, PORT_LEN)?;
    Ok(Expr::Redirect { port, flags: get_be32(data, REDIR_FLAGS).unwrap_or(0) })
}

pub(super) fn encode_redirect(body: &mut Body<'_>, port: Registers, flags: u32) {
    registers(body, port, REDIR_REG_PROTO_MIN, REDIR_REG_PROTO_MAX);
    nonzero(body, REDIR_FLAGS, flags);
}

/// `NFTA_MATCH_*` and `NFTA_TARGET_*`, which are the same.
const EXTENSION_NAME: u16 = 1;
const EXTENSION_REV: u16 = 2;
const EXTENSION_INFO: u16 = 3;

pub(super) fn extension_match(data: Attributes<'_>) -> Result<Expr> {
    let (name, revision, info) = extension(data)?;
    Match::parse(name, revision, info).map(Expr::Match).map_err(extension_errno)
}

pub(super) fn extension_target(table: &Table, data: Attributes<'_>) -> Result<Expr> {
    let (name, revision, info) = extension(data)?;
    let family = match table.family {
        IPV4 => Family::V4,
        IPV6 => Family::V6,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    Target::parse(name, revision, family, info).map(Expr::Target).map_err(extension_errno)
}

/// Name, revision and structure of an iptables extension.
fn extension(data: Attributes<'_>) -> Result<(&str, u32, &[u8])> {
    let name = data.text(EXTENSION_NAME).ok_or(Errno::EINVAL)?;
    Ok((name, need_be32(data, EXTENSION_REV)?, data.get(EXTENSION_INFO).ok_or(Errno::EINVAL)?))
}

fn extension_errno(error: Error) -> Errno {
    Errno::from_raw(error.errno())
}

pub(super) fn encode_extension(body: &mut Body<'_>, name: &str, revision: u32, info: &[u8]) {
    body.attr_text(EXTENSION_NAME, name);
    be32(body, EXTENSION_REV, revision);
    body.attr(EXTENSION_INFO, info);
}

/// Registers of a range; without the highest there is just one.
fn get_registers(data: Attributes<'_>, low: u16, high: u16, len: usize) -> Result<Registers> {
    if data.get(low).is_none() {
        return Ok(None);
    }
    let low = need_register(data, low, len)?;
    let high = if data.get(high).is_some() { need_register(data, high, len)? } else { low };
    Ok(Some((low, high)))
}

fn registers(body: &mut Body<'_>, pair: Registers, low: u16, high: u16) {
    if let Some((from, to)) = pair {
        register(body, low, from);
        register(body, high, to);
    }
}

/// Flags, where there are any.
fn nonzero(body: &mut Body<'_>, kind: u16, flags: u32) {
    if flags != 0 {
        be32(body, kind, flags);
    }
}
