//! Containers from `create` to `delete`, as Docker and a person at a shell drive them, and what goes wrong on the way.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use common::{Lab, can_run, eventually, exists, finish, processes_of, stderr};
use serde_json::{Value, json};

#[test]
fn a_container_lives_and_dies() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("life", &["sleep", "1000"]);
    let pid = lab.create("life-c");
    assert_eq!(lab.status("life-c"), "created");
    assert!(processes_of("life-c").contains(&pid));
    lab.ok(&["start", "life-c"]);
    assert_eq!(lab.status("life-c"), "running");
    assert!(lab.fails(128, &["start", "life-c"]).contains("running"));
    assert!(lab.fails(128, &["delete", "life-c"]).contains("--force"));
    let list: Value = serde_json::from_str(&lab.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(
        (&list[0]["id"], &list[0]["pid"], &list[0]["status"]),
        (&json!("life-c"), &json!(pid), &json!("running"))
    );
    let pids: Vec<i32> = serde_json::from_str(&lab.ok(&["ps", "--format", "json", "life-c"])).unwrap();
    assert_eq!(pids.len(), 1);
    lab.ok(&["pause", "life-c"]);
    assert_eq!(lab.status("life-c"), "paused");
    lab.ok(&["resume", "life-c"]);
    let event: Value = serde_json::from_str(&lab.ok(&["events", "--stats", "life-c"])).unwrap();
    assert_eq!((event["type"].as_str(), event["id"].as_str()), (Some("stats"), Some("life-c")));
    assert!(event["data"]["pids"]["current"].as_u64().unwrap() >= 1);
    lab.ok(&["kill", "life-c", "KILL"]);
    lab.await_status("life-c", "stopped");
    assert!(lab.fails(128, &["kill", "life-c", "TERM"]).contains("not running"));
    lab.ok(&["kill", "--all", "life-c", "KILL"]);
    lab.ok(&["delete", "life-c"]);
    eventually("no process", || processes_of("life-c").is_empty());
    lab.assert_clean();
}

#[test]
fn what_was_never_started_can_be_ended() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("unstarted", &["sleep", "1000"]);
    let id = &lab.id("unstarted");
    lab.create(id);
    // It has no handlers and nothing to stop.
    for signal in ["WINCH", "TSTP", "CONT"] {
        lab.ok(&["kill", id, signal]);
    }
    assert_eq!(lab.status(id), "created");
    lab.ok(&["kill", id, "TERM"]);
    assert_eq!(lab.status(id), "stopped");
    lab.ok(&["delete", id]);
    lab.delete_and_assert_gone(id);
}

#[test]
fn exit_statuses_are_the_programs() {
    if !can_run() {
        return;
    }
    let cases: [(&[&str], i32); 5] = [
        (&["true"], 0),
        (&["sh", "-c", "exit 42"], 42),
        (&["sh", "-c", "sh -c 'kill -TERM $$'; exit $?"], 143),
        (&["/nonexistent/program"], 127),
        (&["/etc/passwd"], 126),
    ];
    let lab = Lab::new("status", &["true"]);
    for (args, status) in cases {
        lab.configure(|config| config["process"]["args"] = json!(args));
        let output = lab.run(&["run", "status-c"]);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {}", stderr(&output));
        lab.assert_clean();
    }
    assert!(
        lab.logged_errors().iter().any(|error| error.contains("/nonexistent/program")),
        "{:?}",
        lab.logged_errors()
    );
}

#[test]
fn streams_and_exec() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("exec", &["cat"]);
    let mut command = lab.command(&["run", "exec-c"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("running", || {
        exists(lab.path("state/exec-c/state.json")) && lab.status("exec-c") == "running"
    });
    assert_eq!(lab.ok(&["exec", "exec-c", "sh", "-c", "echo $A; pwd"]), "\n/\n");
    assert_eq!(
        lab.ok(&["exec", "--env", "A=b", "--cwd", "/tmp", "exec-c", "sh", "-c", "echo $A; pwd"]),
        "b\n/tmp\n"
    );
    assert_eq!(lab.ok(&["exec", "--user", "5:6", "exec-c", "id", "-u"]), "5\n");
    lab.fails(7, &["exec", "exec-c", "sh", "-c", "exit 7"]);
    lab.fails(127, &["exec", "exec-c", "/nonexistent"]);
    lab.fails(126, &["exec", "exec-c", "/etc/passwd"]);
    let process = lab.path("process.json");
    std::fs::write(
        &process,
        json!({"args": ["sh", "-c", "exit 9"], "cwd": "/", "user": {"uid": 0}, "env": ["PATH=/bin"]})
            .to_string(),
    )
    .unwrap();
    let pid_file = lab.path("exec.pid");
    let (process, pid_file) = (process.to_str().unwrap(), pid_file.to_str().unwrap());
    let detached =
        lab.command(&["exec", "--process", process, "--detach", "--pid-file", pid_file, "exec-c"]).status();
    assert!(detached.unwrap().success());
    assert!(std::fs::read_to_string(pid_file).unwrap().parse::<i32>().unwrap() > 1);
    use std::io::Write;
    child.stdin.take().unwrap().write_all(b"over and out\n").unwrap();
    let output = finish(child);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"over and out\n"[..]));
    lab.assert_clean();
}

#[test]
fn what_cannot_work_says_why_and_leaves_nothing() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("bad", &["true"]);
    let bad: [(&str, Value, &str); 6] = [
        ("/root/path", json!("/nonexistent"), "/nonexistent"),
        ("/root/path", json!("/etc/passwd"), "not a directory"),
        (
            "/mounts",
            json!([{"destination": "/x", "type": "bind", "source": "/nonexistent"}]),
            "$.mounts[0].source",
        ),
        ("/mounts", json!([{"destination": "/x", "type": "nfs"}]), "$.mounts[0].type"),
        ("/process/cwd", json!("relative"), "$.process.cwd"),
        ("/hooks", json!({"createRuntime": [{"path": "/bin/false"}]}), "$.hooks.createRuntime[0]"),
    ];
    for (pointer, value, words) in bad {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        lab.configure(|config| {
            config.pointer_mut(parent).unwrap()[name] = value;
        });
        let error = lab.fails(128, &["create", "bad-c"]);
        assert!(error.contains(words), "{pointer}: {error}");
        assert!(lab.logged_errors().last().unwrap().contains(words));
        lab.assert_clean();
        eventually("no process", || processes_of("bad-c").is_empty());
        std::fs::remove_file(lab.path("bundle/config.json")).unwrap();
        lab.configure(|_| {});
    }
    std::fs::write(lab.path("bundle/config.json"), "{\"ociVersion\": \n nonsense").unwrap();
    assert!(lab.fails(128, &["run", "bad-c"]).contains("line 2"));
    std::fs::remove_file(lab.path("bundle/config.json")).unwrap();
    assert!(lab.fails(128, &["run", "bad-c"]).contains("config.json"));
    assert!(lab.fails(128, &["run", "a/b"]).contains("invalid container id"));
    assert!(lab.fails(128, &["state", "none"]).contains("does not exist"));
    assert!(lab.fails(128, &["delete", "none"]).contains("does not exist"));
    lab.ok(&["delete", "--force", "none"]);
    lab.assert_clean();
}

#[test]
fn volumes_are_the_hosts_files() {
    if !can_run() {
        return;
    }
    use std::os::unix::fs::MetadataExt;
    let script = "set -e; cd /tmp/v; stat -c %u:%g:%a given; echo made > new; echo more >> new; chmod 604 new; \
                  chown 7:8 new; stat -c %u:%g:%a new; cat new; cat given 2>/dev/null; ! touch /tmp/ro/x 2>/dev/null";
    let lab = Lab::new("volume", &["sh", "-c", script]);
    let dir = lab.path("volume");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("given"), "host\n").unwrap();
    std::os::unix::fs::chown(dir.join("given"), Some(5), Some(6)).unwrap();
    lab.configure(|config| {
        config["mounts"] = json!([
            {"destination": "/tmp/v", "type": "bind", "source": dir, "options": ["rbind", "rw"]},
            {"destination": "/tmp/ro", "type": "bind", "source": dir, "options": ["rbind", "ro"]},
        ]);
        config["process"]["capabilities"] = json!({
            "permitted": ["CAP_CHOWN", "CAP_DAC_OVERRIDE"], "effective": ["CAP_CHOWN", "CAP_DAC_OVERRIDE"],
            "bounding": ["CAP_CHOWN", "CAP_DAC_OVERRIDE"],
        });
    });
    // Standard output is a file of the host's too, and appended to.
    let mut command = lab.command(&["--overlay2=root:memory", "run", "volume-c"]);
    command.stdout(std::fs::File::create(lab.path("volume.out")).unwrap()).stderr(Stdio::piped());
    let ended = finish(command.spawn().unwrap());
    assert!(ended.status.success(), "{}", stderr(&ended));
    let said = std::fs::read_to_string(lab.path("volume.out")).unwrap();
    assert_eq!(said, "5:6:644\n7:8:604\nmade\nmore\nhost\n");
    let meta = std::fs::metadata(dir.join("new")).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (7, 8, 0o604));
    lab.assert_clean();
}

#[test]
fn ids_are_taken_once() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("twice", &["sleep", "1000"]);
    lab.create("twice-c");
    let error = lab.fails(128, &["create", "twice-c"]);
    assert!(error.contains("exists"), "{error}");
    assert_eq!(lab.status("twice-c"), "created");
    // Killed before it was started.
    lab.ok(&["kill", "twice-c", "KILL"]);
    lab.await_status("twice-c", "stopped");
    lab.ok(&["delete", "twice-c"]);
    lab.assert_clean();
}

#[test]
fn crashes_are_survived() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("crash", &["sleep", "1000"]);
    let id = &lab.id("crash");
    let has_role = |pid: &i32, role: &str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(role.as_bytes())
    };
    for victim in ["runsc-sandbox", "runsc-gofer"] {
        lab.create(id);
        lab.ok(&["start", id]);
        for pid in processes_of(id).iter().filter(|pid| has_role(pid, victim)) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        // Whichever was killed, the other ends too.
        lab.await_status(id, "stopped");
        assert!(lab.fails(128, &["exec", id, "true"]).contains("not running"));
        eventually("no process", || processes_of(id).is_empty());
        lab.ok(&["delete", "--force", id]);
        eventually("no process", || processes_of(id).is_empty());
        lab.assert_clean();
    }
    // A create that was killed leaves a directory, at worst processes: `delete --force` takes all away.
    let mut interrupted = 0;
    for stage in ["state", "runsc-gofer", "runsc-sandbox"] {
        let mut child =
            lab.command(&["create", id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while child.try_wait().unwrap().is_none() {
            let is_reached = match stage {
                "state" => lab.path("state").join(id).exists(),
                role => processes_of(id).iter().any(|pid| has_role(pid, role)),
            };
            if is_reached {
                break;
            }
        }
        let _ = child.kill();
        interrupted += i32::from(!child.wait().unwrap().success());
        lab.ok(&["delete", "--force", id]);
        eventually("no process", || processes_of(id).is_empty());
        lab.assert_clean();
    }
    assert!(interrupted > 0, "create was never killed midway");
}

#[test]
fn hooks_run_in_order() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("hooks", &["true"]);
    let record = lab.path("record");
    let hook = |stage: &str| {
        let script =
            format!("echo {stage} $(tr ',' '\\n' | grep -c '\"id\":\"hooks-c\"') >> {}", record.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    let stages = ["createContainer", "prestart", "createRuntime", "startContainer", "poststart", "poststop"];
    lab.configure(|config| {
        for stage in stages {
            config["hooks"][stage] = hook(stage);
        }
    });
    lab.ok(&["run", "hooks-c"]);
    let ran = std::fs::read_to_string(record).unwrap();
    assert_eq!(ran, "createContainer 1\nprestart 1\ncreateRuntime 1\npoststart 1\npoststop 1\n");
    lab.assert_clean();
}

#[test]
fn hooks_of_a_create_that_fails_are_cleaned_up_after() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("hookclean", &["true"]);
    let id = &lab.id("hookclean");
    let record = lab.path("record");
    let hook = |script: &str| {
        let script = format!("{script} >> {}", record.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    let ran = || {
        let said = std::fs::read_to_string(&record).unwrap_or_default();
        let _ = std::fs::remove_file(&record);
        said
    };
    let poststop = hook("grep -o '\"status\":\"[a-z]*\"'");
    for stage in ["prestart", "createRuntime", "createContainer"] {
        lab.configure(|config| config["hooks"] = json!({stage: hook("exit 3"), "poststop": poststop}));
        assert!(lab.fails(128, &["create", id]).contains(&format!("$.hooks.{stage}[0]")));
        assert_eq!(ran(), "\"status\":\"stopped\"\n", "{stage}");
        lab.assert_nothing_left(id);
    }
    lab.configure(|config| config["hooks"] = json!({"prestart": hook("echo pre"), "poststop": poststop}));
    lab.fails(128, &["create", "--pid-file", "/nonexistent/pid", id]);
    assert_eq!(ran(), "pre\n\"status\":\"stopped\"\n");
    lab.assert_nothing_left(id);
    // One that fails after the start stops the container.
    lab.configure(|config| {
        config["process"]["args"] = json!(["sleep", "1000"]);
        config["hooks"] = json!({"poststart": hook("exit 3"), "poststop": poststop});
    });
    lab.create(id);
    assert!(lab.fails(128, &["start", id]).contains("$.hooks.poststart[0]"));
    assert_eq!(lab.status(id), "stopped");
    assert_eq!(ran(), "");
    lab.ok(&["delete", id]);
    assert_eq!(ran(), "\"status\":\"stopped\"\n");
    lab.assert_nothing_left(id);
}

/// Sends a signal to a process of the host.
fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_program_that_is_no_init_ends_by_signals_from_outside() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("outside", &["sleep", "1000"]);
    for (name, status) in [("HUP", 129), ("INT", 130), ("QUIT", 131), ("TERM", 143)] {
        // Not a shell, which would keep an interrupt to itself until it executes something else; this one waits to write.
        let mut command = lab.command(&["do", "yes", "up"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        assert_eq!(line, "up\n");
        // What stops or tells others does nothing to a first process.
        signal(child.id(), "TSTP");
        signal(child.id(), "WINCH");
        signal(child.id(), name);
        assert_eq!(finish(child).status.code(), Some(status), "{name}");
    }
    let id = &lab.id("outside");
    lab.configure(|config| config["annotations"] = json!({"dev.rampart.no-init": "true"}));
    lab.create(id);
    lab.ok(&["start", id]);
    // From inside it is a first process as Linux has it.
    lab.ok(&["exec", id, "sh", "-c", "kill -TERM 1; kill -KILL 1; sleep 0.2"]);
    assert_eq!(lab.status(id), "running");
    lab.ok(&["kill", id, "TERM"]);
    lab.await_status(id, "stopped");
    lab.delete_and_assert_gone(id);
}

#[test]
fn a_sandbox_ends_with_a_caller_that_is_killed() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("orphan", &["sleep", "1000"]);
    let mut run =
        lab.command(&["run", "orphan-c"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("running", || {
        lab.run(&["state", "orphan-c"]).status.success() && lab.status("orphan-c") == "running"
    });
    run.kill().unwrap();
    run.wait().unwrap();
    eventually("no process", || processes_of("orphan-c").is_empty());
    lab.ok(&["delete", "--force", "orphan-c"]);
    lab.assert_clean();
}

#[test]
fn flags_of_create_hold_for_start() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("flags", &["true"]);
    lab.create("flags-c");
    let state: Value =
        serde_json::from_str(&std::fs::read_to_string(lab.path("state/flags-c/state.json")).unwrap())
            .unwrap();
    assert_eq!(
        (&state["flags"]["network"], &state["flags"]["overlay2"]),
        (&json!("none"), &json!("all:memory"))
    );
    lab.ok(&["delete", "--force", "flags-c"]);
    lab.assert_clean();
}
