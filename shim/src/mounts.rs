//! The mounts that make a container's root, as containerd's snapshotter describes them.

use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Mount;

use crate::error::{Context, Result};

/// The most that `mount(2)` reads as data.
const DATA_MAX: usize = 4095;

const MS_RDONLY: u64 = 1;
const MS_REMOUNT: u64 = 1 << 5;
const MS_BIND: u64 = 1 << 12;

/// Options that are flags: (name, the flag, whether the name sets it).
const FLAGS: &[(&str, u64, bool)] = &[
    ("async", 1 << 4, false),
    ("atime", 1 << 10, false),
    ("bind", MS_BIND, true),
    ("defaults", 0, true),
    ("dev", 1 << 2, false),
    ("diratime", 1 << 11, false),
    ("dirsync", 1 << 7, true),
    ("exec", 1 << 3, false),
    ("mand", 1 << 6, true),
    ("noatime", 1 << 10, true),
    ("nodev", 1 << 2, true),
    ("nodiratime", 1 << 11, true),
    ("noexec", 1 << 3, true),
    ("nomand", 1 << 6, false),
    ("norelatime", 1 << 21, false),
    ("nostrictatime", 1 << 24, false),
    ("nosuid", 1 << 1, true),
    ("rbind", MS_BIND | 1 << 14, true),
    ("relatime", 1 << 21, true),
    ("remount", MS_REMOUNT, true),
    ("ro", MS_RDONLY, true),
    ("rw", MS_RDONLY, false),
    ("strictatime", 1 << 24, true),
    ("suid", 1 << 1, false),
    ("sync", 1 << 4, true),
];

/// Flags, and what the file system itself is told.
fn parse(options: &[String]) -> (u64, Vec<&str>) {
    let (mut flags, mut data) = (0, Vec::new());
    for option in options {
        match FLAGS.iter().find(|(name, ..)| name == option) {
            Some((_, flag, true)) => flags |= flag,
            Some((_, flag, false)) => flags &= !flag,
            None => data.push(option.as_str()),
        }
    }
    (flags, data)
}

/// Makes all of them at `target`, one above the other. After a failure none is left.
pub(crate) fn mount_all(mounts: &[Mount], target: &Path) -> Result<()> {
    for (done, wanted) in mounts.iter().enumerate() {
        if let Err(error) = mount(wanted, target) {
            for _ in 0..done {
                let _ = host::mount::detach(target);
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Takes away whatever is mounted at `target`.
pub(crate) fn unmount_all(target: &Path) {
    while host::mount::detach(target).is_ok() {}
}

fn mount(wanted: &Mount, target: &Path) -> Result<()> {
    let what = || format!("cannot mount {} at {}", wanted.type_, target.display());
    let (flags, data) = parse(&wanted.options);
    let source = Path::new(&wanted.source);
    let text = data.join(",");
    if wanted.type_ == "overlay" && text.len() > DATA_MAX {
        return mount_layers(source, target, flags, &data).context(what());
    }
    host::mount::mount(source, target, &wanted.type_, flags, &text).context(what())?;
    // A bind mount takes no other flags at first.
    if flags & MS_BIND != 0 && flags & !(MS_BIND | 1 << 14) != 0 {
        host::mount::mount(source, target, "", flags | MS_REMOUNT, "").context(what())?;
    }
    Ok(())
}

/// An overlay of so many layers that their paths are too long together: they are named from the directory that all are
/// in, by a thread that goes there.
fn mount_layers(source: &Path, target: &Path, flags: u64, data: &[&str]) -> Result<()> {
    let (dir, data) = shorten(data);
    let mount = || -> Result<()> {
        host::fs::own_working_dir().context("no working directory of its own")?;
        let dir = std::fs::File::open(&dir).context(dir.display())?;
        host::fs::change_dir(std::os::fd::AsFd::as_fd(&dir)).context("cannot enter the layers")?;
        host::mount::mount(source, target, "overlay", flags, &data)
            .context(format_args!("{} bytes of options", data.len()))
    };
    std::thread::scope(|scope| {
        scope.spawn(mount).join().unwrap_or_else(|_| Err(crate::error::Failure::Other("lost".into())))
    })
}

/// The directory that all lower layers are in, and the options with their paths from there.
fn shorten(data: &[&str]) -> (PathBuf, String) {
    const KEY: &str = "lowerdir=";
    let layers =
        || data.iter().filter_map(|option| option.strip_prefix(KEY)).flat_map(|list| list.split(':'));
    let mut common = layers().next().and_then(|layer| Path::new(layer).parent()).unwrap_or(Path::new("/"));
    while !layers().all(|layer| Path::new(layer).starts_with(common)) {
        common = common.parent().unwrap_or(Path::new("/"));
    }
    let short = |layer: &str| {
        Path::new(layer)
            .strip_prefix(common)
            .map_or_else(|_| layer.to_string(), |short| short.display().to_string())
    };
    let options = data.iter().map(|option| match option.strip_prefix(KEY) {
        Some(list) => format!("{KEY}{}", list.split(':').map(short).collect::<Vec<_>>().join(":")),
        None => (*option).to_string(),
    });
    (common.to_path_buf(), options.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::{MS_BIND, MS_RDONLY, parse, shorten};

    #[test]
    fn options_are_flags_or_data() {
        let options = ["rbind", "ro", "lowerdir=/a:/b", "rw", "index=off"].map(String::from);
        let (flags, data) = parse(&options);
        assert_eq!(flags & MS_BIND, MS_BIND);
        assert_eq!(flags & MS_RDONLY, 0);
        assert_eq!(data, ["lowerdir=/a:/b", "index=off"]);
    }

    #[test]
    fn layers_are_named_from_where_all_are() {
        let (dir, data) =
            shorten(&["workdir=/s/9/work", "upperdir=/s/9/fs", "lowerdir=/s/snap/1/fs:/s/snap/22/fs"]);
        assert_eq!(dir.to_str(), Some("/s/snap"));
        assert_eq!(data, "workdir=/s/9/work,upperdir=/s/9/fs,lowerdir=1/fs:22/fs");
        let (dir, data) = shorten(&["lowerdir=/a/x:/b/y"]);
        assert_eq!((dir.to_str(), data.as_str()), (Some("/"), "lowerdir=a/x:b/y"));
    }
}
