//! What a configuration and flags do to a guest: devices, hidden paths, mounts, users, logs, and a look inside.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use common::{Lab, can_run, connections, eventually, finish, stderr};
use serde_json::{Value, json};

/// Runs a script as the container's program; its standard output.
fn output_of(lab: &Lab, script: &str, change: impl FnOnce(&mut Value)) -> String {
    let _ = std::fs::remove_file(lab.path("bundle/config.json"));
    lab.configure(|config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        change(config);
    });
    let id = lab.id("effects");
    let said = lab.ok(&["run", &id]);
    lab.delete_and_assert_gone(&id);
    said
}

/// The messages of level "warning" in the log.
fn warnings(lab: &Lab) -> String {
    let text = std::fs::read_to_string(lab.path("log")).unwrap();
    text.lines().filter(|line| line.contains("\"warning\"")).collect()
}

#[test]
fn devices_are_made_and_those_without_a_driver_cannot_be_opened() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("devices", &["true"]);
    let script = "cd /dev; stat -c '%F %t:%T %a %u:%g' mine/null other; echo x > mine/null && echo written
                  cat other 2>&1; cat pipe & echo through > pipe; wait";
    let said = output_of(&lab, script, |config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/mine/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o662, "uid": 5, "gid": 6},
            {"path": "/dev/other", "type": "c", "major": 10, "minor": 232, "fileMode": 0o666},
            {"path": "/dev/pipe", "type": "p"},
            {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5},
        ]);
    });
    assert_eq!(
        said,
        "character special file 1:3 662 5:6\ncharacter special file a:e8 666 0:0\nwritten\n\
         cat: other: No such device or address\nthrough\n"
    );
    assert_eq!(warnings(&lab).matches("$.linux.devices: /dev/other: ").count(), 1);
}

#[test]
fn masked_and_read_only_paths() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("paths", &["true"]);
    let dir = lab.path("dir");
    std::fs::create_dir_all(dir.join("ro")).unwrap();
    std::fs::create_dir_all(dir.join("hidden")).unwrap();
    for file in ["secret", "hidden/f", "ro/f"] {
        std::fs::write(dir.join(file), "content\n").unwrap();
    }
    let script =
        "cd /mnt; cat secret; ls hidden; ls /proc/nothing 2>/dev/null; touch hidden/x ro/x 2>&1; cat ro/f
                  (echo 1 > /proc/sys/kernel/sem) 2>&1; touch free && echo fine";
    let said = output_of(&lab, script, |config| {
        config["mounts"] = json!([{"destination": "/mnt", "type": "bind", "source": dir, "options": ["rw"]}]);
        config["linux"]["maskedPaths"] = json!(["/mnt/secret", "/mnt/hidden", "/proc/nothing"]);
        config["linux"]["readonlyPaths"] = json!(["/mnt/ro", "/proc/sys", "/nonexistent"]);
    });
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 5, "{said}");
    assert!(lines[0].contains("hidden/x") && lines[0].contains("Read-only file system"), "{said}");
    assert!(lines[1].contains("ro/x") && lines[1].contains("Read-only file system"), "{said}");
    assert_eq!((lines[2], lines[4]), ("content", "fine"));
    assert!(lines[3].contains("Read-only file system"), "{said}");
}

#[test]
fn mount_options() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("options", &["true"]);
    let script = "stat -c '%a %u:%g' /t; df -k /t | tail -1 | awk '{print $2}'; cp /bin/true /t/ne/true; /t/ne/true 2>&1
                  grep -E ' /t(/ne)? ' /proc/mounts | cut -d' ' -f2-4 | sort; touch /r/x 2>&1; cat /dev/shm/x 2>&1 | wc -l";
    let said = output_of(&lab, script, |config| {
        config["mounts"] = json!([
            {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["size=64k", "mode=1750", "uid=3", "gid=4", "nosuid"]},
            {"destination": "/t/ne", "type": "tmpfs", "options": ["noexec", "nodev", "noatime", "tmpcopyup"]},
            {"destination": "/r", "type": "tmpfs", "options": ["ro"]},
            {"destination": "/dev/shm", "type": "tmpfs", "options": ["mode=1777", "nr_inodes=7"]},
        ]);
        // Root of the container, but for this.
        config["process"]["capabilities"] = json!({
            "permitted": ["CAP_DAC_OVERRIDE"], "effective": ["CAP_DAC_OVERRIDE"], "bounding": ["CAP_DAC_OVERRIDE"],
        });
    });
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["1750 3:4", "64"], "{said}");
    assert!(lines[2].contains("Permission denied"), "{said}");
    assert!(lines[3].starts_with("/t tmpfs rw,nosuid"), "{said}");
    assert!(lines[4].starts_with("/t/ne tmpfs rw,") && lines[4].contains("nodev,noexec"), "{said}");
    assert!(lines[5].contains("Read-only file system"), "{said}");
    let warned = warnings(&lab);
    assert!(warned.contains("$.mounts[1].options: no effect in a sandbox: tmpcopyup"), "{warned}");
    assert!(warned.contains("$.mounts[3].options: no effect in a sandbox: nr_inodes=7"), "{warned}");
}

#[test]
fn programs_are_added_as_they_are_asked_for() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("added", &["sleep", "1000"]);
    let id = &lab.id("added");
    lab.configure(|config| config["process"]["user"] = json!({"uid": 11, "gid": 12, "additionalGids": [13]}));
    let sandbox = lab.create(id);
    lab.ok(&["start", id]);
    let exec = |args: &[&str]| {
        let mut all = vec!["exec"];
        let (flags, program) = args.split_at(args.iter().position(|arg| *arg == "--").unwrap());
        all.extend(flags);
        all.push(id);
        all.extend(&program[1..]);
        lab.ok(&all)
    };
    let show = "id -u; id -g; id -G; pwd; echo $A $B; grep CapEff /proc/self/status";
    assert_eq!(exec(&["--", "sh", "-c", show]), "11\n12\n12 13\n/\n\nCapEff:\t0000000000000000\n");
    let said = exec(&[
        "--user",
        "0:7",
        "--additional-gids",
        "8,9",
        "--cwd",
        "/usr",
        "--env",
        "A=1",
        "-env",
        "B=2",
        "--cap",
        "CAP_CHOWN",
        "--cap",
        "kill",
        "--",
        "sh",
        "-c",
        show,
    ]);
    assert_eq!(said, "0\n7\n7 8 9\n/usr\n1 2\nCapEff:\t0000000000000021\n");
    // Both pid files: the process that stands for it here, and its pid there.
    let (host_file, guest_file) = (lab.path("host.pid"), lab.path("guest.pid"));
    let mut command = lab.command(&["exec", "--detach", "--pid-file", host_file.to_str().unwrap()]);
    command.args(["--internal-pid-file", guest_file.to_str().unwrap(), id, "sh", "-c", "sleep 1001; exit 9"]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    let guest = std::fs::read_to_string(&guest_file).unwrap();
    let host = std::fs::read_to_string(&host_file).unwrap();
    assert!(lab.ok(&["ps", id]).lines().any(|line| line.split_whitespace().nth(1) == Some(&guest)));
    // Whoever stands for it has two connections, and waits as well.
    eventually("two connections", || connections(sandbox) == 2);
    let wait = lab.command(&["wait", "--rootpid", &guest, id]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("three", || connections(sandbox) == 3);
    lab.ok(&["kill", "--pid", &guest, id, "KILL"]);
    let told: Value = serde_json::from_slice(&finish(wait).stdout).unwrap();
    assert_eq!(told["exitStatus"], 137);
    eventually("the end of who stands for it", || {
        std::fs::read_to_string(format!("/proc/{host}/stat")).map_or(true, |stat| stat.contains(") Z "))
    });
    for (args, words) in [
        (&["--user", "root", id, "true"][..], "\"root\""),
        (&["--cap", "CAP_NONSENSE", id, "true"], "CAP_NONSENSE"),
        (&["--cwd", "relative", id, "true"], "$.cwd"),
        (&["--cwd", "/nonexistent/directory", id, "true"], "/nonexistent/directory"),
        (&["--process", "/nonexistent", id], "/nonexistent"),
        (&["--exec-fd", "0", id, "true"], "by descriptor"),
        (&[id], "nothing to run"),
    ] {
        let mut all = vec!["exec"];
        all.extend(args);
        let error = lab.fails(128, &all);
        assert!(error.contains(words), "{args:?}: {error}");
    }
    lab.delete_and_assert_gone(id);
}

#[test]
fn a_look_inside() {
    if !can_run() {
        return;
    }
    let lab =
        Lab::new("look", &["sh", "-c", "trap 'cat /etc/hostname; exit 3' TERM; while :; do sleep 0.1; done"]);
    let id = &lab.id("look");
    let pid = lab.create(id);
    lab.ok(&["start", id]);
    let stacks = lab.ok(&["debug", "--stacks", "--ps", id]);
    assert!(stacks.contains("sh") && stacks.contains("CMD"), "{stacks}");
    assert!(stacks.contains("without a trap") && stacks.contains("at the door"), "{stacks}");
    assert!(lab.ok(&["debug", "--ps", "--pid", &pid.to_string()]).lines().count() > 1);
    assert!(lab.fails(128, &["debug", "--strace=all", id]).contains("--debug-log"));
    assert!(lab.fails(128, &["debug", "--strace=reed", id]).contains("unknown system call"));
    assert!(lab.fails(128, &["debug", "--pid=1", "--stacks"]).contains("no sandbox"));
    assert!(lab.fails(128, &["debug", id]).contains("--stacks"));
    lab.delete_and_assert_gone(id);
    // With a log, calls are traced from when it is asked for, and what the kernel lacks is told to the user.
    let (debug, user) = (lab.path("debug/"), lab.path("user.log"));
    let id = &lab.id("look");
    let mut command = lab.command(&["--debug-log", &format!("{}/", debug.display())]);
    command.args(["create", "--user-log", user.to_str().unwrap(), id]);
    assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    lab.ok(&["start", id]);
    let traced = || {
        let files = std::fs::read_dir(&debug).unwrap().flatten();
        files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect::<String>()
    };
    assert!(!traced().contains("clock_nanosleep("));
    lab.ok(&["debug", "--strace=clock_nanosleep", id]);
    eventually("a trace", || traced().contains("clock_nanosleep("));
    lab.ok(&["debug", "--strace=off", id]);
    let absent = "import ctypes; ctypes.CDLL(None).syscall(134)";
    lab.ok(&["exec", id, "python3", "-c", absent]);
    assert!(std::fs::read_to_string(&user).unwrap().contains("unimplemented system call 134"));
    lab.ok(&["debug", "--signal=KILL", id]);
    lab.await_status(id, "stopped");
    lab.delete_and_assert_gone(id);
}

#[test]
fn a_crash_of_a_guest_is_in_the_debug_log() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("crashlog", &["python3", "-c", "import ctypes; ctypes.string_at(16)"]);
    let id = &lab.id("crashlog");
    let log = lab.path("crash.log");
    let mut command = lab.command(&["--debug-log", log.to_str().unwrap(), "run", id]);
    let output = finish(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(output.status.code(), Some(139), "{}", stderr(&output));
    let text = std::fs::read_to_string(&log).unwrap();
    for word in ["SIGSEGV", "rip", "rsp", "python3", "libc.so"] {
        assert!(text.contains(word), "{word} is not in the log");
    }
    lab.delete_and_assert_gone(id);
}

#[test]
fn two_readers_share_standard_input() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("readers", &["sh", "-c", "head -c 4; echo; (read a; echo \"<$a>\") & wait; cat"]);
    let id = &lab.id("readers");
    let mut run = lab.command(&["run", id]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = run.stdin.take().unwrap();
    use std::io::Write;
    // Each reader takes what it reads and no more.
    input.write_all(b"1234").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    input.write_all(b"line\nrest\n").unwrap();
    drop(input);
    let output = finish(run);
    // A shell without job control gives its background programs no input.
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1234\n<>\nline\nrest\n");
    lab.delete_and_assert_gone(id);
}

/// What setpriv(1) makes an ordinary user with.
const USER: [&str; 4] = ["--reuid=1234", "--regid=1234", "--clear-groups", "--inh-caps=-all"];

#[test]
fn an_ordinary_user_runs_sandboxes() {
    if !can_run() {
        return;
    }
    let may =
        Command::new("setpriv").args(USER).args(["unshare", "--user", "--map-root-user", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: ordinary users may not make user name spaces here");
        return;
    }
    let lab = Lab::new("rootless", &["sh", "-c", "id -u; echo $((6 * 7)); ls /etc/passwd; exit 3"]);
    let id = &lab.id("rootless");
    let home = lab.path("home");
    std::fs::create_dir(&home).unwrap();
    let binary = home.join("tool");
    std::fs::copy(common::binary(), &binary).unwrap();
    std::fs::set_permissions(&binary, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(home.join("bundle")).unwrap();
    std::fs::copy(lab.path("bundle/config.json"), home.join("bundle/config.json")).unwrap();
    assert!(Command::new("chown").args(["-R", "1234:1234"]).arg(&home).status().unwrap().success());
    let as_user = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(USER).arg(&binary).args(args);
        command.env("TMPDIR", &home).env("XDG_RUNTIME_DIR", &home).current_dir(home.join("bundle"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        finish(command.spawn().unwrap())
    };
    let done =
        as_user(&["do", "sh", "-c", "id -u; echo x > /etc/only-in-here; cat /etc/only-in-here; exit 4"]);
    assert_eq!(done.status.code(), Some(4), "{}", stderr(&done));
    assert_eq!(String::from_utf8_lossy(&done.stdout), "0\nx\n");
    assert_eq!(stderr(&done), "");
    let ran = as_user(&["run", id]);
    assert_eq!(ran.status.code(), Some(3), "{}", stderr(&ran));
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "0\n42\n/etc/passwd\n");
    // The life cycle in its steps.
    std::fs::write(home.join("bundle/config.json"), {
        let text = std::fs::read_to_string(lab.path("bundle/config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["process"]["args"] = json!(["sleep", "1000"]);
        config.to_string()
    })
    .unwrap();
    let succeeds = |args: &[&str]| {
        let output = as_user(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut create = Command::new("setpriv");
    create.args(USER).arg(&binary);
    create.args(["create", id]).env("XDG_RUNTIME_DIR", &home).current_dir(home.join("bundle"));
    assert!(
        create.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    );
    succeeds(&["start", id]);
    assert!(succeeds(&["state", id]).contains("running"));
    assert_eq!(succeeds(&["exec", id, "echo", "inside"]), "inside\n");
    succeeds(&["pause", id]);
    succeeds(&["resume", id]);
    succeeds(&["kill", id, "KILL"]);
    eventually("its end", || as_user(&["state", id]).stdout.windows(7).any(|word| word == b"stopped"));
    succeeds(&["delete", id]);
    assert!(std::fs::read_dir(home.join("runsc")).map_or(true, |mut dir| dir.next().is_none()));
    lab.delete_and_assert_gone(id);
}
