//! The form of an OCI `config.json` (runtime-spec 1.x, `config.md` and `config-linux.md`), as far as we read it.

use super::shape::Shape::{Any, Bool, Int, List, Map, Object, Text};
use super::shape::{Shape, may, must};

const U16: Shape = Int(0, u16::MAX as i128);
const U32: Shape = Int(0, u32::MAX as i128);
const U64: Shape = Int(0, u64::MAX as i128);
const I64: Shape = Int(i64::MIN as i128, i64::MAX as i128);
const TEXTS: Shape = List(&Text);
const MAPPINGS: Shape = List(&Object(&[must("containerID", &U32), must("hostID", &U32), must("size", &U32)]));

/// `process`, which `runsc exec --process` reads alone.
pub(super) const PROCESS: Shape = Object(&[
    may("terminal", &Bool),
    may("consoleSize", &Object(&[must("height", &U16), must("width", &U16)])),
    may("user", &USER),
    must("args", &TEXTS),
    may("env", &TEXTS),
    must("cwd", &Text),
    may("capabilities", &CAPABILITIES),
    may("rlimits", &List(&Object(&[must("type", &Text), must("hard", &U64), must("soft", &U64)]))),
    may("noNewPrivileges", &Bool),
    may("apparmorProfile", &Text),
    may("selinuxLabel", &Text),
    may("oomScoreAdj", &Int(-1000, 1000)),
    may("ioPriority", &Object(&[must("class", &Text), may("priority", &Int(0, 7))])),
    may("scheduler", &Object(&[must("policy", &Text)])),
]);

const USER: Shape = Object(&[
    may("uid", &U32),
    may("gid", &U32),
    may("umask", &Int(0, 0o777)),
    may("additionalGids", &List(&U32)),
    may("username", &Text),
]);

const CAPABILITIES: Shape = Object(&[
    may("bounding", &TEXTS),
    may("effective", &TEXTS),
    may("inheritable", &TEXTS),
    may("permitted", &TEXTS),
    may("ambient", &TEXTS),
]);

const HOOKS: Shape = List(&Object(&[
    must("path", &Text),
    may("args", &TEXTS),
    may("env", &TEXTS),
    may("timeout", &Int(1, i32::MAX as i128)),
]));

const MOUNT: Shape = Object(&[
    must("destination", &Text),
    may("type", &Text),
    may("source", &Text),
    may("options", &TEXTS),
    may("uidMappings", &MAPPINGS),
    may("gidMappings", &MAPPINGS),
]);

/// `linux.resources`, which `runsc update --resources` reads alone.
pub(super) const RESOURCES: Shape = Object(&[
    may("devices", &List(&Object(&[must("allow", &Bool), may("type", &Text), may("access", &Text)]))),
    may("memory", &MEMORY),
    may("cpu", &CPU),
    may("pids", &Object(&[may("limit", &I64)])),
    may("blockIO", &Object(&[may("weight", &U16), may("leafWeight", &U16)])),
    may("hugepageLimits", &List(&Object(&[must("pageSize", &Text), must("limit", &U64)]))),
    may("unified", &Map(&Text)),
]);

const MEMORY: Shape = Object(&[
    may("limit", &I64),
    may("reservation", &I64),
    may("swap", &I64),
    may("kernel", &I64),
    may("kernelTCP", &I64),
    may("swappiness", &U64),
    may("disableOOMKiller", &Bool),
]);

const CPU: Shape = Object(&[
    may("shares", &U64),
    may("quota", &I64),
    may("burst", &U64),
    may("period", &U64),
    may("realtimeRuntime", &I64),
    may("realtimePeriod", &U64),
    may("cpus", &Text),
    may("mems", &Text),
    may("idle", &Int(0, 1)),
]);

const SECCOMP: Shape = Object(&[
    must("defaultAction", &Text),
    may("defaultErrnoRet", &Int(0, 4095)),
    may("architectures", &TEXTS),
    may("flags", &TEXTS),
    may("syscalls", &List(&SYSCALL)),
]);

const SYSCALL: Shape = Object(&[
    must("names", &TEXTS),
    must("action", &Text),
    may("errnoRet", &Int(0, 4095)),
    may("args", &List(&Object(&[must("index", &Int(0, 5)), must("value", &U64), must("op", &Text)]))),
]);

const DEVICE: Shape = Object(&[
    must("type", &Text),
    must("path", &Text),
    may("major", &Int(0, 0xfff)),
    may("minor", &Int(0, 0xf_ffff)),
    may("fileMode", &U32),
    may("uid", &U32),
    may("gid", &U32),
]);

const LINUX: Shape = Object(&[
    may("uidMappings", &MAPPINGS),
    may("gidMappings", &MAPPINGS),
    may("sysctl", &Map(&Text)),
    may("resources", &RESOURCES),
    may("cgroupsPath", &Text),
    may("namespaces", &List(&Object(&[must("type", &Text), may("path", &Text)]))),
    may("devices", &List(&DEVICE)),
    may("seccomp", &SECCOMP),
    may("rootfsPropagation", &Text),
    may("maskedPaths", &TEXTS),
    may("readonlyPaths", &TEXTS),
    may("mountLabel", &Text),
    may("personality", &Object(&[must("domain", &Text)])),
    may("intelRdt", &Any),
]);

/// The whole document.
pub(super) const CONFIG: Shape = Object(&[
    must("ociVersion", &Text),
    may("root", &Object(&[must("path", &Text), may("readonly", &Bool)])),
    may("process", &PROCESS),
    may("hostname", &Text),
    may("domainname", &Text),
    may("mounts", &List(&MOUNT)),
    may(
        "hooks",
        &Object(&[
            may("prestart", &HOOKS),
            may("createRuntime", &HOOKS),
            may("createContainer", &HOOKS),
            may("startContainer", &HOOKS),
            may("poststart", &HOOKS),
            may("poststop", &HOOKS),
        ]),
    ),
    may("annotations", &Map(&Text)),
    may("linux", &LINUX),
]);
