//! Interface ioctls: `SIOCGIF*` (`man 7 netdevice`); those that change something are in [`super::interface_set`].

use std::net::IpAddr;

use abi::{Errno, Result, UserAddr};
use kernel::Task;
use netstack::{IfAddr, LinkType, Nic, NicKind};

use super::interface_set;
use super::namespace::NetNamespace;

const SIOCGIFNAME: u32 = 0x8910;
const SIOCGIFCONF: u32 = 0x8912;
const SIOCGIFFLAGS: u32 = 0x8913;
const SIOCGIFADDR: u32 = 0x8915;
const SIOCGIFBRDADDR: u32 = 0x8919;
const SIOCGIFNETMASK: u32 = 0x891b;
const SIOCGIFMETRIC: u32 = 0x891d;
const SIOCGIFMTU: u32 = 0x8921;
const SIOCGIFHWADDR: u32 = 0x8927;
const SIOCGIFINDEX: u32 = 0x8933;
const SIOCGIFTXQLEN: u32 = 0x8942;
const SIOCETHTOOL: u32 = 0x8946;

/// Bytes of a `struct ifreq`, and of the name that it begins with.
const IFREQ: usize = 40;
const NAME: usize = 16;
const AF_INET: [u8; 2] = abi::socket::AF_INET.to_ne_bytes();
const ARPHRD_ETHER: u16 = 1;
const ARPHRD_LOOPBACK: u16 = 772;
const ARPHRD_NONE: u16 = 0xfffe;

/// Answers an interface ioctl.
///
/// # Errors
/// `ENODEV`, `EADDRNOTAVAIL`, `ENOTTY` for a command that is none of these.
pub(crate) fn ioctl(task: &Task, net: &NetNamespace, command: u32, arg: u64) -> Result<u64> {
    let (mm, at) = (task.mm(), UserAddr(arg));
    if command == SIOCGIFCONF {
        return list(task, net, at);
    }
    if !(SIOCGIFNAME..=SIOCETHTOOL).contains(&command) {
        return Err(Errno::ENOTTY);
    }
    let mut request = [0u8; IFREQ];
    mm.read(at, &mut request)?;
    if command == SIOCGIFNAME {
        let index = u32::from_ne_bytes([request[16], request[17], request[18], request[19]]);
        let nic = net.stack().nic(index).ok_or(Errno::ENODEV)?;
        put_name(&mut request, &nic.name());
    } else {
        let name = request[..NAME].split(|byte| *byte == 0).next().unwrap_or_default();
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
        let nic = net.stack().nic_by_name(name).ok_or(Errno::ENODEV)?;
        let given: [u8; IFREQ - NAME] = request[NAME..].try_into().map_err(|_| Errno::EFAULT)?;
        if interface_set::is_change(command) {
            return interface_set::change(task, net, &nic, command, &given).map(|()| 0);
        }
        if command == SIOCETHTOOL {
            return interface_set::ethtool(task, &nic, &given).map(|()| 0);
        }
        let value = answer(&nic, command)?;
        request[NAME..].fill(0);
        request[NAME..NAME + value.len()].copy_from_slice(&value);
    }
    mm.write(at, &request)?;
    Ok(0)
}

fn put_name(request: &mut [u8], name: &str) {
    request[..NAME].fill(0);
    let len = name.len().min(NAME - 1);
    request[..len].copy_from_slice(&name.as_bytes()[..len]);
}

fn answer(nic: &Nic, command: u32) -> Result<Vec<u8>> {
    Ok(match command {
        // The ioctl has room for the lower half.
        SIOCGIFFLAGS => (flags(nic) as u16).to_ne_bytes().to_vec(),
        SIOCGIFINDEX => nic.index.to_ne_bytes().to_vec(),
        SIOCGIFMTU => nic.mtu().to_ne_bytes().to_vec(),
        SIOCGIFMETRIC => 0u32.to_ne_bytes().to_vec(),
        SIOCGIFTXQLEN => 1000u32.to_ne_bytes().to_vec(),
        SIOCGIFHWADDR => [hardware_type(nic).to_ne_bytes().as_slice(), &nic.mac().0].concat(),
        SIOCGIFADDR | SIOCGIFBRDADDR | SIOCGIFNETMASK => {
            let (ip, address) = v4(nic).next().ok_or(Errno::EADDRNOTAVAIL)?;
            let mask = mask(address.prefix.len);
            sockaddr(match command {
                SIOCGIFADDR => ip,
                SIOCGIFBRDADDR => address.broadcast.unwrap_or_else(|| (u32::from(ip) | !mask).into()),
                _ => mask.into(),
            })
        }
        _ => return Err(Errno::ENOTTY),
    })
}

fn v4(nic: &Nic) -> impl Iterator<Item = (std::net::Ipv4Addr, IfAddr)> {
    nic.addrs().into_iter().filter_map(|address| match address.ip() {
        IpAddr::V4(ip) => Some((ip, address)),
        IpAddr::V6(_) => None,
    })
}

fn mask(len: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(len.min(32))).unwrap_or(0)
}

fn sockaddr(ip: std::net::Ipv4Addr) -> Vec<u8> {
    [AF_INET.as_slice(), &[0, 0], &ip.octets(), &[0; 8]].concat()
}

/// `ARPHRD_*`.
pub(crate) const fn hardware_type(nic: &Nic) -> u16 {
    match nic.kind {
        NicKind::Loopback => ARPHRD_LOOPBACK,
        NicKind::Ethernet => ARPHRD_ETHER,
        NicKind::Ip => ARPHRD_NONE,
    }
}

/// `IFF_UP`; `RUNNING` and `LOWER_UP` where there is a carrier; `LOOPBACK` or `BROADCAST` and `MULTICAST`, for a dummy
/// `NOARP` instead, without Ethernet `POINTOPOINT` too; `PROMISC`.
pub(crate) fn flags(nic: &Nic) -> u32 {
    let up = u32::from(nic.is_up());
    let running = if nic.has_carrier() { 0x1_0040 } else { 0 };
    let kind = match nic.link_type() {
        LinkType::Loopback => 0x8,
        LinkType::Dummy => 0x82,
        // `POINTOPOINT`, `NOARP`, `MULTICAST`.
        _ if nic.kind == NicKind::Ip => 0x1090,
        _ => 0x1002,
    };
    up | running | kind | if nic.is_promiscuous() { 0x100 } else { 0 }
}

/// The state of RFC 2863 of a link: its number in netlink (`IF_OPER_*`), its name in sysfs.
pub(crate) fn oper_state(nic: &Nic) -> (u8, &'static str) {
    match (nic.is_up(), nic.link_type()) {
        (false, _) => (2, "down"),
        (true, LinkType::Loopback | LinkType::Dummy) => (0, "unknown"),
        (true, LinkType::Program(_)) if nic.has_carrier() => (0, "unknown"),
        (true, _) if nic.has_carrier() => (6, "up"),
        (true, LinkType::Veth(_)) => (7, "lowerlayerdown"),
        (true, _) => (2, "down"),
    }
}

/// `SIOCGIFCONF`: the interfaces that have an IPv4 address.
fn list(task: &Task, net: &NetNamespace, at: UserAddr) -> Result<u64> {
    let mm = task.mm();
    let mut header = [0u8; 16];
    mm.read(at, &mut header)?;
    let room = i32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let buffer = u64::from_ne_bytes(header[8..16].try_into().map_err(|_| Errno::EFAULT)?);
    let mut entries = Vec::new();
    for nic in net.stack().nics() {
        for (ip, _) in v4(&nic) {
            let mut entry = [0u8; IFREQ];
            put_name(&mut entry, &nic.name());
            entry[NAME..NAME + 16].copy_from_slice(&sockaddr(ip));
            entries.extend(entry);
        }
    }
    if buffer != 0 {
        entries.truncate(room / IFREQ * IFREQ);
        mm.write(UserAddr(buffer), &entries)?;
    }
    mm.write(at, &(entries.len() as u32).to_ne_bytes())?;
    Ok(0)
}
