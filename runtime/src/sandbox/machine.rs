//! What the host has, and how much of it a container may show its programs.

use abi::resource::Resource;
use control::boot::HostPlan;
use serde_json::Value;

use crate::spec::cpu_list;

/// Bytes of memory of the host.
pub(crate) fn total_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.map_or(1 << 30, |kib| kib << 10)
}

/// Resources whose limits a guest process inherits where the specification has none (`man 2 getrlimit`).
const INHERITED: &[Resource] = &[
    Resource::Cpu,
    Resource::Fsize,
    Resource::Data,
    Resource::Stack,
    Resource::Core,
    Resource::Nproc,
    Resource::Nofile,
    Resource::Memlock,
    Resource::Sigpending,
    Resource::Msgqueue,
    Resource::Nice,
    Resource::Rtprio,
];

/// The memory that a limit leaves of the host's.
pub(crate) fn shown_memory(resources: &Value) -> u64 {
    let limit = resources["memory"]["limit"].as_i64().filter(|limit| *limit > 0).map(i64::unsigned_abs);
    limit.unwrap_or(u64::MAX).min(total_memory())
}

/// The processors that a limit leaves of the host's.
pub(crate) fn shown_cpus(resources: &Value, from_quota: bool) -> u32 {
    let host = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    cpu_count(&resources["cpu"], host, from_quota)
}

/// The part of the host that the limits in `resources` leave; `enforced` says that a cgroup of the host sees to them.
pub(crate) fn host_plan(resources: &Value, cpus_from_quota: bool, enforced: bool) -> HostPlan {
    let shown = shown_memory(resources);
    let rlimits = INHERITED.iter().filter_map(|resource| {
        let (soft, hard) = host::process::resource_limit(*resource).ok()?;
        Some((*resource as u32, soft, hard))
    });
    HostPlan {
        total_memory: shown,
        memory_capacity: if enforced { total_memory() } else { shown },
        cpu_count: shown_cpus(resources, cpus_from_quota),
        rlimits: rlimits.collect(),
        hides_owners: false,
    }
}

/// The processors that a guest sees: those of its set, and no more than its quota is worth.
fn cpu_count(cpu: &Value, host: u32, from_quota: bool) -> u32 {
    let mut count = host;
    if let Some(set) = cpu["cpus"].as_str().filter(|set| !set.is_empty()).and_then(cpu_list::parse) {
        count = count.min(u32::try_from(set.len()).unwrap_or(u32::MAX));
    }
    if let (true, Some(quota)) = (from_quota, cpu["quota"].as_i64().filter(|quota| *quota > 0)) {
        let period = cpu["period"].as_u64().filter(|period| *period > 0).unwrap_or(100_000);
        let worth = quota.unsigned_abs().div_ceil(period);
        count = count.min(u32::try_from(worth).unwrap_or(u32::MAX));
    }
    count.max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{cpu_count, host_plan};

    #[test]
    fn limits_show() {
        assert_eq!(cpu_count(&json!({}), 8, true), 8);
        assert_eq!(cpu_count(&json!({"cpus": "0-2,5"}), 8, true), 4);
        assert_eq!(cpu_count(&json!({"quota": 150_000, "period": 100_000}), 8, true), 2);
        assert_eq!(cpu_count(&json!({"quota": 150_000, "period": 100_000}), 8, false), 8);
        assert_eq!(cpu_count(&json!({"quota": 1000}), 8, true), 1);
        assert_eq!(cpu_count(&json!({"quota": -1}), 8, true), 8);
        let plan = host_plan(&json!({"memory": {"limit": 1 << 20}}), true, false);
        assert_eq!((plan.total_memory, plan.memory_capacity), (1 << 20, 1 << 20));
    }
}
