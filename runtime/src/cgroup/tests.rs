//! Paths and files on trees that are made up.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::layout::Layout;
use super::path::{Place, relative};
use super::{CgroupDir, CgroupRecord, Sharing, create, is_ancestor, v2};

const HYBRID: &str = "\
25 30 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
26 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
27 25 0:25 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
28 25 0:26 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
29 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
junk
";
const HYBRID_OWN: &str = "4:memory:/docker/x/own\n3:cpu,cpuacct:/a\n1:name=systemd:/s\n0::/u\n";

#[test]
fn layouts_are_recognised() {
    let Layout::V1 { hierarchies } = Layout::parse(HYBRID, HYBRID_OWN) else { panic!("not version 1") };
    let own: Vec<_> =
        hierarchies.iter().map(|h| (h.controllers.join(","), h.own.display().to_string())).collect();
    assert_eq!(
        own,
        [
            ("cpu,cpuacct".into(), "a".to_string()),
            ("memory".into(), "own".to_string()),
            ("name=systemd".into(), "s".to_string()),
        ]
    );
    let v2 = "29 25 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
    let expected = Layout::V2 { root: "/sys/fs/cgroup".into(), own: "user.slice/x".into() };
    assert_eq!(Layout::parse(v2, "0::/user.slice/x\n"), expected);
    assert_eq!(Layout::parse("", ""), Layout::None);
}

#[test]
fn paths_have_runcs_meaning() {
    let root = |path: &str| Place::FromRoot(PathBuf::from(path));
    assert_eq!(relative("/docker/abc", false).unwrap(), root("docker/abc"));
    assert_eq!(relative("abc", false).unwrap(), Place::FromOwn("abc".into()));
    assert_eq!(relative("system.slice:docker:abc", false).unwrap(), root("system.slice/docker-abc.scope"));
    let nested = "kubepods.slice/kubepods-burstable.slice/cri-abc.scope";
    assert_eq!(relative("kubepods-burstable.slice:cri:abc", true).unwrap(), root(nested));
    assert_eq!(relative("-.slice::abc", true).unwrap(), root("abc.scope"));
    assert_eq!(relative(":x:abc", true).unwrap(), root("system.slice/x-abc.scope"));
    for bad in ["/a/../..", "a.slice:x:", "a:x:y", "a--b.slice:x:y"] {
        assert!(relative(bad, false).is_err(), "{bad}");
    }
    assert!(relative("/docker/abc", true).unwrap_err().to_string().contains("--systemd-cgroup"));
}

#[test]
fn a_pods_cgroup_holds_the_containers() {
    assert!(is_ancestor("/kubepods/pod1", "/kubepods/pod1/c", false));
    assert!(is_ancestor("/kubepods.slice", "kubepods-burstable.slice:cri:abc", true));
    for bad in
        ["/", "", ".", "/kubepods/pod1/c", "/kubepods/pod", "/other", "kubepods/pod1", "/kubepods/../x"]
    {
        assert!(!is_ancestor(bad, "/kubepods/pod1/c", false), "{bad}");
    }
}

#[test]
fn processes_of_others_are_not_ours() {
    let dir = CgroupDir { controllers: vec!["cpu".into()], path: std::env::temp_dir() };
    let record = CgroupRecord { dirs: vec![dir], made: Vec::new(), unit: None, is_pods: false };
    assert!(record.own_pids().is_empty());
}

#[test]
fn version_2_has_its_own_numbers() {
    let resources = json!({
        "memory": {"limit": 100, "swap": 150, "reservation": 50},
        "cpu": {"shares": 1024, "quota": 50000, "period": 100_000, "cpus": "0"},
        "pids": {"limit": -1},
        "blockIO": {"weight": 1000},
        "unified": {"memory.high": "90"},
    });
    let settings = v2::settings(&resources);
    let expected = [
        ("memory.swap.max", "50"),
        ("memory.max", "100"),
        ("memory.low", "50"),
        ("cpu.weight", "39"),
        ("cpu.max", "50000 100000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "max"),
        ("io.weight", "10000"),
        ("memory.high", "90"),
    ];
    let settings: Vec<_> = settings.iter().map(|(file, value)| (file.as_str(), value.as_str())).collect();
    assert_eq!(settings, expected);
    assert!(v2::settings(&json!({})).is_empty());
}

fn fake_root(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("runsc-cgroup-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).unwrap();
    root
}

#[test]
fn what_was_made_is_removed() {
    let root = fake_root("made");
    std::fs::create_dir(root.join("there")).unwrap();
    let layout = Layout::V2 { root: root.clone(), own: PathBuf::new() };
    let record = create(&layout, "/there/a/b", &json!(null), false, Sharing::Alone, false, |_| Ok(()))
        .unwrap()
        .unwrap();
    let record = record.record;
    assert_eq!(record.made, [root.join("there/a"), root.join("there/a/b")]);
    assert!(record.is_v2() && record.clone_directory().unwrap().is_some());
    record.remove();
    assert!(root.join("there").is_dir() && !root.join("there/a").exists());
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_cgroup_with_processes_is_refused_unless_it_is_a_pods() {
    let root = fake_root("inhabited");
    let dir = root.join("there");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("cgroup.procs"), "1\n").unwrap();
    let layout = Layout::V2 { root: root.clone(), own: PathBuf::new() };
    let make = |sharing| create(&layout, "/there", &json!(null), false, sharing, false, |_| Ok(()));
    let error = make(Sharing::Alone).unwrap_err().to_string();
    assert!(error.contains("not empty") && error.contains("cgroupsPath"), "{error}");
    let pods = make(Sharing::Pod).unwrap().unwrap().record;
    assert!(!pods.is_ours() && pods.own_pids().is_empty());
    std::fs::write(dir.join("cgroup.procs"), "").unwrap();
    assert!(!make(Sharing::Alone).unwrap().unwrap().record.is_ours());
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_another_caller_makes_meanwhile_is_its_own() {
    let root = fake_root("race");
    let layout = Layout::V2 { root: root.clone(), own: PathBuf::new() };
    let others = root.join("a/b");
    let note = |record: &CgroupRecord| {
        assert_eq!(record.made, [root.join("a"), others.clone()]);
        std::fs::create_dir_all(&others).unwrap();
        Ok(())
    };
    let made = create(&layout, "/a/b", &json!(null), false, Sharing::Alone, false, note).unwrap().unwrap();
    assert!(made.record.own_pids().is_empty());
    made.record.remove();
    assert!(others.is_dir());
    std::fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_cannot_be_set_is_undone() {
    let root = fake_root("undone");
    let layout = Layout::V2 { root: root.clone(), own: PathBuf::new() };
    // A fake tree has no control files: each limit fails.
    let limits = json!({"pids": {"limit": 5}});
    let error =
        create(&layout, "/a", &limits, false, Sharing::Alone, false, |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("pids.max") && error.contains("--ignore-cgroups"), "{error}");
    assert!(!root.join("a").exists());
    assert!(create(&layout, "/a", &limits, false, Sharing::Alone, true, |_| Ok(())).unwrap().is_none());
    assert!(create(&Layout::None, "/a", &limits, false, Sharing::Alone, false, |_| Ok(())).is_err());
    assert!(Path::new(&root).is_dir());
    std::fs::remove_dir_all(root).unwrap();
}
