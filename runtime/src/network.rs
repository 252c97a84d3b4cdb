//! The network of a sandbox, read from its name space and donated at `start`.
//!
//! Docker and Kubernetes put a link into the sandbox's name space and give it addresses and routes there. We read them,
//! open packet sockets on the link, and take the addresses away from the host's kernel: from then on the sentry answers
//! for them, and the kernel must not.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use control::Client;
use control::network::{AddressPlan, LinkPlan, NeighbourPlan, NetworkMode, NetworkPlan, RoutePlan};
use host::netlink::{Link, LinkAddress, Neighbour, Netlink, Route};
use host::packet;
use host::process::{Namespaces, enter};

use crate::error::{Context, Error, Result};
use crate::flags::Config;
use crate::logging;
use crate::process_id::ProcessId;

/// This process in another network name space; back in its own on drop.
#[derive(Debug)]
pub(crate) struct NetworkVisit {
    home: File,
    /// The other one. Who changes it holds flock(2) on it: two starts that share it would each take its addresses.
    _there: File,
}

impl NetworkVisit {
    /// Enters the name space at `path`.
    pub(crate) fn start(path: &Path) -> Result<Self> {
        let what = || format!("cannot join the network name space {}", path.display());
        Self::enter(File::open(path).with_context(what)?).with_context(what)
    }

    /// Enters a sandbox's name space, which is to be changed; `None` where that is the host's or ours.
    fn of_sandbox(sandbox: &ProcessId) -> Result<Option<Self>> {
        let path = format!("/proc/{}/ns/net", sandbox.pid);
        let there = File::open(&path).with_context(|| format!("cannot open {path}"))?;
        if sandbox.open().is_none() {
            return Err(Error::new("the sandbox ended before it got its network"));
        }
        if ["/proc/self/ns/net", "/proc/1/ns/net"].iter().any(|host| is_same(Path::new(host), &there)) {
            return Ok(None);
        }
        // Whoever holds it waits for his sandbox, for a limited time.
        there.lock().context("cannot lock the sandbox's network name space")?;
        Self::enter(there).map(Some).context("cannot join the sandbox's network name space")
    }

    fn enter(there: File) -> Result<Self> {
        let home = File::open("/proc/self/ns/net").context("cannot open our own network name space")?;
        enter(there.as_fd(), Namespaces::NET).context("cannot enter it")?;
        Ok(Self { home, _there: there })
    }
}

impl Drop for NetworkVisit {
    fn drop(&mut self) {
        if let Err(errno) = enter(self.home.as_fd(), Namespaces::NET) {
            logging::warning(format!("cannot return to our own network name space: {errno}"));
        }
    }
}

/// Gives a sandbox the links of its name space. With `--network=none` there is nothing to give, and with
/// `--network=host` it is told what they are.
pub(crate) fn donate(config: &Config, sandbox: Option<&ProcessId>, client: &Client) -> Result<()> {
    if config.network == NetworkMode::Host {
        return sandbox.map_or(Ok(()), |sandbox| show(config, sandbox, client));
    }
    // A rootless caller can put no link into the name space, so there is nothing to find.
    let (uid, _) = host::process::effective_ids();
    let wanted = config.network == NetworkMode::Sandbox && !config.rootless && uid == 0;
    let Some(sandbox) = sandbox.filter(|_| wanted) else { return Ok(()) };
    let Some(visit) = NetworkVisit::of_sandbox(sandbox)? else {
        logging::warning(
            "the container is to share the host's network name space, whose addresses are not ours to take: it has a \
             loopback interface only",
        );
        return Ok(());
    };
    let found = Found::read().context("cannot read the network of the sandbox's name space")?;
    let usable: Vec<&Link> = found.links.iter().filter(|link| is_usable(link)).collect();
    if usable.is_empty() {
        logging::debug("the sandbox has a loopback interface only");
        return Ok(());
    }
    if let Some(link) = usable.iter().find(|link| found.is_taken(link)) {
        return Err(Error::new(format!(
            "another sandbox answers for the addresses of {}: a network name space cannot be shared between sandboxes; \
             use a user-defined network, or a pod",
            link.name
        )));
    }
    let mut sockets = Vec::new();
    let queue = receive_queue(usable.len() * config.network_channels as usize);
    for link in &usable {
        sockets.extend(open_channels(link, config, queue)?);
    }
    let mut plan = found.plan(&usable, config);
    if let Some(socket) = resolver() {
        plan.dns_fd = Some(sockets.len() as u32);
        sockets.push(socket);
    }
    let fds: Vec<_> = sockets.iter().map(OwnedFd::as_fd).collect();
    client.network(plan, &fds).map_err(Error::from)?;
    // Only now: what failed before leaves the name space as it was.
    for address in
        found.addresses.iter().filter(|address| usable.iter().any(|link| link.index == address.link))
    {
        match found.netlink.remove_address(address) {
            // It goes with the one whose secondary address it is.
            Ok(()) | Err(abi::Errno::EADDRNOTAVAIL) => {}
            // Two that answer for one address are worse than a container that does not start.
            Err(errno) => {
                return Err(Error::new(format!(
                    "the host's kernel would go on answering for the container's address {}: it cannot be taken away: \
                     {errno}: has this user CAP_NET_ADMIN in the network name space?",
                    address.address
                )));
            }
        }
    }
    for link in &usable {
        silence_ipv6(link);
    }
    drop(visit);
    Ok(())
}

/// Tells a sandbox with sockets of the host what interfaces, addresses and routes there are.
fn show(config: &Config, sandbox: &ProcessId, client: &Client) -> Result<()> {
    let visit = NetworkVisit::of_sandbox(sandbox)?;
    let found = Found::read().context("cannot read the network of the host")?;
    drop(visit);
    let usable: Vec<&Link> = found.links.iter().filter(|link| is_usable(link)).collect();
    let mut plan = found.plan(&usable, config);
    plan.links.iter_mut().for_each(|link| link.fds.clear());
    client.network(plan, &[]).map_err(Error::from)
}

/// Whether `path` leads to the name space that is open as `file`.
fn is_same(path: &Path, file: &File) -> bool {
    let place = |meta: std::io::Result<std::fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
    let there = place(file.metadata());
    there.is_some() && place(std::fs::metadata(path)) == there
}

/// Bytes of frames that the host keeps for each of a sandbox's `sockets`. What arrives comes in bursts, as large as the
/// windows of all connections together; but it is the host's memory, and nobody accounts for it.
fn receive_queue(sockets: usize) -> usize {
    /// For all sockets of a sandbox, as long as each of them has its least.
    const ALL: usize = 32 << 20;
    const MOST: usize = 16 << 20;
    const LEAST: usize = 1 << 20;
    (ALL / sockets.max(1)).clamp(LEAST, MOST)
}

/// The packet sockets of a link, `--num-network-channels` of them.
fn open_channels(link: &Link, config: &Config, queue: usize) -> Result<Vec<OwnedFd>> {
    let what = || {
        format!(
            "cannot open a packet socket on {} (CAP_NET_RAW is needed, and the kernel's af_packet)",
            link.name
        )
    };
    let mut sockets = Vec::new();
    for _ in 0..config.network_channels {
        let socket = packet::open(link.index, config.gso, queue).with_context(what)?;
        if config.network_channels > 1 {
            packet::join_group(&socket, link.index as u16).with_context(what)?;
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

/// A socket connected to Docker's name server, which listens on the name space's own loopback interface.
fn resolver() -> Option<OwnedFd> {
    /// 127.0.0.11 as `/proc/net/udp` writes it.
    const ADDRESS: &str = " 0B00007F:";
    let sockets = std::fs::read_to_string("/proc/thread-self/net/udp").ok()?;
    if !sockets.contains(ADDRESS) {
        return None;
    }
    let socket = std::net::UdpSocket::bind(("127.0.0.1", 0)).ok()?;
    socket.connect(("127.0.0.11", 53)).ok()?;
    Some(socket.into())
}

/// Whether `/proc/net/packet` shows a socket for every protocol on a link: its fourth and fifth columns are protocol and
/// interface.
fn has_packet_socket(sockets: &str, link: u32) -> bool {
    const ETH_P_ALL: &str = "0003";
    sockets.lines().skip(1).any(|line| {
        let mut columns = line.split_whitespace().skip(3);
        columns.next() == Some(ETH_P_ALL) && columns.next().and_then(|index| index.parse().ok()) == Some(link)
    })
}

/// Keeps the host's kernel from taking new IPv6 addresses on a link and from answering neighbours there.
fn silence_ipv6(link: &Link) {
    let switch = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", link.name);
    if let Err(error) = std::fs::write(&switch, "1")
        && error.kind() != std::io::ErrorKind::NotFound
    {
        logging::debug(format!("the host goes on to speak IPv6 on {}: {error}", link.name));
    }
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

    /// Whether another sandbox has taken a link: its addresses are gone, and a socket gets all its packets.
    fn is_taken(&self, link: &Link) -> bool {
        let sockets = std::fs::read_to_string("/proc/thread-self/net/packet").unwrap_or_default();
        let has_address = self.addresses.iter().any(|address| address.link == link.index);
        !has_address && has_packet_socket(&sockets, link.index)
    }

    /// The plan for the usable links; each link's descriptors follow those of the link before.
    fn plan(&self, usable: &[&Link], config: &Config) -> NetworkPlan {
        let channels = config.network_channels;
        let links = usable.iter().enumerate().map(|(number, link)| LinkPlan {
            name: link.name.clone(),
            index: link.index,
            mac: link.mac.unwrap_or_default(),
            mtu: link.mtu,
            fds: (number as u32 * channels..(number as u32 + 1) * channels).collect(),
            addresses: self
                .addresses
                .iter()
                .filter(|address| address.link == link.index)
                .map(|found| AddressPlan {
                    address: found.address,
                    prefix: found.prefix,
                    peer: found.peer,
                    broadcast: found.broadcast,
                })
                .collect(),
            neighbours: self
                .neighbours
                .iter()
                .filter(|neighbour| neighbour.link == link.index)
                .filter(|neighbour| neighbour.mac != [0; 6] && !neighbour.address.is_multicast())
                .map(|neighbour| NeighbourPlan { address: neighbour.address, mac: neighbour.mac })
                .collect(),
            gso: config.gso,
        });
        let ours = |route: &&Route| usable.iter().any(|link| link.index == route.link);
        let routes = self.routes.iter().filter(ours).map(|route| RoutePlan {
            destination: route.destination,
            prefix: route.prefix,
            gateway: route.gateway,
            link: route.link,
            source: route.source,
            metric: route.metric,
            mtu: route.mtu,
        });
        NetworkPlan { links: links.collect(), routes: routes.collect(), dns_fd: None }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn packet_sockets_are_found() {
        let sockets = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n\
                       ffff8881 3      3    0003   12    1 0      0      29384\n\
                       ffff8882 3      3    88cc   13    1 0      0      29385\n";
        assert!(super::has_packet_socket(sockets, 12));
        assert!(!super::has_packet_socket(sockets, 13) && !super::has_packet_socket(sockets, 3));
        assert!(!super::has_packet_socket("", 12));
    }
}
