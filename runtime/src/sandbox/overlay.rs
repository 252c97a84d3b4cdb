//! Backing files for the writable layers that a sandbox keeps to itself.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use control::{MountKind, MountPlan, Overlay, RootPlan};

use super::fds::FdTable;
use crate::error::{Context, Result};
use crate::flags::{Config, OverlayMedium, OverlaySetting};
use crate::logging;
use crate::spec::mounts::FilePlan;

/// `O_TMPFILE` of x86-64 and aarch64: a file without a name, gone with its last descriptor.
const O_TMPFILE: i32 = 0o20_200_000;

/// The root and the mounts with the layers that `--overlay2` puts over them.
pub(super) fn lay_over(
    files: &FilePlan,
    config: &Config,
    fds: &mut FdTable,
) -> Result<(RootPlan, Vec<MountPlan>)> {
    let (mut root, mut mounts) = (files.root.clone(), files.mounts.clone());
    let Some(setting) = &config.overlay else { return Ok((root, mounts)) };
    // A read-only root has nothing to keep, but mount points may have to be made in it.
    root.overlay = Some(if root.readonly {
        Overlay { backing_fd: None, size: setting.size }
    } else {
        layer(setting, &files.gofer[0].source, fds)?
    });
    if setting.all_mounts {
        for mount in mounts.iter_mut().filter(|mount| !mount.readonly) {
            if let MountKind::Gofer { mount: number, directory: true, .. } = mount.kind
                && let Some(served) = files.gofer.get(number as usize)
            {
                mount.overlay = Some(layer(setting, &served.source, fds)?);
            }
        }
    }
    Ok((root, mounts))
}

fn layer(setting: &OverlaySetting, mount: &Path, fds: &mut FdTable) -> Result<Overlay> {
    let dir = match &setting.medium {
        OverlayMedium::Memory => return Ok(Overlay { backing_fd: None, size: setting.size }),
        OverlayMedium::OwnFile => mount,
        OverlayMedium::Directory(dir) => dir,
    };
    match nameless_file(dir) {
        Ok(file) => Ok(Overlay { backing_fd: Some(fds.add(file)), size: setting.size }),
        // Read-only roots, file systems without nameless files: memory does as well, and counts as such.
        Err(error) if setting.medium == OverlayMedium::OwnFile => {
            logging::info(format!("the writable layer is in memory: no file in {}: {error}", dir.display()));
            Ok(Overlay { backing_fd: None, size: setting.size })
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot make a file for the writable layer in {}", dir.display())),
    }
}

fn nameless_file(dir: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).custom_flags(O_TMPFILE).mode(0o600).open(dir)
}
