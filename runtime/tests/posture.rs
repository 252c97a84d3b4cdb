//! The jail, seen from outside: what a live sandbox and its gofer are and have.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::Stdio;

use common::{Lab, can_run, processes_of};

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
    let sandbox = lab.create("posture-c");
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
    assert_descriptors(sandbox);

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
    let mut create = lab.command(&["--network=host", "create", "broker-c"]);
    create.stdout(Stdio::null()).stderr(Stdio::null());
    assert!(create.status().unwrap().success());
    lab.ok(&["start", "broker-c"]);
    let is_broker = |pid: &i32| read(*pid, "cmdline").starts_with(b"runsc-broker\0");
    let all = processes_of("broker-c");
    let brokers: Vec<i32> = all.iter().copied().filter(is_broker).collect();
    assert_eq!(brokers.len(), 1, "{brokers:?}");
    let broker = brokers[0].to_string();
    for task in threads(brokers[0]) {
        let status = status(&task);
        assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"), "{task}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            // CAP_NET_BIND_SERVICE.
            assert_eq!(u64::from_str_radix(&status[set], 16).unwrap() & !(1 << 10), 0, "{task}: {set}");
        }
    }
    for kind in ["mnt", "pid", "ipc", "uts"] {
        assert_ne!(namespace(&broker, kind), namespace("self", kind), "name space {kind}");
    }
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

/// Every descriptor is of a kind that was donated or that the sentry makes: no directory, no device but null, no file
/// of the host but the program.
fn assert_descriptors(pid: i32) {
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap().display().to_string();
        let fine = ["socket:", "pipe:", "anon_inode:", "/memfd:", "pidfd:"]
            .iter()
            .any(|kind| target.starts_with(kind))
            || target == "/dev/null"
            || target.contains("output.log")
            || target.contains("create.err")
            || is_regular_or_path(&entry.path());
        assert!(fine, "descriptor {:?} is {target}", entry.file_name());
    }
}

/// Files that the gofer donated are regular.
fn is_regular_or_path(path: &std::path::Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file())
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
