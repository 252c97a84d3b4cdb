//! What the form alone does not say: names that must be known, paths that must be absolute, numbers that must fit
//! each other. Names that only a newer kernel or specification knows are taken out with a warning, so that one of them
//! does not make a whole configuration unusable.

use std::collections::BTreeSet;

use serde_json::Value;

use super::limits;
use super::names::{ACTIONS, CAPABILITIES, NAMESPACES, OPERATORS};
use super::shape::{Findings, shown};

/// The longest host name that Linux takes.
const MAX_HOSTNAME: usize = 64;
/// The most mounts of one container: each takes a descriptor of its gofer.
const MAX_MOUNTS: usize = 4096;

/// Checks a whole configuration, and takes out what is not known.
pub(super) fn check_config(config: &mut Value, findings: &mut Findings) {
    check_version(config, findings);
    if config.get("root").is_none_or(Value::is_null) {
        findings.problem("$.root", "it is missing: a container needs a root file system");
    } else if text(&config["root"]["path"]).is_some_and(str::is_empty) {
        findings.problem("$.root.path", "it is empty");
    }
    match config.get_mut("process") {
        None | Some(Value::Null) => findings.problem("$.process", "it is missing: there is nothing to run"),
        Some(process) => check_process(process, "$.process", findings),
    }
    for name in ["hostname", "domainname"] {
        if text(&config[name]).is_some_and(|name| name.len() > MAX_HOSTNAME) {
            findings.problem(&format!("$.{name}"), format!("it is longer than {MAX_HOSTNAME} bytes"));
        }
    }
    check_mounts(config, findings);
    check_hooks(config, findings);
    if let Some(linux) = config.get_mut("linux").filter(|linux| linux.is_object()) {
        check_linux(linux, findings);
    }
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn check_version(config: &Value, findings: &mut Findings) {
    let Some(version) = text(&config["ociVersion"]) else { return };
    if !version.starts_with("1.") {
        findings.problem("$.ociVersion", format!("version \"{version}\" is not 1.x, which is what we speak"));
    }
}

/// Checks a process, and takes out what is not known.
pub(super) fn check_process(process: &mut Value, path: &str, findings: &mut Findings) {
    let Some(object) = process.as_object() else { return };
    match object.get("args").and_then(Value::as_array) {
        Some(args) if args.is_empty() => {
            findings.problem(&format!("{path}.args"), "it is empty: there is nothing to run");
        }
        Some(args) if args[0].as_str() == Some("") => {
            findings.problem(&format!("{path}.args[0]"), "the program's name is empty");
        }
        _ => {}
    }
    if let Some(cwd) = object.get("cwd").and_then(Value::as_str)
        && !cwd.starts_with('/')
    {
        let advice = "it must be an absolute path in the container, such as \"/\"";
        findings.problem(&format!("{path}.cwd"), format!("\"{cwd}\": {advice}"));
    }
    for (index, entry) in list(process, "env").iter().enumerate() {
        if entry.as_str().is_some_and(|entry| !entry.contains('=')) {
            findings.warning(&format!("{path}.env[{index}]"), format!("{} has no '='", shown(entry)));
        }
    }
    if process["user"]["username"].as_str().is_some_and(|name| !name.is_empty()) {
        let advice = "it is for Windows and ignored: give uid and gid";
        findings.warning(&format!("{path}.user.username"), advice);
    }
    check_ids(&process["user"], &format!("{path}.user"), findings);
    warn_ignored(process, path, IGNORED_OF_PROCESS, findings);
    limits::check(process, path, findings);
    if let Some(capabilities) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        for (set, names) in capabilities {
            keep_known(names, CAPABILITIES, &format!("{path}.capabilities.{set}"), "capability", findings);
        }
    }
}

/// Refuses the number that calls take for "no change" (`man 2 setresuid`): nobody can have it.
fn check_ids(user: &Value, path: &str, findings: &mut Findings) {
    let mut check = |path: String, id: &Value| {
        if id.as_u64() == Some(u64::from(u32::MAX)) {
            findings.problem(&path, format!("{id} is no id: calls take it for -1"));
        }
    };
    for name in ["uid", "gid"] {
        check(format!("{path}.{name}"), &user[name]);
    }
    for (index, gid) in list(user, "additionalGids").iter().enumerate() {
        check(format!("{path}.additionalGids[{index}]"), gid);
    }
}

/// What says how the host's kernel is to treat a process, for the guest's, which has nothing of the kind.
const IGNORED_OF_PROCESS: &[(&str, &str)] = &[
    ("selinuxLabel", "the guest's kernel has no SELinux, and the sandbox confines itself"),
    ("ioPriority", "the guest's kernel has no I/O scheduler"),
    ("scheduler", "guests are scheduled by the host as it likes"),
];
const IGNORED_OF_LINUX: &[(&str, &str)] = &[
    ("mountLabel", "the guest's kernel has no SELinux"),
    ("personality", "programs choose theirs by personality(2)"),
    ("intelRdt", "the sandbox is not put into a resource control group"),
];

/// Says once of each member that is there what becomes of it.
fn warn_ignored(object: &Value, path: &str, members: &[(&str, &str)], findings: &mut Findings) {
    for (name, why) in members {
        if is_said(&object[*name]) {
            findings.warning(&format!("{path}.{name}"), format!("it is ignored: {why}"));
        }
    }
    // Docker and its like name a profile of their own on each host that has AppArmor at all: that is no wish.
    let profile = text(&object["apparmorProfile"]).unwrap_or_default();
    let is_wish = !["", "unconfined", "cri-containerd.apparmor.d"].contains(&profile);
    if is_wish && !profile.contains("default") {
        let why = "the guest's kernel has no AppArmor, and the sandbox confines itself";
        findings.warning(&format!("{path}.apparmorProfile"), format!("it is ignored: {why}"));
    }
}

/// Removes from a list of names those that are not in `known`.
fn keep_known(names: &mut Value, known: &[&str], path: &str, what: &str, findings: &mut Findings) {
    let Some(names) = names.as_array_mut() else { return };
    let mut index = 0;
    names.retain(|name| {
        let keep = name.as_str().is_none_or(|name| known.contains(&name));
        if !keep {
            findings
                .warning(&format!("{path}[{index}]"), format!("unknown {what} {} is ignored", shown(name)));
        }
        index += 1;
        keep
    });
}

fn check_mounts(config: &Value, findings: &mut Findings) {
    let mounts = list(config, "mounts");
    if mounts.len() > MAX_MOUNTS {
        findings.problem("$.mounts", format!("{} mounts are more than {MAX_MOUNTS}", mounts.len()));
    }
    for (index, mount) in mounts.iter().enumerate() {
        let path = format!("$.mounts[{index}]");
        let destination = text(&mount["destination"]).unwrap_or("/");
        if destination.is_empty() {
            findings.problem(&format!("{path}.destination"), "it is empty");
        } else if !destination.starts_with('/') {
            // runc takes it as below the root, with a warning; so do we.
            findings.warning(
                &format!("{path}.destination"),
                format!("\"{destination}\" is taken as below \"/\""),
            );
        }
        for name in ["uidMappings", "gidMappings"] {
            if !list(mount, name).is_empty() {
                let advice = "the ids of a mount cannot be mapped: map them for the file system on the host";
                findings.problem(&format!("{path}.{name}"), advice);
            }
        }
        let bind = super::mounts::is_bind(mount);
        if bind && text(&mount["source"]).is_none_or(str::is_empty) {
            findings.problem(&format!("{path}.source"), "it is missing: a bind mount needs a source");
        }
    }
}

fn check_hooks(config: &Value, findings: &mut Findings) {
    let Some(hooks) = config.get("hooks").and_then(Value::as_object) else { return };
    for (stage, hooks) in hooks {
        for (index, hook) in hooks.as_array().map_or(&[][..], Vec::as_slice).iter().enumerate() {
            let path = format!("$.hooks.{stage}[{index}].path");
            if text(&hook["path"]).is_some_and(|program| !program.starts_with('/')) {
                findings.problem(&path, format!("{}: it must be an absolute path", shown(&hook["path"])));
            }
        }
    }
}

fn check_linux(linux: &mut Value, findings: &mut Findings) {
    check_namespaces(linux, findings);
    for name in ["uidMappings", "gidMappings"] {
        check_mappings(list(linux, name), &format!("$.linux.{name}"), findings);
    }
    for name in ["maskedPaths", "readonlyPaths"] {
        for (index, path) in list(linux, name).iter().enumerate() {
            if text(path).is_some_and(|path| !path.starts_with('/')) {
                findings
                    .problem(&format!("$.linux.{name}[{index}]"), format!("{} is not absolute", shown(path)));
            }
        }
    }
    warn_ignored(linux, "$.linux", IGNORED_OF_LINUX, findings);
    check_devices(linux, findings);
    if let Some(how) = linux["rootfsPropagation"].as_str() {
        let known =
            ["", "shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable"];
        if !known.contains(&how) {
            findings.problem("$.linux.rootfsPropagation", format!("\"{how}\" is not a kind of propagation"));
        }
    }
    if let Some(resources) = linux.get("resources") {
        check_resources(resources, "$.linux.resources", findings);
    }
    if linux.get("seccomp").is_some_and(Value::is_object) {
        check_seccomp(&mut linux["seccomp"], findings);
    }
}

/// The character devices that the sentry has drivers for: major, minor.
const DRIVERS: &[(i64, i64)] = &[(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (1, 11), (5, 0), (5, 1), (5, 2)];

/// Checks device nodes. Those that nothing is behind are made all the same, as gVisor does, and said once.
fn check_devices(linux: &Value, findings: &mut Findings) {
    let mut lifeless = Vec::new();
    for (index, device) in list(linux, "devices").iter().enumerate() {
        let path = format!("$.linux.devices[{index}]");
        let name = text(&device["path"]).unwrap_or("/");
        if !name.starts_with('/') {
            findings.problem(&format!("{path}.path"), format!("{} is not absolute", shown(&device["path"])));
        }
        let kind = text(&device["type"]).unwrap_or("c");
        if !["c", "u", "b", "p"].contains(&kind) {
            findings.problem(&format!("{path}.type"), format!("\"{kind}\" is not one of c, u, b, p"));
        }
        let number = (device["major"].as_i64(), device["minor"].as_i64());
        let has_driver = match number {
            (Some(major), Some(minor)) => kind != "b" && DRIVERS.contains(&(major, minor)),
            _ => false,
        };
        if kind != "p" && (number.0.is_none() || number.1.is_none()) {
            findings.problem(&path, "major and minor are missing: a device needs both");
        } else if kind != "p" && !has_driver {
            lifeless.push(name);
        }
    }
    if !lifeless.is_empty() {
        let what = "nothing is behind these in a sandbox, opening them fails with ENXIO";
        findings.warning("$.linux.devices", format!("{}: {what}", lifeless.join(", ")));
    }
}

fn check_namespaces(linux: &mut Value, findings: &mut Findings) {
    let Some(spaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) else { return };
    let (mut seen, mut index) = (BTreeSet::new(), 0);
    spaces.retain(|space| {
        let path = format!("$.linux.namespaces[{index}]");
        index += 1;
        let Some(kind) = space["type"].as_str() else { return true };
        if !NAMESPACES.contains(&kind) {
            findings.warning(&path, format!("unknown name space \"{kind}\" is ignored"));
            return false;
        }
        if !seen.insert(kind.to_string()) {
            findings.problem(&path, format!("name space \"{kind}\" is there twice"));
        }
        if text(&space["path"]).is_some_and(|path| !path.is_empty() && !path.starts_with('/')) {
            findings.problem(&format!("{path}.path"), format!("{} is not absolute", shown(&space["path"])));
        }
        true
    });
    let mapped = !list(linux, "uidMappings").is_empty() || !list(linux, "gidMappings").is_empty();
    if mapped && !seen.contains("user") {
        findings.problem(
            "$.linux.uidMappings",
            "there is no \"user\" among $.linux.namespaces for these mappings",
        );
    }
}

fn check_mappings(mappings: &[Value], path: &str, findings: &mut Findings) {
    let mut ranges: Vec<(u64, u64, usize)> = Vec::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let (Some(start), Some(size)) = (mapping["containerID"].as_u64(), mapping["size"].as_u64()) else {
            continue;
        };
        if size == 0 {
            findings.problem(&format!("{path}[{index}].size"), "it is 0");
        }
        let Some(end) = start.checked_add(size) else {
            findings.problem(&format!("{path}[{index}]"), "it goes beyond the largest id there is");
            continue;
        };
        if let Some((.., other)) = ranges.iter().find(|(from, to, _)| start < *to && *from < end) {
            findings.problem(&format!("{path}[{index}]"), format!("it overlaps with [{other}]"));
        }
        ranges.push((start, end, index));
    }
}

/// Limits that the specification has and that change nothing here.
const INEFFECTIVE: &[&str] = &[
    "/cpu/realtimeRuntime",
    "/cpu/realtimePeriod",
    "/memory/kernel",
    "/memory/kernelTCP",
    "/memory/disableOOMKiller",
    "/blockIO/leafWeight",
    "/blockIO/weightDevice",
    "/blockIO/throttleReadBpsDevice",
    "/blockIO/throttleWriteBpsDevice",
    "/blockIO/throttleReadIOPSDevice",
    "/blockIO/throttleWriteIOPSDevice",
    "/hugepageLimits",
    "/network",
    "/rdma",
];

/// Whether a member says something: callers write 0, false and empty lists for what they do not mean.
fn is_said(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is_set) => *is_set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(members) => members.values().any(is_said),
    }
}

/// Checks limits.
pub(super) fn check_resources(resources: &Value, path: &str, findings: &mut Findings) {
    let ignored: Vec<&str> = INEFFECTIVE
        .iter()
        .filter(|pointer| resources.pointer(pointer).is_some_and(is_said))
        .map(|pointer| &pointer[1..])
        .collect();
    if !ignored.is_empty() {
        findings.warning(path, format!("these limits have no effect here: {}", ignored.join(", ")));
    }
    let (memory, cpu) = (&resources["memory"], &resources["cpu"]);
    if let (Some(limit), Some(swap)) = (memory["limit"].as_i64(), memory["swap"].as_i64())
        && swap > 0
        && limit > swap
    {
        let what = format!("memory with swap ({swap}) is less than memory alone ({limit})");
        findings.problem(&format!("{path}.memory.swap"), what);
    }
    if cpu["period"].as_u64().is_some_and(|period| period != 0 && !(1000..=1_000_000).contains(&period)) {
        findings.problem(&format!("{path}.cpu.period"), "it is not between 1000 and 1000000 microseconds");
    }
    if cpu["quota"].as_i64().is_some_and(|quota| quota > 0 && quota < 1000) {
        findings.problem(&format!("{path}.cpu.quota"), "it is less than 1000 microseconds");
    }
    for name in ["cpus", "mems"] {
        if let Some(set) = cpu[name].as_str()
            && !set.is_empty()
            && super::cpu_list::parse(set).is_none()
        {
            findings.problem(&format!("{path}.cpu.{name}"), format!("\"{set}\" is not a list such as 0-2,7"));
        }
    }
    for key in resources["unified"].as_object().into_iter().flat_map(serde_json::Map::keys) {
        if key.contains('/') || key.starts_with('.') || !key.contains('.') {
            findings
                .problem(&format!("{path}.unified"), format!("\"{key}\" is not the name of a cgroup file"));
        } else if key.starts_with("cgroup.") && !key.starts_with("cgroup.max.") {
            let why = "it is for the runtime to manage the cgroup itself: only limits can be set";
            findings.problem(&format!("{path}.unified"), format!("\"{key}\": {why}"));
        }
    }
}

fn check_seccomp(seccomp: &mut Value, findings: &mut Findings) {
    let path = "$.linux.seccomp";
    let action = |value: &Value, path: &str, findings: &mut Findings| {
        if text(value).is_some_and(|action| !ACTIONS.contains(&action)) {
            findings.problem(path, format!("unknown action {}", shown(value)));
        }
    };
    action(&seccomp["defaultAction"], &format!("{path}.defaultAction"), findings);
    for (index, call) in list(seccomp, "syscalls").iter().enumerate() {
        action(&call["action"], &format!("{path}.syscalls[{index}].action"), findings);
        for (argument, check) in list(call, "args").iter().enumerate() {
            if text(&check["op"]).is_some_and(|op| !OPERATORS.contains(&op)) {
                let here = format!("{path}.syscalls[{index}].args[{argument}].op");
                findings.problem(&here, format!("unknown operator {}", shown(&check["op"])));
            }
        }
    }
    if let Some(names) = seccomp.get_mut("architectures") {
        let known = super::names::ARCHITECTURES;
        keep_known(names, known, &format!("{path}.architectures"), "architecture", findings);
    }
}
