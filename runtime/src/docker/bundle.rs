//! Bundles that Docker has made, and what it expects of containers in them.

use std::path::{Component, Path};

use crate::error::Result;
use crate::flags::Flags;

/// Whether Docker made the bundle: it keeps its containers in containerd's name space "moby", whose bundles are below
/// `io.containerd.runtime.v2.task`.
pub(crate) fn is_dockers(bundle: &Path) -> bool {
    let is_moby = |parts: &[Component<'_>]| {
        parts[0].as_os_str().as_encoded_bytes().starts_with(b"io.containerd.runtime.v")
            && parts[1].as_os_str() == "moby"
    };
    bundle.components().collect::<Vec<_>>().windows(2).any(is_moby)
}

/// Docker gives each container a writable layer of its own and looks into it from outside (`docker cp`, `diff`,
/// `commit`, `export`): what the guest writes has to get there. Flags that were given stay.
pub(crate) fn keep_root_visible(flags: &mut Flags) -> Result<()> {
    if flags.is_given("overlay2") {
        return Ok(());
    }
    flags.set_default("overlay2", "none")?;
    flags.set_default("file-access", "shared")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Flags, is_dockers, keep_root_visible};

    #[test]
    fn docker_sees_what_the_guest_writes() {
        let bundle = "/run/containerd/io.containerd.runtime.v2.task/moby/0123";
        assert!(is_dockers(Path::new(bundle)) && !is_dockers(Path::new("/home/moby/bundle")));
        let mut flags = Flags::default();
        keep_root_visible(&mut flags).unwrap();
        assert_eq!((flags.get("overlay2"), flags.get("file-access")), ("none", "shared"));
        let mut flags = Flags::default();
        flags.set("overlay2", "root:self").unwrap();
        keep_root_visible(&mut flags).unwrap();
        assert_eq!((flags.get("overlay2"), flags.get("file-access")), ("root:self", "exclusive"));
    }
}
