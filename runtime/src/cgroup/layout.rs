//! How cgroups are mounted on this host, and where this process is in them.

use std::path::PathBuf;

/// The host's cgroup file systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// None is mounted.
    None,
    /// Version 2 alone.
    V2 {
        /// Its mount point.
        root: PathBuf,
        /// Our own cgroup, below it.
        own: PathBuf,
    },
    /// Version 1, with or without version 2 beside it.
    V1 {
        /// Its hierarchies.
        hierarchies: Vec<Hierarchy>,
    },
}

/// One hierarchy of version 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    /// Its controllers.
    pub(crate) controllers: Vec<String>,
    /// Its mount point.
    pub(crate) root: PathBuf,
    /// Our own cgroup, below it.
    pub(crate) own: PathBuf,
}

/// Every controller of version 1.
const CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "net_cls",
    "net_prio",
    "blkio",
    "pids",
    "hugetlb",
    "perf_event",
    "rdma",
    "misc",
];

impl Layout {
    /// Looks at the host.
    pub(crate) fn of_host() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
    }

    /// Reads `/proc/self/mountinfo` and `/proc/self/cgroup` (`man 7 cgroups`).
    pub(super) fn parse(mountinfo: &str, own: &str) -> Self {
        let (mut hierarchies, mut unified) = (Vec::<Hierarchy>::new(), None);
        for line in mountinfo.lines() {
            let Some((root, point, kind, options)) = parse_mount(line) else { continue };
            if !point.starts_with("/sys/fs/cgroup") {
                continue;
            }
            if kind == "cgroup2" {
                unified = Some((root, PathBuf::from(point)));
            } else if kind == "cgroup" {
                let known = |name: &&str| CONTROLLERS.contains(name) || name.starts_with("name=");
                let controllers: Vec<String> = options.split(',').filter(known).map(Into::into).collect();
                if controllers.is_empty() || hierarchies.iter().any(|h| h.controllers == controllers) {
                    continue;
                }
                let own = own_path(own, |names| names == controllers.join(",") || names == controllers[0]);
                hierarchies.push(Hierarchy { root: point.into(), own: below(&own, root), controllers });
            }
        }
        match unified {
            _ if !hierarchies.is_empty() => Self::V1 { hierarchies },
            Some((mounted, root)) => Self::V2 { root, own: below(&own_path(own, str::is_empty), mounted) },
            None => Self::None,
        }
    }
}

/// Root, mount point, type and super options of a line.
fn parse_mount(line: &str) -> Option<(&str, &str, &str, &str)> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (left.next()?, left.next()?);
    let mut right = right.split(' ');
    let kind = right.next()?;
    Some((root, point, kind, right.nth(1).unwrap_or("")))
}

/// The path of the hierarchy whose controllers satisfy `wanted`.
fn own_path(own: &str, wanted: impl Fn(&str) -> bool) -> String {
    let mut lines = own.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    lines.find(|(names, _)| wanted(names)).map_or_else(|| "/".into(), |(_, path)| path.to_string())
}

/// A cgroup's path, below what is mounted of its hierarchy.
fn below(path: &str, mounted: &str) -> PathBuf {
    let path = if mounted == "/" { path } else { path.strip_prefix(mounted).unwrap_or("/") };
    PathBuf::from(path.trim_start_matches('/'))
}
