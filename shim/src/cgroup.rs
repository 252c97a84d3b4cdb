//! The host's counts for a sandbox: its cgroup, found by way of its process (`man 7 cgroups`).

use std::path::{Path, PathBuf};

use control::stats::Stats;

const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup of a process: a directory per controller with version 1, one for all with version 2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cgroup {
    V1 { cpuacct: Option<PathBuf>, memory: Option<PathBuf> },
    V2(PathBuf),
}

impl Cgroup {
    /// That of process `pid`.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let has_v1 = Path::new(ROOT).join("memory").exists();
        Self::parse(&text, has_v1)
    }

    /// From the lines `number:controllers:path` of `/proc/PID/cgroup`. A process in a root directory has none of its
    /// own.
    fn parse(text: &str, has_v1: bool) -> Option<Self> {
        let lines = || text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
        let below = |mount: &str, path: &str| Path::new(ROOT).join(mount).join(path.trim_start_matches('/'));
        if !has_v1 {
            let (_, path) = lines().find(|(names, path)| names.is_empty() && *path != "/")?;
            return Some(Self::V2(below("", path)));
        }
        let find = |wanted: &str| {
            let (names, path) =
                lines().find(|(names, path)| names.split(',').any(|name| name == wanted) && *path != "/")?;
            // Hierarchies are mounted by all their names, with links for each.
            let by_name = below(wanted, path);
            Some(if by_name.exists() { by_name } else { below(names, path) })
        };
        let (cpuacct, memory) = (find("cpuacct"), find("memory"));
        (cpuacct.is_some() || memory.is_some()).then_some(Self::V1 { cpuacct, memory })
    }

    /// Puts the host's counts into `stats`.
    pub(crate) fn count_into(&self, stats: &mut Stats) {
        let (usage, memory) = (&mut stats.cpu.usage, &mut stats.memory.usage);
        match self {
            Self::V1 { cpuacct, memory: dir } => {
                let cpu = |name: &str| number(&cpuacct.as_ref()?.join(name));
                let bytes = |name: &str| number(&dir.as_ref()?.join(name));
                usage.total = cpu("cpuacct.usage").unwrap_or(usage.total);
                usage.user = cpu("cpuacct.usage_user").unwrap_or(usage.user);
                usage.kernel = cpu("cpuacct.usage_sys").unwrap_or(usage.kernel);
                memory.usage = bytes("memory.usage_in_bytes").unwrap_or(memory.usage);
                memory.max = bytes("memory.max_usage_in_bytes").unwrap_or(memory.max);
                memory.limit = bytes("memory.limit_in_bytes").unwrap_or(memory.limit);
                memory.failcnt = bytes("memory.failcnt").unwrap_or(memory.failcnt);
                if let Some(dir) = dir {
                    let cache = keyed(&dir.join("memory.stat"), "total_inactive_file");
                    stats.memory.cache = cache.unwrap_or(stats.memory.cache);
                }
            }
            Self::V2(dir) => {
                let nanos =
                    |key: &str| keyed(&dir.join("cpu.stat"), key).map(|micros| micros.saturating_mul(1000));
                usage.total = nanos("usage_usec").unwrap_or(usage.total);
                usage.user = nanos("user_usec").unwrap_or(usage.user);
                usage.kernel = nanos("system_usec").unwrap_or(usage.kernel);
                memory.usage = number(&dir.join("memory.current")).unwrap_or(memory.usage);
                memory.max = number(&dir.join("memory.peak")).unwrap_or(memory.max);
                memory.limit = number(&dir.join("memory.max")).unwrap_or(memory.limit);
                let cache = keyed(&dir.join("memory.stat"), "inactive_file");
                stats.memory.cache = cache.unwrap_or(stats.memory.cache);
            }
        }
    }

    /// The file that counts processes killed for lack of memory.
    pub(crate) fn oom_file(&self) -> Option<PathBuf> {
        match self {
            Self::V1 { memory, .. } => Some(memory.as_ref()?.join("memory.oom_control")),
            Self::V2(dir) => Some(dir.join("memory.events")),
        }
    }
}

/// How many processes were killed for lack of memory, of a cgroup's [`Cgroup::oom_file`].
pub(crate) fn oom_kills(file: &Path) -> Option<u64> {
    keyed(file, "oom_kill")
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// A value of a file of lines `key value`.
fn keyed(path: &Path, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Cgroup;

    #[test]
    fn both_versions_are_found() {
        let v1 = "9:name=systemd:/s\n4:memory:/k8s.io/c\n3:cpu,cpuacct:/k8s.io/c\n0::/other\n";
        let Some(Cgroup::V1 { cpuacct: Some(cpu), memory: Some(memory) }) = Cgroup::parse(v1, true) else {
            panic!("version 1 was not found");
        };
        assert_eq!(memory.to_str(), Some("/sys/fs/cgroup/memory/k8s.io/c"));
        assert!(cpu.ends_with("k8s.io/c"));
        let v2 = Cgroup::parse("0::/kubepods/pod1/c\n", false);
        assert_eq!(v2, Some(Cgroup::V2("/sys/fs/cgroup/kubepods/pod1/c".into())));
        assert_eq!(Cgroup::parse("0::/\n", false), None);
        assert_eq!(Cgroup::parse("4:memory:/\n0::/x\n", true), None);
    }
}
