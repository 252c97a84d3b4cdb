//! `runsc features`: what this runtime can do (`features.md` of the OCI specification).

use clap::Args;
use serde_json::{Map, Value, json};

use super::OCI_VERSION;
use crate::error::Result;
use crate::flags::FLAGS;
use crate::spec::names;

/// `runsc features`.
#[derive(Debug, Args)]
pub(crate) struct Features {}

impl Features {
    /// Prints them.
    pub(crate) fn run(&self) -> Result<u8> {
        say!("{:#}", features());
        Ok(0)
    }
}

fn features() -> Value {
    let hooks = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
    let mount_options = [
        "async",
        "atime",
        "bind",
        "defaults",
        "dev",
        "diratime",
        "exec",
        "noatime",
        "nodev",
        "nodiratime",
        "noexec",
        "nosuid",
        "nosymfollow",
        "private",
        "rbind",
        "relatime",
        "ro",
        "rprivate",
        "rslave",
        "rw",
        "slave",
        "strictatime",
        "suid",
        "sync",
    ];
    let annotations: Map<String, Value> = FLAGS
        .iter()
        .map(|flag| (format!("dev.gvisor.flag.{}", flag.name), Value::from(flag.default)))
        .collect();
    json!({
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": hooks,
        "mountOptions": mount_options,
        "linux": {
            "namespaces": names::NAMESPACES,
            "capabilities": names::CAPABILITIES,
            "cgroup": {"v1": true, "v2": true, "systemd": true, "systemdUser": false, "rdma": false},
            "seccomp": {
                "enabled": true,
                "actions": names::ACTIONS,
                "operators": names::OPERATORS,
                "archs": ["SCMP_ARCH_X86_64"],
            },
            "apparmor": {"enabled": false},
            "selinux": {"enabled": false},
            "intelRdt": {"enabled": false},
            "mountExtensions": {"idmap": {"enabled": false}},
        },
        "annotations": annotations,
        "potentiallyUnsafeConfigAnnotations": ["dev.gvisor."],
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn they_have_the_specified_form() {
        let features: oci_spec::runtime::Features = serde_json::from_value(super::features()).unwrap();
        assert_eq!(features.oci_version_min(), "1.0.0");
    }
}
