//! `/proc/[pid]/{mounts,mountinfo,mountstats}` (`man 5 proc_pid_mountinfo`).

use std::sync::Arc;

use abi::Result;
use abi::mount::MountFlags;
use kernel::vfs::{Mount, Reach, VfsPath};

use super::system::put;
use super::task_dir::View;

/// Appends `text` with what would end a field as octal escapes.
fn escaped(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\\' | b'#') {
            put!(out, "\\{byte:03o}");
        } else {
            out.push(byte);
        }
    }
}

/// The mounts that can be reached from the task's root, with their mount points.
fn visible(view: &View<'_>) -> Vec<(Arc<Mount>, Vec<u8>)> {
    let root = view.target.fs().root();
    let all = view.target.namespaces().mnt.mounts();
    let place = |mount: Arc<Mount>| {
        let (text, reach) = mount.root_path().text_and_reach(&root);
        (reach == Reach::Root).then_some((mount, text))
    };
    all.into_iter().filter_map(place).collect()
}

fn mount_options(flags: MountFlags) -> String {
    let words = [
        (MountFlags::NOSUID, "nosuid"),
        (MountFlags::NODEV, "nodev"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::NOATIME, "noatime"),
        (MountFlags::NODIRATIME, "nodiratime"),
        (MountFlags::RELATIME, "relatime"),
        (MountFlags::NOSYMFOLLOW, "nosymfollow"),
    ];
    let first = if flags.contains(MountFlags::RDONLY) { "ro" } else { "rw" };
    words
        .iter()
        .filter(|(flag, _)| flags.contains(*flag))
        .fold(first.to_owned(), |text, (_, word)| text + "," + word)
}

fn source(mount: &Mount) -> &[u8] {
    if mount.source().is_empty() { b"none" } else { mount.source() }
}

pub(super) fn mounts(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    for (mount, place) in visible(view) {
        escaped(source(&mount), out);
        out.push(b' ');
        escaped(&place, out);
        put!(out, " {} {}", mount.fs().type_name(), mount_options(mount.flags()));
        let options = mount.fs().options();
        if !options.is_empty() {
            put!(out, ",{options}");
        }
        out.extend_from_slice(b" 0 0\n");
    }
    Ok(())
}

pub(super) fn mountinfo(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    for (mount, place) in visible(view) {
        let parent = mount.mountpoint().map_or_else(|| mount.id(), |place| place.mount.id());
        let device = mount.fs().device();
        put!(out, "{} {parent} {}:{} ", mount.id(), device.major, device.minor);
        let root: VfsPath = mount.root_path();
        let shown = mount.fs().shown_root(view.viewer, root.inode());
        escaped(&shown.unwrap_or_else(|| root.text_in_fs()), out);
        out.push(b' ');
        escaped(&place, out);
        put!(out, " {}", mount_options(mount.flags()));
        let propagation = mount.propagation();
        if propagation.group != 0 {
            put!(out, " shared:{}", propagation.group);
        }
        if propagation.master != 0 {
            put!(out, " master:{}", propagation.master);
        }
        if propagation.is_unbindable {
            put!(out, " unbindable");
        }
        put!(out, " - {} ", mount.fs().type_name());
        escaped(source(&mount), out);
        let options = mount.fs().options();
        put!(out, " {}", if mount.is_read_only() { "ro" } else { "rw" });
        if !options.is_empty() {
            put!(out, ",{options}");
        }
        out.push(b'\n');
    }
    Ok(())
}

pub(super) fn mountstats(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    for (mount, place) in visible(view) {
        out.extend_from_slice(b"device ");
        escaped(source(&mount), out);
        out.extend_from_slice(b" mounted on ");
        escaped(&place, out);
        put!(out, " with fstype {}\n", mount.fs().type_name());
    }
    Ok(())
}
