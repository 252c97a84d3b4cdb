//! Interface ioctls that change something (`SIOCSIF*`), and what `SIOCETHTOOL` tells (`man 7 netdevice`).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use abi::{Errno, Result, UserAddr};
use kernel::Task;
use netstack::{IfAddr, Mac, Nic, Prefix};

use super::errno;
use super::namespace::NetNamespace;

const SIOCSIFFLAGS: u32 = 0x8914;
const SIOCSIFADDR: u32 = 0x8916;
const SIOCSIFBRDADDR: u32 = 0x891a;
const SIOCSIFNETMASK: u32 = 0x891c;
const SIOCSIFMTU: u32 = 0x8922;
const SIOCSIFNAME: u32 = 0x8923;
const SIOCSIFHWADDR: u32 = 0x8924;
const SIOCSIFTXQLEN: u32 = 0x8943;

const IFF_UP: u16 = 1;
/// `struct ethtool_value`: a command and a number.
const ETHTOOL_GLINK: u32 = 0x0a;
/// Offloads that this stack is asked for one by one: RX and TX checksums, scatter-gather, TSO, GSO, GRO.
const ETHTOOL_OFFLOADS: [u32; 6] = [0x14, 0x16, 0x18, 0x1e, 0x23, 0x2b];

/// Whether a command changes something.
pub(super) fn is_change(command: u32) -> bool {
    [
        SIOCSIFFLAGS,
        SIOCSIFADDR,
        SIOCSIFBRDADDR,
        SIOCSIFNETMASK,
        SIOCSIFMTU,
        SIOCSIFNAME,
        SIOCSIFHWADDR,
        SIOCSIFTXQLEN,
    ]
    .contains(&command)
}

/// Changes `nic`; `value` is what follows the name in the `struct ifreq`.
///
/// # Errors
/// `EPERM` without CAP_NET_ADMIN over the name space; `EINVAL`, `EADDRNOTAVAIL`, what the stack says.
pub(super) fn change(
    task: &Task,
    net: &NetNamespace,
    nic: &Arc<Nic>,
    command: u32,
    value: &[u8; 24],
) -> Result<()> {
    net.check_admin(task)?;
    let word = u32::from_ne_bytes([value[0], value[1], value[2], value[3]]);
    match command {
        SIOCSIFFLAGS => {
            net.stack().set_up(nic, u16::from_ne_bytes([value[0], value[1]]) & IFF_UP != 0);
            Ok(())
        }
        SIOCSIFMTU => net.stack().set_mtu(nic, word).map_err(errno),
        SIOCSIFNAME => {
            let name = value[..16].split(|byte| *byte == 0).next().unwrap_or_default();
            let name = std::str::from_utf8(name).map_err(|_| Errno::EINVAL)?;
            net.rename_interface(nic, name)
        }
        SIOCSIFHWADDR => {
            let mac = value[2..].first_chunk().ok_or(Errno::EINVAL)?;
            net.stack().set_mac(nic, Mac(*mac)).map_err(errno)
        }
        // There is no queue whose length could matter.
        SIOCSIFTXQLEN => Ok(()),
        _ => change_address(net, nic, command, sockaddr(value)?),
    }
}

/// The `sockaddr_in` of a request.
fn sockaddr(value: &[u8; 24]) -> Result<Ipv4Addr> {
    if u16::from_ne_bytes([value[0], value[1]]) != abi::socket::AF_INET {
        return Err(Errno::EINVAL);
    }
    Ok(Ipv4Addr::new(value[4], value[5], value[6], value[7]))
}

/// The first IPv4 address of the interface is the one that ioctls know.
fn change_address(net: &NetNamespace, nic: &Nic, command: u32, ip: Ipv4Addr) -> Result<()> {
    let stack = net.stack();
    let old = nic.addrs().into_iter().find(|address| address.ip().is_ipv4());
    let replace = |new: IfAddr| {
        if let Some(old) = &old {
            stack.remove_addr(nic, old.ip()).map_err(errno)?;
        }
        stack.add_addr(nic, new).map_err(errno)
    };
    let prefix = |ip: IpAddr, len: u8| Prefix::new(ip, len).map_err(errno);
    match (command, &old) {
        // No address: it is taken away.
        (SIOCSIFADDR, Some(old)) if ip.is_unspecified() => stack.remove_addr(nic, old.ip()).map_err(errno),
        (SIOCSIFADDR, _) if ip.is_unspecified() => Ok(()),
        (SIOCSIFADDR, _) => replace(IfAddr::new(prefix(ip.into(), class_prefix(ip))?)),
        (_, None) => Err(Errno::EADDRNOTAVAIL),
        (SIOCSIFNETMASK, Some(old)) => {
            let len = u32::from(ip).leading_ones();
            if u32::from(ip).checked_shl(len).unwrap_or(0) != 0 {
                return Err(Errno::EINVAL);
            }
            replace(IfAddr { broadcast: old.broadcast, ..IfAddr::new(prefix(old.ip(), len as u8)?) })
        }
        (_, Some(old)) => {
            replace(IfAddr { broadcast: Some(ip), ..IfAddr::new(prefix(old.ip(), old.prefix.len)?) })
        }
    }
}

/// The network of an address by its class, which a mask follows that says better.
fn class_prefix(ip: Ipv4Addr) -> u8 {
    match ip.octets()[0] {
        0..=127 => 8,
        128..=191 => 16,
        _ => 24,
    }
}

/// `SIOCETHTOOL`: whether there is a link, and which offloads there are. `value` holds the address of the command.
///
/// # Errors
/// `EOPNOTSUPP` for all else, as from a driver that cannot do it; `EFAULT`.
pub(super) fn ethtool(task: &Task, nic: &Nic, value: &[u8; 24]) -> Result<()> {
    let at = UserAddr(value.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes)));
    let mm = task.mm();
    let command: u32 = mm.read_object(at)?;
    let answer = match command {
        ETHTOOL_GLINK => u32::from(nic.is_up()),
        // The device takes checksums and segmentation, or loopback needs neither.
        _ if ETHTOOL_OFFLOADS.contains(&command) => 1,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    mm.write_object(UserAddr(at.0.wrapping_add(4)), &answer)
}

#[cfg(test)]
mod tests {
    use super::{class_prefix, sockaddr};

    #[test]
    fn classes_and_addresses() {
        let mut value = [0; 24];
        assert!(sockaddr(&value).is_err());
        value[..8].copy_from_slice(&[2, 0, 0, 0, 10, 1, 2, 3]);
        let ip = sockaddr(&value).unwrap();
        assert_eq!((ip.to_string().as_str(), class_prefix(ip)), ("10.1.2.3", 8));
        assert_eq!(class_prefix([172, 16, 0, 1].into()), 16);
        assert_eq!(class_prefix([192, 168, 0, 1].into()), 24);
    }
}
