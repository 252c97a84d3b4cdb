//! The mounts that make a container's root, as containerd's snapshotter describes them.

use std::path::{Path, PathBuf};

use abi::mount::MountFlags;
use containerd_shim_protos::api::Mount;

use crate::error::{Context, Failure, Result};

/// The most that `mount(2)` reads as data.
const DATA_MAX: usize = 4095;

/// Flags, and what the file system itself is told.
fn parse(options: &[String]) -> (MountFlags, Vec<&str>) {
    let (mut flags, mut data) = (MountFlags::empty(), Vec::new());
    for option in options {
        match MountFlags::from_option(option) {
            Some(option) => flags = flags.after(option),
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
    host::mount::mount(source, target, &wanted.type_, flags.bits(), &text).context(what())?;
    // A bind mount takes no other flags at first.
    if flags.contains(MountFlags::BIND) && !(flags - MountFlags::BIND - MountFlags::REC).is_empty() {
        host::mount::mount(source, target, "", (flags | MountFlags::REMOUNT).bits(), "").context(what())?;
    }
    Ok(())
}

/// An overlay of so many layers that their paths are too long together: they are named from the directory that all are
/// in, by a thread that goes there.
fn mount_layers(source: &Path, target: &Path, flags: MountFlags, data: &[&str]) -> Result<()> {
    let (dir, data) = shorten(data);
    let mount = || -> Result<()> {
        host::fs::own_working_dir().context("no working directory of its own")?;
        let dir = std::fs::File::open(&dir).context(dir.display())?;
        host::fs::change_dir(std::os::fd::AsFd::as_fd(&dir)).context("cannot enter the layers")?;
        host::mount::mount(source, target, "overlay", flags.bits(), &data)
            .context(format_args!("{} bytes of options", data.len()))
    };
    std::thread::scope(|scope| {
        scope
            .spawn(mount)
            .join()
            .unwrap_or_else(|_| Err(Failure::Other("the thread that mounts was lost".into())))
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
    use abi::mount::MountFlags;

    use super::{parse, shorten};

    #[test]
    fn options_are_flags_or_data() {
        let options = ["rbind", "ro", "lowerdir=/a:/b", "rw", "index=off"].map(String::from);
        let (flags, data) = parse(&options);
        assert_eq!(flags, MountFlags::BIND | MountFlags::REC);
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
