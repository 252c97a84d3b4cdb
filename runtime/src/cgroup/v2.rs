//! Version 2: one tree (kernel `admin-guide/cgroup-v2`).

use std::path::Path;

use serde_json::Value;

use super::v1::host_pids_limit;
use super::{CgroupRecord, write};
use crate::error::Result;
use crate::logging;

/// Controllers that we set limits of.
const WANTED: &[&str] = &["cpu", "cpuset", "memory", "pids", "io"];

/// Passes the controllers that we want down to the cgroup `below` the root.
pub(super) fn pass_controllers(root: &Path, below: &Path) {
    let mut parent = root.to_path_buf();
    for part in below.components() {
        enable_controllers(&parent);
        parent.push(part);
    }
}

/// Passes every wanted controller that a cgroup has on to its children. What cannot be passed on (a cgroup with
/// processes of its own) shows when a limit is set.
fn enable_controllers(dir: &Path) {
    let read = |file: &str| std::fs::read_to_string(dir.join(file)).unwrap_or_default();
    let (have, passed) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let is_in = |list: &str, name: &str| list.split_whitespace().any(|known| known == name);
    for name in WANTED.iter().filter(|name| is_in(&have, name) && !is_in(&passed, name)) {
        if let Err(error) = write(&dir.join("cgroup.subtree_control"), &format!("+{name}")) {
            logging::debug(error.to_string());
        }
    }
}

/// Sets limits.
pub(super) fn apply(record: &CgroupRecord, resources: &Value) -> Result<()> {
    let Some(dir) = record.dirs.first().map(|dir| &dir.path) else { return Ok(()) };
    for (file, value) in settings(resources) {
        // Without swap, or in a kernel built without it, the file is not there and there is nothing to limit.
        if file == "memory.swap.max" && !dir.join(&file).exists() {
            continue;
        }
        if file == "io.weight" && !dir.join(&file).exists() {
            // Another scheduler of block devices, which counts as the specification does.
            write(&dir.join("io.bfq.weight"), &resources["blockIO"]["weight"].to_string())?;
            continue;
        }
        write(&dir.join(&file), &value)?;
    }
    Ok(())
}

/// The files of version 2 with their values for an OCI `resources` object.
pub(super) fn settings(resources: &Value) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = Vec::new();
    let mut set = |file: &str, value: String| list.push((file.into(), value));
    let bytes = |value: i64| if value < 0 { "max".to_string() } else { value.to_string() };
    let memory = &resources["memory"];
    let limit = memory["limit"].as_i64().filter(|n| *n != 0);
    if let Some(swap) = swap(memory) {
        set("memory.swap.max", bytes(swap));
    }
    if let Some(limit) = limit {
        set("memory.max", bytes(limit));
    }
    if let Some(reservation) = memory["reservation"].as_i64().filter(|n| *n != 0) {
        set("memory.low", bytes(reservation));
    }
    let cpu = &resources["cpu"];
    if let Some(shares) = cpu["shares"].as_u64().filter(|shares| *shares > 0) {
        set("cpu.weight", weight(shares).to_string());
    }
    let (quota, period) =
        (cpu["quota"].as_i64().filter(|n| *n != 0), cpu["period"].as_u64().filter(|n| *n > 0));
    if quota.is_some() || period.is_some() {
        let quota = quota.filter(|quota| *quota > 0).map_or("max".into(), |quota| quota.to_string());
        set("cpu.max", format!("{quota} {}", period.unwrap_or(100_000)));
    }
    if let Some(burst) = cpu["burst"].as_u64() {
        set("cpu.max.burst", burst.to_string());
    }
    if let Some(idle) = cpu["idle"].as_i64() {
        set("cpu.idle", idle.to_string());
    }
    for (name, file) in [("cpus", "cpuset.cpus"), ("mems", "cpuset.mems")] {
        if let Some(text) = cpu[name].as_str().filter(|text| !text.is_empty()) {
            set(file, text.into());
        }
    }
    if let Some(limit) = resources["pids"]["limit"].as_i64().filter(|n| *n != 0) {
        set("pids.max", host_pids_limit(limit));
    }
    if let Some(weight) = resources["blockIO"]["weight"].as_u64().filter(|weight| *weight > 0) {
        // 10..1000 becomes 1..10000.
        set("io.weight", (1 + weight.saturating_sub(10) * 9999 / 990).min(10_000).to_string());
    }
    for (file, value) in resources["unified"].as_object().into_iter().flatten() {
        set(file, value.as_str().unwrap_or("").into());
    }
    list
}

/// The limit on swap alone: the specification's number includes memory, as version 1's does. Negative is none.
pub(super) fn swap(memory: &Value) -> Option<i64> {
    match (memory["swap"].as_i64()?, memory["limit"].as_i64().unwrap_or(0)) {
        (swap, _) if swap < 0 => Some(swap),
        (swap, limit) if swap > 0 && limit > 0 => Some(swap - limit),
        _ => None,
    }
}

/// Shares (2..262144, 1024 usual) as a weight (1..10000, 100 usual), by the formula that runc and systemd share.
pub(super) fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    1 + (shares - 2) * 9999 / 262_142
}
