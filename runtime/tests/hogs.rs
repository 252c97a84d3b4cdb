//! Guests that take all they can get, in a sandbox with 256 MiB: each is refused or killed, the sandbox goes on, and
//! what the sentry itself holds stays within bounds. `programs/hog.c` has the kinds.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use common::{Lab, can_run, stderr};

/// The sandbox's memory.
const MEMORY: u64 = 256 << 20;
/// What the sentry may hold for itself: a quarter of that for guests' objects, a quarter more of it for their
/// processes', and its own.
const SENTRY: u64 = 128 << 20;
/// How long one hog may take.
const LIMIT: Duration = Duration::from_secs(100);

/// Compiles the hog.
fn program(lab: &Lab) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/hog.c");
    let binary = lab.path("hog");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-w", "-o"]).arg(&binary).arg(source).arg("-lrt");
    let output = gcc.output().expect("gcc is installed (apt-get install gcc libc6-dev)");
    assert!(output.status.success(), "{}", stderr(&output));
    binary
}

/// The most private memory that the sandbox's process was seen with, bytes, until `is_over`.
fn watch(id: &str, mut is_over: impl FnMut() -> bool) -> u64 {
    let deadline = Instant::now() + LIMIT;
    let mut most = 0;
    while !is_over() {
        assert!(Instant::now() < deadline, "{id} hangs");
        for pid in common::processes_of(id) {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
            let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
            most = most.max(kib.unwrap_or(0) << 10);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    most
}

/// Runs a hog; afterwards the sandbox must still start programs.
fn check(name: &str, kind: &str, resources: &Value) {
    if !can_run() {
        return;
    }
    let lab = Lab::new(&format!("hog-{name}"), &["true"]);
    let binary = program(&lab);
    // The shell is not killed for what the hog takes, and sees what became of it: 137 is a kill, 135 SIGBUS.
    let script = format!("/hog {kind}; status=$?; kill -9 -1; sh -c true && echo \"ended $status\"");
    lab.configure(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        config["linux"]["resources"] = resources.clone();
        config["linux"]["cgroupsPath"] = json!(format!("/runsc-hog-{}-{name}", std::process::id()));
        let tmpfs = |path: &str| json!({"destination": path, "type": "tmpfs", "source": "tmpfs"});
        config["mounts"] = json!([
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
            tmpfs("/dev"), tmpfs("/dev/shm"), tmpfs("/tmp"),
            {"destination": "/hog", "type": "bind", "source": binary, "options": ["bind", "ro"]},
        ]);
    });
    let id = format!("hog-{name}");
    let mut child = lab.command(&["run", &id]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let most = watch(&id, || child.try_wait().unwrap().is_some());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let passed = ["ended 0\n", "ended 137\n", "ended 135\n"].iter().any(|end| said.ends_with(end));
    assert!(passed && output.status.success(), "{}: {said}{}", output.status, stderr(&output));
    assert!(most < SENTRY, "the sentry held {} MiB", most >> 20);
}

macro_rules! hogs {
    ($($test:ident: $kind:literal,)*) => {
        $(#[test]
        fn $test() {
            check($kind, $kind, &json!({"memory": {"limit": MEMORY}}));
        })*
    };
}

hogs! {
    pipes: "pipes",
    streams: "streams",
    datagrams: "datagrams",
    absent_names: "absent-names",
    inodes: "inodes",
    root_inodes: "root-inodes",
    attributes: "attributes",
    groups: "groups",
    messages: "messages",
    semaphores: "semaphores",
    queues: "queues",
    watches: "watches",
    notices: "notices",
    polls: "polls",
    locks: "locks",
    signals: "signals",
    timers: "timers",
    mappings: "mappings",
    descriptors: "descriptors",
    memory: "memory",
    files_in_shared_memory: "shm-file",
    files_of_the_root: "root-file",
    anonymous_files: "anonymous-files",
    sparse_files: "sparse",
    preallocated_files: "preallocated",
    segments: "segments",
    forks: "forks",
}

#[test]
fn forks_up_to_a_limit() {
    check("few-forks", "forks", &json!({"memory": {"limit": MEMORY}, "pids": {"limit": 50}}));
}
