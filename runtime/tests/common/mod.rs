//! Bundles and invocations for the tests of the command line tool.
//!
//! The host's own root is the containers' root, with all writes in an overlay in memory. Everything is below a
//! temporary directory per test; containers are removed when a test ends, however it ends.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it as a module of its own")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The binary under test.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("RUNSC").map_or_else(|| env!("CARGO_BIN_EXE_runsc").into(), PathBuf::from)
}

/// Whether these tests can run here; says why not.
pub(crate) fn can_run() -> bool {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    if !root {
        eprintln!("skipped: these tests need root");
    }
    root
}

/// A test's own state directory and bundle.
#[derive(Debug)]
pub(crate) struct Lab {
    dir: PathBuf,
}

impl Lab {
    /// Makes the directories; the configuration runs `args`.
    pub(crate) fn new(name: &str, args: &[&str]) -> Self {
        let dir = std::env::temp_dir().join(format!("runsc-test-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(dir.join("bundle")).unwrap();
        let lab = Self { dir };
        lab.configure(|config| config["process"]["args"] = json!(args));
        lab
    }

    /// A path of the lab's.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Writes the configuration: the usual one, changed.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path("bundle/config.json");
        let mut config = match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).unwrap(),
            Err(_) => usual(),
        };
        change(&mut config);
        std::fs::write(path, config.to_string()).unwrap();
    }

    /// An invocation.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--root").arg(self.path("state"));
        command.args(["--overlay2=all:memory", "--network=none", "--log-format=json"]);
        command.arg("--log").arg(self.path("log"));
        command.args(args).current_dir(self.path("bundle")).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Runs it to its end; it must succeed. Its standard output.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}: {}", output.status, stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs it to its end; it must fail with this status. Its standard error.
    pub(crate) fn fails(&self, status: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {}", stderr(&output));
        stderr(&output)
    }

    /// Makes a container without holding its streams open.
    pub(crate) fn create(&self, id: &str) -> i32 {
        let pid_file = self.path(&format!("{id}.pid"));
        let mut command = self.command(&["create", "--pid-file", pid_file.to_str().unwrap(), id]);
        command.stdout(Stdio::null()).stderr(std::fs::File::create(self.path("create.err")).unwrap());
        let status = command.status().unwrap();
        let said = std::fs::read_to_string(self.path("create.err")).unwrap();
        assert!(status.success(), "create: {status}: {said}");
        std::fs::read_to_string(pid_file).unwrap().parse().unwrap()
    }

    /// A container's status.
    pub(crate) fn status(&self, id: &str) -> String {
        let state: Value = serde_json::from_str(&self.ok(&["state", id])).unwrap();
        state["status"].as_str().unwrap().to_string()
    }

    /// Waits until a container has this status.
    pub(crate) fn await_status(&self, id: &str, wanted: &str) {
        eventually(&format!("status {wanted}"), || self.status(id) == wanted);
    }

    /// The messages of level "error" in the log.
    pub(crate) fn logged_errors(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.path("log")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .filter(|line| line["level"] == "error")
            .map(|line| line["msg"].as_str().unwrap_or("").into())
            .collect()
    }

    /// An id that no other test, and no other run of this one, uses.
    pub(crate) fn id(&self, name: &str) -> String {
        format!("{name}-{}", std::process::id())
    }

    /// The processes of this host that were started with a path of this lab's, or as part of container `id`.
    pub(crate) fn processes(&self, id: &str) -> Vec<String> {
        let dir = self.dir.to_str().unwrap();
        let mut found: Vec<String> = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
            .filter(|pid| *pid != std::process::id() as i32)
            .filter_map(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                (line.contains(dir) || line.split(' ').any(|word| word == id))
                    .then(|| format!("{pid}: {line}"))
            })
            .collect();
        found.sort();
        found
    }

    /// After `delete --force`, nothing of a container is left.
    pub(crate) fn delete_and_assert_gone(&self, id: &str) {
        self.ok(&["delete", "--force", id]);
        self.assert_nothing_left(id);
    }

    /// Nothing of a container is there: no state, no process, no mount, no cgroup.
    pub(crate) fn assert_nothing_left(&self, id: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        // A process that was killed takes a moment to go.
        while !self.processes(id).is_empty() {
            assert!(Instant::now() < deadline, "left: {:?}", self.processes(id));
            std::thread::sleep(Duration::from_millis(10));
        }
        self.assert_clean();
        let cgroups = cgroups_named(id);
        assert!(cgroups.is_empty(), "left: {cgroups:?}");
    }

    /// Nothing of this lab's containers is left: no state, no mount.
    pub(crate) fn assert_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("state")).into_iter().flatten().flatten().collect();
        assert!(left.is_empty(), "left: {left:?}");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(self.dir.to_str().unwrap()), "{mounts}");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for entry in std::fs::read_dir(self.path("state")).into_iter().flatten().flatten() {
            let _ = self.command(&["delete", "--force"]).arg(entry.file_name()).output();
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn usual() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
        },
        "root": {"path": "/"},
        "hostname": "lab",
        "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
    })
}

/// The directories of control groups that are called `name`, in any hierarchy.
pub(crate) fn cgroups_named(name: &str) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![PathBuf::from("/sys/fs/cgroup")]);
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == name {
                    found.push(entry.path());
                }
                left.push(entry.path());
            }
        }
    }
    found
}

/// What an invocation said.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for an invocation, not for ever.
pub(crate) fn finish(mut child: Child) -> Output {
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let output = child.wait_with_output().unwrap();
            panic!("it hangs; it said: {}", stderr(&output));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "it never came to {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes of this host whose command line contains a container's id as an argument of ours.
pub(crate) fn processes_of(id: &str) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let args: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        args.first().is_some_and(|name| name.starts_with(b"runsc-")) && args.contains(&id.as_bytes())
    })
    .collect()
}

/// How many connections a sandbox serves: one of its threads accepts them, and each has a thread of its own.
pub(crate) fn connections(sandbox: i32) -> usize {
    let threads = std::fs::read_dir(format!("/proc/{sandbox}/task")).unwrap().flatten();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name == "control\n").count().saturating_sub(1)
}

/// Whether a path is there.
pub(crate) fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}
