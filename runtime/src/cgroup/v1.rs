//! Version 1: one tree per controller (`man 7 cgroups`, kernel `admin-guide/cgroup-v1`).

use std::path::Path;

use control::cgroup::read_number;
use serde_json::Value;

use super::layout::Hierarchy;
use super::path::Place;
use super::{CgroupRecord, write};
use crate::error::{Error, Result};

/// Gives the new cgroup what it needs before a process may run in it.
pub(super) fn prepare(hierarchies: &[Hierarchy], place: &Place) -> Result<()> {
    let cpusets = hierarchies.iter().filter(|one| one.controllers.iter().any(|name| name == "cpuset"));
    for hierarchy in cpusets {
        inherit_cpuset(&hierarchy.root, &place.below_root(&hierarchy.own))?;
    }
    Ok(())
}

/// A new cpuset is empty, and nothing may run in it until it has its parent's processors and memory nodes.
fn inherit_cpuset(root: &Path, below: &Path) -> Result<()> {
    let mut path = root.to_path_buf();
    for part in below.components() {
        let parent = path.clone();
        path.push(part);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let current = std::fs::read_to_string(path.join(file)).unwrap_or_default();
            if current.trim().is_empty() {
                let inherited = std::fs::read_to_string(parent.join(file)).unwrap_or_default();
                write(&path.join(file), inherited.trim())?;
            }
        }
    }
    Ok(())
}

/// Sets limits.
pub(super) fn apply(record: &CgroupRecord, resources: &Value) -> Result<()> {
    let set = |controller: &str, file: &str, value: &str| match record.dir_of(controller) {
        Some(dir) => write(&dir.join(file), value),
        None => Err(Error::new(format!("the host has no {controller} controller for {file}={value}"))),
    };
    apply_memory(record, &resources["memory"], &set)?;
    let cpu = &resources["cpu"];
    if let Some(shares) = cpu["shares"].as_u64().filter(|shares| *shares > 0) {
        set("cpu", "cpu.shares", &shares.to_string())?;
    }
    apply_bandwidth(record, cpu, &set)?;
    if let Some(burst) = cpu["burst"].as_u64() {
        set("cpu", "cpu.cfs_burst_us", &burst.to_string())?;
    }
    // Since Linux 5.15.
    if let Some(idle) = cpu["idle"].as_i64().filter(|idle| *idle != 0) {
        set("cpu", "cpu.idle", &idle.to_string())?;
    }
    for (name, file) in [("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")] {
        if let Some(list) = cpu[name].as_str().filter(|list| !list.is_empty()) {
            set("cpuset", file, list)?;
        }
    }
    if let Some(limit) = resources["pids"]["limit"].as_i64().filter(|limit| *limit != 0) {
        set("pids", "pids.max", &host_pids_limit(limit))?;
    }
    if let Some(weight) = resources["blockIO"]["weight"].as_u64().filter(|weight| *weight > 0) {
        // Which file it is depends on the scheduler of block devices; neither is there without one.
        let weight = weight.to_string();
        if set("blkio", "blkio.weight", &weight).is_err() {
            set("blkio", "blkio.bfq.weight", &weight)?;
        }
    }
    Ok(())
}

/// Memory alone may not exceed memory with swap at any moment, so the order depends on the direction.
fn apply_memory(
    record: &CgroupRecord,
    memory: &Value,
    set: &dyn Fn(&str, &str, &str) -> Result<()>,
) -> Result<()> {
    const LIMIT: &str = "memory.limit_in_bytes";
    const SWAP: &str = "memory.memsw.limit_in_bytes";
    let (limit, swap) =
        (memory["limit"].as_i64().filter(|n| *n != 0), memory["swap"].as_i64().filter(|n| *n != 0));
    let has_swap = record.dir_of("memory").is_some_and(|dir| dir.join(SWAP).exists());
    // Memory without a limit needs swap without one.
    let swap = swap.or_else(|| limit.filter(|limit| *limit < 0));
    let mut steps = Vec::new();
    steps.extend(limit.map(|limit| (LIMIT, limit)));
    if has_swap {
        steps.extend(swap.map(|swap| (SWAP, swap)));
    }
    let now = record.dir_of("memory").and_then(|dir| read_number(&dir.join(SWAP))).unwrap_or(u64::MAX);
    if limit.is_some_and(|limit| limit < 0 || limit.unsigned_abs() > now) {
        steps.reverse();
    }
    for (file, value) in steps {
        set("memory", file, &value.to_string())?;
    }
    if let Some(reservation) = memory["reservation"].as_i64().filter(|n| *n != 0) {
        set("memory", "memory.soft_limit_in_bytes", &reservation.to_string())?;
    }
    if let Some(swappiness) = memory["swappiness"].as_u64() {
        set("memory", "memory.swappiness", &swappiness.to_string())?;
    }
    Ok(())
}

/// A quota and its period are checked against each other by the kernel: whichever fits first goes first.
fn apply_bandwidth(
    record: &CgroupRecord,
    cpu: &Value,
    set: &dyn Fn(&str, &str, &str) -> Result<()>,
) -> Result<()> {
    let quota = cpu["quota"].as_i64().filter(|quota| *quota != 0).map(|quota| quota.max(-1).to_string());
    let period = cpu["period"].as_u64().filter(|period| *period > 0).map(|period| period.to_string());
    if record.dir_of("cpu").is_none() && quota.is_none() && period.is_none() {
        return Ok(());
    }
    let steps = [("cpu.cfs_period_us", period), ("cpu.cfs_quota_us", quota)];
    let mut failed = None;
    for (file, value) in &steps {
        if let Some(value) = value
            && let Err(error) = set("cpu", file, value)
        {
            failed = Some((file, value, error));
        }
    }
    match failed {
        Some((file, value, error)) if *file == "cpu.cfs_period_us" => {
            set("cpu", file, value).map_err(|_| error)
        }
        Some((.., error)) => Err(error),
        None => Ok(()),
    }
}

/// The host's limit for a guest's limit on processes: the sentry counts guest processes itself, and a guest process
/// takes a few threads of the host.
pub(super) fn host_pids_limit(limit: i64) -> String {
    if limit < 0 { "max".into() } else { limit.saturating_mul(4).saturating_add(256).to_string() }
}
