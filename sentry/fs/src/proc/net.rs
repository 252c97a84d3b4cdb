//! `/proc/[pid]/net`: what the socket families tell of the reader's network name space.

use std::sync::Arc;

use abi::Result;
use kernel::Task;
use kernel::vfs::{Attr, Caller, Inode};

use super::Proc;
use crate::synth::{Builder, Content, Dir, DirContent, Entry, StaticEntries};

/// The files. Families fill them; one that none fills is empty.
const TABLES: &[&str] = &[
    "arp",
    "dev",
    "if_inet6",
    "igmp",
    "ip6_tables_names",
    "ip_tables_names",
    "ipv6_route",
    "netlink",
    "netstat",
    "packet",
    "protocols",
    "raw",
    "raw6",
    "route",
    "snmp",
    "snmp6",
    "sockstat",
    "sockstat6",
    "tcp",
    "tcp6",
    "udp",
    "udp6",
    "udplite",
    "udplite6",
    "unix",
];
/// Files that always say the same.
const FIXED: &[(&str, &str)] =
    &[("psched", "000003e8 00000040 000f4240 3b9aca00\n"), ("ptype", "Type Device      Function\n")];

struct NetDir {
    attr: Attr,
    entries: StaticEntries,
}

struct Table(&'static str);

impl Content for Table {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        out.extend(task.kernel().sockets.table(task, self.0).into_bytes());
        Ok(())
    }
}

/// The directory.
pub(super) fn make(proc: &Proc, attr: Attr) -> Arc<dyn Inode> {
    let builder = Builder::new(&proc.inodes);
    let builder = TABLES.iter().fold(builder, |dir, name| dir.file(name, 0o444, Table(name)));
    let builder = FIXED.iter().fold(builder, |dir, (name, text)| dir.file(name, 0o444, *text));
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
