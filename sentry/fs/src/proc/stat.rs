//! `/proc/[pid]/stat` and `/proc/[pid]/statm` (`man 5 proc_pid_stat`).

use abi::Result;
use kernel::Task;
use kernel::task::CpuTimes;

use super::access;
use super::system::{put, ticks};
use super::task_dir::View;

/// The state's letter and its word in `status`.
pub(super) fn state_of(task: &Task) -> (char, &'static str) {
    let group = task.thread_group();
    if task.has_exited() || (task.is_leader() && group.is_zombie()) {
        ('Z', "zombie")
    } else if task.is_trace_stopped() {
        ('t', "tracing stop")
    } else if group.is_stopped() {
        ('T', "stopped")
    } else if task.clock().is_asleep_killable() {
        ('D', "disk sleep")
    } else if task.clock().is_asleep() {
        ('S', "sleeping")
    } else {
        ('R', "running")
    }
}

/// Processor time of the process, or of the thread.
pub(super) fn cpu_times(view: &View<'_>) -> CpuTimes {
    if view.is_process { view.target.thread_group().cpu_times() } else { view.target.clock().times() }
}

pub(super) fn stat(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let (task, ns) = (view.target, &view.ns);
    let group = task.thread_group();
    let details = task.details();
    let (mine, children) = (cpu_times(view), group.children_cpu_times());
    let may_look = access::check(view.viewer, task).is_ok();
    let mm = task.try_mm();
    let totals = mm.as_ref().map(|mm| mm.totals()).unwrap_or_default();
    let image = mm.as_ref().map(|mm| mm.image()).unwrap_or_default();
    let shown = |address: u64| if may_look { address } else { 0 };
    let (session, process_group) = (group.session(), group.process_group());
    let terminal = session.terminal();
    let tty = terminal.as_ref().map_or(0, |terminal| terminal.device().encode());
    let foreground = terminal.and_then(|terminal| terminal.foreground());
    let tpgid = foreground.map_or(-1, |foreground| foreground.number_in(ns));
    let parent = group.parent().map_or(0, |parent| parent.tgid_in(ns));
    let (pending, _) = task.pending_sets();
    let (ignored, caught) = group.actions().summary();
    let nice = details.scheduling.nice;
    put!(out, "{} (", task.tid_in(ns));
    out.extend_from_slice(&task.comm());
    put!(
        out,
        ") {} {parent} {} {} {tty} {tpgid} 4194560 0 0 0 0 {} {} {} {} {} {nice} {} 0 {} {} {} {}",
        state_of(task).0,
        process_group.number_in(ns),
        session.number_in(ns),
        ticks(mine.user_ns),
        ticks(mine.system_ns),
        ticks(children.user_ns),
        ticks(children.system_ns),
        20 + nice,
        group.thread_count(),
        ticks(details.start_time_ns.unsigned_abs()),
        totals.size,
        totals.usage.rss() >> 12,
        task.limit(abi::resource::Resource::Rss),
    );
    put!(
        out,
        " {} {} {} 0 0 {} {} {} {} 0 0 0 {} 0 {} {} 0 0 0",
        shown(image.start_code).max(u64::from(mm.is_some())),
        shown(image.end_code).max(u64::from(mm.is_some())),
        shown(image.start_stack),
        pending.0 & 0x7fff_ffff,
        task.blocked().0 & 0x7fff_ffff,
        ignored.0 & 0x7fff_ffff,
        caught.0 & 0x7fff_ffff,
        group.exit_signal().map_or(0, abi::Signal::number),
        details.scheduling.priority,
        details.scheduling.policy,
    );
    put!(
        out,
        " {} {} {} {} {} {} {} {}\n",
        shown(image.start_data),
        shown(image.end_data),
        shown(mm.as_ref().map_or(0, |mm| mm.heap().start)),
        shown(image.arg_start),
        shown(image.arg_end),
        shown(image.env_start),
        shown(image.env_end),
        group.exit_status().filter(|_| may_look).map_or(0, |status| status.wait_status()),
    );
    Ok(())
}

pub(super) fn statm(view: &View<'_>, out: &mut Vec<u8>) -> Result<()> {
    let totals = view.target.try_mm().map(|mm| mm.totals()).unwrap_or_default();
    let pages = |bytes: u64| bytes >> 12;
    put!(
        out,
        "{} {} {} {} 0 {} 0\n",
        pages(totals.size),
        pages(totals.usage.rss()),
        pages(totals.usage.file + totals.usage.shmem),
        pages(totals.text),
        pages(totals.data + totals.stack)
    );
    Ok(())
}
