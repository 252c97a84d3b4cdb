//! `/proc/[pid]/status` (`man 5 proc_pid_status`).

use abi::Result;
use abi::resource::Resource;
use kernel::task::CapabilitySet;

use super::stat::state_of;
use super::system::put;
use super::task_dir::View;

/// A list of processors as Linux prints bit maps of them: 32 bits a group, highest first, and as ranges.
fn cpu_map(words: &[u64], count: usize) -> (String, String) {
    let is_set =
        |cpu: usize| cpu < count && words.get(cpu / 64).is_some_and(|word| word & (1 << (cpu % 64)) != 0);
    let groups = count.div_ceil(32).max(1);
    let group =
        |index: usize| (0..32).filter(|bit| is_set(index * 32 + bit)).fold(0_u32, |map, bit| map | 1 << bit);
    let first_digits = (count - (groups - 1) * 32).div_ceil(4).max(1);
    let mut map = format!("{:0first_digits$x}", group(groups - 1));
    for index in (0..groups - 1).rev() {
        map += &format!(",{:08x}", group(index));
    }
    let mut ranges = Vec::new();
    let mut cpu = 0;
    while cpu < count {
        let end = (cpu..count).find(|&at| !is_set(at)).unwrap_or(count);
        match end - cpu {
            0 => {}
            1 => ranges.push(cpu.to_string()),
            _ => ranges.push(format!("{cpu}-{}", end - 1)),
        }
        cpu = end + 1;
    }
    (map, ranges.join(","))
}

pub(super) fn status(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    identity(view, out);
    memory(view, out);
    signals(view, out);
    rest(view, out);
    Ok(())
}

fn identity(view: &View<'_>, out: &mut Vec<u8>) {
    let (task, ns) = (view.target, &view.ns);
    let group = task.thread_group();
    let creds = task.creds();
    let users = view.viewer.creds().user_ns.clone();
    let (letter, word) = state_of(task);
    out.extend_from_slice(b"Name:\t");
    for byte in task.comm() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            _ => out.push(byte),
        }
    }
    put!(out, "\nUmask:\t{:04o}\nState:\t{letter} ({word})\n", task.fs().umask());
    put!(out, "Tgid:\t{}\nNgid:\t0\nPid:\t{}\n", group.tgid_in(ns), task.tid_in(ns));
    let parent = group.parent().map_or(0, |parent| parent.tgid_in(ns));
    let tracer = task.tracer().map_or(0, |tracer| tracer.tid_in(ns));
    put!(out, "PPid:\t{parent}\nTracerPid:\t{tracer}\n");
    let uids = [creds.uid, creds.euid, creds.suid, creds.fsuid].map(|uid| users.from_kernel_uid(uid));
    let gids = [creds.gid, creds.egid, creds.sgid, creds.fsgid].map(|gid| users.from_kernel_gid(gid));
    for (name, ids) in [("Uid", uids), ("Gid", gids)] {
        put!(out, "{name}:\t{}\t{}\t{}\t{}\n", ids[0], ids[1], ids[2], ids[3]);
    }
    put!(out, "FDSize:\t{}\nGroups:\t", task.fd_table().capacity());
    for &gid in creds.groups.iter() {
        put!(out, "{} ", users.from_kernel_gid(gid));
    }
    // Linux ends the list with a space, also where it is empty.
    if creds.groups.is_empty() {
        out.push(b' ');
    }
    out.push(b'\n');
    let numbers = |numbers: Vec<i32>| numbers.iter().map(|n| format!("\t{n}")).collect::<String>();
    let below = |pid: &kernel::task::Pid| {
        let all: Vec<i32> = pid.numbers().collect();
        let skip = all.len().saturating_sub(1).min(usize::try_from(ns.level()).unwrap_or(0));
        numbers(all[skip..].to_vec())
    };
    let tgid = group.leader().map_or_else(|| task.pid(), |leader| leader.pid());
    put!(out, "NStgid:{}\nNSpid:{}\n", below(&tgid), below(&task.pid()));
    put!(
        out,
        "NSpgid:{}\nNSsid:{}\nKthread:\t0\n",
        below(group.process_group().pid()),
        below(group.session().pid())
    );
}

fn memory(view: &View<'_>, out: &mut Vec<u8>) {
    let Some(mm) = view.target.try_mm() else { return };
    let began_ns = host::time::monotonic_ns();
    let totals = mm.totals();
    let peak = mm.note_rss(began_ns, totals.usage.rss());
    let usage = totals.usage;
    let lines = [
        ("VmPeak", totals.size),
        ("VmSize", totals.size),
        ("VmLck", totals.locked),
        ("VmPin", 0),
        ("VmHWM", peak),
        ("VmRSS", usage.rss()),
        ("RssAnon", usage.anon),
        ("RssFile", usage.file),
        ("RssShmem", usage.shmem),
        ("VmData", totals.data),
        ("VmStk", totals.stack),
        ("VmExe", totals.text),
        ("VmLib", totals.lib),
        ("VmPTE", (totals.size >> 9).max(4096)),
        ("VmSwap", 0),
    ];
    for (name, bytes) in lines {
        put!(out, "{name}:\t{:8} kB\n", bytes >> 10);
    }
    put!(
        out,
        "HugetlbPages:\t       0 kB\nCoreDumping:\t0\nTHP_enabled:\t0\nuntag_mask:\t0xffffffffffffffff\n"
    );
}

fn signals(view: &View<'_>, out: &mut Vec<u8>) {
    let task = view.target;
    let group = task.thread_group();
    let (own, shared) = task.pending_sets();
    let (ignored, caught) = group.actions().summary();
    let queued = task.kernel().tasks.accounts.get(task.creds().uid).pending_signals();
    put!(out, "Threads:\t{}\n", group.thread_count());
    put!(out, "SigQ:\t{queued}/{}\n", task.limit(Resource::Sigpending));
    let sets = [
        ("SigPnd", own),
        ("ShdPnd", shared),
        ("SigBlk", task.blocked()),
        ("SigIgn", ignored),
        ("SigCgt", caught),
    ];
    for (name, set) in sets {
        put!(out, "{name}:\t{:016x}\n", set.0);
    }
}

fn rest(view: &View<'_>, out: &mut Vec<u8>) {
    let task = view.target;
    let (creds, details) = (task.creds(), task.details());
    let sets: [(&str, CapabilitySet); 5] = [
        ("CapInh", creds.inheritable),
        ("CapPrm", creds.permitted),
        ("CapEff", creds.effective),
        ("CapBnd", creds.bounding),
        ("CapAmb", creds.ambient),
    ];
    for (name, set) in sets {
        put!(out, "{name}:\t{:016x}\n", set.0);
    }
    put!(out, "NoNewPrivs:\t{}\n", u8::from(details.no_new_privs));
    put!(out, "Seccomp:\t{}\nSeccomp_filters:\t{}\n", task.seccomp_mode(), task.seccomp_filter_count());
    put!(out, "Speculation_Store_Bypass:\tvulnerable\nSpeculationIndirectBranch:\tconditional enabled\n");
    let cpus = task.kernel().cpu_count();
    let (map, ranges) = cpu_map(&details.allowed_cpus(cpus), cpus);
    put!(out, "Cpus_allowed:\t{map}\nCpus_allowed_list:\t{ranges}\n");
    let (voluntary, forced) = task.clock().switches();
    put!(out, "Mems_allowed:\t1\nMems_allowed_list:\t0\n");
    put!(out, "voluntary_ctxt_switches:\t{voluntary}\nnonvoluntary_ctxt_switches:\t{forced}\n");
}

#[cfg(test)]
mod tests {
    use super::cpu_map;

    #[test]
    fn processors_are_printed_as_linux_does() {
        assert_eq!(cpu_map(&[3], 2), ("3".into(), "0-1".into()));
        assert_eq!(cpu_map(&[0b1011], 4), ("b".into(), "0-1,3".into()));
        assert_eq!(cpu_map(&[u64::MAX], 40), ("ff,ffffffff".into(), "0-39".into()));
    }
}
