//! Commands of gVisor's that are not there, each refused with a sentence that says what to do instead.

/// (name, what to do instead).
const ABSENT: &[(&str, &str)] = &[
    ("bwrap", "use `runsc do`"),
    ("checkpoint", "containers cannot be saved yet: stop the container and start it again"),
    ("cpu-features", "guests see the host's processor: read /proc/cpuinfo"),
    ("export-metrics", "use `runsc events --stats`"),
    ("fscheckpoint", "file systems cannot be saved yet: keep what matters in a volume"),
    ("metric-metadata", "use `runsc events --stats`"),
    ("metric-server", "use `runsc events --stats`"),
    ("mitigate", "see the kernel's documentation of hardware vulnerabilities"),
    ("nvproxy", "GPUs are not supported"),
    ("port-forward", "connect to the container's address"),
    ("read", "use `runsc exec ID cat PATH`"),
    ("read-control", "use `runsc exec ID cat /sys/fs/cgroup/FILE`"),
    ("restore", "containers cannot be saved yet, so there is nothing to restore: use `runsc run`"),
    ("sandboxexec", "use `runsc do`"),
    ("statefile", "containers cannot be saved yet, so there are no state files"),
    ("symbolize", "coverage is measured with the test suite, not at run time"),
    ("tar", "use `runsc exec ID tar -c /`"),
    ("trace", "use `runsc debug --strace=all ID` and the debug log"),
    ("umount", "this runsc needs no such helper"),
    ("usage", "use `runsc events --stats`"),
    ("write-control", "use `runsc exec` and write to /sys/fs/cgroup"),
];

/// Why there is no such command, where gVisor has one of that name.
pub(super) fn advice(name: &str) -> Option<String> {
    let (_, advice) = ABSENT.iter().find(|(absent, _)| *absent == name)?;
    Some(format!("command \"{name}\" is not supported: {advice}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{ABSENT, advice};

    #[test]
    fn none_of_them_is_there() {
        let cli = crate::cli::Cli::command();
        assert!(ABSENT.iter().all(|(name, _)| cli.find_subcommand(name).is_none()));
        assert!(advice("checkpoint").unwrap().contains("cannot be saved"));
        assert_eq!(advice("run"), None);
    }
}
