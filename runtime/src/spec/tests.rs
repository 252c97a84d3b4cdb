//! Configurations from hell.

use std::path::Path;

use serde_json::{Value, json};

use super::mounts::clean;
use super::{Spec, parse};

fn good() -> Value {
    super::default::config(&["sh".into()], "/", "/", None)
}

fn load(json: Value) -> Result<Spec, String> {
    Spec::from_json(json, Path::new("/"), "config.json").map_err(|error| error.to_string())
}

fn with(pointer: &str, value: Value) -> Value {
    let mut json = good();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    json.pointer_mut(parent).unwrap()[name] = value;
    json
}

#[test]
fn the_default_is_valid() {
    let spec = load(good()).unwrap();
    assert_eq!(spec.process().unwrap().args().as_ref().unwrap()[0], "sh");
    assert!(!spec.wants_terminal());
}

#[test]
fn every_problem_is_named_at_once() {
    let mut json = good();
    json["process"]["args"] = json!([]);
    json["process"]["cwd"] = json!("tmp");
    json["process"]["user"]["uid"] = json!(-1);
    json["hostname"] = json!(7);
    json["mounts"][1]["destination"] = json!("");
    let error = load(json).unwrap_err();
    for path in [
        "$.process.args:",
        "$.process.cwd:",
        "$.process.user.uid:",
        "$.hostname:",
        "$.mounts[1].destination:",
    ] {
        assert!(error.contains(path), "{path} is not in {error}");
    }
    assert!(error.contains("5 places"), "{error}");
}

#[test]
fn unknown_names_are_ignored() {
    let mut json = good();
    json["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_NEWTHING"]);
    json["process"]["rlimits"] = json!([{"type": "RLIMIT_NEW", "hard": 1, "soft": 1}]);
    json["linux"]["namespaces"][0]["type"] = json!("newspace");
    json["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NEW"]});
    json["linux"]["future"] = json!({"x": [1, null]});
    json["process"]["env"] = Value::Null;
    let spec = load(json).unwrap();
    assert_eq!(spec.json["process"]["capabilities"]["bounding"], json!(["CAP_KILL"]));
    assert_eq!(spec.json["process"]["rlimits"], json!([]));
}

#[test]
fn hostile_values_are_refused() {
    let cases = [
        ("/process/args", json!(["a\0b"]), "$.process.args[0]"),
        ("/process/args", json!("sh"), "$.process.args"),
        ("/process/args", json!([""]), "$.process.args[0]"),
        ("/process", json!(null), "$.process"),
        ("/process/oomScoreAdj", json!(5000), "$.process.oomScoreAdj"),
        ("/process/rlimits", json!([{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]), "$.process.rlimits[0]"),
        ("/process/user/uid", json!(4_294_967_296_u64), "$.process.user.uid"),
        ("/process/user/uid", json!(1.5), "$.process.user.uid"),
        ("/root", json!({}), "$.root.path"),
        ("/root", json!({"path": ""}), "$.root.path"),
        ("/ociVersion", json!("2.0"), "$.ociVersion"),
        ("/hostname", json!("x".repeat(65)), "$.hostname"),
        ("/mounts", json!([{"destination": "/x", "type": "bind"}]), "$.mounts[0].source"),
        ("/hooks", json!({"prestart": [{"path": "rel"}]}), "$.hooks.prestart[0].path"),
        ("/linux/namespaces", json!([{"type": "pid"}, {"type": "pid"}]), "$.linux.namespaces[1]"),
        ("/linux/uidMappings", json!([{"containerID": 0, "hostID": 0, "size": 1}]), "$.linux.uidMappings"),
        ("/linux/resources", json!({"cpu": {"cpus": "0-"}}), "$.linux.resources.cpu.cpus"),
        ("/linux/resources", json!({"memory": {"limit": 9, "swap": 8}}), "$.linux.resources.memory.swap"),
        ("/linux/resources", json!({"unified": {"../x": "1"}}), "$.linux.resources.unified"),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_WHAT"}), "$.linux.seccomp.defaultAction"),
    ];
    for (pointer, value, path) in cases {
        let error = load(with(pointer, value)).unwrap_err();
        assert!(error.contains(path), "{pointer}: {error}");
    }
    for json in [json!(null), json!([]), json!("x"), json!({})] {
        assert!(load(json).is_err());
    }
}

#[test]
fn broken_json_has_a_line() {
    let error = parse("{\n  \"a\": trx\n}", "config.json").unwrap_err().to_string();
    assert!(error.contains("line 2"), "{error}");
    let deep = "[".repeat(100_000);
    assert!(parse(&deep, "config.json").is_err());
}

#[test]
fn paths_are_cleaned() {
    for (from, to) in [("/a//b/./c/..", "/a/b"), ("a", "/a"), ("/../..", "/"), ("", "/")] {
        assert_eq!(clean(from), to);
    }
}
