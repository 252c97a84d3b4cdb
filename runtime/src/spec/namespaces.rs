//! Name spaces that a configuration wants to join.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType;

use super::Spec;
use crate::error::{Error, Result};

impl Spec {
    /// Refuses to join another container's processes or IPC objects (`docker run --pid=container:NAME`): they are in a
    /// kernel of their own. Name spaces of the host that nobody has asked for by a process, such as those that CRI-O pins,
    /// mean nothing in a sandbox and are no reason to fail.
    pub(crate) fn refuse_others_namespaces(&self) -> Result<()> {
        for (kind, name) in [(LinuxNamespaceType::Pid, "pid"), (LinuxNamespaceType::Ipc, "ipc")] {
            let Some(path) = self.namespace(kind).flatten().filter(|path| is_of_process(path, name)) else {
                continue;
            };
            let inode = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.ino());
            if inode(&path) != inode(Path::new(&format!("/proc/self/ns/{name}"))) {
                return Err(Error::new(format!(
                    "the {name} name space {} is another container's, and sandboxes share none: leave out --{name}=container:…, \
                     or put both containers in one pod",
                    path.display()
                )));
            }
        }
        Ok(())
    }
}

/// Whether a path is `/proc/PID/ns/NAME`.
fn is_of_process(path: &Path, name: &str) -> bool {
    let middle =
        path.to_str().and_then(|text| text.strip_prefix("/proc/")?.strip_suffix(&format!("/ns/{name}")));
    middle.is_some_and(|pid| pid.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::is_of_process;

    #[test]
    fn only_a_process_s_name_space_is_somebody_s() {
        assert!(is_of_process(Path::new("/proc/12/ns/pid"), "pid"));
        for other in
            ["/proc/12/ns/ipc", "/proc/self/ns/pid", "/run/ns/pid", "/proc/12/ns/pid/x", "/proc//ns/pid"]
        {
            assert!(!is_of_process(Path::new(other), "pid"), "{other}");
        }
    }
}
