//! The guest program, built from `xtask/programs` in the ways in which calls are made.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Who executes the call's instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Variant {
    /// libc, linked in.
    Static,
    /// libc, loaded at the start.
    Dynamic,
    /// The program itself, where the operation is a plain call; linked statically.
    Raw,
}

impl Variant {
    /// As tables and files name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dynamic => "dynamic",
            Self::Raw => "raw",
        }
    }

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Static => &["-static"],
            Self::Dynamic => &[],
            Self::Raw => &["-static", "-DRAW"],
        }
    }
}

/// Compiles the program with the system's C compiler; where it lies.
pub(crate) fn build(variant: Variant) -> Result<PathBuf> {
    let path = work_dir()?.join(format!("ops-{}", variant.name()));
    let sources: Vec<PathBuf> = std::fs::read_dir(source_dir())?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-pthread"])
        .args(variant.flags())
        .arg("-o")
        .arg(&path)
        .args(&sources)
        .status()
        .context("running cc")?;
    ensure!(status.success(), "cc could not build the {} program", variant.name());
    Ok(path)
}

/// Where the sources of what guests run are.
pub(crate) fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// Where what the benchmarks build lies: beside cargo's own output.
pub(crate) fn work_dir() -> Result<PathBuf> {
    let dir = workspace().join("target/bench");
    std::fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

/// The root of the repository.
pub(crate) fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
