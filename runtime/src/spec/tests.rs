//! Configurations from hell.

use std::path::Path;

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_oneof, proptest};
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
fn what_has_no_effect_is_said_once() {
    let mut json = good();
    json["process"]["selinuxLabel"] = json!("a:b:c");
    json["process"]["apparmorProfile"] = json!("mine");
    json["linux"]["personality"] = json!({"domain": "LINUX32"});
    json["linux"]["mountLabel"] = json!("");
    json["linux"]["resources"] = json!({
        "cpu": {"realtimePeriod": 5, "realtimeRuntime": 0},
        "memory": {"disableOOMKiller": false},
        "rdma": {"mlx": {"hcaHandles": 3}},
        "blockIO": {"throttleReadBpsDevice": []},
        "unified": {"cgroup.max.depth": "4"},
    });
    let warnings = |mut json: Value| {
        let mut findings = super::shape::Findings::default();
        super::rules::check_config(&mut json, &mut findings);
        assert!(findings.problems.is_empty(), "{:?}", findings.problems);
        findings.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let said = warnings(json.clone());
    for part in ["selinuxLabel", "apparmorProfile", "personality", "cpu/realtimePeriod, rdma"] {
        assert_eq!(said.iter().filter(|line| line.contains(part)).count(), 1, "{part}: {said:?}");
    }
    assert_eq!(said.len(), 4, "{said:?}");
    json["process"]["apparmorProfile"] = json!("docker-default");
    assert_eq!(warnings(json).len(), 3);
}

#[test]
fn hostile_values_are_refused() {
    let cases = [
        ("/process/args", json!(["a\0b"]), "$.process.args[0]"),
        ("/process/args", json!("sh"), "$.process.args"),
        (
            "/linux/uidMappings",
            json!([{"containerID": u64::MAX, "hostID": 0, "size": 2}]),
            "$.linux.uidMappings[0]",
        ),
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
        (
            "/mounts",
            json!([{"destination": "/x", "type": "tmpfs", "uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}]),
            "$.mounts[0].uidMappings",
        ),
        (
            "/linux/resources",
            json!({"unified": {"cgroup.procs": "1"}}),
            "$.linux.resources.unified: \"cgroup.procs\"",
        ),
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

/// All places in a document, as JSON pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.into());
    match value {
        Value::Object(object) => {
            object.iter().for_each(|(key, inner)| places(inner, &format!("{at}/{key}"), found));
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, inner)| places(inner, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(Value::from("bind")),
        Just(Value::from("/")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{1,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn odd_documents_are_refused_or_understood(changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4)) {
        let mut json = good();
        for (place, value) in changes {
            let mut all = Vec::new();
            places(&json, "", &mut all);
            if let Some(found) = json.pointer_mut(place.get(all.as_slice()).as_str()) {
                *found = value;
            }
        }
        if let Ok(spec) = load(json) {
            prop_assert!(!spec.process().unwrap().args().as_ref().unwrap().is_empty());
            // Looking at the host may fail; it must not panic.
            let config = crate::flags::Config::new(&crate::flags::Flags::default()).unwrap();
            let _ = super::mounts::plan(&spec, &config);
            let _ = crate::sandbox::machine::host_plan(spec.resources(), true, true);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "\\PC{0,200}") {
        if let Ok(json) = parse(&text, "x") {
            let _ = load(json);
        }
    }
}
