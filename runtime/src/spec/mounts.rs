//! From the configuration's mounts to what the gofer serves and what the sentry mounts.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use abi::mount::MountFlags;
use control::{MountKind, MountPlan, RootPlan};
use serde_json::Value;

use super::Spec;
use super::annotations::{VolumeHint, volume_hints};
use crate::error::{Context, Error, Result};
use crate::flags::{Config, FileAccess};
use crate::logging;

/// A file or directory of the host that the gofer serves; the root is number 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoferMount {
    /// Where it is on the host.
    pub(crate) source: PathBuf,
    /// Whether it is a directory.
    pub(crate) directory: bool,
    /// Whether the gofer refuses to change it.
    pub(crate) readonly: bool,
    /// Whether the gofer watches it for changes by others.
    pub(crate) shared: bool,
}

/// A container's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePlan {
    /// The root.
    pub(crate) root: RootPlan,
    /// The other mounts.
    pub(crate) mounts: Vec<MountPlan>,
    /// What the gofer serves.
    pub(crate) gofer: Vec<GoferMount>,
}

/// Whether a mount is a bind mount.
pub(super) fn is_bind(mount: &Value) -> bool {
    mount["type"].as_str() == Some("bind")
        || options(mount).any(|option| option == "bind" || option == "rbind")
}

fn options(mount: &Value) -> impl Iterator<Item = &str> {
    mount["options"].as_array().map_or(&[][..], Vec::as_slice).iter().filter_map(Value::as_str)
}

/// Looks at every source on the host and lays out the container's files.
pub(crate) fn plan(spec: &Spec, config: &Config) -> Result<FilePlan> {
    let root = spec.root_path();
    let what = || format!("cannot use the root file system {}", root.display());
    let source = std::fs::canonicalize(&root).with_context(what)?;
    if !source.is_dir() {
        return Err(Error::new(format!("the root file system {} is not a directory", root.display())));
    }
    let readonly = spec.oci.root().as_ref().and_then(oci_spec::runtime::Root::readonly).unwrap_or(false);
    let overlaid = config.overlay.is_some();
    let exclusive = config.root_access == FileAccess::Exclusive;
    let mut plan = FilePlan {
        root: RootPlan { readonly, overlay: None },
        mounts: Vec::new(),
        gofer: vec![GoferMount {
            source,
            directory: true,
            readonly: readonly || overlaid,
            shared: !exclusive,
        }],
    };
    let hints = volume_hints(&spec.annotations);
    let empty = Vec::new();
    let mounts = spec.json["mounts"].as_array().unwrap_or(&empty);
    for (index, mount) in mounts.iter().enumerate() {
        add(mount, &format!("$.mounts[{index}]"), spec, config, &hints, &mut plan)?;
    }
    add_mandatory(&mut plan.mounts);
    Ok(plan)
}

fn add(
    mount: &Value,
    path: &str,
    spec: &Spec,
    config: &Config,
    hints: &[VolumeHint],
    plan: &mut FilePlan,
) -> Result<()> {
    let destination = clean(mount["destination"].as_str().unwrap_or("/"));
    let readonly = options(mount).filter(|option| ["ro", "rw"].contains(option)).last() == Some("ro");
    let kind = if is_bind(mount) {
        bind(mount, path, spec, config, readonly, hints, plan)?
    } else {
        internal(mount, path, &destination)?
    };
    let is_devpts = matches!(kind, MountKind::Devpts);
    let wanted = |option: &&str| {
        is_behaviour(option)
            || is_devpts && option.split_once('=').is_some_and(|(key, _)| DEVPTS.contains(&key))
    };
    warn_of_ignored(mount, path, &kind);
    let options = options(mount).filter(wanted).map(Into::into).collect();
    let source = match kind {
        MountKind::Gofer { .. } => None,
        _ => mount["source"].as_str().map(Into::into),
    };
    plan.mounts.push(MountPlan { destination, kind, source, readonly, options, overlay: None });
    Ok(())
}

/// Whether an option changes how a mount behaves, whatever its type.
fn is_behaviour(option: &str) -> bool {
    let seen = (MountFlags::PER_MOUNT | MountFlags::SYNCHRONOUS) - MountFlags::RDONLY;
    MountFlags::from_option(option).is_some_and(|flags| (flags.set | flags.clear).intersects(seen))
}

/// Options of devpts with a value (`man 4 pts`).
const DEVPTS: &[&str] = &["uid", "gid", "mode", "ptmxmode", "max"];

/// Options whose effect is had in another way, or that are without meaning in a sandbox that nobody else looks into.
const IMPLIED: &[&str] = &[
    "defaults",
    "bind",
    "rbind",
    "ro",
    "rw",
    "shared",
    "rshared",
    "slave",
    "rslave",
    "private",
    "rprivate",
    "unbindable",
    "runbindable",
    "newinstance",
    "nostrictatime",
    "nomand",
];

/// Options of tmpfs with a value that is looked at.
const TMPFS: &[&str] = &["size", "mode", "uid", "gid"];

/// Says which of a mount's options have no effect.
fn warn_of_ignored(mount: &Value, path: &str, kind: &MountKind) {
    let has_effect = |option: &&str| {
        let key = option.split_once('=').map(|(key, _)| key);
        is_behaviour(option)
            || IMPLIED.contains(option)
            || key.is_some_and(|key| match kind {
                MountKind::Devpts => DEVPTS.contains(&key),
                MountKind::Tmpfs { .. } | MountKind::Devtmpfs => TMPFS.contains(&key),
                _ => false,
            })
    };
    let ignored: Vec<&str> = options(mount).filter(|option| !has_effect(option)).collect();
    if !ignored.is_empty() {
        logging::warning(format!("{path}.options: no effect in a sandbox: {}", ignored.join(", ")));
    }
}

fn bind(
    mount: &Value,
    path: &str,
    spec: &Spec,
    config: &Config,
    readonly: bool,
    hints: &[VolumeHint],
    plan: &mut FilePlan,
) -> Result<MountKind> {
    let source = spec.bundle.join(mount["source"].as_str().unwrap_or(""));
    if let Some(hint) = hints.iter().find(|hint| Path::new(&hint.source) == source && hint.is_internal()) {
        let shared_name = (hint.share == "pod").then(|| hint.name.clone());
        return Ok(MountKind::Tmpfs { size: None, mode: None, uid: None, gid: None, shared_name });
    }
    let meta = std::fs::metadata(&source)
        .with_context(|| format!("{path}.source: cannot bind {}", source.display()))?;
    let kind = meta.file_type();
    if kind.is_block_device() {
        let why = "block devices of the host are not passed to a sandbox";
        return Err(Error::new(format!("{path}.source: cannot bind {}: {why}", source.display())));
    }
    let exclusive = config.mount_access == FileAccess::Exclusive;
    let overlaid = config.overlay.as_ref().is_some_and(|overlay| overlay.all_mounts);
    let number = u32::try_from(plan.gofer.len()).map_err(|_| Error::new("too many mounts"))?;
    let directory = kind.is_dir();
    plan.gofer.push(GoferMount { source, directory, readonly: readonly || overlaid, shared: !exclusive });
    Ok(MountKind::Gofer { mount: number, directory })
}

fn internal(mount: &Value, path: &str, destination: &str) -> Result<MountKind> {
    let kind = mount["type"].as_str().unwrap_or("none");
    Ok(match kind {
        "proc" => MountKind::Proc,
        "sysfs" => MountKind::Sysfs,
        "tmpfs" | "ramfs" if destination == "/dev" => MountKind::Devtmpfs,
        "devtmpfs" => MountKind::Devtmpfs,
        "devpts" => MountKind::Devpts,
        "mqueue" => MountKind::Mqueue,
        "cgroup" | "cgroup2" => MountKind::Cgroup,
        "tmpfs" | "ramfs" => tmpfs(mount, path)?,
        other => {
            let advice = "mount it on the host and bind it";
            return Err(Error::new(format!(
                "{path}.type: file system \"{other}\" cannot be mounted in a sandbox: {advice}"
            )));
        }
    })
}

fn tmpfs(mount: &Value, path: &str) -> Result<MountKind> {
    let (mut size, mut mode, mut uid, mut gid) = (None, None, None, None);
    for option in options(mount) {
        let Some((key, value)) = option.split_once('=') else { continue };
        let bad = || Error::new(format!("{path}.options: \"{option}\" is not understood"));
        match key {
            "size" => size = tmpfs_size(value).map(Some).ok_or_else(bad)?,
            "mode" => mode = Some(u32::from_str_radix(value, 8).map_err(|_| bad())? & 0o7777),
            "uid" => uid = Some(value.parse().map_err(|_| bad())?),
            "gid" => gid = Some(value.parse().map_err(|_| bad())?),
            _ => {}
        }
    }
    Ok(MountKind::Tmpfs { size, mode, uid, gid, shared_name: None })
}

/// Bytes, a number with a unit, or a percentage of the machine's memory (`man 5 tmpfs`).
fn tmpfs_size(value: &str) -> Option<u64> {
    match value.strip_suffix('%') {
        Some(percent) => {
            let total = crate::sandbox::machine::total_memory();
            Some(total / 100 * percent.parse::<u64>().ok()?.min(100))
        }
        None => crate::flags::parse_size(value),
    }
}

/// The file systems that every container has, in front of or behind those that it asked for.
fn add_mandatory(mounts: &mut Vec<MountPlan>) {
    let plain = |destination: &str, kind: MountKind| MountPlan {
        destination: destination.into(),
        readonly: kind == MountKind::Sysfs,
        kind,
        source: None,
        options: vec!["nosuid".into(), "noexec".into()],
        overlay: None,
    };
    let lacks = |mounts: &[MountPlan], path: &str| !mounts.iter().any(|mount| mount.destination == path);
    let mut first = Vec::new();
    if lacks(mounts, "/proc") {
        first.push(plain("/proc", MountKind::Proc));
    }
    if lacks(mounts, "/sys") {
        first.push(plain("/sys", MountKind::Sysfs));
    }
    if lacks(mounts, "/dev") {
        first.push(plain("/dev", MountKind::Devtmpfs));
    }
    mounts.splice(0..0, first);
    if lacks(mounts, "/dev/pts") {
        // Right behind what holds it.
        let at = mounts.iter().position(|mount| mount.destination == "/dev").map_or(0, |at| at + 1);
        mounts.insert(at, plain("/dev/pts", MountKind::Devpts));
    }
}

/// An absolute path without `.`, `..` and repeated slashes, by its text alone.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
