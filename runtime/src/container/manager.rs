//! Who has made a bundle, as far as that decides what is expected of the container in it.
//!
//! A runtime is not told who calls it; what tells are the places and annotations that each of these programs uses.

use std::path::{Component, Path};

use crate::error::Result;
use crate::flags::Flags;
use crate::spec::Spec;

/// Whether Docker made the bundle: it keeps its containers in containerd's name space "moby", whose bundles are below
/// `io.containerd.runtime.v2.task`.
pub(crate) fn is_dockers(bundle: &Path) -> bool {
    let is_moby = |parts: &[Component<'_>]| {
        parts[0].as_os_str().as_encoded_bytes().starts_with(b"io.containerd.runtime.v")
            && parts[1].as_os_str() == "moby"
    };
    bundle.components().collect::<Vec<_>>().windows(2).any(is_moby)
}

/// Whether podman made it: it says so.
fn is_podmans(spec: &Spec) -> bool {
    spec.annotations.get("io.container.manager").is_some_and(|manager| manager == "libpod")
}

/// Whether it is a step of buildah's: its bundles are `buildah` with a number, the root file system in `mnt/rootfs`.
fn is_buildahs(spec: &Spec) -> bool {
    let name = spec.bundle.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
    name.strip_prefix(b"buildah")
        .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
        && spec.root_path() == spec.bundle.join("mnt/rootfs")
}

/// Docker, podman and buildah give each container a writable layer of its own and look into it from outside (`cp`,
/// `diff`, `commit`, `export`, the next step of a build): there, what the guest writes has to get to that layer. Flags
/// that were given stay.
pub(crate) fn keep_root_visible(flags: &mut Flags, spec: &Spec) -> Result<()> {
    let is_looked_into = is_dockers(&spec.bundle) || is_podmans(spec) || is_buildahs(spec);
    if !is_looked_into || flags.is_given("overlay2") {
        return Ok(());
    }
    flags.set_default("overlay2", "none")?;
    flags.set_default("file-access", "shared")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Flags, Spec, keep_root_visible};

    /// The flags `overlay2` and `file-access` for a bundle with that root and that annotation's value.
    fn flags_for(bundle: &str, root: &str, manager: &str) -> (String, String) {
        let config = serde_json::json!({
            "ociVersion": "1.0.2",
            "root": {"path": root},
            "process": {"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}},
            "annotations": {"io.container.manager": manager},
        });
        let spec = Spec::from_json(config, Path::new(bundle), "test").unwrap();
        let mut flags = Flags::default();
        keep_root_visible(&mut flags, &spec).unwrap();
        (flags.get("overlay2").to_owned(), flags.get("file-access").to_owned())
    }

    #[test]
    fn who_looks_into_the_root_sees_what_the_guest_writes() {
        let seen = ("none".to_owned(), "shared".to_owned());
        let dockers = "/run/containerd/io.containerd.runtime.v2.task/moby/0123";
        assert_eq!(flags_for(dockers, "/var/lib/docker/overlay2/0/merged", ""), seen);
        assert_eq!(flags_for("/var/lib/containers/0", "/var/lib/containers/1/merged", "libpod"), seen);
        assert_eq!(flags_for("/var/tmp/buildah77", "/var/tmp/buildah77/mnt/rootfs", ""), seen);
    }

    #[test]
    fn others_keep_their_overlay() {
        let hidden = ("root:memory".to_owned(), "exclusive".to_owned());
        for (bundle, root, manager) in [
            ("/home/moby/bundle", "rootfs", ""),
            ("/run/containers/0", "rootfs", "cri-o"),
            ("/var/tmp/buildah77", "rootfs", ""),
            ("/var/tmp/buildah", "/var/tmp/buildah/mnt/rootfs", ""),
        ] {
            assert_eq!(flags_for(bundle, root, manager), hidden, "{bundle}");
        }
    }

    #[test]
    fn flags_that_were_given_stay() {
        let dockers = "/run/containerd/io.containerd.runtime.v2.task/moby/0123";
        let config = serde_json::json!({
            "ociVersion": "1.0.2", "root": {"path": "rootfs"},
            "process": {"cwd": "/", "args": ["true"], "user": {"uid": 0, "gid": 0}},
        });
        let spec = Spec::from_json(config, Path::new(dockers), "test").unwrap();
        let mut flags = Flags::default();
        flags.set("overlay2", "root:self").unwrap();
        keep_root_visible(&mut flags, &spec).unwrap();
        assert_eq!((flags.get("overlay2"), flags.get("file-access")), ("root:self", "exclusive"));
    }
}
