//! Files about the whole system.

use std::io::Write;

use abi::Result;
use abi::time::{NSEC_PER_SEC, NSEC_PER_SEC_U64};
use kernel::Task;
use kernel::task::CpuTimes;
use kernel::task::cgroup::CONTROLLERS;

/// `/proc/kmsg`.
pub(super) struct Kmsg;

/// `/proc/devices`.
pub(super) const DEVICES: &str = "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n 10 misc\n\
                                  136 pts\n\nBlock devices:\n";

/// `/proc/tty/drivers`.
pub(super) const TTY_DRIVERS: &str = "\
/dev/tty             /dev/tty        5       0 system:/dev/tty
/dev/console         /dev/console    5       1 system:console
/dev/ptmx            /dev/ptmx       5       2 system
pty_slave            /dev/pts      136 0-1048575 pty:slave
pty_master           /dev/ptm      128 0-1048575 pty:master
";

/// Clock ticks of user space in a second (`USER_HZ`).
const TICKS: u64 = 100;

/// Nanoseconds as clock ticks.
pub(super) fn ticks(ns: u64) -> u64 {
    ns / (NSEC_PER_SEC_U64 / TICKS)
}

/// Formats into a buffer. That cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {
        let _ = ::std::io::Write::write_fmt($out, format_args!($($arg)*));
    };
}
pub(super) use put;

fn idle_ns(task: &Task, used: CpuTimes) -> u64 {
    let cpus = task.kernel().cpu_count() as u64;
    let up = task.kernel().timekeeper.monotonic().0.unsigned_abs();
    up.saturating_mul(cpus).saturating_sub(used.total_ns())
}

pub(super) fn uptime(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let up = task.kernel().timekeeper.monotonic().0;
    let idle = idle_ns(task, task.kernel().tasks.cpu_times());
    let hundredths = |ns: u64| (ns / NSEC_PER_SEC_U64, ns / 10_000_000 % 100);
    let ((up, up_part), (idle, idle_part)) = (hundredths(up.unsigned_abs()), hundredths(idle));
    put!(out, "{up}.{up_part:02} {idle}.{idle_part:02}\n");
    Ok(())
}

/// `/proc/key-users`: of the users that the reader's name space maps. All keys are counted and complete.
pub(super) fn key_users(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let user_ns = task.creds().user_ns.clone();
    for user in task.kernel().keys.usage() {
        let (uid, keys, bytes) = (user_ns.from_kernel_uid(user.uid), user.keys, user.bytes);
        let (max_keys, max_bytes) = user.quota;
        put!(out, "{uid:5}: {keys:5} {keys}/{keys} {keys}/{max_keys} {bytes}/{max_bytes}\n");
    }
    Ok(())
}

pub(super) fn loadavg(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let tasks = task.kernel().tasks.tasks();
    let running = tasks.iter().filter(|task| !task.has_exited() && !task.clock().is_asleep()).count();
    let [one, five, fifteen] = task.kernel().tasks.load_averages();
    let (all, last) = (tasks.len(), task.pid_ns().last_pid());
    put!(out, "{one:.2} {five:.2} {fifteen:.2} {running}/{all} {last}\n");
    Ok(())
}

pub(super) fn stat(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let kernel = task.kernel();
    let used = kernel.tasks.cpu_times();
    let cpus = kernel.cpu_count().max(1) as u64;
    let idle = idle_ns(task, used);
    let line = |share: u64| {
        let (user, system, idle) =
            (ticks(used.user_ns / share), ticks(used.system_ns / share), ticks(idle / share));
        format!(" {user} 0 {system} {idle} 0 0 0 0 0 0\n")
    };
    put!(out, "cpu {}", line(1));
    for cpu in 0..cpus {
        put!(out, "cpu{cpu}{}", line(cpus));
    }
    let tasks = kernel.tasks.tasks();
    let running = tasks.iter().filter(|task| !task.has_exited() && !task.clock().is_asleep()).count();
    let switches: u64 = tasks.iter().map(|task| task.clock().switches()).map(|(a, b)| a + b).sum();
    let boot = kernel.timekeeper.boot_realtime_ns() / NSEC_PER_SEC;
    put!(
        out,
        "intr 0\nctxt {switches}\nbtime {boot}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\n\
         softirq 0 0 0 0 0 0 0 0 0 0 0\n",
        kernel.tasks.forks(),
        running.max(1)
    );
    Ok(())
}

pub(super) fn meminfo(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let kernel = task.kernel();
    let total = kernel.total_memory();
    let used = kernel.memory.used().min(total);
    let free = total - used;
    let mut line = |name: &str, bytes: u64| {
        put!(out, "{:<16}{:>8} kB\n", format!("{name}:"), bytes >> 10);
    };
    line("MemTotal", total);
    line("MemFree", free);
    line("MemAvailable", free);
    for name in ["Buffers", "Cached", "SwapCached"] {
        line(name, 0);
    }
    line("Active", used);
    line("Inactive", 0);
    line("Active(anon)", used);
    for name in ["Inactive(anon)", "Active(file)", "Inactive(file)", "Unevictable", "Mlocked", "SwapTotal"] {
        line(name, 0);
    }
    for name in ["SwapFree", "Dirty", "Writeback"] {
        line(name, 0);
    }
    line("AnonPages", used);
    for name in ["Mapped", "Shmem", "KReclaimable", "Slab", "SReclaimable", "SUnreclaim", "KernelStack"] {
        line(name, 0);
    }
    for name in ["PageTables", "NFS_Unstable", "Bounce", "WritebackTmp"] {
        line(name, 0);
    }
    line("CommitLimit", total);
    line("Committed_AS", used);
    line("VmallocTotal", 34_359_738_367 << 10);
    for name in ["VmallocUsed", "VmallocChunk", "Percpu", "AnonHugePages", "ShmemHugePages"] {
        line(name, 0);
    }
    for name in ["ShmemPmdMapped", "FileHugePages", "FilePmdMapped"] {
        line(name, 0);
    }
    put!(out, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\n");
    put!(out, "HugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n");
    put!(out, "DirectMap4k:    {:>8} kB\nDirectMap2M:           0 kB\n", total >> 10);
    Ok(())
}

pub(super) fn vmstat(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    let kernel = task.kernel();
    let used = kernel.memory.used() >> 12;
    let free = (kernel.total_memory() >> 12).saturating_sub(used);
    put!(
        out,
        "nr_free_pages {free}\nnr_anon_pages {used}\nnr_mapped 0\nnr_file_pages 0\nnr_dirty 0\nnr_writeback 0\n"
    );
    put!(
        out,
        "pgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\noom_kill {}\n",
        kernel.oom.kills()
    );
    Ok(())
}

pub(super) fn interrupts(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    per_cpu_header(task, out, 11);
    Ok(())
}

pub(super) fn softirqs(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    per_cpu_header(task, out, 20);
    Ok(())
}

fn per_cpu_header(task: &Task, out: &mut Vec<u8>, indent: usize) {
    put!(out, "{:indent$}", "");
    for cpu in 0..task.kernel().cpu_count() {
        put!(out, " {:<10}", format!("CPU{cpu}"));
    }
    out.push(b'\n');
}

pub(super) fn filesystems(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    for fs in task.kernel().vfs.fs_types() {
        let nodev = if fs.needs_no_device() { "nodev" } else { "" };
        writeln!(out, "{nodev}\t{}", fs.name()).unwrap_or_default();
    }
    Ok(())
}

/// The controllers of control groups: hierarchy (0 while it belongs to none), number of groups, whether it can be used.
pub(super) fn cgroups(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(b"#subsys_name\thierarchy\tnum_cgroups\tenabled\n");
    let all = task.kernel().tasks.cgroups.all();
    for name in CONTROLLERS {
        let own = all.iter().find(|hierarchy| hierarchy.controllers().contains(&name));
        let unified = task.container().cgroup().count();
        let (id, count) = own.map_or((0, unified), |hierarchy| (hierarchy.id(), hierarchy.root().count()));
        out.extend_from_slice(format!("{name}\t{id}\t{count}\t1\n").as_bytes());
    }
    Ok(())
}
