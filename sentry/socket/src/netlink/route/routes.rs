//! Routes: `RTM_*ROUTE`. The stack keeps the main table without what follows from addresses; that is told here.

use std::net::IpAddr;

use abi::netlink::{
    NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE, RTAX_MTU, RTM_DELROUTE, RTM_NEWROUTE,
};
use abi::{Errno, Result};
use netstack::{Nic, Prefix, Route, RouteKind, Stack};

use super::super::Context;
use super::super::message::{Attributes, Body, Replies, Request};
use super::{family, group, is_wanted, octets, parse_ip};
use crate::bytes::word;
use crate::inet::{NetNamespace, errno};

const HEADER: usize = 12;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_METRICS: u16 = 8;
const RTA_MULTIPATH: u16 = 9;
const RTA_CACHEINFO: u16 = 12;
const RTA_TABLE: u16 = 15;
const RTA_PREF: u16 = 20;
const RTA_UID: u16 = 25;
const RT_TABLE_MAIN: u8 = 254;
const RT_TABLE_LOCAL: u8 = 255;
const RTPROT_KERNEL: u8 = 2;
const RTN_UNICAST: u8 = 1;
const RTN_LOCAL: u8 = 2;
const RTN_BROADCAST: u8 = 3;
const RTN_BLACKHOLE: u8 = 6;
const RTN_UNREACHABLE: u8 = 7;
const RTN_PROHIBIT: u8 = 8;
const SCOPE_LINK: u8 = 253;
const SCOPE_HOST: u8 = 254;
const RTNH_F_ONLINK: u32 = 4;
const RTM_F_CLONED: u32 = 0x200;
const RTCF_LOCAL: u32 = 0x8000_0000;
/// Bytes of `struct rta_cacheinfo`.
const CACHE_INFO: usize = 32;
/// Metric of IPv6 routes that name none.
const V6_METRIC: u32 = 1024;
/// Metric of the routes that follow from IPv6 addresses.
const V6_KERNEL_METRIC: u32 = 256;
/// Routes of a name space.
const MAX_ROUTES: usize = 4096;

/// A route as it is told.
struct Told {
    route: Route,
    table: u8,
    kind: u8,
    scope: u8,
}

impl Told {
    /// A route that was added.
    fn added(route: Route) -> Self {
        let kind = match route.kind {
            RouteKind::Unicast => RTN_UNICAST,
            RouteKind::Blackhole => RTN_BLACKHOLE,
            RouteKind::Unreachable => RTN_UNREACHABLE,
            RouteKind::Prohibit => RTN_PROHIBIT,
        };
        let on_link = route.prefix.addr.is_ipv4() && route.gateway.is_none() && kind == RTN_UNICAST;
        Self { route, table: RT_TABLE_MAIN, kind, scope: if on_link { SCOPE_LINK } else { 0 } }
    }
}

/// The routes that follow from the addresses of a link that is up.
fn implied(nic: &Nic) -> Vec<Told> {
    let mut told = Vec::new();
    for address in nic.addrs() {
        let ip = address.ip();
        let is_v4 = ip.is_ipv4();
        let host_len = if is_v4 { 32 } else { 128 };
        let kernel = |prefix: Prefix, source: Option<IpAddr>, metric: u32| Route {
            source,
            metric,
            protocol: RTPROT_KERNEL,
            ..Route::new(prefix.network(), None, nic.index)
        };
        let metric = if is_v4 { 0 } else { V6_KERNEL_METRIC };
        let source = is_v4.then_some(ip);
        let own = Prefix { addr: ip, len: host_len };
        told.push(Told {
            route: kernel(own, source, 0),
            table: RT_TABLE_LOCAL,
            kind: RTN_LOCAL,
            scope: if is_v4 { SCOPE_HOST } else { 0 },
        });
        let network =
            address.peer.map_or(address.prefix, |peer| Prefix { addr: peer, len: address.prefix.len });
        if nic.is_loopback() && is_v4 {
            let whole = Told {
                route: kernel(network, source, 0),
                table: RT_TABLE_LOCAL,
                kind: RTN_LOCAL,
                scope: SCOPE_HOST,
            };
            told.push(whole);
        } else if network.len < host_len || !is_v4 || address.peer.is_some() {
            let scope = if is_v4 { SCOPE_LINK } else { 0 };
            told.push(Told {
                route: kernel(network, source, metric),
                table: RT_TABLE_MAIN,
                kind: RTN_UNICAST,
                scope,
            });
        }
        if let Some(broadcast) = address.broadcast.or_else(|| address.prefix.broadcast()) {
            told.push(Told {
                route: kernel(Prefix { addr: broadcast.into(), len: 32 }, source, 0),
                table: RT_TABLE_LOCAL,
                kind: RTN_BROADCAST,
                scope: SCOPE_LINK,
            });
        }
    }
    told
}

/// Every route: the added ones, then what follows from the addresses of links that are up.
fn all(stack: &Stack) -> Vec<Told> {
    let nics = stack.nics();
    let implied = nics.iter().filter(|nic| nic.is_up()).flat_map(|nic| implied(nic));
    stack.routes().into_iter().map(Told::added).chain(implied).collect()
}

/// The routes of the main table, for `/proc/net/route`.
pub(crate) fn main_table(net: &NetNamespace) -> Vec<Route> {
    let main = all(net.stack()).into_iter().filter(|told| told.table == RT_TABLE_MAIN);
    main.map(|told| told.route).collect()
}

/// `RTM_GETROUTE`: all, or the one that packets to an address take.
pub(super) fn get(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if !request.is_dump() {
        return get_one(context, request, replies);
    }
    let wanted = request.body().first().copied().unwrap_or(0);
    let stack = context.net.stack();
    for told in all(stack).iter().filter(|told| is_wanted(wanted, told.route.prefix.addr)) {
        replies.message(RTM_NEWROUTE, NLM_F_MULTI, |body| describe(told, 0, body));
    }
    replies.done();
    Ok(())
}

fn get_one(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    let (header, attributes) = request.split(HEADER)?;
    let to = parse_ip(header[0], attributes.get(RTA_DST).ok_or(Errno::EINVAL)?)?;
    let found = context.net.stack().find_route(to, attributes.word(RTA_OIF).unwrap_or(0)).map_err(errno)?;
    let len = if to.is_ipv4() { 32 } else { 128 };
    let route = Route {
        source: Some(found.source),
        protocol: 0,
        ..Route::new(Prefix { addr: to, len }, found.gateway, found.interface)
    };
    // Without rules of its own Linux keeps IPv4's local table within the main one.
    let table = if found.is_local && to.is_ipv6() { RT_TABLE_LOCAL } else { RT_TABLE_MAIN };
    let (kind, flags) = if found.is_local { (RTN_LOCAL, RTCF_LOCAL) } else { (RTN_UNICAST, 0) };
    let told = Told { route, table, kind, scope: 0 };
    let creds = context.task.creds();
    let uid = creds.user_ns.from_kernel_uid(creds.euid);
    replies.message(RTM_NEWROUTE, 0, |body| {
        describe(&told, RTM_F_CLONED | flags, body);
        if to.is_ipv4() {
            body.attr_word(RTA_UID, uid);
            body.attr(RTA_CACHEINFO, &[0; CACHE_INFO]);
        }
    });
    Ok(())
}

/// The route in a message, with what the stack must find out still open.
fn parse(request: &Request<'_>) -> Result<(Route, u32)> {
    let (header, attributes) = request.split(HEADER)?;
    let ip = |kind| attributes.get(kind).map(|bytes| parse_ip(header[0], bytes)).transpose();
    let any = if u16::from(header[0]) == abi::socket::AF_INET {
        parse_ip(header[0], &[0; 4])
    } else {
        parse_ip(header[0], &[0; 16])
    };
    let prefix = Prefix::new(ip(RTA_DST)?.unwrap_or(any?), header[1]).map_err(errno)?;
    let table = attributes.word(RTA_TABLE).unwrap_or(header[4].into());
    if attributes.get(RTA_MULTIPATH).is_some() || !matches!(table as u8, 0 | RT_TABLE_MAIN) || table > 255 {
        return Err(Errno::EOPNOTSUPP);
    }
    let kind = match header[7] {
        // RTN_UNSPEC, as `ip route del` has it.
        0 | RTN_UNICAST => RouteKind::Unicast,
        RTN_BLACKHOLE => RouteKind::Blackhole,
        RTN_UNREACHABLE => RouteKind::Unreachable,
        RTN_PROHIBIT => RouteKind::Prohibit,
        _ => return Err(Errno::EINVAL),
    };
    let mtu = attributes.get(RTA_METRICS).and_then(|metrics| Attributes(metrics).word(RTAX_MTU));
    let route = Route {
        source: ip(RTA_PREFSRC)?,
        metric: attributes.word(RTA_PRIORITY).unwrap_or(0),
        mtu: mtu.unwrap_or(0),
        kind,
        protocol: header[5],
        ..Route::new(prefix.network(), ip(RTA_GATEWAY)?, attributes.word(RTA_OIF).unwrap_or(0))
    };
    Ok((route, word(header, 8).unwrap_or(0)))
}

/// `RTM_NEWROUTE`.
pub(super) fn add(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (mut route, flags) = parse(request)?;
    let stack = context.net.stack();
    if route.prefix.addr.is_ipv6() && route.metric == 0 {
        route.metric = V6_METRIC;
    }
    if route.kind == RouteKind::Unicast {
        settle_interface(context, &mut route, flags)?;
    }
    if let Some(source) = route.source
        && !stack.is_local(source)
    {
        return Err(Errno::EINVAL);
    }
    let same = |old: &Route| old.prefix == route.prefix && old.metric == route.metric;
    let exists = stack.routes().iter().any(same);
    if exists && request.has(NLM_F_EXCL) {
        return Err(Errno::EEXIST);
    }
    if !exists && !request.has(NLM_F_CREATE) {
        return Err(Errno::ENOENT);
    }
    if !exists && stack.routes().len() >= MAX_ROUTES {
        return Err(Errno::ENOMEM);
    }
    if exists && request.has(NLM_F_REPLACE) {
        stack.remove_route(same).map_err(errno)?;
    }
    stack.add_route(route.clone()).map_err(errno)?;
    announce(context, RTM_NEWROUTE, route);
    Ok(())
}

/// Finds the link of a route by its gateway, and checks that the gateway can be reached.
fn settle_interface(context: &Context<'_>, route: &mut Route, flags: u32) -> Result<()> {
    let stack = context.net.stack();
    if let Some(gateway) = route.gateway
        && flags & RTNH_F_ONLINK == 0
    {
        let way = stack.find_route(gateway, route.interface).map_err(|_| Errno::ENETUNREACH)?;
        if way.is_local {
            return Err(Errno::EINVAL);
        }
        if way.gateway.is_some() {
            return Err(Errno::ENETUNREACH);
        }
        route.interface = way.interface;
    }
    let nic = stack.nic(route.interface).ok_or(Errno::ENODEV)?;
    if nic.is_up() { Ok(()) } else { Err(Errno::ENETDOWN) }
}

/// `RTM_DELROUTE`: the first that fits what is said.
pub(super) fn remove(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (wanted, _) = parse(request)?;
    let has_kind = request.body().get(7).is_some_and(|kind| *kind != 0);
    let fits = |route: &Route| {
        route.prefix == wanted.prefix
            && (wanted.metric == 0 || route.metric == wanted.metric)
            && (wanted.interface == 0 || route.interface == wanted.interface)
            && (wanted.gateway.is_none() || route.gateway == wanted.gateway)
            && (!has_kind || route.kind == wanted.kind)
    };
    let gone = context.net.stack().remove_route(fits).map_err(|_| Errno::ESRCH)?;
    announce(context, RTM_DELROUTE, gone);
    Ok(())
}

fn announce(context: &Context<'_>, kind: u16, route: Route) {
    let group = group::of(route.prefix.addr, group::V4_ROUTE, group::V6_ROUTE);
    context.net.netlink().announce(group, |replies| {
        replies.message(kind, 0, |body| describe(&Told::added(route), 0, body));
    });
}

/// `struct rtmsg` and its attributes.
fn describe(told: &Told, flags: u32, body: &mut Body<'_>) {
    let route = &told.route;
    let prefix = route.prefix;
    body.put(&[family(prefix.addr), prefix.len, 0, 0, told.table, route.protocol, told.scope, told.kind]);
    body.put(&flags.to_ne_bytes());
    body.attr_word(RTA_TABLE, told.table.into());
    if prefix.len > 0 {
        body.attr(RTA_DST, &octets(prefix.addr));
    }
    if let Some(gateway) = route.gateway {
        body.attr(RTA_GATEWAY, &octets(gateway));
    }
    if let Some(source) = route.source {
        body.attr(RTA_PREFSRC, &octets(source));
    }
    if route.interface != 0 {
        body.attr_word(RTA_OIF, route.interface);
    }
    if route.metric != 0 || prefix.addr.is_ipv6() {
        body.attr_word(RTA_PRIORITY, route.metric);
    }
    if prefix.addr.is_ipv6() {
        // The preference of routers: medium.
        body.attr(RTA_PREF, &[0]);
    }
    if route.mtu != 0 {
        body.nest(RTA_METRICS, |metrics| {
            metrics.attr_word(RTAX_MTU, route.mtu);
        });
    }
}
