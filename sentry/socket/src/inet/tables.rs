//! The tables of `/proc/net` that the stack fills (`man 5 proc_pid_net`), in Linux's form: programs parse them.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netstack::netfilter::ruleset::{IPV4, IPV6};
use netstack::{
    AddrState, Family, NeighbourState, PacketKind, PacketSummary, Route, RouteKind, SocketSummary, Stack,
};

use super::iptables;
use super::namespace::NetNamespace;

/// Widths that Linux pads lines to.
const TCP_WIDTH: usize = 149;
const DATAGRAM_WIDTH: usize = 127;
const ROUTE_WIDTH: usize = 127;
const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
";
const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device\n";
const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
const SOCKETS: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const DATAGRAMS: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops";
const SOCKETS_V6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const TCP_TIME_WAIT: u8 = 6;

/// The text of a table; `None` where it is not one of ours.
pub(super) fn text(net: &NetNamespace, name: &str) -> Option<String> {
    let stack = net.stack();
    Some(match name {
        "arp" => arp(stack),
        "dev" => dev(stack),
        "if_inet6" => if_inet6(stack),
        "ip6_tables_names" => iptables::names(net, IPV6),
        "ip_tables_names" => iptables::names(net, IPV4),
        "ipv6_route" => ipv6_route(net),
        "netstat" => stack.counters().netstat(),
        "igmp" => igmp(stack),
        "packet" => packet(stack),
        "raw" => datagrams(Family::V4, &stack.raw_sockets()),
        "raw6" => datagrams(Family::V6, &stack.raw_sockets()),
        "route" => route(net),
        "snmp" => stack.counters().snmp(),
        "snmp6" => stack.counters().snmp6(),
        "sockstat" => sockstat(stack),
        "sockstat6" => sockstat6(stack),
        "tcp" => tcp(Family::V4, &stack.tcp_sockets()),
        "tcp6" => tcp(Family::V6, &stack.tcp_sockets()),
        "udp" => datagrams(Family::V4, &stack.udp_sockets()),
        "udp6" => datagrams(Family::V6, &stack.udp_sockets()),
        "udplite" => datagrams(Family::V4, &[]),
        "udplite6" => datagrams(Family::V6, &[]),
        _ => return None,
    })
}

/// Adds a line, padded.
fn line(out: &mut String, width: usize, text: &str) {
    let _infallible = writeln!(out, "{text:<width$}");
}

/// An address as the words of memory that Linux prints.
fn hex(ip: IpAddr) -> String {
    let word = |octets: &[u8]| {
        let word = octets.first_chunk().map_or(0, |octets| u32::from_ne_bytes(*octets));
        format!("{word:08X}")
    };
    match ip {
        IpAddr::V4(ip) => word(&ip.octets()),
        IpAddr::V6(ip) => ip.octets().chunks_exact(4).map(word).collect(),
    }
}

/// An IPv6 address as 32 digits.
fn digits(ip: IpAddr) -> String {
    match ip {
        IpAddr::V6(ip) => ip.octets().iter().map(|octet| format!("{octet:02x}")).collect(),
        IpAddr::V4(ip) => format!("{:032x}", u32::from(ip)),
    }
}

fn endpoints(socket: &SocketSummary) -> String {
    let peer = socket.peer.unwrap_or(SocketAddr::new(socket.family.any(), 0));
    let one = |at: SocketAddr| format!("{}:{:04X}", hex(at.ip()), at.port());
    format!("{} {}", one(socket.local), one(peer))
}

fn tcp(family: Family, sockets: &[SocketSummary]) -> String {
    let mut out = String::new();
    match family {
        Family::V4 => line(&mut out, TCP_WIDTH, SOCKETS),
        Family::V6 => line(&mut out, 0, SOCKETS_V6),
    }
    for (number, socket) in sockets.iter().filter(|socket| socket.family == family).enumerate() {
        let SocketSummary { state, send_queue, recv_queue, uid, inode, .. } = socket;
        // What has no socket has no window to tell of either.
        let tail = if *state == TCP_TIME_WAIT { "" } else { " 20 4 30 10 -1" };
        let text = format!(
            "{number:4}: {} {state:02X} {send_queue:08X}:{recv_queue:08X} 00:00000000 00000000 {uid:5}        0 {inode} 1 0000000000000000{tail}",
            endpoints(socket),
        );
        line(&mut out, if family == Family::V4 { TCP_WIDTH } else { 0 }, &text);
    }
    out
}

fn datagrams(family: Family, sockets: &[SocketSummary]) -> String {
    let mut out = String::new();
    match family {
        Family::V4 => line(&mut out, DATAGRAM_WIDTH, DATAGRAMS),
        Family::V6 => line(&mut out, 0, &format!("{SOCKETS_V6} ref pointer drops")),
    }
    for (number, socket) in sockets.iter().filter(|socket| socket.family == family).enumerate() {
        let SocketSummary { state, send_queue, recv_queue, uid, inode, .. } = socket;
        let text = format!(
            "{number:5}: {} {state:02X} {send_queue:08X}:{recv_queue:08X} 00:00000000 00000000 {uid:5}        0 {inode} 2 0000000000000000 0",
            endpoints(socket),
        );
        line(&mut out, if family == Family::V4 { DATAGRAM_WIDTH } else { 0 }, &text);
    }
    out
}

/// Packet sockets.
fn packet(stack: &Stack) -> String {
    let mut out = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n".to_owned();
    for socket in stack.packet_sockets() {
        let PacketSummary { kind, protocol, interface, recv_queue, uid, inode } = socket;
        let kind = if kind == PacketKind::Raw { 3 } else { 2 };
        let _infallible = writeln!(
            out,
            "0000000000000000 3      {kind:<4} {protocol:04x}   {interface:<5} 1 {recv_queue:<6} {uid:<6} {inode:<6}"
        );
    }
    out
}

/// Multicast groups of IPv4 by interface; every host is in that of all hosts.
fn igmp(stack: &Stack) -> String {
    const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
    let mut out = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n".to_owned();
    let joined = stack.groups();
    for nic in stack.nics() {
        let own =
            joined.iter().filter(|(index, ..)| *index == nic.index).filter_map(|(_, ip, users)| match ip {
                IpAddr::V4(ip) => Some((*ip, *users)),
                IpAddr::V6(_) => None,
            });
        let groups: Vec<(Ipv4Addr, u32)> = own.chain([(ALL_HOSTS, 1)]).collect();
        let _infallible = writeln!(out, "{}\t{:<10}: {:5}      V3", nic.index, nic.name(), groups.len());
        for (group, users) in groups {
            let group = u32::from_ne_bytes(group.octets());
            let _infallible = writeln!(out, "\t\t\t\t{group:08X} {users:5} 0:00000000\t\t0");
        }
    }
    out
}

fn dev(stack: &Stack) -> String {
    let mut out = DEV.to_owned();
    for nic in stack.nics() {
        let s = &nic.stats;
        let _infallible = writeln!(
            out,
            "{:>6}: {:7} {:7} {:4} {:4}    0     0          0 {:9} {:8} {:7}    0 {:4}    0     0       0          0",
            nic.name(),
            s.rx_bytes.get(),
            s.rx_packets.get(),
            s.rx_errors.get(),
            s.rx_dropped.get(),
            s.rx_multicast.get(),
            s.tx_bytes.get(),
            s.tx_packets.get(),
            s.tx_dropped.get(),
        );
    }
    out
}

fn name_of(stack: &Stack, index: u32) -> String {
    stack.nic(index).map_or_else(|| "*".into(), |nic| nic.name())
}

fn arp(stack: &Stack) -> String {
    let mut out = ARP.to_owned();
    for neighbour in stack.neighbours().iter().filter(|neighbour| neighbour.ip.is_ipv4()) {
        let mac = neighbour.mac.map_or_else(|| "00:00:00:00:00:00".into(), |mac| format!("{mac:?}"));
        let flags = match (neighbour.state, neighbour.mac) {
            (NeighbourState::Permanent, _) => "0x6",
            (_, Some(_)) => "0x2",
            (_, None) => "0x0",
        };
        let (ip, name) = (neighbour.ip.to_string(), name_of(stack, neighbour.interface));
        let _infallible = writeln!(out, "{ip:<16} {:<11} {flags:<11} {mac:<17}     *        {name}", "0x1");
    }
    out
}

fn if_inet6(stack: &Stack) -> String {
    let mut out = String::new();
    for nic in stack.nics() {
        for address in nic.addrs() {
            let IpAddr::V6(ip) = address.ip() else { continue };
            let scope = if ip.is_loopback() {
                0x10
            } else if ip.is_unicast_link_local() {
                0x20
            } else {
                0
            };
            let flags = match address.state {
                AddrState::Valid => 0x80,
                AddrState::Tentative => 0xc0,
                AddrState::Duplicate => 0xc8,
            };
            let (index, len, name) = (nic.index, address.prefix.len, nic.name());
            let _infallible = writeln!(
                out,
                "{} {index:02x} {len:02x} {scope:02x} {flags:02x} {name:>8}",
                digits(ip.into())
            );
        }
    }
    out
}

/// `RTF_UP`, `RTF_GATEWAY`, `RTF_HOST`, `RTF_REJECT`.
fn route_flags(route: &Route) -> u32 {
    let host_len = if route.prefix.addr.is_ipv4() { 32 } else { 128 };
    let gateway = if route.gateway.is_some() { 2 } else { 0 };
    let host = if route.prefix.len == host_len { 4 } else { 0 };
    1 | gateway | host | if route.kind == RouteKind::Unicast { 0 } else { 0x200 }
}

fn route(net: &NetNamespace) -> String {
    let mut out = String::new();
    line(&mut out, ROUTE_WIDTH, ROUTE);
    let routes = crate::netlink::main_table(net);
    for route in routes.iter().filter(|route| route.prefix.addr.is_ipv4()) {
        let mask = u32::MAX.checked_shl(32 - u32::from(route.prefix.len.min(32))).unwrap_or(0);
        let text = format!(
            "{}\t{}\t{}\t{:04X}\t0\t0\t{}\t{}\t{}\t0\t0",
            name_of(net.stack(), route.interface),
            hex(route.prefix.addr),
            hex(route.gateway.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
            route_flags(route),
            route.metric,
            hex(Ipv4Addr::from(mask).into()),
            route.mtu,
        );
        line(&mut out, ROUTE_WIDTH, &text);
    }
    out
}

fn ipv6_route(net: &NetNamespace) -> String {
    let mut out = String::new();
    let routes = crate::netlink::main_table(net);
    for route in routes.iter().filter(|route| route.prefix.addr.is_ipv6()) {
        let _infallible = writeln!(
            out,
            "{} {:02x} {} 00 {} {:08x} 00000001 00000000 {:08x} {:>8}",
            digits(route.prefix.addr),
            route.prefix.len,
            digits(Family::V6.any()),
            digits(route.gateway.unwrap_or(Family::V6.any())),
            route.metric,
            route_flags(route),
            name_of(net.stack(), route.interface),
        );
    }
    out
}

fn sockstat(stack: &Stack) -> String {
    let (tcp, udp) = (stack.tcp_sockets(), stack.udp_sockets());
    let waiting = tcp.iter().filter(|socket| socket.state == TCP_TIME_WAIT).count();
    let of = |sockets: &[SocketSummary], family| sockets.iter().filter(|s| s.family == family).count();
    let (in_use, datagrams) = (of(&tcp, Family::V4).saturating_sub(waiting), of(&udp, Family::V4));
    let alloc = tcp.len() - waiting;
    let pages = stack.memory_used() / 4096;
    format!(
        "sockets: used {}\nTCP: inuse {in_use} orphan 0 tw {waiting} alloc {alloc} mem {pages}\nUDP: inuse {datagrams} mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
        alloc + udp.len(),
    )
}

fn sockstat6(stack: &Stack) -> String {
    let of = |sockets: Vec<SocketSummary>| sockets.iter().filter(|s| s.family == Family::V6).count();
    format!(
        "TCP6: inuse {}\nUDP6: inuse {}\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n",
        of(stack.tcp_sockets()),
        of(stack.udp_sockets()),
    )
}

#[cfg(test)]
mod tests {
    use super::{hex, tcp};
    use netstack::{Family, SocketSummary};

    #[test]
    fn tables_have_linux_form() {
        assert_eq!(hex("127.0.0.1".parse().unwrap()), "0100007F");
        assert_eq!(hex("::1".parse().unwrap()), "00000000000000000000000001000000");
        let socket = SocketSummary {
            id: 1,
            family: Family::V4,
            local: "127.0.0.1:80".parse().unwrap(),
            peer: None,
            state: 10,
            send_queue: 5,
            recv_queue: 0,
            uid: 33,
            inode: 1234,
        };
        let text = tcp(Family::V4, &[socket]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].len(), 149);
        assert!(lines[1].starts_with(
            "   0: 0100007F:0050 00000000:0000 0A 00000005:00000000 00:00000000 00000000    33        0 1234 1 "
        ));
    }
}
