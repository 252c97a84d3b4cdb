//! OCI bundles, as `runc spec` begins them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::places::Places;
use super::program::work_dir;

/// What a container sees as its root.
pub(crate) enum Root<'a> {
    /// The host's own directories, which it cannot change, `/tmp` in memory, and the bind mount of the benchmarks.
    Host(&'a Places),
    /// [`Places::rootfs`].
    Small(&'a Places),
}

/// A directory with a `config.json`.
pub(crate) struct Bundle {
    /// The directory.
    pub(crate) dir: PathBuf,
}

impl Bundle {
    /// Makes the bundle `name` anew, for a program with its arguments.
    pub(crate) fn make(name: &str, root: &Root<'_>, argv: &[String]) -> Result<Self> {
        let dir = work_dir()?.join(format!("bundle-{name}"));
        std::fs::create_dir_all(&dir)?;
        let file = dir.join("config.json");
        if file.exists() {
            std::fs::remove_file(&file)?;
        }
        let status = Command::new("runc").args(["spec", "--bundle"]).arg(&dir).status();
        ensure!(status.context("running runc spec")?.success(), "runc spec failed");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        spec["process"]["args"] = json!(argv);
        spec["process"]["terminal"] = false.into();
        // The processes of several bundles may be more than the limit that runc proposes.
        spec["process"]["rlimits"] = json!([]);
        let mounts = spec["mounts"].as_array_mut().context("runc spec without mounts")?;
        mounts.retain(|mount| mount["type"] != "cgroup");
        // The 64 MiB that runc proposes are too few.
        for shm in mounts.iter_mut().filter(|mount| mount["destination"] == "/dev/shm") {
            shm["options"] = json!(["nosuid", "nodev", "mode=1777"]);
        }
        match root {
            Root::Small(places) => {
                spec["root"] = json!({"path": places.rootfs, "readonly": false});
            }
            Root::Host(places) => {
                mounts.push(json!({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}));
                for dir in host_directories()? {
                    mounts.push(bind(&dir, "ro"));
                }
                mounts.push(bind(&places.bind, "rw"));
                let root = dir.join("rootfs");
                std::fs::create_dir_all(&root)?;
                spec["root"] = json!({"path": root, "readonly": false});
                let env = spec["process"]["env"].as_array_mut().context("runc spec without environment")?;
                let ours = places.environment();
                env.extend(ours.map(|(key, value)| format!("{key}={}", value.to_string_lossy()).into()));
            }
        }
        std::fs::write(&file, serde_json::to_vec(&spec)?)?;
        Ok(Self { dir })
    }

    /// Has it join a network name space that exists.
    pub(crate) fn join_network(&self, path: &Path) -> Result<()> {
        let file = self.dir.join("config.json");
        let mut spec: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
        let spaces = spec["linux"]["namespaces"].as_array_mut().context("a bundle without name spaces")?;
        for space in spaces.iter_mut().filter(|space| space["type"] == "network") {
            space["path"] = json!(path);
        }
        Ok(std::fs::write(&file, serde_json::to_vec(&spec)?)?)
    }
}

fn bind(dir: &Path, mode: &str) -> Value {
    json!({"destination": dir, "type": "bind", "source": dir, "options": ["rbind", mode]})
}

/// What lies in the host's root and is no file system of the kernel's, nor changes all the time.
fn host_directories() -> Result<Vec<PathBuf>> {
    const OTHERS: [&str; 6] = ["/proc", "/sys", "/dev", "/tmp", "/run", "/lost+found"];
    let entries = std::fs::read_dir("/").context("reading /")?;
    let all = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir());
    Ok(all.filter(|path| OTHERS.iter().all(|other| path != Path::new(other))).collect())
}
