//! `/proc/[pid]/net`: what the network tells. Until a stack fills them in, the tables are empty but for the loopback
//! device.

use std::sync::Arc;

use abi::Result;
use kernel::Task;
use kernel::vfs::{Attr, Caller, Inode};

use super::Proc;
use crate::synth::{Builder, Dir, DirContent, Entry, StaticEntries};

const DEV: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
";
const SOCKETS: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const UNIX: &str = "Num       RefCount Protocol Flags    Type St Inode Path\n";
const ROUTE: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
const ARP: &str = "IP address       HW type     Flags       HW address            Mask     Device\n";
const IF_INET6: &str = "00000000000000000000000000000001 01 80 10 80       lo\n";
const NETLINK: &str =
    "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n";
const PACKET: &str = "sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n";
const SOCKSTAT: &str =
    "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nRAW: inuse 0\n";

struct NetDir {
    attr: Attr,
    entries: StaticEntries,
}

/// The directory.
pub(super) fn make(proc: &Proc, attr: Attr) -> Arc<dyn Inode> {
    let files = [
        ("arp", ARP),
        ("dev", DEV),
        ("if_inet6", IF_INET6),
        ("ipv6_route", ""),
        ("netlink", NETLINK),
        ("netstat", ""),
        ("packet", PACKET),
        ("protocols", ""),
        ("psched", "000003e8 00000040 000f4240 3b9aca00\n"),
        ("ptype", "Type Device      Function\n"),
        ("raw", SOCKETS),
        ("raw6", SOCKETS),
        ("route", ROUTE),
        ("snmp", ""),
        ("sockstat", SOCKSTAT),
        ("tcp", SOCKETS),
        ("tcp6", SOCKETS),
        ("udp", SOCKETS),
        ("udp6", SOCKETS),
        ("unix", UNIX),
    ];
    let builder =
        files.iter().fold(Builder::new(&proc.inodes), |dir, (name, text)| dir.file(name, 0o444, *text));
    Dir::new(NetDir { attr, entries: builder.entries() })
}

impl DirContent for NetDir {
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.entries.lookup(caller, name)
    }

    fn next(&self, task: &Task, from: u64) -> Option<Entry> {
        self.entries.next(task, from)
    }
}
