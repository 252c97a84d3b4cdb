//! What `runsc doctor` looks at: everything of a host that containers here depend on. Nothing is changed.
//!
//! A *failure* keeps containers from running, a *warning* takes something from them (speed, limits, rootless use).

use abi::resource::Resource;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cgroup::Layout;
use crate::docker::{self, Json};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    /// Not at all.
    Good,
    /// Something works less well.
    Warning,
    /// Something does not work.
    Failure,
}

impl Level {
    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Failure => "FAILED",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) subject: &'static str,
    /// What was found.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) fix: Option<String>,
}

impl Finding {
    /// For scripts.
    pub(crate) fn to_json(&self) -> Value {
        json!({"level": self.level.name(), "subject": self.subject, "found": self.what, "fix": self.fix})
    }
}

fn good(subject: &'static str, what: impl Into<String>) -> Finding {
    Finding { level: Level::Good, subject, what: what.into(), fix: None }
}

fn warning(subject: &'static str, what: impl Into<String>, fix: &str) -> Finding {
    Finding { level: Level::Warning, subject, what: what.into(), fix: Some(fix.into()) }
}

fn failure(subject: &'static str, what: impl Into<String>, fix: &str) -> Finding {
    Finding { level: Level::Failure, subject, what: what.into(), fix: Some(fix.into()) }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_string()
}

/// Looks at everything.
pub(crate) fn examine(daemon_json: &Path) -> Vec<Finding> {
    vec![
        architecture(std::env::consts::ARCH),
        kernel(&read("/proc/sys/kernel/osrelease")),
        seccomp(&read("/proc/sys/kernel/seccomp/actions_avail")),
        user_namespaces(&read("/proc/sys/user/max_user_namespaces")),
        rootless(
            &read("/proc/sys/kernel/unprivileged_userns_clone"),
            &read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        ),
        cgroups(&Layout::of_host()),
        descriptors(host::process::resource_limit(Resource::Nofile).map_or(0, |(_, hard)| hard)),
        overcommit(&read("/proc/sys/vm/overcommit_memory")),
        docker(daemon_json),
        sandbox(),
    ]
}

fn architecture(name: &str) -> Finding {
    if name == "x86_64" {
        return good("architecture", name);
    }
    failure("architecture", format!("{name} is not supported"), "use an x86-64 machine")
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    match version {
        (6, 6..) | (7.., _) => good("kernel", release),
        (5, 12..) | (6, _) => {
            let what = format!("{release} lacks the fast hand-over between processes of Linux 6.6");
            warning("kernel", what, "a newer kernel makes system calls of containers several times faster")
        }
        _ => failure("kernel", format!("{release} is too old"), "use Linux 5.12 or newer, better 6.6"),
    }
}

fn seccomp(actions: &str) -> Finding {
    let missing: Vec<_> = ["kill_process", "trap", "errno", "user_notif"]
        .into_iter()
        .filter(|action| !actions.split_whitespace().any(|known| known == *action))
        .collect();
    if missing.is_empty() {
        return good("seccomp", "available");
    }
    let what = format!("the kernel does not know {}", missing.join(", "));
    failure("seccomp", what, "use a kernel with CONFIG_SECCOMP_FILTER")
}

fn user_namespaces(max: &str) -> Finding {
    match max.parse::<u64>() {
        Ok(0) | Err(_) => failure(
            "user name spaces",
            "the kernel gives none, and each sandbox takes one",
            "sysctl user.max_user_namespaces=10000",
        ),
        Ok(max) => good("user name spaces", format!("up to {max}")),
    }
}

fn rootless(clone: &str, apparmor: &str) -> Finding {
    let fix = match (clone, apparmor) {
        ("0", _) => "sysctl kernel.unprivileged_userns_clone=1",
        (_, "1") => "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        _ => return good("rootless", "ordinary users may make user name spaces"),
    };
    warning("rootless", "only root can run containers", fix)
}

fn cgroups(layout: &Layout) -> Finding {
    let (version, known): (_, Vec<String>) = match layout {
        Layout::None => {
            let fix = "mount the cgroup file system, or run with --ignore-cgroups";
            return failure("cgroups", "none are mounted at /sys/fs/cgroup", fix);
        }
        Layout::V2 { root, .. } => {
            let text = std::fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
            ("version 2", text.split_whitespace().map(Into::into).collect())
        }
        Layout::V1 { hierarchies } => {
            ("version 1", hierarchies.iter().flat_map(|hierarchy| hierarchy.controllers.clone()).collect())
        }
    };
    let missing: Vec<_> = ["cpu", "cpuset", "memory", "pids"]
        .into_iter()
        .filter(|name| !known.iter().any(|k| k == name))
        .collect();
    if missing.is_empty() {
        return good("cgroups", version);
    }
    let what = format!("{version}, without {}: these limits cannot be set", missing.join(", "));
    warning("cgroups", what, "add the controllers to the kernel's command line or to cgroup.subtree_control")
}

fn descriptors(limit: u64) -> Finding {
    const WANTED: u64 = 65536;
    if limit >= WANTED {
        return good("descriptors", format!("up to {limit} per sandbox"));
    }
    let what = format!("a sandbox may have {limit} files open at a time");
    warning("descriptors", what, "ulimit -n 65536 (LimitNOFILE= in the unit of dockerd or containerd)")
}

fn overcommit(mode: &str) -> Finding {
    if mode != "2" {
        return good("memory", "may be reserved before it is used");
    }
    let what = "vm.overcommit_memory is 2: a sandbox reserves more address space than memory";
    failure("memory", what, "sysctl vm.overcommit_memory=0")
}

fn docker(path: &Path) -> Finding {
    const INSTALL: &str = "runsc install, then restart Docker";
    let config = match docker::read(path) {
        Ok(config) => config,
        Err(error) => {
            return failure("Docker", error.to_string(), "repair the file: Docker does not start with it");
        }
    };
    let Some(Json::Object(runtimes)) = config.get("runtimes") else {
        return warning("Docker", format!("{} names no runtime", path.display()), INSTALL);
    };
    let own = docker::own_path().unwrap_or_default();
    let binary = |entry: &Json| entry.get("path").and_then(Json::as_text).map(std::path::PathBuf::from);
    let mut ours = runtimes.iter().filter_map(|(name, entry)| Some((name, binary(entry)?)));
    match ours.find(|(name, path)| *name == "runsc" || *path == own) {
        None => warning("Docker", format!("{} does not name this runtime", path.display()), INSTALL),
        Some((name, binary)) if binary.is_absolute() && !binary.is_file() => {
            let what = format!("runtime {name} is {}, which does not exist", binary.display());
            failure("Docker", what, INSTALL)
        }
        Some((name, binary)) => good("Docker", format!("runtime {name} is {}", binary.display())),
    }
}

/// Runs a command in a sandbox, as `runsc do` does.
fn sandbox() -> Finding {
    let fix = "see the lines above; `runsc --debug --debug-log=/tmp/runsc/ do true` tells more";
    let run = || {
        let mut command = Command::new(docker::own_path().ok()?);
        command.args(["--network=none", "--ignore-cgroups", "do", "true"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).output().ok()
    };
    match run() {
        Some(output) if output.status.success() => good("sandbox", "a command ran in one"),
        Some(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            failure("sandbox", format!("a command did not run: {}", said.trim()), fix)
        }
        None => failure("sandbox", "this binary cannot be executed", fix),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Level, cgroups, descriptors, docker, kernel, overcommit, rootless, seccomp, user_namespaces,
    };
    use crate::cgroup::Layout;

    #[test]
    fn hosts_are_judged() {
        use Level::{Failure, Good, Warning};
        let kernels = [
            ("6.18.0-1-amd64", Good),
            ("6.1.0-30", Warning),
            ("5.10.0", Failure),
            ("7.0", Good),
            ("", Failure),
        ];
        for (release, level) in kernels {
            assert_eq!(kernel(release).level, level, "{release}");
        }
        assert_eq!(seccomp("kill_process kill_thread trap errno user_notif allow").level, Good);
        assert!(seccomp("kill_thread trap").what.contains("kill_process, errno, user_notif"));
        assert_eq!((user_namespaces("0").level, user_namespaces("15000").level), (Failure, Good));
        assert_eq!((rootless("", "1").level, rootless("1", "0").level), (Warning, Good));
        assert_eq!((overcommit("2").level, descriptors(1024).level), (Failure, Warning));
        assert_eq!(cgroups(&Layout::None).level, Failure);
    }

    #[test]
    fn dockers_configuration_is_judged() {
        let path = std::env::temp_dir().join(format!("runsc-doctor-{}.json", std::process::id()));
        for (text, level) in [
            ("{}", Level::Warning),
            ("{\"runtimes\": {\"runsc\": {\"path\": \"/nonexistent/runsc\"}}}", Level::Failure),
            ("{\"runtimes\": {\"runsc\": {\"path\": \"/bin/sh\"}}}", Level::Good),
            ("{", Level::Failure),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(docker(&path).level, level, "{text}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(docker(&path).level, Level::Warning);
    }
}
