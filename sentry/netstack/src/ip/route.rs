//! The routing table: longest prefix first, then the lowest metric.
//!
//! A sandbox has a handful of routes, so the table is a sorted list. Own addresses and their networks are not in it:
//! they come from the interfaces.

use crate::base::addr::{Family, Prefix};
use crate::base::error::{Error, Result};
use std::net::IpAddr;

/// What happens to packets that match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RouteKind {
    /// They are sent.
    #[default]
    Unicast,
    /// Dropped silently (`EINVAL` for senders).
    Blackhole,
    /// Refused with `EHOSTUNREACH`.
    Unreachable,
    /// Refused with `EACCES`.
    Prohibit,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destinations.
    pub prefix: Prefix,
    /// Router, where they are not on the link.
    pub gateway: Option<IpAddr>,
    /// Interface.
    pub interface: u32,
    /// Preferred source address.
    pub source: Option<IpAddr>,
    /// Lower wins.
    pub metric: u32,
    /// MTU for these destinations, 0 for the interface's.
    pub mtu: u32,
    /// Kind.
    pub kind: RouteKind,
    /// `RTPROT_*`: who made it; kept for display.
    pub protocol: u8,
}

impl Route {
    /// A route by way of `gateway`, or on the link.
    #[must_use]
    pub const fn new(prefix: Prefix, gateway: Option<IpAddr>, interface: u32) -> Self {
        Self {
            prefix,
            gateway,
            interface,
            source: None,
            metric: 0,
            mtu: 0,
            kind: RouteKind::Unicast,
            protocol: 3,
        }
    }

    fn order(&self) -> (u8, u32) {
        (u8::MAX - self.prefix.len, self.metric)
    }
}

/// The table.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    routes: Vec<Route>,
}

impl RouteTable {
    /// Adds a route; one for the same prefix with the same metric is in the way.
    pub(crate) fn add(&mut self, mut route: Route) -> Result<()> {
        route.prefix = route.prefix.network();
        let same = |old: &Route| {
            old.prefix == route.prefix && old.metric == route.metric && old.interface == route.interface
        };
        if self.routes.iter().any(same) {
            return Err(Error::Exists);
        }
        let at = self.routes.partition_point(|old| old.order() <= route.order());
        self.routes.insert(at, route);
        Ok(())
    }

    /// Removes the first route that `matches`.
    pub(crate) fn remove(&mut self, matches: impl Fn(&Route) -> bool) -> Option<Route> {
        let at = self.routes.iter().position(matches)?;
        Some(self.routes.remove(at))
    }

    /// Removes every route that `matches`.
    pub(crate) fn remove_all(&mut self, matches: impl Fn(&Route) -> bool) {
        self.routes.retain(|route| !matches(route));
    }

    pub(crate) fn all(&self) -> &[Route] {
        &self.routes
    }

    /// Routes for `to`, best first, over `interface` where that is not 0.
    pub(crate) fn candidates(&self, to: IpAddr, interface: u32) -> impl Iterator<Item = &Route> {
        self.routes.iter().filter(move |route| {
            route.prefix.contains(to)
                && Family::of(route.prefix.addr) == Family::of(to)
                && (interface == 0 || route.interface == interface)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix: &str, len: u8, interface: u32, metric: u32) -> Route {
        Route { metric, ..Route::new(Prefix::new(prefix.parse().unwrap(), len).unwrap(), None, interface) }
    }

    #[test]
    fn longest_prefix_then_lowest_metric() {
        let mut table = RouteTable::default();
        table.add(route("0.0.0.0", 0, 1, 100)).unwrap();
        table.add(route("0.0.0.0", 0, 2, 50)).unwrap();
        table.add(route("10.0.0.0", 8, 3, 0)).unwrap();
        table.add(route("10.1.0.0", 16, 4, 900)).unwrap();
        assert_eq!(table.add(route("10.1.2.3", 16, 4, 900)), Err(Error::Exists));
        let first = |to: &str, oif| table.candidates(to.parse().unwrap(), oif).next().map(|r| r.interface);
        assert_eq!(first("10.1.5.5", 0), Some(4));
        assert_eq!(first("10.2.5.5", 0), Some(3));
        assert_eq!(first("8.8.8.8", 0), Some(2));
        assert_eq!(first("8.8.8.8", 1), Some(1));
        assert_eq!(first("::1", 0), None);
    }
}
