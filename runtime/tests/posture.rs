//! The jail, seen from outside: what a live sandbox and its gofer are and have.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use common::{Lab, can_run, eventually, processes_of};

/// The fields of `/proc/PID/status`.
fn status(task: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{task}/status")).unwrap();
    text.lines().filter_map(|line| line.split_once(':')).map(|(k, v)| (k.into(), v.trim().into())).collect()
}

fn namespace(pid: &str, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string()
}

fn threads(pid: i32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks.map(|task| format!("{pid}/task/{}", task.file_name().to_str().unwrap())).collect()
}

fn read(pid: i32, file: &str) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/{file}")).unwrap()
}

/// What holds for every thread of both processes.
fn assert_confined(pid: i32, uid: &str, capabilities: u64) {
    for task in threads(pid) {
        let status = status(&task);
        assert_eq!(status["NoNewPrivs"], "1", "{task}");
        assert_eq!(status["Seccomp"], "2", "{task}");
        for kind in ["Uid", "Gid"] {
            assert!(status[kind].split_whitespace().all(|id| id == uid), "{task}: {kind} {}", status[kind]);
        }
        assert_eq!(status["Groups"], "", "{task}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let value = u64::from_str_radix(&status[set], 16).unwrap();
            assert_eq!(value & !capabilities, 0, "{task}: {set} is {value:x}");
        }
    }
    assert!(read(pid, "environ").is_empty(), "the environment is not empty");
    for kind in ["mnt", "pid", "ipc", "uts", "net"] {
        assert_ne!(namespace(&pid.to_string(), kind), namespace("self", kind), "name space {kind}");
    }
}

#[test]
fn the_sandbox_is_nobody_with_nothing() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("posture", &["sleep", "1000"]);
    let sandbox = create_with_groups(&lab, &[], "posture-c");
    lab.ok(&["start", "posture-c"]);
    assert_confined(sandbox, "65534", 0);
    assert_ne!(namespace(&sandbox.to_string(), "user"), namespace("self", "user"));
    let map = String::from_utf8(read(sandbox, "uid_map")).unwrap();
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["65534", "65534", "1"]);
    let line = read(sandbox, "cmdline");
    assert!(line.starts_with(b"runsc-sandbox\0boot\0posture-c\0"), "{line:?}");

    // The root: one empty directory that cannot be written, and no other mount.
    let root = format!("/proc/{sandbox}/root/");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0);
    assert_eq!(std::fs::metadata(&root).unwrap().mode() & 0o7777, 0o555);
    let mounts = String::from_utf8(read(sandbox, "mountinfo")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    let options = mounts.split_whitespace().nth(5).unwrap();
    assert!(options.split(',').any(|option| option == "ro"), "{mounts}");
    assert_descriptors(sandbox, &files_of("sleep"));

    // The processes in which guest code runs. Their guest threads arm filters of their own on top of the family's; the
    // platform's tests look at those.
    for pid in descendants(sandbox) {
        for task in threads(pid) {
            let status = status(&task);
            assert_eq!(status["NoNewPrivs"], "1", "{task}");
            assert_eq!(status["Seccomp"], "2", "{task}");
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(u64::from_str_radix(&status[set], 16).unwrap(), 0, "{task}: {set}");
            }
        }
    }

    let gofers: Vec<i32> = processes_of("posture-c").into_iter().filter(|pid| *pid != sandbox).collect();
    let gofers: Vec<i32> =
        gofers.into_iter().filter(|pid| read(*pid, "cmdline").starts_with(b"runsc-gofer\0")).collect();
    assert_eq!(gofers.len(), 1, "{gofers:?}");
    // CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID.
    assert_confined(gofers[0], "0", 0b1_1111);
    let mut seen: Vec<_> = std::fs::read_dir(format!("/proc/{}/root", gofers[0]))
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    seen.sort();
    assert_eq!(seen, ["mounts", "root-mount"]);
    assert!(!has_listener(gofers[0]), "the listener of its door is the sandbox's");
    assert_gofers_descriptors(gofers[0]);

    lab.ok(&["delete", "--force", "posture-c"]);
    assert!(processes_of("posture-c").is_empty());
    lab.assert_clean();
}

#[test]
fn a_broker_binds_ports_and_nothing_else() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("broker", &["sleep", "1000"]);
    let sandbox = create_with_groups(&lab, &["--network=host"], "broker-c");
    lab.ok(&["start", "broker-c"]);
    let is_broker = |pid: &i32| read(*pid, "cmdline").starts_with(b"runsc-broker\0");
    let all = processes_of("broker-c");
    let brokers: Vec<i32> = all.iter().copied().filter(is_broker).collect();
    assert_eq!(brokers.len(), 1, "{brokers:?}");
    let broker = brokers[0].to_string();
    for task in threads(brokers[0]) {
        let status = status(&task);
        assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "{task}");
        assert_eq!(status["Groups"], "", "{task}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            // CAP_NET_BIND_SERVICE.
            assert_eq!(u64::from_str_radix(&status[set], 16).unwrap() & !(1 << 10), 0, "{task}: {set}");
        }
    }
    for kind in ["mnt", "pid", "ipc", "uts"] {
        assert_ne!(namespace(&broker, kind), namespace("self", kind), "name space {kind}");
    }
    assert_descriptors(brokers[0], &[]);
    assert_eq!(namespace(&sandbox.to_string(), "net"), namespace("self", "net"));
    assert_eq!(namespace(&broker, "net"), namespace("self", "net"));
    assert_eq!(std::fs::read_dir(format!("/proc/{broker}/root/")).unwrap().count(), 0);
    lab.ok(&["delete", "--force", "broker-c"]);
    assert!(processes_of("broker-c").is_empty());
    lab.assert_clean();
}

fn has_listener(pid: i32) -> bool {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    fds.filter_map(|fd| std::fs::read_link(fd.path()).ok())
        .any(|target| target.display().to_string().contains("seccomp notify"))
}

/// Makes a container from a process that has supplementary groups; the sandbox's pid.
fn create_with_groups(lab: &Lab, flags: &[&str], id: &str) -> i32 {
    let pid_file = lab.path(&format!("{id}.pid"));
    let create =
        lab.command(&[flags, &["create", "--pid-file", pid_file.to_str().unwrap(), id][..]].concat());
    let mut command = Command::new("setpriv");
    command.args(["--groups", "4,27"]).arg(create.get_program()).args(create.get_args());
    command.current_dir(lab.path("bundle")).stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(std::fs::File::create(lab.path("create.err")).unwrap());
    assert!(command.status().unwrap().success());
    std::fs::read_to_string(pid_file).unwrap().parse().unwrap()
}

/// The files that a program of the host has in its memory, and the cache by which they were found.
fn files_of(program: &str) -> Vec<String> {
    let mut child = Command::new(program).arg("1000").spawn().unwrap();
    let maps = || std::fs::read_to_string(format!("/proc/{}/maps", child.id())).unwrap();
    eventually("its C library", || maps().contains("libc"));
    let mut files: Vec<String> = maps()
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.starts_with('/'))
        .map(Into::into)
        .collect();
    files.push("/etc/ld.so.cache".into());
    // The sentry's own: the home directory is looked up there.
    files.push("/etc/passwd".into());
    child.kill().unwrap();
    child.wait().unwrap();
    files
}

/// Every descriptor is of a kind that was donated or that the process makes, or one of `files`, which the guest's
/// program needs: no directory, no device but null, no other file of the host.
fn assert_descriptors(pid: i32, files: &[String]) {
    let kinds = ["socket:", "pipe:", "anon_inode:", "/memfd:", "pidfd:"];
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        // One that is closed meanwhile is nothing that the process keeps.
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        let fine = kinds.iter().any(|kind| target.starts_with(kind))
            || target == "/dev/null"
            || ["/output.log", "/create.err"].iter().any(|ours| target.ends_with(ours))
            // The container's root, as its gofer has it.
            || target.strip_prefix("/root-mount").is_some_and(|path| files.iter().any(|file| file == path));
        assert!(fine, "descriptor {:?} is {target}", entry.file_name());
    }
}

/// A gofer has its streams, its socket, its own root and what is in that, which it was given to serve.
fn assert_gofers_descriptors(pid: i32) {
    let place =
        |path: &std::path::Path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).unwrap();
    let root = place(format!("/proc/{pid}/root/").as_ref());
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        // One that is closed meanwhile is nothing that the process keeps.
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        let target = target.display().to_string();
        let fine = ["socket:", "/memfd:"].iter().any(|kind| target.starts_with(kind))
            || target == "/dev/null"
            || target.ends_with("/output.log")
            || target.starts_with("/root-mount")
            || target == "/" && place(&entry.path()) == root;
        assert!(fine, "descriptor {:?} is {target}", entry.file_name());
    }
}

fn descendants(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for task in threads(pid) {
        let children = std::fs::read_to_string(format!("/proc/{task}/children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            found.push(child);
            found.extend(descendants(child));
        }
    }
    found
}

#[test]
fn what_exec_leaves_behind_has_nothing() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("standin", &["sleep", "1000"]);
    let id = "standin-c";
    lab.create(id);
    lab.ok(&["start", id]);
    let pid_file = lab.path("exec.pid");
    let mut exec =
        lab.command(&["exec", "--detach", "--pid-file", pid_file.to_str().unwrap(), id, "sleep", "1000"]);
    assert!(exec.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    // It does so after its pid is known.
    eventually("its filter", || status(&pid.to_string())["Seccomp"] == "2");
    let status = status(&pid.to_string());
    assert_eq!((status["NoNewPrivs"].as_str(), status["Groups"].as_str()), ("1", ""));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status[set], 16).unwrap(), 0, "{set}");
    }
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap(), std::path::Path::new("/"));
    assert_descriptors(pid, &[]);
    // Three streams, two connections, the signals.
    assert_eq!(std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(), 6);
    // It passes signals on, and ends as the guest's process ends.
    assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap().success());
    eventually("its end", || {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
    lab.delete_and_assert_gone(id);
}
