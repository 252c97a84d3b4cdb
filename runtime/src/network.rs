//! The network of a sandbox, read from its name space and donated at `start`.
//!
//! Docker and Kubernetes put a link into the sandbox's name space and give it addresses and routes there. We read them,
//! open packet sockets on the link, and take the addresses away from the host's kernel: from then on the sentry answers
//! for them, and the kernel must not.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use control::Client;
use control::network::{AddressPlan, LinkPlan, NeighbourPlan, NetworkMode, NetworkPlan, RoutePlan};
use host::netlink::{Link, LinkAddress, Neighbour, Netlink, Route, packet_socket};
use host::process::{Namespaces, enter};

use crate::container::State;
use crate::error::{Context, Error, Result};
use crate::flags::Config;
use crate::logging;

/// This process in another network name space; back in its own on drop.
#[derive(Debug)]
pub(crate) struct NetworkVisit {
    home: File,
}

impl NetworkVisit {
    /// Enters the name space at `path`.
    pub(crate) fn start(path: &std::path::Path) -> Result<Self> {
        let home = File::open("/proc/self/ns/net").context("cannot open our own network name space")?;
        let what = || format!("cannot join the network name space {}", path.display());
        let there = File::open(path).with_context(what)?;
        enter(there.as_fd(), Namespaces::NET).with_context(what)?;
        Ok(Self { home })
    }
}

impl Drop for NetworkVisit {
    fn drop(&mut self) {
        if let Err(errno) = enter(self.home.as_fd(), Namespaces::NET) {
            logging::warning(format!("cannot return to our own network name space: {errno}"));
        }
    }
}

/// Gives a sandbox the links of its name space. With `--network=none` and `--network=host` there is nothing to give.
pub(crate) fn donate(config: &Config, state: &State, client: &Client) -> Result<()> {
    // A rootless caller can put no link into the name space, so there is nothing to find.
    let (uid, _) = host::process::effective_ids();
    let wanted = config.network == NetworkMode::Sandbox && !config.rootless && uid == 0;
    let Some(sandbox) = state.sandbox.filter(|_| wanted) else { return Ok(()) };
    let visit = NetworkVisit::start(&PathBuf::from(format!("/proc/{}/ns/net", sandbox.pid)))?;
    let found = Found::read().context("cannot read the network of the sandbox's name space")?;
    let usable: Vec<&Link> = found.links.iter().filter(|link| is_usable(link)).collect();
    if usable.is_empty() {
        logging::debug(format!("sandbox {} has a loopback interface only", state.sandbox_id));
        return Ok(());
    }
    let mut sockets = Vec::new();
    for link in &usable {
        let what = || format!("cannot open a packet socket on {}", link.name);
        sockets.push(packet_socket(link.index, false).with_context(what)?);
    }
    let plan = found.plan(&usable);
    let fds: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
    client.network(plan, &fds).map_err(Error::from)?;
    // Only now: what failed before leaves the name space as it was.
    for address in
        found.addresses.iter().filter(|address| usable.iter().any(|link| link.index == address.link))
    {
        if let Err(errno) = found.netlink.remove_address(address) {
            logging::warning(format!("the host keeps answering for {}: {errno}", address.address));
        }
    }
    drop(visit);
    Ok(())
}

fn is_usable(link: &Link) -> bool {
    !link.is_loopback && link.is_up && link.mac.is_some()
}

/// What a name space has.
#[derive(Debug)]
struct Found {
    netlink: Netlink,
    links: Vec<Link>,
    addresses: Vec<LinkAddress>,
    routes: Vec<Route>,
    neighbours: Vec<Neighbour>,
}

impl Found {
    fn read() -> abi::Result<Self> {
        let netlink = Netlink::open()?;
        Ok(Self {
            links: netlink.links()?,
            addresses: netlink.addresses()?,
            routes: netlink.routes()?,
            neighbours: netlink.neighbours()?,
            netlink,
        })
    }

    /// The plan for the usable links; link number *n* has descriptor *n*.
    fn plan(&self, usable: &[&Link]) -> NetworkPlan {
        let links = usable.iter().enumerate().map(|(number, link)| LinkPlan {
            name: link.name.clone(),
            index: link.index,
            mac: link.mac.unwrap_or_default(),
            mtu: link.mtu,
            fds: vec![number as u32],
            addresses: self
                .addresses
                .iter()
                .filter(|address| address.link == link.index)
                .map(|address| AddressPlan { address: address.address, prefix: address.prefix })
                .collect(),
            neighbours: self
                .neighbours
                .iter()
                .filter(|neighbour| neighbour.link == link.index && neighbour.mac != [0; 6])
                .map(|neighbour| NeighbourPlan { address: neighbour.address, mac: neighbour.mac })
                .collect(),
            gso: false,
        });
        let ours = |route: &&Route| usable.iter().any(|link| link.index == route.link);
        let routes = self.routes.iter().filter(ours).map(|route| RoutePlan {
            destination: route.destination,
            prefix: route.prefix,
            gateway: route.gateway,
            link: route.link,
        });
        NetworkPlan { links: links.collect(), routes: routes.collect(), dns_fd: None }
    }
}
