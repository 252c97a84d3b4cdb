//! The cgroup of a sandbox, found by way of its process (`man 7 cgroups`).

use std::path::{Path, PathBuf};

use control::cgroup::CgroupDirs;

const ROOT: &str = "/sys/fs/cgroup";

/// The cgroup of process `pid`.
pub(crate) fn of(pid: u32) -> Option<CgroupDirs> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    if Path::new(ROOT).join("memory").exists() { parse_v1(&text) } else { parse_v2(&text) }
}

/// Controllers and path of the lines `number:controllers:path` of `/proc/PID/cgroup`. A process in a root directory has
/// none of its own.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':')).filter(|(_, path)| *path != "/")
}

fn below(mount: &str, path: &str) -> PathBuf {
    Path::new(ROOT).join(mount).join(path.trim_start_matches('/'))
}

fn parse_v1(text: &str) -> Option<CgroupDirs> {
    let find = |wanted: &str| {
        let (names, path) = lines(text).find(|(names, _)| names.split(',').any(|name| name == wanted))?;
        // Hierarchies are mounted by all their names, with links for each.
        let by_name = below(wanted, path);
        Some(if by_name.exists() { by_name } else { below(names, path) })
    };
    let (cpuacct, memory) = (find("cpuacct"), find("memory"));
    (cpuacct.is_some() || memory.is_some()).then_some(CgroupDirs::V1 { cpuacct, memory })
}

fn parse_v2(text: &str) -> Option<CgroupDirs> {
    let (_, path) = lines(text).find(|(names, _)| names.is_empty())?;
    Some(CgroupDirs::V2(below("", path)))
}

#[cfg(test)]
mod tests {
    use control::cgroup::CgroupDirs;

    use super::{parse_v1, parse_v2};

    #[test]
    fn both_versions_are_found() {
        let v1 = "9:name=systemd:/s\n4:memory:/k8s.io/c\n3:cpu,cpuacct:/k8s.io/c\n0::/other\n";
        let Some(CgroupDirs::V1 { cpuacct: Some(cpu), memory: Some(memory) }) = parse_v1(v1) else {
            panic!("version 1 was not found");
        };
        assert_eq!(memory.to_str(), Some("/sys/fs/cgroup/memory/k8s.io/c"));
        assert!(cpu.ends_with("k8s.io/c"));
        let v2 = parse_v2("0::/kubepods/pod1/c\n");
        assert_eq!(v2, Some(CgroupDirs::V2("/sys/fs/cgroup/kubepods/pod1/c".into())));
        assert_eq!(parse_v2("0::/\n"), None);
        assert_eq!(parse_v1("4:memory:/\n0::/x\n"), None);
    }
}
