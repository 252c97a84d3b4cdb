//! Annotations of a container's configuration that more than one of our programs reads or writes.

/// What a container is in its pod, `sandbox` or `container`: containerd's name for it and CRI-O's.
pub const POD_ROLE: [&str; 2] = ["io.kubernetes.cri.container-type", "io.kubernetes.cri-o.ContainerType"];
/// The id of the pod's first container, by the same two.
pub const POD_SANDBOX: [&str; 2] = ["io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID"];
/// Names the cgroup of the container's pod.
pub const POD_CGROUP: &str = "dev.gvisor.spec.cgroup-parent";
/// `true` for a container whose first program was not written as an init: it heeds signals from outside that end any
/// other program.
pub const NO_INIT: &str = "dev.rampart.no-init";
