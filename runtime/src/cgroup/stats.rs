//! What the host has counted for a cgroup.

use std::path::Path;

use control::cgroup::{CgroupDirs, oom_kills};
use control::stats::Stats;

use super::CgroupRecord;

impl CgroupRecord {
    /// Puts the host's counts of processor time and memory into `stats`.
    pub(crate) fn count_into(&self, stats: &mut Stats) {
        if let Some(dirs) = self.counted() {
            dirs.count_into(stats);
        }
    }

    /// How often the host killed something in it for lack of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        self.counted().and_then(|dirs| oom_kills(&dirs.oom_file()?)).unwrap_or(0)
    }

    fn counted(&self) -> Option<CgroupDirs> {
        if self.is_v2() {
            return self.dirs.first().map(|dir| CgroupDirs::V2(dir.path.clone()));
        }
        let dir = |controller: &str| self.dir_of(controller).map(Path::to_path_buf);
        Some(CgroupDirs::V1 { cpuacct: dir("cpuacct"), memory: dir("memory") })
    }
}
