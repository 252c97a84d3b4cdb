//! What the host counts for a cgroup (`man 7 cgroups`): it includes the sandbox's own use, which is what the limits
//! apply to.

use std::path::{Path, PathBuf};

use crate::stats::Stats;

/// Where the host counts: a directory per controller with version 1, one for all with version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CgroupDirs {
    /// Version 1.
    V1 {
        /// Processor time.
        cpuacct: Option<PathBuf>,
        /// Memory.
        memory: Option<PathBuf>,
    },
    /// Version 2.
    V2(PathBuf),
}

impl CgroupDirs {
    /// Puts the host's counts of processor time and memory into `stats`.
    pub fn count_into(&self, stats: &mut Stats) {
        let (usage, memory) = (&mut stats.cpu.usage, &mut stats.memory.usage);
        match self {
            Self::V1 { cpuacct, memory: dir } => {
                let cpu = |name: &str| read_number(&cpuacct.as_ref()?.join(name));
                let bytes = |name: &str| read_number(&dir.as_ref()?.join(name));
                usage.total = cpu("cpuacct.usage").unwrap_or(usage.total);
                usage.user = cpu("cpuacct.usage_user").unwrap_or(usage.user);
                usage.kernel = cpu("cpuacct.usage_sys").unwrap_or(usage.kernel);
                memory.usage = bytes("memory.usage_in_bytes").unwrap_or(memory.usage);
                memory.max = bytes("memory.max_usage_in_bytes").unwrap_or(memory.max);
                memory.limit = bytes("memory.limit_in_bytes").unwrap_or(memory.limit);
                memory.failcnt = bytes("memory.failcnt").unwrap_or(memory.failcnt);
            }
            Self::V2(dir) => {
                let nanos = |key: &str| {
                    read_keyed(&dir.join("cpu.stat"), key).map(|micros| micros.saturating_mul(1000))
                };
                usage.total = nanos("usage_usec").unwrap_or(usage.total);
                usage.user = nanos("user_usec").unwrap_or(usage.user);
                usage.kernel = nanos("system_usec").unwrap_or(usage.kernel);
                memory.usage = read_number(&dir.join("memory.current")).unwrap_or(memory.usage);
                memory.max = read_number(&dir.join("memory.peak")).unwrap_or(memory.max);
                memory.limit = read_number(&dir.join("memory.max")).unwrap_or(memory.limit);
            }
        }
    }

    /// Bytes of page cache that may be reclaimed at once.
    #[must_use]
    pub fn inactive_file(&self) -> Option<u64> {
        match self {
            Self::V1 { memory, .. } => {
                read_keyed(&memory.as_ref()?.join("memory.stat"), "total_inactive_file")
            }
            Self::V2(dir) => read_keyed(&dir.join("memory.stat"), "inactive_file"),
        }
    }

    /// The file that counts processes killed for lack of memory.
    #[must_use]
    pub fn oom_file(&self) -> Option<PathBuf> {
        match self {
            Self::V1 { memory, .. } => Some(memory.as_ref()?.join("memory.oom_control")),
            Self::V2(dir) => Some(dir.join("memory.events")),
        }
    }
}

/// How many processes were killed for lack of memory, of a [`CgroupDirs::oom_file`].
#[must_use]
pub fn oom_kills(file: &Path) -> Option<u64> {
    read_keyed(file, "oom_kill")
}

/// Reads a number from a control file.
#[must_use]
pub fn read_number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Reads a value from a file of lines `key value`.
fn read_keyed(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key)?.1.trim().parse().ok()
}
