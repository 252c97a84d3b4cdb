//! What the host has counted for a cgroup.

use std::path::Path;

use control::stats::Stats;

use super::{CgroupRecord, read_number};

impl CgroupRecord {
    /// Puts the host's counts of processor time and memory into `stats`: they include the sandbox's own use, which is
    /// what the limits apply to.
    pub(crate) fn count_into(&self, stats: &mut Stats) {
        if self.is_v2() {
            if let Some(dir) = self.dirs.first() {
                count_v2(&dir.path, stats);
            }
            return;
        }
        let file = |controller: &str, name: &str| {
            self.dir_of(controller).and_then(|dir| read_number(&dir.join(name)))
        };
        if let Some(total) = file("cpuacct", "cpuacct.usage") {
            stats.cpu.usage.total = total;
        }
        if let Some(user) = file("cpuacct", "cpuacct.usage_user") {
            stats.cpu.usage.user = user;
        }
        if let Some(system) = file("cpuacct", "cpuacct.usage_sys") {
            stats.cpu.usage.kernel = system;
        }
        let memory = &mut stats.memory.usage;
        memory.usage = file("memory", "memory.usage_in_bytes").unwrap_or(memory.usage);
        memory.max = file("memory", "memory.max_usage_in_bytes").unwrap_or(memory.max);
        memory.limit = file("memory", "memory.limit_in_bytes").unwrap_or(memory.limit);
        memory.failcnt = file("memory", "memory.failcnt").unwrap_or(memory.failcnt);
    }

    /// How often the host killed something in it for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let Some(dir) = self.dir_of("memory") else { return 0 };
        let file = if self.is_v2() { "memory.events" } else { "memory.oom_control" };
        keyed(&dir.join(file), "oom_kill").unwrap_or(0)
    }
}

fn count_v2(dir: &Path, stats: &mut Stats) {
    let cpu = dir.join("cpu.stat");
    let micros = |key: &str| keyed(&cpu, key).map(|micros| micros.saturating_mul(1000));
    let usage = &mut stats.cpu.usage;
    usage.total = micros("usage_usec").unwrap_or(usage.total);
    usage.user = micros("user_usec").unwrap_or(usage.user);
    usage.kernel = micros("system_usec").unwrap_or(usage.kernel);
    let memory = &mut stats.memory.usage;
    memory.usage = read_number(&dir.join("memory.current")).unwrap_or(memory.usage);
    memory.max = read_number(&dir.join("memory.peak")).unwrap_or(memory.max);
    memory.limit = read_number(&dir.join("memory.max")).unwrap_or(memory.limit);
}

/// A value of a file of lines `key value`.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}
