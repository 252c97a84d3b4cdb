//! The directories that benchmarks work in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::program::{source_dir, work_dir};

/// Files that a guest can stat and open in the image.
const FILES: usize = 200;
/// Bytes of each.
const SMALL: usize = 4096;
/// Bytes of the file that is read block by block.
const LARGE: usize = 1 << 20;

/// What the programs are told by their environment, and a small root file system.
pub(crate) struct Places {
    image: PathBuf,
    /// What sandboxes get as a bind mount, at the same path.
    pub(crate) bind: PathBuf,
    /// A root file system with our own programs in `/bin`: `true`, `idle` and `answer`.
    pub(crate) rootfs: PathBuf,
}

impl Places {
    /// Makes them all.
    pub(crate) fn make() -> Result<Self> {
        let dir = work_dir()?;
        let places = Self { image: dir.join("image"), bind: dir.join("bind"), rootfs: dir.join("rootfs") };
        for folder in [&places.image, &places.bind] {
            std::fs::create_dir_all(folder)?;
        }
        for folder in ["bin", "etc", "tmp", "proc", "dev", "sys"] {
            std::fs::create_dir_all(places.rootfs.join(folder))?;
        }
        for number in 0..FILES {
            std::fs::write(places.image.join(format!("file-{number}")), vec![b'x'; SMALL])?;
        }
        std::fs::write(places.image.join("blocks"), vec![b'x'; LARGE])?;
        std::fs::write(places.rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
        for name in ["true", "idle", "answer"] {
            compile(&source_dir().join("alone").join(name).with_extension("c"), &places.program(name))?;
        }
        Ok(places)
    }

    /// Where a program of [`Self::rootfs`] lies on the host.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.rootfs.join("bin").join(name)
    }

    /// For the environment of a program.
    pub(crate) fn environment(&self) -> [(&'static str, OsString); 3] {
        let tmpfs = "/dev/shm".into();
        [("BENCH_IMAGE", (&self.image).into()), ("BENCH_BIND", (&self.bind).into()), ("BENCH_TMPFS", tmpfs)]
    }
}

fn compile(source: &Path, to: &Path) -> Result<()> {
    let mut cc = Command::new("cc");
    cc.args(["-O2", "-Wall", "-static", "-pthread", "-o"]).arg(to).arg(source);
    ensure!(cc.status().context("running cc")?.success(), "cc could not build {}", source.display());
    Ok(())
}
