//! Processes that hang or are killed at the wrong moment: a container can always be ended, and nothing of it stays.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Lab, can_run, cgroups_named, connections, eventually, exists, finish, processes_of};
use serde_json::json;

/// Sends a signal to the process of container `id` that is called `name`.
fn signal(id: &str, name: &str, signal: &str) {
    let is_it = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().starts_with(name.as_bytes())
    };
    for pid in processes_of(id).iter().filter(|pid| is_it(pid)) {
        let _ = Command::new("kill").args([signal, &pid.to_string()]).status();
    }
}

/// Whether a process of the container with this command is listed.
fn runs(lab: &Lab, id: &str, command: &str) -> bool {
    lab.ok(&["ps", id]).lines().any(|line| line.ends_with(&format!(" {command}")))
}

#[test]
fn a_gofer_that_hangs_holds_nobody_who_is_killed() {
    if !can_run() {
        return;
    }
    // Two that look into directories without end; the first process waits for them alone.
    let script = "go() { while :; do cat /usr/lib/*/* /usr/share/*/* ; done >/dev/null 2>&1; }
                  go & a=$!; go & b=$!; wait $a; wait $b; echo both are gone; sleep 1000";
    let lab = Lab::new("hang", &["sh", "-c", script]);
    let id = &lab.id("hang");
    let out = std::fs::File::create(lab.path("out")).unwrap();
    let status = lab.command(&["create", id]).stdout(out).stderr(Stdio::null()).status().unwrap();
    assert!(status.success());
    lab.ok(&["start", id]);
    eventually("cat", || runs(&lab, id, "cat"));
    signal(id, "runsc-gofer", "-STOP");
    // Whoever asks the gofer now waits, until it is killed.
    std::thread::sleep(Duration::from_millis(200));
    let rows = lab.ok(&["ps", id]);
    for line in rows.lines().filter(|line| line.ends_with("sh") || line.ends_with("cat")) {
        let mut fields = line.split_whitespace().skip(1);
        let (pid, parent) = (fields.next().unwrap(), fields.next().unwrap());
        if parent != "0" {
            // It may have ended by itself by now: not all that they do needs the gofer.
            lab.run(&["kill", "--pid", pid, id, "KILL"]);
        }
    }
    eventually("the end of both", || {
        std::fs::read_to_string(lab.path("out")).unwrap().contains("both are gone")
    });
    assert_eq!(lab.status(id), "running");
    // A stopped process does not end by itself: only the kill of the whole gets it.
    lab.delete_and_assert_gone(id);
}

#[test]
fn a_gofer_that_hangs_from_the_start_is_no_match_for_delete() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("stuck", &["sleep", "1000"]);
    let id = &lab.id("stuck");
    lab.create(id);
    signal(id, "runsc-gofer", "-STOP");
    // It needs the program's file, which the gofer does not give.
    let mut start = lab.command(&["start", id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert!(start.try_wait().unwrap().is_none());
    lab.ok(&["delete", "--force", id]);
    assert_eq!(finish(start).status.code(), Some(128));
    lab.delete_and_assert_gone(id);
}

#[test]
fn a_killed_do_is_cleaned_up_after_by_the_next() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("do", &[]);
    let tmp = lab.path("tmp");
    std::fs::create_dir(&tmp).unwrap();
    let command = |args: &[&str]| {
        let mut command = Command::new(common::binary());
        command.args(["--network=none", "do"]).args(args).env("TMPDIR", &tmp);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let left = || std::fs::read_dir(&tmp).unwrap().count();
    let mut killed = command(&["sh", "-c", "echo up; sleep 1000"]);
    let mut line = [0; 3];
    std::io::Read::read_exact(killed.stdout.as_mut().unwrap(), &mut line).unwrap();
    // One that lives is left alone.
    assert!(finish(command(&["true"])).status.success());
    assert_eq!(left(), 1);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(finish(command(&["true"])).status.success());
    assert_eq!(left(), 0);
    eventually("no process", || lab.processes(tmp.to_str().unwrap()).is_empty());
}

#[test]
fn a_sandbox_that_hangs_can_be_killed() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("frozen", &["sleep", "1000"]);
    let id = &lab.id("frozen");
    for args in [&["kill", id, "KILL"][..], &["kill", "--all", id, "KILL"], &["delete", "--force", id]] {
        lab.create(id);
        lab.ok(&["start", id]);
        signal(id, "runsc-sandbox", "-STOP");
        lab.ok(args);
        lab.delete_and_assert_gone(id);
    }
}

#[test]
fn a_killed_invocation_leaves_nothing_that_delete_does_not_find() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("killed", &["sleep", "1000"]);
    let id = &lab.id("killed");
    lab.configure(|config| config["linux"]["cgroupsPath"] = json!(format!("/runsc-test/{id}")));
    let delays = [0, 1, 2, 4, 6, 8, 10, 13, 16, 20, 25, 32, 45];
    let (mut creates, mut runs) = (0, 0);
    for delay in delays.map(Duration::from_millis) {
        creates += usize::from(kill_at_work(&lab, "create", id, delay));
        lab.delete_and_assert_gone(id);
        runs += usize::from(kill_at_work(&lab, "run", id, delay));
        lab.delete_and_assert_gone(id);
        lab.create(id);
        kill_after(&lab, &["start", id], delay / 2);
        lab.delete_and_assert_gone(id);
        lab.create(id);
        lab.ok(&["start", id]);
        kill_after(&lab, &["exec", id, "sleep", "999"], delay / 2);
        kill_after(&lab, &["delete", "--force", id], delay / 4);
        lab.delete_and_assert_gone(id);
    }
    assert!(creates > 0 && runs > 0, "none was killed at work: {creates} creates, {runs} runs");
}

/// Has `state.json` say something else, as it does where an invocation was killed before it could write.
fn rewrite_status(lab: &Lab, id: &str, status: &str) {
    let path = lab.path(&format!("state/{id}/state.json"));
    let mut state: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    state["status"] = json!(status);
    std::fs::write(path, state.to_string()).unwrap();
}

#[test]
fn the_sandbox_knows_better_than_what_was_written_down() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("unwritten", &["sleep", "1000"]);
    let id = &lab.id("unwritten");
    lab.create(id);
    lab.ok(&["start", id]);
    // A start that was killed after the program ran: the next one must not end what runs.
    rewrite_status(&lab, id, "created");
    assert_eq!(lab.status(id), "running");
    let error = lab.fails(128, &["start", id]);
    assert!(error.contains("is running"), "{error}");
    lab.ok(&["exec", id, "true"]);
    rewrite_status(&lab, id, "created");
    assert!(lab.fails(128, &["delete", id]).contains("--force"));
    // A pause, and a resume, that were killed.
    lab.ok(&["pause", id]);
    rewrite_status(&lab, id, "running");
    assert_eq!(lab.status(id), "paused");
    lab.ok(&["resume", id]);
    rewrite_status(&lab, id, "paused");
    assert_eq!(lab.status(id), "running");
    lab.ok(&["pause", id]);
    lab.ok(&["resume", id]);
    lab.delete_and_assert_gone(id);
}

#[test]
fn a_sandbox_that_does_not_answer_is_not_taken_for_gone() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("silent", &["sleep", "1000"]);
    let id = &lab.id("silent");
    lab.create(id);
    lab.ok(&["start", id]);
    signal(id, "runsc-sandbox", "-STOP");
    assert_eq!(lab.status(id), "running");
    let error = lab.fails(128, &["ps", id]);
    assert!(error.contains("did not answer") && error.contains("delete --force"), "{error}");
    signal(id, "runsc-sandbox", "-CONT");
    lab.ok(&["ps", id]);
    lab.delete_and_assert_gone(id);
}

#[test]
fn two_containers_do_not_get_one_cgroup() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("twins", &["sleep", "1000"]);
    let (id, other) = (&lab.id("twin-a"), &lab.id("twin-b"));
    lab.configure(|config| config["linux"]["cgroupsPath"] = json!(format!("/runsc-test/{id}")));
    lab.create(id);
    lab.ok(&["start", id]);
    let error = lab.fails(128, &["create", other]);
    assert!(error.contains("cgroup is not empty"), "{error}");
    assert_eq!(lab.status(id), "running");
    assert!(!exists(lab.path("state").join(other)));
    lab.delete_and_assert_gone(id);
}

/// Starts an invocation, and kills it a while after it began its work on a container that is not there yet; says whether
/// that was before it had ended.
fn kill_at_work(lab: &Lab, command: &str, id: &str, delay: Duration) -> bool {
    let mut child = lab.command(&[command, id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let dir = lab.path("state").join(id);
    while !exists(&dir) && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(delay);
    let is_at_work = child.try_wait().unwrap().is_none();
    let _ = child.kill();
    let _ = child.wait();
    is_at_work
}

/// Starts an invocation, and kills it where it has not ended after a while.
fn kill_after(lab: &Lab, args: &[&str], delay: Duration) {
    let mut child = lab.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    let _ = child.kill();
    let _ = child.wait();
}

/// What happens to a file.
type Damage = fn(&std::path::Path);

#[test]
fn state_that_cannot_be_read_is_no_shelter() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("damaged", &["sleep", "1000"]);
    let id = &lab.id("damaged");
    lab.configure(|config| config["linux"]["cgroupsPath"] = json!(format!("/runsc-test/{id}")));
    let damages: [(&str, Damage); 4] = [
        ("gone", |path| std::fs::remove_file(path).unwrap()),
        ("empty", |path| std::fs::write(path, "").unwrap()),
        ("cut", |path| {
            let text = std::fs::read(path).unwrap();
            std::fs::write(path, &text[..text.len() / 2]).unwrap();
        }),
        ("foreign", |path| std::fs::write(path, "{\"version\": 99}").unwrap()),
    ];
    for (name, damage) in damages {
        for started in [false, true] {
            lab.create(id);
            if started {
                lab.ok(&["start", id]);
            }
            damage(&lab.path(&format!("state/{id}/state.json")));
            let error = lab.fails(128, &["state", id]);
            assert!(error.contains("delete --force"), "{name}: {error}");
            lab.delete_and_assert_gone(id);
        }
    }
}

#[test]
fn processes_that_are_killed_at_any_stage_leave_nothing() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("victims", &["sleep", "1000"]);
    let id = &lab.id("victims");
    for victim in ["runsc-sandbox", "runsc-gofer"] {
        lab.create(id);
        signal(id, victim, "-KILL");
        lab.await_status(id, "stopped");
        let error = lab.fails(128, &["start", id]);
        assert!(error.contains("stopped"), "{error}");
        lab.delete_and_assert_gone(id);
        lab.create(id);
        lab.ok(&["start", id]);
        signal(id, victim, "-KILL");
        lab.await_status(id, "stopped");
        for args in
            [&["exec", id, "true"][..], &["pause", id], &["kill", id, "TERM"], &["events", "--stats", id]]
        {
            let error = lab.fails(128, args);
            assert!(error.contains("container not running"), "{args:?}: {error}");
        }
        lab.delete_and_assert_gone(id);
    }
}

#[test]
fn a_failed_exec_leaves_no_process() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("execs", &["sleep", "1000"]);
    let id = &lab.id("execs");
    lab.create(id);
    lab.ok(&["start", id]);
    let nowhere = lab.path("nowhere/pid");
    let nowhere = nowhere.to_str().unwrap();
    for flag in ["--pid-file", "--internal-pid-file"] {
        for detach in [false, true] {
            let mut args = vec!["exec", flag, nowhere];
            args.extend(detach.then_some("--detach"));
            args.extend([id, "tail", "-f", "/dev/null"]);
            let error = lab.fails(128, &args);
            assert!(error.contains("nowhere"), "{error}");
            eventually("its end", || !runs(&lab, id, "tail"));
        }
    }
    assert_eq!(lab.status(id), "running");
    lab.delete_and_assert_gone(id);
}

#[test]
fn a_wait_that_is_given_up_costs_the_sandbox_nothing() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("waits", &["sleep", "1000"]);
    let id = &lab.id("waits");
    let sandbox = lab.create(id);
    lab.ok(&["start", id]);
    let mut waits: Vec<_> = (0..12).map(|_| lab.command(&["wait", id]).spawn().unwrap()).collect();
    eventually("twelve waits", || connections(sandbox) == 12);
    for wait in &mut waits {
        wait.kill().unwrap();
        wait.wait().unwrap();
    }
    eventually("none", || connections(sandbox) == 0);
    let wait = lab.command(&["wait", id]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("one more wait", || connections(sandbox) == 1);
    lab.ok(&["kill", id, "KILL"]);
    let told = String::from_utf8(finish(wait).stdout).unwrap();
    assert!(told.contains("137"), "{told}");
    lab.delete_and_assert_gone(id);
}

#[test]
fn what_is_paused_stays_paused() {
    if !can_run() {
        return;
    }
    // Forks all the time, and counts.
    let script = "i=0; while :; do i=$((i + 1)); sh -c 'echo x >> /tmp/count/n'; done";
    let lab = Lab::new("paused", &["sh", "-c", script]);
    let id = &lab.id("paused");
    let dir = lab.path("count");
    std::fs::create_dir(&dir).unwrap();
    lab.configure(|config| {
        config["mounts"] =
            json!([{"destination": "/tmp/count", "type": "bind", "source": dir, "options": ["rw"]}]);
    });
    let mut create = lab.command(&["--overlay2=root:memory", "create", id]);
    assert!(create.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    lab.ok(&["start", id]);
    let count = || std::fs::metadata(dir.join("n")).map_or(0, |meta| meta.len());
    for _ in 0..3 {
        let before = count();
        eventually("some rounds", || count() > before + 6);
        lab.ok(&["pause", id]);
        assert_eq!(lab.status(id), "paused");
        // A call in progress may yet end, and write its two bytes.
        let paused = count();
        std::thread::sleep(Duration::from_millis(300));
        assert!(count() <= paused + 4);
        assert!(lab.fails(128, &["exec", id, "true"]).contains("paused"));
        assert!(lab.fails(128, &["pause", id]).contains("paused"));
        assert!(lab.fails(128, &["delete", id]).contains("--force"));
        lab.ok(&["ps", id]);
        lab.ok(&["events", "--stats", id]);
        lab.ok(&["resume", id]);
    }
    lab.ok(&["pause", id]);
    let started = Instant::now();
    lab.ok(&["kill", id, "KILL"]);
    lab.await_status(id, "stopped");
    assert!(started.elapsed() < Duration::from_secs(10));
    lab.delete_and_assert_gone(id);
    assert!(cgroups_named(id).is_empty() && !exists(lab.path("state").join(id)));
}
