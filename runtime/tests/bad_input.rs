//! What is wrong with a configuration, a command line or a host: one sentence says it, on standard error and in
//! `--log`, the exit status is right, and nothing stays behind.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::{Lab, can_run, finish, stderr};
use serde_json::{Value, json};

/// The longest sentence that anybody reads.
const MAX_SENTENCE: usize = 1000;

/// Checks what a failed invocation said, and that nothing of container `id` is left.
fn check(lab: &Lab, id: &str, what: &str, output: &Output, status: i32, words: &[&str]) {
    let said = stderr(output);
    assert_eq!(output.status.code(), Some(status), "{what}: {said}");
    let sentence = said.lines().last().unwrap_or_default().strip_prefix("runsc: ");
    let sentence = sentence.unwrap_or_else(|| panic!("{what}: no sentence: {said}"));
    assert!(sentence.len() < MAX_SENTENCE, "{what}: {} bytes: {sentence}", sentence.len());
    for word in words {
        assert!(sentence.contains(word), "{what}: {word:?} is not in: {sentence}");
    }
    assert_eq!(lab.logged_errors().last().map(String::as_str), Some(sentence), "{what}");
    lab.assert_nothing_left(id);
}

/// Runs `run ID` with the usual configuration, changed.
fn run_changed(lab: &Lab, id: &str, change: impl FnOnce(&mut Value)) -> Output {
    let _ = std::fs::remove_file(lab.path("bundle/config.json"));
    lab.configure(change);
    lab.run(&["run", id])
}

#[test]
fn each_member_that_is_wrong_is_named_by_its_path() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("members", &["true"]);
    let id = &lab.id("members");
    let device = |value: Value| json!([value]);
    let cases: Vec<(&str, Value, &str)> = vec![
        ("/ociVersion", json!("2.0"), "$.ociVersion"),
        ("/ociVersion", Value::Null, "$.ociVersion"),
        ("/root", Value::Null, "$.root: it is missing"),
        ("/root/path", json!(""), "$.root.path"),
        ("/root/readonly", json!("yes"), "$.root.readonly"),
        ("/process", Value::Null, "$.process: it is missing"),
        ("/process", json!([]), "$.process"),
        ("/process/args", json!([]), "$.process.args"),
        ("/process/args", json!("true"), "$.process.args"),
        ("/process/args", json!(["a\u{0}b"]), "$.process.args[0]"),
        ("/process/env", json!([7]), "$.process.env[0]"),
        ("/process/cwd", json!("relative"), "$.process.cwd"),
        ("/process/user", json!({"uid": -1}), "$.process.user.uid"),
        ("/process/user", json!({"uid": 0, "gid": 4_294_967_296_u64}), "$.process.user.gid"),
        ("/process/user", json!({"uid": u32::MAX, "gid": 0}), "$.process.user.uid"),
        (
            "/process/user",
            json!({"uid": 0, "gid": 0, "additionalGids": [1, u32::MAX]}),
            "$.process.user.additionalGids[1]",
        ),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "$.process.rlimits[0]"),
        ("/process/oomScoreAdj", json!(1001), "$.process.oomScoreAdj"),
        ("/hostname", json!("x".repeat(65)), "$.hostname"),
        ("/mounts", json!([{"type": "tmpfs"}]), "$.mounts[0].destination"),
        ("/mounts", json!([{"destination": "/x", "type": "bind"}]), "$.mounts[0].source"),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "bind", "source": "/nonexistent"}]),
            "$.mounts[0].source",
        ),
        ("/mounts", json!([{"destination": "/x", "type": "nfs"}]), "$.mounts[0].type"),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "tmpfs", "options": ["size=zz"]}]),
            "$.mounts[0].options",
        ),
        (
            "/linux/devices",
            device(json!({"path": "dev/x", "type": "c", "major": 1, "minor": 3})),
            "$.linux.devices[0].path",
        ),
        (
            "/linux/devices",
            device(json!({"path": "/dev/x", "type": "q", "major": 1, "minor": 3})),
            "$.linux.devices[0].type",
        ),
        ("/linux/devices", device(json!({"path": "/dev/x", "type": "b"})), "$.linux.devices[0]: major"),
        ("/linux/namespaces", json!([{"type": "pid"}, {"type": "pid"}]), "$.linux.namespaces[1]"),
        ("/linux/namespaces", json!([{"type": "network", "path": "net"}]), "$.linux.namespaces[0].path"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]), "$.linux.uidMappings"),
        ("/linux/rootfsPropagation", json!("everywhere"), "$.linux.rootfsPropagation"),
        ("/linux/maskedPaths", json!(["proc"]), "$.linux.maskedPaths[0]"),
        ("/linux/resources", json!({"cpu": {"period": 1}}), "$.linux.resources.cpu.period"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_PANIC"}), "$.linux.seccomp.defaultAction"),
        ("/hooks", json!({"prestart": [{"path": "true"}]}), "$.hooks.prestart[0].path"),
        ("/hooks", json!({"prestart": [{"path": "/bin/true", "timeout": 0}]}), "$.hooks.prestart[0].timeout"),
        ("/annotations", json!({"a": 1}), "$.annotations"),
    ];
    for (pointer, value, words) in cases {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let what = format!("{pointer} = {value}");
        let output = run_changed(&lab, id, |config| {
            config.pointer_mut(parent).unwrap()[name] = value;
        });
        check(&lab, id, &what, &output, 128, &[words]);
    }
}

/// Makes something at a path.
type Maker = fn(&Path);

#[test]
fn files_that_are_no_configuration() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("texts", &["true"]);
    let id = &lab.id("texts");
    let good = std::fs::read(lab.path("bundle/config.json")).unwrap();
    let path = lab.path("bundle/config.json");
    let mut texts: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "not valid JSON"),
        (b"{".to_vec(), "line 1"),
        (b"[]".to_vec(), "$"),
        (b"null".to_vec(), "$"),
        (b"{\"ociVersion\": \xff}".to_vec(), "cannot read"),
        ("[".repeat(100_000).into_bytes(), "recursion"),
        (vec![b' '; (8 << 20) + 1], "larger than"),
    ];
    // Cut at every tenth.
    texts.extend((1..10).map(|tenth| (good[..good.len() * tenth / 10].to_vec(), "not valid JSON")));
    for (text, words) in texts {
        std::fs::write(&path, &text).unwrap();
        let what = format!("{} bytes", text.len());
        check(&lab, id, &what, &lab.run(&["run", id]), 128, &["config.json", words]);
    }
    let kinds: [(&str, Maker, &str); 4] = [
        ("missing", |_| {}, "No such file"),
        ("directory", |path| std::fs::create_dir(path).unwrap(), "not a regular file"),
        (
            "pipe",
            |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
            "not a regular file",
        ),
        ("loop", |path| std::os::unix::fs::symlink(path, path).unwrap(), "symbolic links"),
    ];
    for (what, make, words) in kinds {
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir(&path);
        make(&path);
        check(&lab, id, what, &lab.run(&["run", id]), 128, &["config.json", words]);
    }
    let output = lab.run(&["run", "--bundle", "/nonexistent/bundle", id]);
    check(&lab, id, "no bundle", &output, 128, &["/nonexistent/bundle"]);
}

#[test]
fn roots_and_programs_that_cannot_be_used() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("programs", &["true"]);
    let id = &lab.id("programs");
    let link = lab.path("loop");
    std::os::unix::fs::symlink(&link, &link).unwrap();
    for (root, words) in [
        ("/nonexistent", "No such file"),
        ("/etc/passwd", "not a directory"),
        (link.to_str().unwrap(), "symbolic links"),
    ] {
        let output = run_changed(&lab, id, |config| config["root"]["path"] = json!(root));
        check(&lab, id, root, &output, 128, &["root file system", root, words]);
    }
    // A root by way of a link is one.
    let link = lab.path("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    let output = run_changed(&lab, id, |config| config["root"]["path"] = json!(link));
    assert!(output.status.success(), "{}", stderr(&output));
    let file = |name: &str, text: &[u8], mode: u32| {
        let path = lab.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_string()
    };
    let garbage = file("garbage", b"\x7fELF and no more", 0o755);
    let closed = file("closed", b"#!/bin/sh\n", 0o644);
    let orphan = file("orphan", b"#!/nonexistent/sh\n", 0o755);
    let long = "x".repeat(5000);
    let programs: [(&str, i32, &str); 9] = [
        ("nonexistent-program", 127, "check the path and PATH"),
        ("/nonexistent/program", 127, "no such file"),
        ("/etc/passwd/x", 127, "no such file"),
        ("/etc", 126, "permission denied"),
        ("/etc/passwd", 126, "permission denied"),
        (&closed, 126, "permission denied"),
        (&garbage, 126, "exec format error"),
        (&orphan, 127, "no such file"),
        (&long, 126, "cannot run"),
    ];
    for (program, status, words) in programs {
        let output = run_changed(&lab, id, |config| config["process"]["args"] = json!([program]));
        check(&lab, id, program, &output, status, &["cannot run", words]);
    }
    let output =
        run_changed(&lab, id, |config| config["process"]["args"] = json!(["true", "x".repeat(200_000)]));
    check(&lab, id, "argument", &output, 126, &["argument list too long"]);
    let output = run_changed(&lab, id, |config| {
        config["process"]["env"] = json!([format!("A={}", "x".repeat(200_000))]);
    });
    check(&lab, id, "environment", &output, 126, &["argument list too long"]);
    let output = run_changed(&lab, id, |config| config["process"]["cwd"] = json!("/etc/passwd"));
    check(&lab, id, "cwd", &output, 128, &["process.cwd", "/etc/passwd"]);
    let output = run_changed(&lab, id, |config| config["linux"]["sysctl"] = json!({"kernel.nonsense": "1"}));
    check(&lab, id, "sysctl", &output, 128, &["kernel.nonsense"]);
    let output = run_changed(&lab, id, |config| {
        config["mounts"] = json!([{"destination": "/etc/passwd/x", "type": "tmpfs"}]);
    });
    check(&lab, id, "mount point", &output, 128, &["/etc/passwd/x"]);
    let output =
        run_changed(&lab, id, |config| config["linux"]["namespaces"][1]["path"] = json!("/nonexistent/net"));
    // With --network=none nothing is joined; otherwise the name space must be there.
    assert!(output.status.success(), "{}", stderr(&output));
    let mut command = lab.command(&["--network=sandbox", "run", id]);
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    check(&lab, id, "network name space", &output, 128, &["/nonexistent/net"]);
}

#[test]
fn hooks_that_fail_or_hang() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("badhooks", &["true"]);
    let id = &lab.id("badhooks");
    for stage in ["prestart", "createRuntime", "createContainer"] {
        let bad: [(Value, &str); 3] = [
            (json!({"path": "/bin/false"}), "exit status: 1"),
            (json!({"path": "/nonexistent/hook"}), "cannot be started"),
            (json!({"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}), "timeout of 1 s"),
        ];
        for (hook, words) in bad {
            let what = format!("{stage}: {hook}");
            let output = run_changed(&lab, id, |config| config["hooks"] = json!({stage: [hook]}));
            check(&lab, id, &what, &output, 128, &[&format!("$.hooks.{stage}[0]"), words]);
        }
    }
    let fails_in = |stage: &str| json!({stage: [{"path": "/bin/false"}]});
    let output = run_changed(&lab, id, |config| config["hooks"] = fails_in("poststart"));
    check(&lab, id, "poststart", &output, 128, &["$.hooks.poststart[0]", "exit status: 1"]);
    let output = run_changed(&lab, id, |config| config["hooks"] = fails_in("poststop"));
    assert!(output.status.success(), "poststop: {}", stderr(&output));
    lab.delete_and_assert_gone(id);
}

#[test]
fn command_lines_that_make_no_sense() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("lines", &["true"]);
    let id = &lab.id("lines");
    let long = "x".repeat(1025);
    for bad in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\n", &long] {
        for command in ["create", "run", "state", "kill", "pause", "events"] {
            let output = lab.run(&[command, bad]);
            check(&lab, id, &format!("{command} {bad:?}"), &output, 128, &["invalid container id"]);
        }
        let output = lab.run(&["delete", "--force", bad]);
        check(&lab, id, &format!("delete {bad:?}"), &output, 128, &["invalid container id"]);
    }
    for command in
        ["start", "state", "kill", "pause", "resume", "ps", "events", "wait", "delete", "update", "debug"]
    {
        let mut args = vec![command];
        args.extend((command == "debug").then_some("--stacks"));
        args.push("nobody");
        check(&lab, id, command, &lab.run(&args), 128, &["\"nobody\" does not exist"]);
    }
    let exec = lab.run(&["exec", "nobody", "true"]);
    check(&lab, id, "exec", &exec, 128, &["\"nobody\" does not exist"]);
    for command in ["checkpoint", "restore", "tar", "metric-server", "bwrap", "trace"] {
        check(&lab, id, command, &lab.run(&[command, id]), 128, &[command, "not supported"]);
    }
    for (flag, words) in [
        ("-uid-map=0:0:1", "--uid-map is not supported"),
        ("--gid-map=0:0:1", "--gid-map is not supported"),
        ("-version", "no flag --version"),
        ("--bogus", "no flag --bogus"),
        ("--network=host", "before the command"),
    ] {
        check(&lab, id, flag, &lab.run(&["do", flag, "true"]), 128, &[words]);
    }
    let not_a_socket = lab.path("bundle/config.json");
    let not_a_socket = not_a_socket.to_str().unwrap();
    let terminal = |config: &mut Value| config["process"]["terminal"] = true.into();
    lab.configure(terminal);
    let lines: [(&[&str], &[&str]); 6] = [
        (&["create", id], &["--console-socket"]),
        (&["create", "--console-socket", "/nonexistent/tty", id], &["console socket /nonexistent/tty"]),
        (&["create", "--console-socket", not_a_socket, id], &["console socket", "refused"]),
        (&["create", "--bundle", "bundle-that-is-not", id], &["bundle-that-is-not"]),
        (&["run", "--pass-fd", "77:3", id], &["--pass-fd", "77"]),
        (&["run", "--pass-fd", "x", id], &["--pass-fd", "M:N"]),
    ];
    for (args, words) in lines {
        check(&lab, id, &format!("{args:?}"), &lab.run(args), 128, words);
    }
    lab.configure(|config| config["process"]["terminal"] = false.into());
    check(
        &lab,
        id,
        "tty",
        &lab.run(&["create", "--console-socket", not_a_socket, id]),
        128,
        &["--console-socket"],
    );
    check(
        &lab,
        id,
        "pid file",
        &lab.run(&["create", "--pid-file", "/nonexistent/pid", id]),
        128,
        &["/nonexistent/pid", "pid file"],
    );
    for flags in [
        "--bogus",
        "--platform=kvm",
        "--network=plugin",
        "--overlay2=all:dir=/x",
        "--host-uds=all",
        "--dcache=many",
        "--nvproxy",
        "--watchdog-action=panic",
    ] {
        let output = lab.run(&[flags, "run", id]);
        assert_eq!(output.status.code(), Some(128), "{flags}");
        let name = flags.trim_start_matches('-').split('=').next().unwrap();
        assert!(stderr(&output).contains(name), "{flags}: {}", stderr(&output));
    }
    lab.delete_and_assert_gone(id);
}

#[test]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    if !can_run() {
        return;
    }
    let lab = Lab::new("bytes", &["true"]);
    let id = &lab.id("bytes");
    let mut command = lab.command(&["run", id]);
    command.arg(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let output = finish(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    check(&lab, id, "an argument in Latin-1", &output, 128, &["caf\\xE9", "UTF-8"]);
}

#[test]
fn state_directories_that_cannot_be_used() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("roots", &["true"]);
    let id = &lab.id("roots");
    let run = |root: &Path| {
        let mut command = lab.command(&["--root", root.to_str().unwrap(), "run", id]);
        finish(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap())
    };
    for root in ["/proc/nowhere", "/etc/passwd", "/dev/null/x"] {
        check(&lab, id, root, &run(Path::new(root)), 128, &[root, "--root"]);
    }
    let open = lab.path("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    check(&lab, id, "open to all", &run(&open), 128, &["can be written by others", "--root"]);
    // Too small for a directory, and for what is in it.
    for options in ["size=16k,nr_inodes=1", "size=4k", "ro"] {
        let small = Disk::mount(&lab, options);
        let output = run(&small.0);
        let words = if options == "ro" { "Read-only file system" } else { "No space left on device" };
        assert!(std::fs::read_dir(&small.0).unwrap().next().is_none(), "{options}: something is left");
        drop(small);
        check(&lab, id, options, &output, 128, &["small", words]);
    }
    // A log that is full costs nothing but the log.
    let small = Disk::mount(&lab, "size=4k");
    std::fs::write(small.0.join("log"), [b'x'; 4096]).unwrap();
    let log = small.0.join("log");
    let mut command = lab.command(&["--log", log.to_str().unwrap(), "--debug", "run", id]);
    assert!(command.stdout(Stdio::null()).status().unwrap().success());
    drop(small);
    // So does one that cannot be had, but that is said.
    let mut command = lab.command(&["--log", "/proc/nowhere/log", "run", id]);
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && stderr(&output).contains("/proc/nowhere/log"), "{}", stderr(&output));
    lab.delete_and_assert_gone(id);
}

/// A small file system, for as long as this lives.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(lab: &Lab, options: &str) -> Self {
        let dir = lab.path("small");
        std::fs::create_dir_all(&dir).unwrap();
        let options = format!("mode=755,{options}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "small"]).arg(&dir).status();
        assert!(mounted.unwrap().success());
        Self(dir)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn too_few_descriptors() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("few", &["true"]);
    let id = &lab.id("few");
    let mut worked = 0;
    for limit in [8, 12, 16, 20, 24, 32, 64, 128, 512, 1024] {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]);
        let invocation = lab.command(&["run", id]);
        shell.arg(invocation.get_program()).args(invocation.get_args()).current_dir(lab.path("bundle"));
        let output =
            finish(shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        if output.status.success() {
            worked += 1;
            lab.delete_and_assert_gone(id);
        } else {
            let said = stderr(&output);
            assert!(said.contains("ulimit -n") || said.contains("oo many open files"), "{limit}: {said}");
            assert!(said.len() < MAX_SENTENCE, "{limit}: {said}");
            lab.delete_and_assert_gone(id);
        }
    }
    assert!(worked >= 2, "only {worked} worked");
}

#[test]
fn a_host_without_user_name_spaces_or_seccomp() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("host", &["true"]);
    let id = &lab.id("host");
    let invocation = lab.command(&["run", id]);
    let under = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).arg(invocation.get_program()).args(invocation.get_args());
        command.current_dir(lab.path("bundle")).stdin(Stdio::null()).stdout(Stdio::null());
        finish(command.stderr(Stdio::piped()).spawn().unwrap())
    };
    let none = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
    let output = under("unshare", &["--user", "--map-root-user", "--mount", "sh", "-c", none]);
    check(&lab, id, "user name spaces", &output, 128, &["user.max_user_namespaces"]);
    let output = under("python3", &["-c", WITHOUT_SECCOMP]);
    check(&lab, id, "seccomp", &output, 128, &["seccomp"]);
}

/// Runs its arguments where seccomp(2) does not exist.
const WITHOUT_SECCOMP: &str = r"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, 317), (0x06, 0, 0, 0x50000 | 38), (0x06, 0, 0, 0x7fff0000)]
text = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in code))
program = struct.pack('HxxxxxxQ', len(code), ctypes.addressof(text))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.c_char_p(program), 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[1], sys.argv[1:])
";

#[test]
fn a_bad_global_flag_is_told_to_whoever_reads_the_log() {
    let dir = std::env::temp_dir().join(format!("runsc-test-{}-badflag", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let log = dir.join("log");
    let mut command = Command::new(common::binary());
    command.args(["--log-format=json", "--log"]).arg(&log).args(["--bogus", "create", "c"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(128));
    let line: Value = serde_json::from_str(std::fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert!(line["level"] == "error" && line["msg"].as_str().unwrap().contains("--bogus"), "{line}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn who_names_no_log_is_warned_on_standard_error() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("warned", &["true"]);
    let id = &lab.id("warned");
    lab.configure(|config| config["process"]["selinuxLabel"] = json!("a:b:c"));
    let mut command = Command::new(common::binary());
    command.arg("--root").arg(lab.path("state")).args(["--network=none", "run", id]);
    let output = command.current_dir(lab.path("bundle")).stdin(Stdio::null()).output().unwrap();
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("runsc: warning: ") && said.contains("selinuxLabel"), "{said}");
    // Whoever reads a log reads it there.
    let output = lab.run(&["run", id]);
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
}
