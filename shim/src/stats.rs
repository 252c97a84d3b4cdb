//! Statistics in the form that containerd expects of the host's cgroups: version 1's message where the host has that
//! version, else version 2's.

use std::path::Path;

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use control::stats::{MemoryEntry, NetworkInterface, Stats};

use crate::error::Result;
use crate::events::any_of;

/// Encodes them.
pub(crate) fn encode(stats: &Stats) -> Result<Any> {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        any_of(&version_2(stats))
    } else {
        any_of(&version_1(stats))
    }
}

fn version_1(stats: &Stats) -> v1::Metrics {
    let usage = &stats.cpu.usage;
    let usage = v1::CPUUsage {
        total: usage.total,
        kernel: usage.kernel,
        user: usage.user,
        per_cpu: usage.percpu.clone(),
        ..v1::CPUUsage::default()
    };
    let cpu = v1::CPUStat { usage: Some(usage).into(), ..v1::CPUStat::default() };
    let entry = |entry: &MemoryEntry| {
        Some(v1::MemoryEntry {
            limit: entry.limit,
            usage: entry.usage,
            max: entry.max,
            failcnt: entry.failcnt,
            ..v1::MemoryEntry::default()
        })
    };
    let memory = &stats.memory;
    let rss = memory.usage.usage.saturating_sub(memory.cache);
    let memory = v1::MemoryStat {
        cache: memory.cache,
        total_cache: memory.cache,
        // What may be reclaimed at once is taken off by readers to get the working set.
        inactive_file: memory.cache,
        total_inactive_file: memory.cache,
        rss,
        total_rss: rss,
        usage: entry(&memory.usage).into(),
        swap: entry(&memory.swap).into(),
        kernel: entry(&memory.kernel).into(),
        kernel_tcp: entry(&memory.kernel_tcp).into(),
        ..v1::MemoryStat::default()
    };
    let pids =
        v1::PidsStat { current: stats.pids.current, limit: stats.pids.limit, ..v1::PidsStat::default() };
    v1::Metrics {
        cpu: Some(cpu).into(),
        memory: Some(memory).into(),
        pids: Some(pids).into(),
        network: stats.network_interfaces.iter().map(network).collect(),
        // Not counted; but there are readers who do not expect it to be absent.
        blkio: Some(v1::BlkIOStat::default()).into(),
        ..v1::Metrics::default()
    }
}

fn network(from: &NetworkInterface) -> v1::NetworkStat {
    v1::NetworkStat {
        name: from.name.clone(),
        rx_bytes: from.rx_bytes,
        rx_packets: from.rx_packets,
        rx_errors: from.rx_errors,
        rx_dropped: from.rx_dropped,
        tx_bytes: from.tx_bytes,
        tx_packets: from.tx_packets,
        tx_errors: from.tx_errors,
        tx_dropped: from.tx_dropped,
        ..v1::NetworkStat::default()
    }
}

fn version_2(stats: &Stats) -> v2::Metrics {
    let usage = &stats.cpu.usage;
    let cpu = v2::CPUStat {
        usage_usec: usage.total / 1000,
        user_usec: usage.user / 1000,
        system_usec: usage.kernel / 1000,
        ..v2::CPUStat::default()
    };
    let memory = &stats.memory;
    let memory = v2::MemoryStat {
        file: memory.cache,
        inactive_file: memory.cache,
        anon: memory.usage.usage.saturating_sub(memory.cache),
        usage: memory.usage.usage,
        usage_limit: memory.usage.limit,
        ..v2::MemoryStat::default()
    };
    let pids =
        v2::PidsStat { current: stats.pids.current, limit: stats.pids.limit, ..v2::PidsStat::default() };
    v2::Metrics {
        cpu: Some(cpu).into(),
        memory: Some(memory).into(),
        pids: Some(pids).into(),
        io: Some(v2::IOStat::default()).into(),
        ..v2::Metrics::default()
    }
}

#[cfg(test)]
mod tests {
    use control::stats::Stats;

    use super::{version_1, version_2};

    #[test]
    fn both_versions_say_the_same() {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 5_000_000;
        stats.memory.usage.usage = 4096;
        stats.memory.cache = 1024;
        stats.pids.current = 3;
        let (one, two) = (version_1(&stats), version_2(&stats));
        assert_eq!((one.cpu.usage.total, two.cpu.usage_usec), (5_000_000, 5000));
        assert_eq!((one.memory.usage.usage, two.memory.usage), (4096, 4096));
        assert_eq!((one.memory.rss, two.memory.anon), (3072, 3072));
        assert_eq!((one.pids.current, two.pids.current), (3, 3));
        assert!(one.blkio.is_some() && two.io.is_some());
        assert_eq!(super::any_of(&one).unwrap().type_url, "io.containerd.cgroups.v1.Metrics");
        assert_eq!(super::any_of(&two).unwrap().type_url, "io.containerd.cgroups.v2.Metrics");
    }
}
