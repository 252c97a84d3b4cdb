//! Several containers in one sandbox, as containerd and CRI-O ask for them by annotations.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod common;

use std::process::Stdio;

use common::{Lab, can_run, cgroups_named, eventually, finish, processes_of};
use serde_json::{Value, json};

/// Writes the bundle `name`, and makes the container of that name and its program run.
fn start(lab: &Lab, id: &str, change: impl FnOnce(&mut Value)) -> i32 {
    lab.configure(change);
    let pid = lab.create(id);
    lab.ok(&["start", id]);
    pid
}

/// The annotations of a member of a pod.
fn member(config: &mut Value, sandbox: &str, name: &str) {
    config["annotations"] = json!({
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-id": sandbox,
        "io.kubernetes.cri.container-name": name,
    });
}

fn commands(lab: &Lab, id: &str) -> Vec<String> {
    let rows = lab.ok(&["ps", id]);
    let mut names: Vec<String> =
        rows.lines().skip(1).map(|line| line.split_whitespace().last().unwrap().to_string()).collect();
    names.sort();
    names
}

#[test]
fn a_pod_is_one_sandbox() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("pod", &["sleep", "1000"]);
    let (pod, one, two) = (&lab.id("pod"), &lab.id("one"), &lab.id("two"));
    let sandbox = start(&lab, pod, |config| {
        config["annotations"] = json!({"io.kubernetes.cri.container-type": "sandbox"});
        config["hostname"] = json!("the-pod");
    });
    let shared = lab.path("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("f"), "of the host\n").unwrap();
    // The first member has name spaces of its own and a mount; the second shares those of the pod.
    let pid = start(&lab, one, |config| {
        member(config, pod, "one");
        config["hostname"] = json!("one");
        config["process"]["args"] = json!(["tail", "-f", "/dev/null"]);
        config["mounts"] =
            json!([{"destination": "/tmp/of-one", "type": "bind", "source": shared, "options": ["ro"]}]);
    });
    assert_eq!(pid, sandbox);
    let namespace = |kind: &str| format!("/proc/{sandbox}/ns/{kind}");
    start(&lab, two, |config| {
        member(config, pod, "two");
        config.as_object_mut().unwrap().remove("hostname");
        config["process"]["args"] = json!(["sh", "-c", "trap 'exit 7' TERM; sleep 1001 & wait"]);
        config["mounts"] = json!([]);
        config["linux"]["namespaces"] = json!([
            {"type": "mount"},
            {"type": "pid", "path": namespace("pid")},
            {"type": "ipc", "path": namespace("ipc")},
            {"type": "uts", "path": namespace("uts")},
        ]);
    });
    // One sandbox, a gofer each.
    for (id, count) in [(pod, 2), (one, 1), (two, 1)] {
        assert_eq!(processes_of(id).len(), count, "{id}");
        assert_eq!(lab.status(id), "running");
    }
    assert_eq!(lab.ok(&["list", "--quiet"]).lines().count(), 3);
    assert_eq!(lab.ok(&["list", "--quiet", "--sandbox"]), format!("{pod}\n"));
    // Files and names of their own, or the pod's.
    let inside = |id: &str, script: &str| lab.ok(&["exec", id, "sh", "-c", script]);
    assert_eq!(inside(one, "hostname; cat /tmp/of-one/f"), "one\nof the host\n");
    assert_eq!(inside(two, "hostname; ls /tmp/of-one 2>/dev/null | wc -l"), "the-pod\n0\n");
    let same = |kind: &str, a: &str, b: &str| {
        let link = format!("readlink /proc/self/ns/{kind}");
        inside(a, &link) == inside(b, &link)
    };
    for kind in ["pid", "ipc", "uts"] {
        assert!(same(kind, pod, two) && !same(kind, pod, one), "{kind}");
    }
    assert!(same("net", pod, one) && same("net", pod, two));
    // What is written in one is not seen in the other.
    inside(one, "echo mine > /tmp/only-here");
    assert_eq!(inside(two, "ls /tmp/only-here 2>/dev/null | wc -l"), "0\n");
    // Processes are told apart though two containers share their numbers.
    assert_eq!(commands(&lab, pod), ["sleep"]);
    assert_eq!(commands(&lab, one), ["tail"]);
    assert_eq!(commands(&lab, two), ["sh", "sleep"]);
    assert_eq!(inside(one, "cat /proc/1/comm"), "tail\n");
    assert_eq!(inside(two, "cat /proc/1/comm"), "sleep\n");
    for id in [pod, one, two] {
        let event: Value = serde_json::from_str(&lab.ok(&["events", "--stats", id])).unwrap();
        assert_eq!(event["id"], json!(id));
        assert_eq!(event["data"]["pids"]["current"], json!(commands(&lab, id).len()), "{id}");
    }
    // One stands still, the others go on.
    lab.ok(&["pause", one]);
    assert_eq!([pod, one, two].map(|id| lab.status(id)), ["running", "paused", "running"]);
    assert_eq!(inside(two, "echo on"), "on\n");
    assert!(lab.fails(128, &["exec", one, "true"]).contains("paused"));
    lab.ok(&["resume", one]);
    assert_eq!(inside(one, "echo on"), "on\n");
    // One ends, the others live.
    let wait = lab.command(&["wait", two]).stdout(Stdio::piped()).spawn().unwrap();
    assert!(lab.fails(128, &["delete", two]).contains("--force"));
    lab.ok(&["kill", two, "TERM"]);
    let told: Value = serde_json::from_slice(&finish(wait).stdout).unwrap();
    assert_eq!(told, json!({"id": two, "exitStatus": 7}));
    lab.await_status(two, "stopped");
    // It can be asked for later, too.
    let told: Value = serde_json::from_str(&lab.ok(&["wait", two])).unwrap();
    assert_eq!(told["exitStatus"], 7);
    assert_eq!((lab.status(pod), lab.status(one)), ("running".into(), "running".into()));
    lab.ok(&["kill", "--all", two, "KILL"]);
    lab.ok(&["delete", two]);
    eventually("no gofer", || processes_of(two).is_empty());
    // Its name can be used again.
    start(&lab, two, |config| {
        member(config, pod, "two");
        config["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "pid"}]);
        config["process"]["args"] = json!(["sleep", "1002"]);
    });
    assert_eq!(commands(&lab, two), ["sleep"]);
    // A member's gofer is that member's alone.
    for pid in processes_of(two) {
        let _ = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
    lab.await_status(two, "stopped");
    assert_eq!(lab.status(one), "running");
    assert_eq!(inside(one, "cat /tmp/of-one/f"), "of the host\n");
    lab.ok(&["delete", "--force", two]);
    // The end of the pod ends all.
    lab.ok(&["delete", "--force", pod]);
    lab.await_status(one, "stopped");
    lab.ok(&["delete", one]);
    lab.delete_and_assert_gone(one);
    eventually("no process", || processes_of(pod).is_empty() && processes_of(one).is_empty());
}

#[test]
fn a_members_limits_are_not_the_pods() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("limits", &["sleep", "1000"]);
    let (pod, one) = (&lab.id("limited"), &lab.id("member"));
    start(&lab, pod, |config| {
        config["annotations"] = json!({"io.kubernetes.cri.container-type": "sandbox"});
        config["linux"]["cgroupsPath"] = json!(format!("/{pod}"));
        config["linux"]["resources"] = json!({"pids": {"limit": 5000}});
    });
    start(&lab, one, |config| {
        member(config, pod, "member");
        config["mounts"] = json!([{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]);
        config["linux"]["cgroupsPath"] = json!(format!("/{pod}/{one}"));
    });
    let limits = || -> Vec<String> {
        let files = cgroups_named(pod).into_iter().map(|dir| dir.join("pids.max"));
        files.filter_map(|file| std::fs::read_to_string(file).ok()).collect()
    };
    let before = limits();
    lab.ok(&["update", "--pids-limit", "40", one]);
    assert_eq!(limits(), before);
    let inside = lab.ok(&["exec", one, "cat", "/sys/fs/cgroup/pids.max"]);
    assert_eq!(inside, "40\n");
    lab.ok(&["delete", "--force", one]);
    lab.ok(&["delete", "--force", pod]);
}

#[test]
fn members_need_their_pod() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("orphans", &["sleep", "1000"]);
    let id = &lab.id("orphan");
    lab.configure(|config| member(config, "nobody", "orphan"));
    let error = lab.fails(128, &["create", id]);
    assert!(error.contains("pod \"nobody\"") && error.contains("does not exist"), "{error}");
    lab.delete_and_assert_gone(id);
    // A program that cannot be run leaves the pod as it was.
    let pod = &lab.id("orphans-pod");
    start(&lab, pod, |config| {
        config["annotations"] = json!({"io.kubernetes.cri-o.ContainerType": "sandbox"});
    });
    lab.configure(|config| {
        config["annotations"] =
            json!({"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": pod});
        config["process"]["args"] = json!(["/nonexistent/program"]);
    });
    for _ in 0..2 {
        let output = lab.run(&["run", id]);
        assert_eq!(output.status.code(), Some(127), "{}", common::stderr(&output));
        eventually("no gofer", || processes_of(id).is_empty());
    }
    assert_eq!(lab.status(pod), "running");
    assert_eq!(commands(&lab, pod), ["sleep"]);
    lab.configure(|config| config["process"]["args"] = json!(["sh", "-c", "exit 5"]));
    lab.fails(5, &["run", id]);
    assert_eq!(lab.status(pod), "running");
    lab.delete_and_assert_gone(pod);
}

/// A child that is just being made dies with its parent, also where no pid name space ends with the container.
#[test]
fn a_container_that_forks_all_the_time_leaves_nothing_in_its_pod() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("forks", &["sleep", "1000"]);
    let (pod, one) = (&lab.id("nest"), &lab.id("hops"));
    let sandbox = start(&lab, pod, |config| {
        config["annotations"] = json!({"io.kubernetes.cri.container-type": "sandbox"});
        // It waits for orphans.
        config["process"]["args"] = json!(["sh", "-c", "while :; do sleep 0.1; done"]);
    });
    let hop = r#"printf '#!/bin/sh\n"$0" &\n' > /tmp/hop; chmod +x /tmp/hop
        for i in 1 2 3 4 5 6 7 8; do /tmp/hop & done; sleep 1000"#;
    let hopping = |script: &str| lab.ok(&["exec", pod, "sh", "-c", script]);
    let count = "cat /proc/[0-9]*/stat 2>/dev/null | grep -c '(hop) [^XZ]'; true";
    for end in [&["kill", "--all", one, "KILL"][..], &["delete", "--force", one]] {
        start(&lab, one, |config| {
            member(config, pod, "one");
            config["process"]["args"] = json!(["sh", "-c", hop]);
            config["linux"]["namespaces"] =
                json!([{"type": "mount"}, {"type": "pid", "path": format!("/proc/{sandbox}/ns/pid")}]);
        });
        eventually("it forks", || hopping(count) != "0\n");
        lab.ok(end);
        eventually("no orphan", || hopping(count) == "0\n");
        let _ = lab.run(&["delete", "--force", one]);
    }
    lab.ok(&["delete", "--force", pod]);
}

#[test]
fn a_wait_is_for_a_process_of_the_member() {
    if !can_run() {
        return;
    }
    let lab = Lab::new("counts", &["sleep", "1000"]);
    let (pod, one) = (&lab.id("counts-pod"), &lab.id("counts-one"));
    let sandbox = start(&lab, pod, |config| {
        config["annotations"] = json!({"io.kubernetes.cri.container-type": "sandbox"});
    });
    start(&lab, one, |config| {
        member(config, pod, "one");
        config["process"]["args"] = json!(["sh", "-c", "trap 'exit 7' TERM; sleep 1001 & wait"]);
    });
    assert!(lab.fails(128, &["wait", "--pid", "999", one]).contains("no process 999"));
    for bad in ["0", "-1"] {
        lab.fails(128, &["wait", "--pid", bad, one]);
    }
    let wait = lab.command(&["wait", "--pid", "1", one]).stdout(Stdio::piped()).spawn().unwrap();
    eventually("its wait", || common::connections(sandbox) == 1);
    eventually("its trap", || commands(&lab, one).contains(&"sleep".to_string()));
    lab.ok(&["kill", one, "TERM"]);
    let told = String::from_utf8(finish(wait).stdout).unwrap();
    assert!(told.contains("\"exitStatus\":7"), "{told}");
    lab.ok(&["delete", "--force", one]);
    lab.delete_and_assert_gone(pod);
}
