//! What Kubernetes' container runtimes say about a container in annotations: whether it is a pod's sandbox or joins
//! one, its name, and which volumes live in the sandbox's memory.

use std::collections::BTreeMap;

use control::annotations::{POD_CGROUP, POD_ROLE, POD_SANDBOX};

use crate::error::{Error, Result};

/// How a container relates to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PodRole {
    /// It is on its own: a sandbox of one container.
    Alone,
    /// It is the pod's first container, which makes the sandbox.
    Sandbox,
    /// It joins the sandbox of that id.
    Member(String),
}

/// The container's name in its pod, by containerd and by CRI-O.
const NAME_KEYS: [&str; 2] = ["io.kubernetes.cri.container-name", "io.kubernetes.cri-o.ContainerName"];

fn first<'a>(annotations: &'a BTreeMap<String, String>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| annotations.get(*key)).map(String::as_str)
}

/// The container's role.
pub(crate) fn pod_role(annotations: &BTreeMap<String, String>) -> Result<PodRole> {
    match first(annotations, &POD_ROLE) {
        None | Some("") => Ok(PodRole::Alone),
        Some("sandbox") => Ok(PodRole::Sandbox),
        Some("container") => match first(annotations, &POD_SANDBOX) {
            Some(id) if !id.is_empty() => Ok(PodRole::Member(id.into())),
            _ => Err(Error::new(format!(
                "the annotations say that this container joins a pod and do not name it: {} is missing",
                POD_SANDBOX[0]
            ))),
        },
        Some(other) => Err(Error::new(format!(
            "annotation {} has the value \"{other}\" and wants sandbox or container",
            POD_ROLE[0]
        ))),
    }
}

/// The container's name in its pod.
pub(crate) fn container_name(annotations: &BTreeMap<String, String>) -> Option<String> {
    first(annotations, &NAME_KEYS).map(Into::into)
}

/// Beginnings of the annotations of ours that somebody looks at.
const OURS: [&str; 3] = ["dev.gvisor.flag.", VOLUME_PREFIX, POD_CGROUP];
/// What annotations about volumes begin with.
const VOLUME_PREFIX: &str = "dev.gvisor.spec.mount.";

/// The annotations meant for us that nobody looks at, misspelled ones for instance.
pub(crate) fn unknown(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    let is_known = |key: &str| OURS.iter().any(|ours| key.starts_with(ours));
    annotations.keys().map(String::as_str).filter(move |key| key.starts_with("dev.gvisor.") && !is_known(key))
}

/// What annotations say of a volume (`dev.gvisor.spec.mount.NAME.{source,type,share,options}`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct VolumeHint {
    /// Its name.
    pub(crate) name: String,
    /// Its directory on the host.
    pub(crate) source: String,
    /// `tmpfs` or `bind`.
    pub(crate) kind: String,
    /// `container`, `pod` or `shared`.
    pub(crate) share: String,
}

impl VolumeHint {
    /// Whether it can live in the sandbox's memory: nobody outside of the sandbox sees it.
    pub(crate) fn is_internal(&self) -> bool {
        self.kind == "tmpfs" && matches!(self.share.as_str(), "container" | "pod")
    }
}

/// All volumes that annotations speak of.
pub(crate) fn volume_hints(annotations: &BTreeMap<String, String>) -> Vec<VolumeHint> {
    let mut hints: BTreeMap<&str, VolumeHint> = BTreeMap::new();
    for (key, value) in annotations {
        let Some((name, field)) = key.strip_prefix(VOLUME_PREFIX).and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let hint =
            hints.entry(name).or_insert_with(|| VolumeHint { name: name.into(), ..VolumeHint::default() });
        match field {
            "source" => hint.source.clone_from(value),
            "type" => hint.kind.clone_from(value),
            "share" => hint.share.clone_from(value),
            _ => {}
        }
    }
    hints.into_values().filter(|hint| !hint.source.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{POD_CGROUP, POD_ROLE, POD_SANDBOX, PodRole, pod_role, volume_hints};

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[test]
    fn misspelled_annotations_are_noticed() {
        let known = ["dev.gvisor.flag.debug", "dev.gvisor.spec.mount.a.type", POD_CGROUP, "io.other"];
        assert_eq!(super::unknown(&map(&known.map(|key| (key, "x")))).count(), 0);
        let typo = map(&[("dev.gvisor.flags.debug", "true")]);
        assert_eq!(super::unknown(&typo).collect::<Vec<_>>(), ["dev.gvisor.flags.debug"]);
    }

    #[test]
    fn roles() {
        assert_eq!(pod_role(&map(&[])).unwrap(), PodRole::Alone);
        let member = map(&[(POD_ROLE[1], "container"), (POD_SANDBOX[1], "p")]);
        assert_eq!(pod_role(&member).unwrap(), PodRole::Member("p".into()));
        assert_eq!(pod_role(&map(&[(POD_ROLE[0], "sandbox")])).unwrap(), PodRole::Sandbox);
        assert!(pod_role(&map(&[(POD_ROLE[0], "container")])).is_err());
        assert!(pod_role(&map(&[(POD_ROLE[0], "pod")])).is_err());
    }

    #[test]
    fn volumes() {
        let hints = volume_hints(&map(&[
            ("dev.gvisor.spec.mount.a.b.source", "/vol"),
            ("dev.gvisor.spec.mount.a.b.type", "tmpfs"),
            ("dev.gvisor.spec.mount.a.b.share", "pod"),
            ("dev.gvisor.spec.mount.c.type", "tmpfs"),
        ]));
        assert_eq!(hints.len(), 1);
        assert!(hints[0].name == "a.b" && hints[0].is_internal());
    }
}
