//! The OCI specification's `process` as the kernel wants it: arguments, credentials, limits.
//!
//! The runtime has checked the specification; what is still wrong here is told as a [`Failure`], never a panic, since
//! a control socket's peer may send any JSON.

use std::sync::Arc;

use abi::resource::{Resource, Rlimit};
use control::Failure;
use control::names::{CAPABILITIES, RLIMITS};
use kernel::task::{CapabilitySet, Credentials, Limits, UserNamespace};
use serde::Deserialize;
use serde_json::Value;

/// The parts of `process` that a guest process is made from. Unknown members are ignored, as the specification asks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProcessSpec {
    #[serde(default)]
    pub(crate) user: UserSpec,
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) env: Vec<String>,
    #[serde(default)]
    pub(crate) cwd: String,
    #[serde(default)]
    capabilities: Option<CapabilitiesSpec>,
    #[serde(default)]
    rlimits: Vec<RlimitSpec>,
    #[serde(default)]
    pub(crate) no_new_privileges: bool,
    #[serde(default)]
    pub(crate) oom_score_adj: Option<i32>,
}

/// `process.user`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UserSpec {
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    pub(crate) umask: Option<u32>,
    #[serde(default)]
    additional_gids: Vec<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CapabilitiesSpec {
    bounding: Option<Vec<String>>,
    effective: Option<Vec<String>>,
    inheritable: Option<Vec<String>>,
    permitted: Option<Vec<String>>,
    ambient: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct RlimitSpec {
    #[serde(rename = "type")]
    kind: String,
    hard: u64,
    soft: u64,
}

impl ProcessSpec {
    /// Reads it from JSON.
    ///
    /// # Errors
    /// `Failure` naming the member that is missing or of the wrong type.
    pub(crate) fn parse(value: &Value) -> Result<Self, Failure> {
        let spec = Self::deserialize(value).map_err(|error| Failure::invalid(format!("process: {error}")))?;
        if spec.args.is_empty() {
            return Err(Failure::invalid("process.args is empty: name the program to run"));
        }
        Ok(spec)
    }

    /// The program's arguments.
    pub(crate) fn argv(&self) -> Vec<Vec<u8>> {
        self.args.iter().map(|arg| arg.clone().into_bytes()).collect()
    }

    /// Its environment.
    pub(crate) fn envp(&self) -> Vec<Vec<u8>> {
        self.env.iter().map(|entry| entry.clone().into_bytes()).collect()
    }

    /// The user that it is.
    pub(crate) fn uid(&self) -> u32 {
        self.user.uid
    }

    /// Where it starts; `/` where nothing is said.
    pub(crate) fn cwd(&self) -> &[u8] {
        if self.cwd.is_empty() { b"/" } else { self.cwd.as_bytes() }
    }

    /// The value of an environment variable.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='))
    }

    /// Who it is. `drop` is taken out of every capability set.
    pub(crate) fn credentials(&self, user_ns: &Arc<UserNamespace>, drop: CapabilitySet) -> Credentials {
        let absent = CapabilitiesSpec::default();
        let named = self.capabilities.as_ref().unwrap_or(&absent);
        let set =
            |names: &Option<Vec<String>>| capability_set(names.as_deref().unwrap_or_default()).without(drop);
        let (permitted, effective) = (set(&named.permitted), set(&named.effective));
        let mut groups = self.user.additional_gids.clone();
        groups.sort_unstable();
        Credentials {
            groups: groups.into(),
            permitted,
            effective: effective.and(permitted),
            inheritable: set(&named.inheritable),
            bounding: set(&named.bounding),
            ambient: set(&named.ambient),
            ..Credentials::user(Arc::clone(user_ns), self.user.uid, self.user.gid, CapabilitySet::EMPTY)
        }
    }

    /// Its limits, over `base`.
    pub(crate) fn limits(&self, mut base: Limits) -> Limits {
        for limit in &self.rlimits {
            if let Some(resource) = resource(&limit.kind) {
                base.set(resource, Rlimit { cur: limit.soft.min(limit.hard), max: limit.hard });
            }
        }
        base
    }
}

fn resource(name: &str) -> Option<Resource> {
    let number = RLIMITS.iter().position(|known| *known == name)?;
    Resource::new(number as u64)
}

/// The set of the capabilities that we know among `names`; the runtime has warned of the others.
fn capability_set(names: &[String]) -> CapabilitySet {
    let bit = |name: &String| {
        let number = CAPABILITIES.iter().position(|known| *known == name.as_str());
        number.map_or(0, |number| 1u64 << number)
    };
    CapabilitySet(names.iter().map(bit).fold(0, |all, bit| all | bit))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{CapabilitySet, ProcessSpec, capability_set, resource};
    use abi::resource::Resource;
    use kernel::task::{Capability, Limits};

    #[test]
    fn capability_and_limit_names() {
        let set = capability_set(&["CAP_CHOWN".into(), "CAP_CHECKPOINT_RESTORE".into(), "CAP_NEW".into()]);
        assert_eq!(
            set,
            CapabilitySet::of(Capability::Chown).or(CapabilitySet::of(Capability::CheckpointRestore))
        );
        assert_eq!(resource("RLIMIT_RTTIME"), Some(Resource::Rttime));
        assert_eq!(resource("NOFILE"), None);
    }

    #[test]
    fn parses_what_docker_writes() {
        let value = json!({"args": ["sh"], "env": ["PATH=/bin", "A="], "cwd": "", "user": {"uid": 101, "umask": 18},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 10, "soft": 20}]});
        let spec = ProcessSpec::parse(&value).unwrap();
        assert_eq!(
            (spec.cwd(), spec.variable("PATH"), spec.variable("A")),
            (&b"/"[..], Some("/bin"), Some(""))
        );
        assert_eq!(spec.limits(Limits::default()).soft(Resource::Nofile), 10);
        assert!(ProcessSpec::parse(&json!({"args": []})).is_err());
        assert!(ProcessSpec::parse(&json!({"args": "sh"})).is_err());
        assert!(ProcessSpec::parse(&json!(null)).is_err());
    }
}
