//! The connections that packet filters follow (linux/netfilter/nfnetlink_conntrack.h): what `conntrack -L`, `-D` and `-F`
//! ask, and Docker when a port is no longer published. Entries cannot be made or changed, and nobody is told of them.

use std::net::IpAddr;

use abi::netlink::{NLA_F_NESTED, NLM_F_MULTI};
use abi::{Errno, Result};
use netstack::Endpoint;
use netstack::netfilter::conntrack::{Connection, Tuple};
use netstack::netfilter::ruleset::{IPV4, IPV6};

use super::super::Context;
use super::super::message::{Attributes, Body, Replies};
use super::attributes::{be32, get_be16, get_be32, nested};
use super::{Message, header};

/// The subsystem's number.
pub(super) const SUBSYSTEM: u16 = 1;
const NEW: u16 = 0;
const GET: u16 = 1;
const DELETE: u16 = 2;

const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_MARK: u16 = 8;
const CTA_USE: u16 = 11;
const CTA_ID: u16 = 12;
const CTA_MARK_MASK: u16 = 21;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_SRC: u16 = 1;
const CTA_IP_V4_DST: u16 = 2;
const CTA_IP_V6_SRC: u16 = 3;
const CTA_IP_V6_DST: u16 = 4;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_SRC_PORT: u16 = 2;
const CTA_PROTO_DST_PORT: u16 = 3;
const CTA_PROTO_ICMP_ID: u16 = 4;
const CTA_PROTO_ICMP_TYPE: u16 = 5;
const CTA_PROTO_ICMP_CODE: u16 = 6;
const CTA_PROTO_ICMPV6_ID: u16 = 7;
const CTA_PROTO_ICMPV6_TYPE: u16 = 8;
const CTA_PROTO_ICMPV6_CODE: u16 = 9;
const CTA_PROTOINFO_TCP: u16 = 1;
const CTA_PROTOINFO_TCP_STATE: u16 = 1;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Answers a request.
///
/// # Errors
/// `ENOENT` for a connection that is not followed, `EINVAL`, `EOPNOTSUPP` for what cannot be done.
pub(super) fn answer(context: &Context<'_>, message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    match message.kind() {
        GET if message.request.is_dump() => dump(context, message, replies),
        GET => get(context, message, replies),
        DELETE => delete(context, message),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// Whether a connection has the mark that is asked for.
fn is_marked(message: &Message<'_>, connection: &Connection) -> bool {
    let mask = get_be32(message.attributes, CTA_MARK_MASK).unwrap_or(u32::MAX);
    get_be32(message.attributes, CTA_MARK).is_none_or(|mark| connection.flow.mark & mask == mark)
}

fn family(connection: &Connection) -> u8 {
    if connection.flow.original.from.ip.is_ipv4() { IPV4 } else { IPV6 }
}

fn dump(context: &Context<'_>, message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    for connection in context.net.stack().connections() {
        if message.wants(family(&connection)) && is_marked(message, &connection) {
            replies.message(SUBSYSTEM << 8 | NEW, NLM_F_MULTI, |body| describe(&connection, body));
        }
    }
    replies.done();
    Ok(())
}

fn get(context: &Context<'_>, message: &Message<'_>, replies: &mut Replies) -> Result<()> {
    let tuple = named(message)?.ok_or(Errno::EINVAL)?;
    let all = context.net.stack().connections();
    let found = all.iter().find(|connection| connection.has(&tuple)).ok_or(Errno::ENOENT)?;
    replies.message(SUBSYSTEM << 8 | NEW, 0, |body| describe(found, body));
    Ok(())
}

/// Forgets the connection that a message names, or without a name all that it describes.
fn delete(context: &Context<'_>, message: &Message<'_>) -> Result<()> {
    let stack = context.net.stack();
    let Some(tuple) = named(message)? else {
        stack.forget_connections(|connection| {
            message.wants(family(connection)) && is_marked(message, connection)
        });
        return Ok(());
    };
    let id = get_be32(message.attributes, CTA_ID);
    let count = stack.forget_connections(|connection| {
        connection.has(&tuple) && id.is_none_or(|id| id == connection.id as u32)
    });
    if count > 0 { Ok(()) } else { Err(Errno::ENOENT) }
}

/// The addresses that a message names a connection by.
///
/// # Errors
/// `EINVAL` where they are not whole.
fn named(message: &Message<'_>) -> Result<Option<Tuple>> {
    let one = |kind| nested(message.attributes, kind);
    let Some(tuple) = one(CTA_TUPLE_ORIG).or_else(|| one(CTA_TUPLE_REPLY)) else { return Ok(None) };
    parse(tuple, message.family).map(Some).ok_or(Errno::EINVAL)
}

fn parse(tuple: Attributes<'_>, family: u8) -> Option<Tuple> {
    let (ips, protocol) = (nested(tuple, CTA_TUPLE_IP)?, nested(tuple, CTA_TUPLE_PROTO)?);
    let v4 = |kind| Some(IpAddr::from(*ips.get(kind)?.first_chunk::<4>()?));
    let v6 = |kind| Some(IpAddr::from(*ips.get(kind)?.first_chunk::<16>()?));
    let (from, to) = match family {
        IPV4 => (v4(CTA_IP_V4_SRC)?, v4(CTA_IP_V4_DST)?),
        IPV6 => (v6(CTA_IP_V6_SRC)?, v6(CTA_IP_V6_DST)?),
        _ => return None,
    };
    let number = *protocol.get(CTA_PROTO_NUM)?.first()?;
    let byte = |kind| protocol.get(kind).and_then(|bytes| bytes.first().copied());
    let half = |kind| get_be16(protocol, kind);
    let (from_port, to_port, kind) = match number {
        ICMP => (half(CTA_PROTO_ICMP_ID)?, half(CTA_PROTO_ICMP_ID)?, byte(CTA_PROTO_ICMP_TYPE)?),
        ICMPV6 => (half(CTA_PROTO_ICMPV6_ID)?, half(CTA_PROTO_ICMPV6_ID)?, byte(CTA_PROTO_ICMPV6_TYPE)?),
        _ => (half(CTA_PROTO_SRC_PORT).unwrap_or(0), half(CTA_PROTO_DST_PORT).unwrap_or(0), 0),
    };
    Some(Tuple {
        from: Endpoint::new(from, from_port),
        to: Endpoint::new(to, to_port),
        protocol: number,
        kind,
    })
}

fn describe(connection: &Connection, body: &mut Body<'_>) {
    let flow = &connection.flow;
    body.put(&header(family(connection), 0));
    body.nest(CTA_TUPLE_ORIG | NLA_F_NESTED, |body| describe_tuple(&flow.original, body));
    body.nest(CTA_TUPLE_REPLY | NLA_F_NESTED, |body| describe_tuple(&flow.reply, body));
    be32(body, CTA_STATUS, flow.status.bits());
    be32(body, CTA_TIMEOUT, connection.seconds_left);
    be32(body, CTA_MARK, flow.mark);
    be32(body, CTA_ID, connection.id as u32);
    be32(body, CTA_USE, 1);
    if let Some(state) = flow.tcp_state() {
        body.nest(CTA_PROTOINFO | NLA_F_NESTED, |body| {
            body.nest(CTA_PROTOINFO_TCP | NLA_F_NESTED, |body| {
                body.attr(CTA_PROTOINFO_TCP_STATE, &[state]);
            });
        });
    }
}

fn describe_tuple(tuple: &Tuple, body: &mut Body<'_>) {
    body.nest(CTA_TUPLE_IP | NLA_F_NESTED, |body| match (tuple.from.ip, tuple.to.ip) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            body.attr(CTA_IP_V4_SRC, &from.octets()).attr(CTA_IP_V4_DST, &to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            body.attr(CTA_IP_V6_SRC, &from.octets()).attr(CTA_IP_V6_DST, &to.octets());
        }
        // Both ends are of one family.
        _ => {}
    });
    let (from, to) = (tuple.from.port.to_be_bytes(), tuple.to.port.to_be_bytes());
    body.nest(CTA_TUPLE_PROTO | NLA_F_NESTED, |body| {
        body.attr(CTA_PROTO_NUM, &[tuple.protocol]);
        let _ = match tuple.protocol {
            ICMP => body
                .attr(CTA_PROTO_ICMP_ID, &from)
                .attr(CTA_PROTO_ICMP_TYPE, &[tuple.kind])
                .attr(CTA_PROTO_ICMP_CODE, &[0]),
            ICMPV6 => body
                .attr(CTA_PROTO_ICMPV6_ID, &from)
                .attr(CTA_PROTO_ICMPV6_TYPE, &[tuple.kind])
                .attr(CTA_PROTO_ICMPV6_CODE, &[0]),
            _ => body.attr(CTA_PROTO_SRC_PORT, &from).attr(CTA_PROTO_DST_PORT, &to),
        };
    });
}
