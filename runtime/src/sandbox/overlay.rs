//! The writable layers that `--overlay2` puts over the root and the mounts.

use control::{MountKind, MountPlan, Overlay, RootPlan};

use crate::flags::Config;
use crate::spec::mounts::FilePlan;

/// The root and the mounts with their layers.
pub(super) fn lay_over(files: &FilePlan, config: &Config) -> (RootPlan, Vec<MountPlan>) {
    let (mut root, mut mounts) = (files.root.clone(), files.mounts.clone());
    let Some(setting) = &config.overlay else { return (root, mounts) };
    let layer = Overlay { size: setting.size };
    if setting.all_mounts {
        for mount in mounts.iter_mut().filter(|mount| !mount.readonly) {
            if matches!(mount.kind, MountKind::Gofer { directory: true, .. }) {
                mount.overlay = Some(layer.clone());
            }
        }
    }
    root.overlay = Some(layer);
    (root, mounts)
}
