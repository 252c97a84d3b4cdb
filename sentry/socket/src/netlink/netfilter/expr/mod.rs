//! Expressions in messages (linux/netfilter/nf_tables.h): `NFTA_EXPR_NAME` says which, `NFTA_EXPR_DATA` holds its own
//! attributes. Each expression has a function that reads these and one that writes them, side by side.

mod load;
mod statement;
mod value;

use abi::{Errno, Result};
use netstack::netfilter::expr::{Expr, REGISTERS, Register};
use netstack::netfilter::ruleset::Table;
use netstack::netfilter::xt::{Match, Target};

use super::super::message::{Attributes, Body};
use super::Transaction;
use super::attributes::{be32, need_be32, nested};

/// `NFTA_EXPR_*`.
const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;

/// `NFTA_DATA_*`: a constant is bytes or a verdict.
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

/// The register that holds the verdict (`NFT_REG_VERDICT`).
const VERDICT_REGISTER: u32 = 0;

/// The expression in a list's entry.
///
/// # Errors
/// `EINVAL`, `ERANGE`, `ENOENT` for an expression that there is not, `EOPNOTSUPP` for a variant.
pub(super) fn parse(transaction: &Transaction, table: &Table, attributes: Attributes<'_>) -> Result<Expr> {
    let name = attributes.text(EXPR_NAME).ok_or(Errno::EINVAL)?;
    let data = nested(attributes, EXPR_DATA).unwrap_or(Attributes(&[]));
    match name {
        "immediate" => value::immediate(transaction, table, data),
        "cmp" => value::compare(data),
        "range" => value::range(data),
        "bitwise" => value::bitwise(data),
        "byteorder" => value::byte_order(data),
        "lookup" => value::lookup(table, data),
        "payload" => load::payload(data),
        "meta" => load::meta(data),
        "ct" => load::ct(table, data),
        "fib" => load::fib(data),
        "counter" => Ok(statement::counter(data)),
        "limit" => statement::limit(data),
        "log" => Ok(statement::log(data)),
        "reject" => statement::reject(data),
        "nat" => statement::nat(data),
        "masq" => statement::masquerade(data),
        "redir" => statement::redirect(data),
        "notrack" => Ok(Expr::NoTrack),
        "match" => statement::extension_match(data),
        "target" => statement::extension_target(table, data),
        _ => Err(Errno::ENOENT),
    }
}

/// Writes an expression; counts begin anew where it `resets`.
pub(super) fn encode(table: &Table, expr: &Expr, resets: bool, body: &mut Body<'_>) {
    body.attr_text(EXPR_NAME, name_of(expr));
    body.nest(EXPR_DATA, |body| match expr {
        Expr::Immediate(to, bytes) => value::encode_immediate(body, *to, bytes),
        Expr::Verdict(verdict) => value::encode_verdict(body, table, *verdict),
        Expr::Compare(from, comparison, with) => value::encode_compare(body, *from, *comparison, with),
        Expr::Range { from, is_inverted, low, high } => {
            value::encode_range(body, *from, *is_inverted, (low, high));
        }
        Expr::Bitwise { from, to, len, op } => value::encode_bitwise(body, (*from, *to, *len), op),
        Expr::ByteOrder { from, to, to_network, len, size } => {
            value::encode_byte_order(body, (*from, *to, *len), *to_network, *size);
        }
        Expr::Lookup { set, from, to, is_verdict, is_inverted } => {
            let name = table.sets.get(set).map(|set| set.name.as_str());
            let to = to.map(Register::number).or(is_verdict.then_some(VERDICT_REGISTER));
            value::encode_lookup(body, name, *from, to, *is_inverted);
        }
        Expr::Payload { to, base, offset, len } => load::encode_payload(body, *to, *base, (*offset, *len)),
        Expr::Meta(to, key) => load::encode_meta(body, *to, *key),
        Expr::SetMark(from) => load::encode_set_mark(body, *from),
        Expr::Ct { to, key, is_reply } => load::encode_ct(body, *to, *key, *is_reply),
        Expr::SetCtMark(from) => load::encode_set_ct_mark(body, *from),
        Expr::Fib { to, result, flags } => load::encode_fib(body, *to, *result, *flags),
        Expr::Counter(count) => statement::encode_counter(body, count.read(resets)),
        Expr::Limit(limit) => statement::encode_limit(body, limit),
        Expr::Log(log) => statement::encode_log(body, log),
        Expr::Reject(how) => statement::encode_reject(body, *how),
        Expr::Nat(nat) => statement::encode_nat(body, nat),
        Expr::Masquerade { port, flags } => statement::encode_masquerade(body, *port, *flags),
        Expr::Redirect { port, flags } => statement::encode_redirect(body, *port, *flags),
        Expr::NoTrack => {}
        Expr::Match(Match { name, revision, info, .. })
        | Expr::Target(Target { name, revision, info, .. }) => {
            statement::encode_extension(body, name, *revision, info);
        }
    });
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

/// Bytes that an expression works on: a constant or a length that fits the registers.
fn fits_registers(len: usize) -> bool {
    (1..=REGISTERS).contains(&len)
}

/// The bytes of a constant.
fn need_data(attributes: Attributes<'_>, kind: u16) -> Result<Box<[u8]>> {
    let data = nested(attributes, kind).ok_or(Errno::EINVAL)?;
    let bytes = data.get(DATA_VALUE).filter(|bytes| fits_registers(bytes.len()));
    Ok(bytes.ok_or(Errno::EINVAL)?.into())
}

/// Writes a constant.
fn data(body: &mut Body<'_>, kind: u16, value: &[u8]) {
    body.nest(kind, |body| {
        body.attr(DATA_VALUE, value);
    });
}

/// A length in bytes.
fn need_len(attributes: Attributes<'_>, kind: u16) -> Result<u8> {
    let len = need_be32(attributes, kind)?;
    u8::try_from(len).ok().filter(|len| fits_registers((*len).into())).ok_or(Errno::ERANGE)
}

/// Writes a register's number.
fn register(body: &mut Body<'_>, kind: u16, register: Register) {
    be32(body, kind, register.number());
}
