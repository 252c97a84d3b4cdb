//! The network that the runtime found in the container's name space, given to the sandbox's stack.
//!
//! The plan comes over the control socket and is checked like anything else that does.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use control::Failure;
use control::network::{AddressPlan, LinkPlan, NeighbourPlan, NetworkPlan, RoutePlan};
use netstack::{IfAddr, Mac, NeighbourState, Nic, Prefix, Route};
use socket::inet::{LinkSetup, NetNamespace};

use crate::donated::Donated;

/// Where Docker's name server answers.
const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);

/// Attaches links and gives them addresses, neighbours and routes.
pub(crate) fn attach(net: &Arc<NetNamespace>, plan: &NetworkPlan, donated: &Donated) -> Result<(), Failure> {
    for link in &plan.links {
        let nic = add_link(net, link, donated)?;
        for address in &link.addresses {
            add_address(net, &nic, address)?;
        }
        net.stack().set_up(&nic, true);
        for neighbour in &link.neighbours {
            add_neighbour(net, &nic, neighbour)?;
        }
    }
    for route in plan.routes.iter().filter(|route| !is_implied(plan, route)) {
        add_route(net, route)?;
    }
    if let Some(index) = plan.dns_fd {
        let added = net.add_resolver(RESOLVER, donated.take(index)?);
        added.map_err(|errno| Failure::host(format!("cannot pass on queries for {RESOLVER}: {errno}")))?;
    }
    Ok(())
}

fn add_link(net: &Arc<NetNamespace>, link: &LinkPlan, donated: &Donated) -> Result<Arc<Nic>, Failure> {
    let sockets = link.fds.iter().map(|index| donated.take(*index)).collect::<Result<_, _>>()?;
    let setup = LinkSetup {
        name: link.name.clone(),
        index: link.index,
        mac: link.mac,
        mtu: link.mtu,
        sockets,
        offload: link.gso,
        ipv6: link.addresses.iter().any(|address| address.address.is_ipv6()),
    };
    net.add_link(setup)
        .map_err(|errno| Failure::invalid(format!("cannot add the link {:?}: {errno}", link.name)))
}

fn add_address(net: &NetNamespace, nic: &Nic, plan: &AddressPlan) -> Result<(), Failure> {
    let wrong = |error| Failure::invalid(format!("address {}/{}: {error:?}", plan.address, plan.prefix));
    let prefix = Prefix::new(plan.address, plan.prefix).map_err(wrong)?;
    let broadcast = match plan.broadcast {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let address = IfAddr { peer: plan.peer, broadcast, ..IfAddr::new(prefix) };
    net.stack().add_addr(nic, address).map_err(wrong)
}

fn add_neighbour(net: &NetNamespace, nic: &Nic, plan: &NeighbourPlan) -> Result<(), Failure> {
    // Stale: used at once, and confirmed while in use.
    let added = net.stack().set_neighbour(nic.index, plan.address, Mac(plan.mac), NeighbourState::Stale);
    added.map_err(|error| Failure::invalid(format!("neighbour {}: {error:?}", plan.address)))
}

/// Whether a route follows from an address: the stack knows the networks of its own addresses.
fn is_implied(plan: &NetworkPlan, route: &RoutePlan) -> bool {
    let has_network = |address: &AddressPlan| {
        let network = Prefix::new(address.address, address.prefix).map(|prefix| prefix.network());
        address.prefix == route.prefix && network.is_ok_and(|network| network.addr == route.destination)
    };
    let links = plan.links.iter().filter(|link| link.index == route.link);
    route.gateway.is_none() && links.flat_map(|link| &link.addresses).any(has_network)
}

fn add_route(net: &NetNamespace, plan: &RoutePlan) -> Result<(), Failure> {
    let wrong = |error| Failure::invalid(format!("route {}/{}: {error:?}", plan.destination, plan.prefix));
    let prefix = Prefix::new(plan.destination, plan.prefix).map_err(wrong)?;
    let route = Route {
        source: plan.source,
        metric: plan.metric,
        mtu: plan.mtu,
        ..Route::new(prefix, plan.gateway, plan.link)
    };
    match net.stack().add_route(route) {
        // A router's advertisement may have come first.
        Err(netstack::Error::Exists) => Ok(()),
        other => other.map_err(wrong),
    }
}
