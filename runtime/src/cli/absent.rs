//! Commands of gVisor's that are not there, each refused with a sentence that says what to do instead.

use clap::CommandFactory;

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

/// Flags of gVisor's commands that are not there: (command, flag, what to do instead).
const ABSENT_FLAGS: &[(&str, &str, &str)] = &[
    ("create", "fs-restore-image-path", "file systems cannot be saved yet: keep what matters in a volume"),
    ("create", "fs-restore-direct", "file systems cannot be saved yet: keep what matters in a volume"),
    ("do", "erofs", "images are not mounted: give a directory by --root"),
    ("do", "gid-map", "an ordinary user is root in the sandbox, root is itself"),
    ("do", "uid-map", "an ordinary user is root in the sandbox, root is itself"),
    ("run", "fs-restore-image-path", "file systems cannot be saved yet: keep what matters in a volume"),
    ("run", "fs-restore-direct", "file systems cannot be saved yet: keep what matters in a volume"),
    ("spec", "tpu", "accelerators are not supported"),
    ("wait", "fscheckpoint", "file systems cannot be saved yet: there is nothing to wait for"),
    ("wait", "fsrestore", "file systems cannot be saved yet: there is nothing to wait for"),
];

/// Why a command has no flag of that name: gVisor's has, or it belongs before the command.
pub(super) fn advice_on_flag(command: &str, name: &str) -> Option<String> {
    let absent = ABSENT_FLAGS.iter().find(|(of, flag, _)| *of == command && *flag == name);
    if let Some((.., advice)) = absent {
        return Some(format!("{command}: flag --{name} is not supported: {advice}"));
    }
    crate::flags::find(name).map(|_| {
        format!("flag --{name} is for all commands: put it before the command: runsc --{name}… {command}")
    })
}

/// What to do about a command line with a flag that its command has not: one of gVisor's, or one that belongs before the
/// command.
pub(super) fn flag_advice(rest: &[String]) -> Option<String> {
    let (command, words) = rest.split_first()?;
    let cli = super::Cli::command();
    let known = cli.find_subcommand(command)?;
    let is_own = |name: &str| known.get_arguments().any(|known| known.get_long() == Some(name));
    let names = words.iter().take_while(|word| *word != "--").filter_map(|word| super::args::as_flag(word));
    names.map(|(name, _)| name).filter(|name| !is_own(name)).find_map(|name| advice_on_flag(command, name))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{ABSENT, ABSENT_FLAGS, advice, flag_advice};

    #[test]
    fn none_of_them_is_there() {
        let cli = crate::cli::Cli::command();
        assert!(ABSENT.iter().all(|(name, _)| cli.find_subcommand(name).is_none()));
        assert!(advice("checkpoint").unwrap().contains("cannot be saved"));
        assert_eq!(advice("run"), None);
    }

    #[test]
    fn flags_that_are_elsewhere_or_nowhere() {
        let cli = crate::cli::Cli::command();
        for (command, flag, _) in ABSENT_FLAGS {
            let command = cli.find_subcommand(command).unwrap();
            assert!(command.get_arguments().all(|known| known.get_long() != Some(*flag)), "{flag}");
        }
        let said = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(Into::into).collect();
            flag_advice(&words)
        };
        assert!(said("wait -fsrestore c").unwrap().contains("cannot be saved"));
        assert!(said("run --network=none c").unwrap().contains("before the command"));
        assert_eq!(said("run --bundle=x c"), None);
        assert_eq!(said("run c -- --network=none"), None);
    }
}
