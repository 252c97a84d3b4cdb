//! `/proc/sys` (`man 5 proc_sys`).
//!
//! Some numbers are the kernel's knobs and heeded; some are kept and change nothing, since there is nothing here that they
//! could change; some are as they are and cannot be written. Values are one sandbox's, not one mount's.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use abi::{Errno, OpenFlags, Result};
use kernel::limits::{Knob, Knobs};
use kernel::task::{Capability, PID_MAX};
use kernel::vfs::{Caller, Inode, MAX_FDS, MAX_MOUNTS};
use kernel::{Kernel, Task, limits};
use parking_lot::Mutex;

use super::sysctl_net::{NetSetting, interfaces};
use super::system::put;
use super::task_files::parse;
use crate::synth::{Builder, Content, Inodes, Show};

/// A knob that holds numbers.
struct Number {
    path: &'static str,
    value: AtomicI64,
    range: (i64, i64),
}

/// The settings of a sandbox.
pub(super) struct Sysctl {
    numbers: Vec<Number>,
    core_pattern: Mutex<String>,
    boot_id: String,
}

impl std::fmt::Debug for Sysctl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sysctl({} numbers)", self.numbers.len())
    }
}

const ANY: (i64, i64) = (0, i64::MAX);
const INT: (i64, i64) = (i32::MIN as i64, i32::MAX as i64);
const SWITCH: (i64, i64) = (0, 1);
const COUNT: (i64, i64) = (0, i32::MAX as i64);

/// Finds a knob of the kernel's.
type FindKnob = fn(&Knobs) -> &Knob;

/// (path, knob, smallest and largest value) of what the kernel heeds.
const KNOBS: &[(&str, FindKnob, (i64, i64))] = &[
    ("fs/inotify/max_queued_events", |knobs| &knobs.inotify_events, COUNT),
    ("fs/inotify/max_user_instances", |knobs| &knobs.inotify_instances, COUNT),
    ("fs/inotify/max_user_watches", |knobs| &knobs.inotify_watches, COUNT),
    ("fs/protected_fifos", |knobs| &knobs.protected_fifos, (0, 2)),
    ("fs/protected_hardlinks", |knobs| &knobs.protected_hardlinks, SWITCH),
    ("fs/protected_regular", |knobs| &knobs.protected_regular, (0, 2)),
    ("fs/protected_symlinks", |knobs| &knobs.protected_symlinks, SWITCH),
    ("kernel/dmesg_restrict", |knobs| &knobs.dmesg_restrict, SWITCH),
];

/// What cannot be changed here, at the value that is enforced. 2^31 - 1 of something is as good as no limit.
const FIXED: &[(&str, u64)] = &[
    ("fs/mount-max", MAX_MOUNTS as u64),
    ("fs/pipe-max-size", limits::PIPE_MAX_SIZE as u64),
    ("fs/pipe-user-pages-hard", 0),
    ("fs/pipe-user-pages-soft", limits::PIPE_USER_PAGES_SOFT),
    ("fs/suid_dumpable", 0),
    ("kernel/unprivileged_userns_clone", 1),
    ("kernel/yama/ptrace_scope", 0),
    ("user/max_cgroup_namespaces", i32::MAX as u64),
    ("user/max_ipc_namespaces", i32::MAX as u64),
    ("user/max_mnt_namespaces", i32::MAX as u64),
    ("user/max_net_namespaces", i32::MAX as u64),
    ("user/max_pid_namespaces", i32::MAX as u64),
    ("user/max_time_namespaces", i32::MAX as u64),
    ("user/max_user_namespaces", i32::MAX as u64),
    ("user/max_uts_namespaces", i32::MAX as u64),
];

/// (path, default, smallest and largest value) of knobs that are kept.
const NUMBERS: &[(&str, i64, (i64, i64))] = &[
    ("fs/aio-max-nr", 65536, ANY),
    ("fs/file-max", i64::MAX, ANY),
    ("fs/lease-break-time", 45, INT),
    ("fs/leases-enable", 1, SWITCH),
    ("fs/overflowgid", 65534, (0, 65535)),
    ("fs/overflowuid", 65534, (0, 65535)),
    ("kernel/auto_msgmni", 0, SWITCH),
    ("kernel/core_pipe_limit", 0, INT),
    ("kernel/core_uses_pid", 0, INT),
    ("kernel/io_uring_disabled", 2, (0, 2)),
    ("kernel/keys/maxbytes", 20000, INT),
    ("kernel/keys/maxkeys", 200, INT),
    ("kernel/keys/root_maxbytes", 25_000_000, INT),
    ("kernel/keys/root_maxkeys", 1_000_000, INT),
    ("kernel/kptr_restrict", 0, (0, 2)),
    ("kernel/numa_balancing", 0, SWITCH),
    ("kernel/panic", 0, INT),
    ("kernel/panic_on_oops", 0, SWITCH),
    ("kernel/perf_event_paranoid", 3, INT),
    ("kernel/random/urandom_min_reseed_secs", 60, INT),
    ("kernel/random/write_wakeup_threshold", 256, INT),
    ("kernel/randomize_va_space", 2, (0, 2)),
    ("kernel/sched_autogroup_enabled", 0, SWITCH),
    ("kernel/sched_child_runs_first", 0, SWITCH),
    ("kernel/sched_rr_timeslice_ms", 100, INT),
    ("kernel/sched_rt_period_us", 1_000_000, INT),
    ("kernel/sched_rt_runtime_us", 950_000, INT),
    ("kernel/shm_rmid_forced", 0, SWITCH),
    ("kernel/sysrq", 0, INT),
    ("kernel/tainted", 0, ANY),
    ("kernel/unprivileged_bpf_disabled", 2, (0, 2)),
    ("net/core/bpf_jit_enable", 0, INT),
    ("net/core/netdev_max_backlog", 1000, INT),
    ("net/unix/max_dgram_qlen", 512, INT),
    ("vm/compaction_proactiveness", 20, (0, 100)),
    ("vm/dirty_background_bytes", 0, ANY),
    ("vm/dirty_background_ratio", 10, (0, 100)),
    ("vm/dirty_bytes", 0, ANY),
    ("vm/dirty_expire_centisecs", 3000, INT),
    ("vm/dirty_ratio", 20, (0, 100)),
    ("vm/dirty_writeback_centisecs", 500, INT),
    ("vm/drop_caches", 0, (0, 4)),
    ("vm/min_free_kbytes", 67584, INT),
    ("vm/mmap_min_addr", 65536, ANY),
    ("vm/nr_hugepages", 0, ANY),
    ("vm/nr_overcommit_hugepages", 0, ANY),
    ("vm/oom_dump_tasks", 1, INT),
    ("vm/oom_kill_allocating_task", 0, INT),
    ("vm/overcommit_kbytes", 0, ANY),
    ("vm/overcommit_memory", 0, (0, 2)),
    ("vm/overcommit_ratio", 50, INT),
    ("vm/page-cluster", 3, INT),
    ("vm/panic_on_oom", 0, (0, 2)),
    ("vm/swappiness", 60, (0, 200)),
    ("vm/unprivileged_userfaultfd", 0, SWITCH),
    ("vm/user_reserve_kbytes", 131_072, ANY),
    ("vm/vfs_cache_pressure", 100, INT),
    ("vm/zone_reclaim_mode", 0, INT),
];

/// Files that only tell, or hold several numbers.
const TEXTS: &[(&str, &str)] = &[
    ("debug/exception-trace", "0\n"),
    ("fs/aio-nr", "0\n"),
    ("fs/dentry-state", "0\t0\t45\t0\t0\t0\n"),
    ("fs/file-nr", "0\t0\t9223372036854775807\n"),
    ("fs/inode-nr", "0\t0\n"),
    ("fs/inode-state", "0\t0\t0\t0\t0\t0\t0\n"),
    ("kernel/cap_last_cap", "40\n"),
    ("kernel/modprobe", "/sbin/modprobe\n"),
    ("kernel/ngroups_max", "65536\n"),
    ("kernel/osrelease", concat_release()),
    ("kernel/ostype", "Linux\n"),
    ("kernel/overflowgid", "65534\n"),
    ("kernel/overflowuid", "65534\n"),
    ("kernel/printk", "4\t4\t1\t7\n"),
    ("kernel/random/entropy_avail", "256\n"),
    ("kernel/random/poolsize", "256\n"),
    ("kernel/seccomp/actions_avail", "kill_process kill_thread trap errno user_notif trace log allow\n"),
    ("kernel/seccomp/actions_logged", "kill_process kill_thread trap errno user_notif trace log\n"),
    ("net/ipv4/tcp_mem", "188961\t251951\t377922\n"),
    ("vm/lowmem_reserve_ratio", "256\t256\t32\t0\t0\n"),
];

/// What `osrelease` says.
const fn concat_release() -> &'static str {
    // Checked against uname(2)'s answer by a test.
    "6.12.0-rampart\n"
}

impl Sysctl {
    /// Linux's defaults.
    pub(super) fn new(_kernel: &Kernel) -> Self {
        let number = |&(path, value, range): &(&'static str, i64, (i64, i64))| Number {
            path,
            value: AtomicI64::new(value),
            range,
        };
        Self {
            numbers: NUMBERS.iter().map(number).collect(),
            core_pattern: Mutex::new("core".into()),
            boot_id: uuid(),
        }
    }
}

/// A random UUID.
fn uuid() -> String {
    let mut bytes = [0; 16];
    host::random::fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Changing a setting takes power over the whole sandbox.
fn check_admin(task: &Task, capability: Capability) -> Result<()> {
    let creds = task.creds();
    if creds.has_in(&task.kernel().user_ns, capability) { Ok(()) } else { Err(Errno::EPERM) }
}

struct NumberFile {
    sysctl: Arc<Sysctl>,
    index: usize,
}

impl Content for NumberFile {
    fn read(&self, _task: &Task, out: &mut Vec<u8>) -> Result<()> {
        put!(out, "{}\n", self.sysctl.numbers[self.index].value.load(Ordering::Relaxed));
        Ok(())
    }

    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        let number = &self.sysctl.numbers[self.index];
        let is_net = number.path.starts_with("net/");
        check_admin(task, if is_net { Capability::NetAdmin } else { Capability::SysAdmin })?;
        number.value.store(parse_within(text, number.range)?, Ordering::Relaxed);
        Ok(())
    }
}

/// Checks a number that is being written.
fn parse_within(text: &[u8], range: (i64, i64)) -> Result<i64> {
    let value: i64 = parse(text)?;
    if (range.0..=range.1).contains(&value) { Ok(value) } else { Err(Errno::EINVAL) }
}

/// A knob that the kernel heeds.
#[derive(Clone, Copy)]
struct KnobFile {
    find: FindKnob,
    range: (i64, i64),
}

impl Content for KnobFile {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        put!(out, "{}\n", (self.find)(&task.kernel().knobs).get());
        Ok(())
    }

    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        check_admin(task, Capability::SysAdmin)?;
        (self.find)(&task.kernel().knobs).set(parse_within(text, self.range)?);
        Ok(())
    }
}

/// `vm.max_map_count`.
struct MaxMapCount;

impl Content for MaxMapCount {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        put!(out, "{}\n", task.kernel().memory.max_mappings());
        Ok(())
    }

    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        check_admin(task, Capability::SysAdmin)?;
        let max = usize::try_from(parse_within(text, COUNT)?).map_err(|_| Errno::EINVAL)?;
        task.kernel().memory.set_max_mappings(max);
        Ok(())
    }
}

/// A number that is as it is.
struct Fixed(u64);

impl Content for Fixed {
    fn read(&self, _task: &Task, out: &mut Vec<u8>) -> Result<()> {
        put!(out, "{}\n", self.0);
        Ok(())
    }

    /// Not even root may write what has no mode bit for it: below `/proc/sys` they count for all.
    fn open(&self, _caller: &Caller<'_>, flags: OpenFlags) -> Result<Option<Arc<dyn Content>>> {
        if flags.is_writable() { Err(Errno::EACCES) } else { Ok(None) }
    }
}

struct CorePattern(Arc<Sysctl>);

impl Content for CorePattern {
    fn read(&self, _task: &Task, out: &mut Vec<u8>) -> Result<()> {
        put!(out, "{}\n", self.0.core_pattern.lock());
        Ok(())
    }

    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        check_admin(task, Capability::SysAdmin)?;
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        text.trim_end_matches('\n')
            .chars()
            .take(127)
            .collect::<String>()
            .clone_into(&mut self.0.core_pattern.lock());
        Ok(())
    }
}

/// The names of the reading task's UTS name space.
struct UtsName {
    is_domain: bool,
}

impl Content for UtsName {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        let uts = task.namespaces().uts.clone();
        let name = if self.is_domain { uts.domain_name() } else { uts.host_name() };
        put!(out, "{}\n", if self.is_domain && name.is_empty() { "(none)" } else { &name });
        Ok(())
    }

    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        let uts = task.namespaces().uts.clone();
        let text = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let text = String::from_utf8_lossy(&text[..text.len().min(64)]);
        let name = &text[..text.floor_char_boundary(64)];
        if self.is_domain {
            uts.set_domain_name(name);
        } else {
            uts.set_host_name(name);
        }
        Ok(())
    }
}

fn pid_max(_task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{PID_MAX}\n");
    Ok(())
}

fn nr_open(_task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{MAX_FDS}\n");
    Ok(())
}

fn threads_max(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{}\n", limits::threads(task.kernel().total_memory()));
    Ok(())
}

fn epoll_watches(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{}\n", limits::epoll_watches(task.kernel().total_memory()));
    Ok(())
}

fn ns_last_pid(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{}\n", task.pid_ns().last_pid());
    Ok(())
}

fn version(_task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{}\n", kernel::version::VERSION);
    Ok(())
}

fn random_uuid(_task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "{}\n", uuid());
    Ok(())
}

/// A tree of names in the making.
#[derive(Default)]
struct Node {
    children: std::collections::BTreeMap<&'static str, Node>,
    file: Option<Arc<dyn Inode>>,
}

impl Node {
    /// Puts a file at `path` below the directory `top`, or at the top where that is empty.
    fn add(&mut self, top: &'static str, path: &'static str, file: Arc<dyn Inode>) {
        let names = Some(top).filter(|top| !top.is_empty()).into_iter().chain(path.split('/'));
        let node = names.fold(self, |node, name| node.children.entry(name).or_default());
        node.file = Some(file);
    }

    fn build(self, inodes: &Inodes) -> Arc<dyn Inode> {
        match self.file {
            Some(file) => file,
            None => {
                let add =
                    |builder: Builder, (name, child): (&str, Self)| builder.node(name, child.build(inodes));
                self.children.into_iter().fold(Builder::new(inodes), add).build()
            }
        }
    }
}

/// Makes the directory.
pub(super) fn make(sysctl: &Arc<Sysctl>, kernel: &Kernel, inodes: &Inodes) -> Arc<dyn Inode> {
    let mut tree = Node::default();
    let attr = |mode| inodes.attr(abi::FileType::Regular, mode);
    for (index, number) in sysctl.numbers.iter().enumerate() {
        let content = NumberFile { sysctl: sysctl.clone(), index };
        tree.add("", number.path, crate::synth::TextFile::new(attr(0o644), content));
    }
    for &(path, find, range) in KNOBS {
        tree.add("", path, crate::synth::TextFile::new(attr(0o644), KnobFile { find, range }));
    }
    tree.add("", "vm/max_map_count", crate::synth::TextFile::new(attr(0o644), MaxMapCount));
    for &(path, value) in FIXED {
        tree.add("", path, crate::synth::TextFile::new(attr(0o444), Fixed(value)));
    }
    let max_instances: FindKnob = |knobs| &knobs.inotify_instances;
    let max_watches: FindKnob = |knobs| &knobs.inotify_watches;
    for (path, find) in
        [("user/max_inotify_instances", max_instances), ("user/max_inotify_watches", max_watches)]
    {
        tree.add("", path, crate::synth::TextFile::new(attr(0o644), KnobFile { find, range: COUNT }));
    }
    for &content in super::sysctl_ipc::FILES {
        tree.add("", content.path, crate::synth::TextFile::new(attr(0o644), content));
    }
    for path in kernel.sockets.settings() {
        tree.add("net", path, crate::synth::TextFile::new(attr(0o644), NetSetting(path.to_owned())));
    }
    for (path, files) in kernel.sockets.interface_settings() {
        tree.add("net", path, interfaces(path, files, inodes));
    }
    for &(path, text) in TEXTS {
        tree.add("", path, crate::synth::TextFile::new(attr(0o444), text));
    }
    let shows: [(&'static str, Show); 7] = [
        ("fs/epoll/max_user_watches", Show(epoll_watches)),
        ("kernel/threads-max", Show(threads_max)),
        ("fs/nr_open", Show(nr_open)),
        ("kernel/ns_last_pid", Show(ns_last_pid)),
        ("kernel/pid_max", Show(pid_max)),
        ("kernel/random/uuid", Show(random_uuid)),
        ("kernel/version", Show(version)),
    ];
    for (path, show) in shows {
        tree.add("", path, crate::synth::TextFile::new(attr(0o444), show));
    }
    let boot_id = format!("{}\n", sysctl.boot_id);
    tree.add("", "kernel/random/boot_id", crate::synth::TextFile::new(attr(0o444), boot_id));
    tree.add(
        "",
        "kernel/core_pattern",
        crate::synth::TextFile::new(attr(0o644), CorePattern(sysctl.clone())),
    );
    for (path, is_domain) in [("kernel/hostname", false), ("kernel/domainname", true)] {
        tree.add("", path, crate::synth::TextFile::new(attr(0o644), UtsName { is_domain }));
    }
    tree.build(inodes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn release_agrees_with_uname() {
        assert_eq!(super::concat_release().trim_end(), kernel::version::RELEASE);
    }

    #[test]
    fn uuids_have_their_form() {
        let uuid = super::uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'4');
    }
}
