//! What is left of a container whose `state.json` cannot be read: found by other means, and ended.
//!
//! Its processes say on their command lines which container of which state directory they belong to; its cgroup
//! follows from the copy of its configuration.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use host::process::Process;

use super::SIGKILL;
use super::store::Locked;
use crate::cgroup::{self, Layout};
use crate::logging;

/// The first two arguments of the processes that belong to one container.
const ROLES: [[&[u8]; 2]; 3] =
    [[b"runsc-sandbox", b"boot"], [b"runsc-gofer", b"gofer"], [b"runsc-broker", b"broker"]];

/// Ends the processes of container `id` of the state directory `root`, and waits until they have ended.
pub(super) fn end_processes(root: &Path, id: &str) {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    for pid in pids.filter(|pid| belongs(*pid, root, id)) {
        // The descriptor is had first: what the command line says next is about the same process or a later one.
        let Ok(process) = Process::open(pid) else { continue };
        if belongs(pid, root, id) && process.signal(SIGKILL).is_ok() {
            logging::info(format!("process {pid} of container \"{id}\" is ended"));
            let _ = process.wait_ended(Some(super::END_TIMEOUT));
        }
    }
}

fn belongs(pid: i32, root: &Path, id: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| names_container(&line, root, id))
}

/// Whether a command line, its arguments ended by NUL bytes, is that of a container's process.
fn names_container(line: &[u8], root: &Path, id: &str) -> bool {
    let mut args = line.split(|byte| *byte == 0);
    let role = [args.next().unwrap_or_default(), args.next().unwrap_or_default()];
    ROLES.contains(&role)
        && args.next() == Some(id.as_bytes())
        && args.next() == Some(root.as_os_str().as_bytes())
}

/// Removes the cgroup that the configuration of a container names, where it is empty.
pub(super) fn remove_cgroup(locked: &Locked) {
    let Ok(config) = locked.read_config() else { return };
    if let Some(path) = config["linux"]["cgroupsPath"].as_str().filter(|path| !path.is_empty()) {
        cgroup::remove_if_empty(&Layout::of_host(), path);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::names_container;

    #[test]
    fn only_the_containers_own_processes() {
        let is = |line: &[u8]| names_container(line, Path::new("/run/r"), "c");
        assert!(is(b"runsc-sandbox\0boot\0c\0/run/r\0"));
        assert!(is(b"runsc-gofer\0gofer\0c\0/run/r\0"));
        assert!(is(b"runsc-broker\0broker\0c\0/run/r\0--raw\0"));
        for other in [
            &b"runsc-sandbox\0boot\0d\0/run/r\0"[..],
            b"runsc-sandbox\0boot\0c\0/run/other\0",
            b"runsc-sandbox\0boot\0c\0",
            b"runsc\0boot\0c\0/run/r\0",
            b"",
        ] {
            assert!(!is(other));
        }
    }
}
