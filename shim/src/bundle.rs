//! A container's bundle: what its `config.json` says of its pod, and what is added to it before `runsc` reads it.
//!
//! * The sandbox of a pod is in the pod's cgroup where kubelet has made one, since it runs all containers of the pod.
//! * Where there is none, the pod's limits, which the Kubernetes interface tells in annotations, become the sandbox's.

use std::path::{Path, PathBuf};

use control::annotations::{POD_CGROUP, POD_ROLE, POD_SANDBOX};
use serde_json::{Value, json};

use crate::error::{Context, Result};

/// What containers that want one shim have in common outside of Kubernetes.
const GROUP_KEY: &str = "io.containerd.runc.v2.group";

/// The pod's limits: annotation, and where the value belongs in the configuration.
const LIMITS: [(&str, &str); 4] = [
    ("io.kubernetes.cri.sandbox-cpu-period", "/linux/resources/cpu/period"),
    ("io.kubernetes.cri.sandbox-cpu-quota", "/linux/resources/cpu/quota"),
    ("io.kubernetes.cri.sandbox-cpu-shares", "/linux/resources/cpu/shares"),
    ("io.kubernetes.cri.sandbox-memory", "/linux/resources/memory/limit"),
];

/// A bundle that was read.
#[derive(Debug)]
pub(crate) struct Bundle {
    path: PathBuf,
    config: Value,
}

impl Bundle {
    /// Reads the bundle at `path`.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let file = path.join("config.json");
        let what = || format!("cannot read {}", file.display());
        let text = std::fs::read_to_string(&file).context(what())?;
        Ok(Self { path: path.into(), config: serde_json::from_str(&text).context(what())? })
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.config["annotations"][key].as_str().filter(|value| !value.is_empty())
    }

    fn first(&self, keys: [&str; 2]) -> Option<&str> {
        keys.iter().find_map(|key| self.annotation(key))
    }

    /// The sandbox that the container joins, where it joins one.
    pub(crate) fn joined_sandbox(&self) -> Option<&str> {
        self.first(POD_SANDBOX).filter(|_| self.first(POD_ROLE) == Some("container"))
    }

    /// What the container shares its shim by.
    pub(crate) fn group(&self) -> Option<&str> {
        self.first(POD_SANDBOX).or_else(|| self.annotation(GROUP_KEY))
    }

    /// Adds what `runsc` has to be told.
    pub(crate) fn prepare(mut self) -> Result<()> {
        if self.first(POD_ROLE) != Some("sandbox") {
            return Ok(());
        }
        let path = self.config["linux"]["cgroupsPath"].as_str().unwrap_or_default();
        match pod_cgroup(path).map(String::from) {
            Some(pod) => self.config["annotations"][POD_CGROUP] = pod.into(),
            None => self.take_limits(),
        }
        let what = "cannot write config.json";
        let text = serde_json::to_vec(&self.config).context(what)?;
        // In one step: a container is never made of half a configuration.
        let (new, old) = (self.path.join("config.json.new"), self.path.join("config.json"));
        std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &old)).context(what)
    }

    fn take_limits(&mut self) {
        for (key, place) in LIMITS {
            let number = self.annotation(key).and_then(|value| value.parse::<i64>().ok());
            if let Some(number) = number.filter(|number| *number != 0) {
                set(&mut self.config, place, number.into());
            }
        }
    }
}

/// Sets a value, with the objects on the way to it.
fn set(config: &mut Value, place: &str, value: Value) {
    let mut at = config;
    for name in place.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[name];
    }
    *at = value;
}

/// The cgroup of the pod that kubelet made, of which the sandbox's own, at `path`, is a child: with systemd the slice
/// of `slice:prefix:name`, otherwise the parent directory.
fn pod_cgroup(path: &str) -> Option<&str> {
    let parts: Vec<&str> = path.split(':').collect();
    let parent = match parts.as_slice() {
        [slice, _, _] => slice,
        _ => path.rsplit_once('/')?.0,
    };
    let name = parent.rsplit('/').next().unwrap_or_default();
    let is_pods = name.starts_with("pod") || (name.starts_with("kubepods") && name.contains("-pod"));
    is_pods.then_some(parent)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Bundle, POD_CGROUP, pod_cgroup};

    fn prepared(name: &str, config: &Value) -> Value {
        let path = std::env::temp_dir().join(format!("shim-bundle-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let file = path.join("config.json");
        std::fs::write(&file, config.to_string()).unwrap();
        Bundle::load(&path).unwrap().prepare().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn cgroups_of_pods_are_known_by_their_names() {
        for (path, pod) in [
            ("/kubepods/burstable/pod12-3/abc", Some("/kubepods/burstable/pod12-3")),
            ("kubepods-besteffort-pod1_2.slice:cri-containerd:abc", Some("kubepods-besteffort-pod1_2.slice")),
            ("/k8s.io/abc", None),
            ("system.slice:cri-containerd:abc", None),
            ("abc", None),
            ("", None),
        ] {
            assert_eq!(pod_cgroup(path), pod, "{path}");
        }
    }

    #[test]
    fn a_pods_limits_are_its_sandboxs() {
        let annotations = json!({
            "io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "s",
            "io.kubernetes.cri.sandbox-cpu-period": "100000", "io.kubernetes.cri.sandbox-cpu-quota": "66000",
            "io.kubernetes.cri.sandbox-cpu-shares": "0", "io.kubernetes.cri.sandbox-memory": "1048576",
        });
        let config = |cgroup: &str| json!({"annotations": annotations, "linux": {"cgroupsPath": cgroup}});
        let own = prepared("own", &config("/k8s.io/s"));
        assert_eq!(
            own["linux"]["resources"],
            json!({"cpu": {"period": 100_000, "quota": 66_000}, "memory": {"limit": 1_048_576}})
        );
        let pods = prepared("pods", &config("/kubepods/podx/s"));
        assert_eq!(pods["annotations"][POD_CGROUP], "/kubepods/podx");
        assert_eq!(pods["linux"]["resources"], Value::Null);
    }

    #[test]
    fn containers_are_left_as_they_are_and_know_their_pod() {
        let config = json!({"annotations": {
            "io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": "s"}});
        assert_eq!(prepared("member", &config), config);
        let bundle = |config: Value| Bundle { path: "/".into(), config };
        let member = bundle(config);
        assert_eq!((member.group(), member.joined_sandbox()), (Some("s"), Some("s")));
        let alone = bundle(json!({}));
        assert_eq!((alone.group(), alone.joined_sandbox()), (None, None));
        let sandbox = bundle(json!({"annotations": {
            "io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "s"}}));
        assert_eq!((sandbox.group(), sandbox.joined_sandbox()), (Some("s"), None));
    }
}
