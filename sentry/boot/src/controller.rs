//! The calls on the control socket.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::signal::SI_USER;
use abi::time::NSEC_PER_SEC;
use abi::{SigInfo, Signal};
use control::reply::ProcessRow;
use control::stats::Stats;
use control::{Failure, Handler, Reply, Request, Target};
use kernel::task::ThreadGroup;

use crate::donated::Donated;
use crate::sandbox::Sandbox;

/// The handler that [`control::Server`] calls.
#[derive(Clone)]
pub(crate) struct Controller(pub(crate) Arc<Sandbox>);

impl Handler for Controller {
    fn handle(&self, request: Request, fds: Vec<OwnedFd>, caller: BorrowedFd<'_>) -> Result<Reply, Failure> {
        self.0.begin_call();
        answer(&self.0, request, &Donated::new(fds), caller)
    }

    fn answered(&self) {
        self.0.end_call();
    }
}

fn answer(
    sandbox: &Arc<Sandbox>,
    request: Request,
    donated: &Donated,
    caller: BorrowedFd<'_>,
) -> Result<Reply, Failure> {
    match request {
        Request::CreateContainer(config) => sandbox.add_container(*config, donated).map(|()| Reply::Done),
        Request::Network(plan) => {
            crate::network::attach(&sandbox.around().net_content()?, &plan, donated).map(|()| Reply::Done)
        }
        Request::Start { container } => {
            let pid = sandbox.container(&container)?.start()?;
            Ok(Reply::Started { pid })
        }
        Request::Exec(exec) => {
            let pid = sandbox.container(&exec.container)?.exec(&exec, donated)?;
            Ok(Reply::Started { pid })
        }
        Request::Signal { target, signal } => send_signal(sandbox, &target, signal).map(|()| Reply::Done),
        Request::Wait { container, pid } => {
            sandbox.container(&container)?.wait(pid, caller).map(Reply::Exited)
        }
        Request::Processes { container } => processes(sandbox, &container).map(Reply::Processes),
        Request::Pause { container } => {
            sandbox.container(&container)?.container().freeze(&sandbox.kernel().tasks);
            Ok(Reply::Done)
        }
        Request::Resume { container } => {
            sandbox.container(&container)?.container().thaw(&sandbox.kernel().tasks);
            Ok(Reply::Done)
        }
        Request::State { container } => {
            sandbox.container(&container).map(|found| Reply::State(found.state()))
        }
        Request::Stats { container } => stats(sandbox, &container).map(|stats| Reply::Stats(Box::new(stats))),
        Request::WindowSize { container, pid, rows, columns } => {
            set_window_size(sandbox, &container, pid, (rows, columns)).map(|()| Reply::Done)
        }
        Request::Destroy { container } => {
            sandbox.container(&container)?.kill_all();
            if !sandbox.is_root(&container) {
                sandbox.remove_container(&container);
            }
            Ok(Reply::Done)
        }
        Request::Strace { calls } => set_strace(sandbox, calls.as_deref()).map(|()| Reply::Done),
        Request::Update { container, resources, cpu_count } => {
            update(sandbox, &container, &resources, cpu_count).map(|()| Reply::Done)
        }
        Request::Stacks => Ok(Reply::Text(stacks(sandbox))),
    }
}

fn set_window_size(
    sandbox: &Sandbox,
    container: &str,
    pid: Option<i32>,
    (rows, columns): (u16, u16),
) -> Result<(), Failure> {
    let terminal = sandbox.container(container)?.process(pid)?.session().terminal();
    let terminal = terminal.ok_or_else(|| Failure::wrong_state("the process has no terminal"))?;
    terminal.set_window_size(rows, columns);
    Ok(())
}

fn set_strace(sandbox: &Sandbox, calls: Option<&[String]>) -> Result<(), Failure> {
    if calls.is_some() && !sandbox.kernel().log.is_on() {
        let why = "the sandbox has no debug log: make it with --debug-log=FILE to trace it";
        return Err(Failure::wrong_state(why));
    }
    sandbox.kernel().set_strace(calls);
    Ok(())
}

/// New limits; what programs see of the machine follows the first container's.
fn update(
    sandbox: &Sandbox,
    container: &str,
    resources: &serde_json::Value,
    cpu_count: Option<u32>,
) -> Result<(), Failure> {
    sandbox.container(container)?.set_limits(resources);
    if !sandbox.is_root(container) {
        return Ok(());
    }
    if let Some(count) = cpu_count {
        sandbox.kernel().set_cpu_count(count as usize);
    }
    if let Some(bytes) = memory_limit(resources) {
        sandbox.kernel().set_total_memory(bytes.min(sandbox.around().host.memory_capacity));
    }
    Ok(())
}

/// The limit on memory in an OCI `resources` object; it may lower what the guest sees, never raise it above the host's.
fn memory_limit(resources: &serde_json::Value) -> Option<u64> {
    u64::try_from(resources["memory"]["limit"].as_i64()?).ok().filter(|bytes| *bytes > 0)
}

fn send_signal(sandbox: &Sandbox, target: &Target, number: i32) -> Result<(), Failure> {
    let container = sandbox.container(target.container())?;
    // Signal 0 asks whether there is somebody, as kill(2) does.
    let signal = match number {
        0 => None,
        _ => Some(
            Signal::new(number).ok_or_else(|| Failure::invalid(format!("there is no signal {number}")))?,
        ),
    };
    let send = |group: &ThreadGroup| {
        if let Some(signal) = signal {
            group.send_signal_from_outside(SigInfo::new(signal, SI_USER));
        }
    };
    match target {
        Target::Init { .. } => match container.init() {
            Ok(group) => send(&group),
            Err(failure) => return Err(failure),
        },
        Target::Process { pid, .. } => send(&*container.process(Some(*pid))?),
        Target::Group { pgid, .. } => {
            let members = || {
                let mut groups = container.container().thread_groups(&sandbox.kernel().tasks);
                groups.retain(|group| group.process_group().pid().number() == *pgid);
                groups
            };
            if send_to_many(sandbox, &members, signal) == 0 {
                return Err(Failure::not_found(format!("there is no process group {pgid}")));
            }
        }
        Target::Foreground { pid, .. } => {
            let terminal = container.process(*pid)?.session().terminal();
            let foreground = terminal.and_then(|terminal| terminal.foreground());
            let foreground =
                foreground.ok_or_else(|| Failure::wrong_state("the process has no terminal in use"))?;
            send_to_many(sandbox, &|| foreground.members(), signal);
        }
        Target::All { .. } => {
            if let Some(signal) = signal {
                container.container().signal_all(&sandbox.kernel().tasks, signal);
            }
        }
    }
    Ok(())
}

/// Sends a signal, if it is one, to several processes and to the children that they are just making; says how many
/// there are.
fn send_to_many(
    sandbox: &Sandbox,
    members: &dyn Fn() -> Vec<Arc<ThreadGroup>>,
    signal: Option<Signal>,
) -> usize {
    match signal {
        Some(signal) => sandbox.kernel().tasks.signal_from_outside(members, signal),
        None => members().len(),
    }
}

fn processes(sandbox: &Sandbox, id: &str) -> Result<Vec<ProcessRow>, Failure> {
    let kernel = sandbox.kernel();
    let now = kernel.timekeeper.monotonic().0;
    let groups = sandbox.container(id)?.container().thread_groups(&kernel.tasks);
    let rows = groups.iter().filter(|group| !group.is_zombie()).filter_map(|group| {
        let leader = group.leader()?;
        let started = leader.start_time().0;
        let times = group.cpu_times();
        let cpu_ns = times.user_ns + times.system_ns;
        let age_ns = u64::try_from(now - started).unwrap_or(0).max(1);
        Some(ProcessRow {
            uid: leader.creds().euid,
            pid: group.tgid(),
            pgid: group.process_group().pid().number(),
            ppid: group.parent().map_or(0, |parent| parent.tgid()),
            threads: group.tasks().iter().map(|task| task.tid()).collect(),
            cpu_percent: u32::try_from(cpu_ns.saturating_mul(100) / age_ns).unwrap_or(u32::MAX),
            start_time: (kernel.timekeeper.boot_realtime_ns() + started) / NSEC_PER_SEC,
            cpu_time_ns: cpu_ns,
            tty: group.session().terminal().map_or_else(|| "?".into(), |terminal| terminal.name()),
            command: String::from_utf8_lossy(&leader.comm()).into_owned(),
        })
    });
    Ok(rows.collect())
}

fn stats(sandbox: &Sandbox, id: &str) -> Result<Stats, Failure> {
    let kernel = sandbox.kernel();
    let container = sandbox.container(id)?;
    let groups = container.container().thread_groups(&kernel.tasks);
    let mut stats = Stats::default();
    for group in &groups {
        // What its children used that have ended still counts.
        let times = group.cpu_times() + group.children_cpu_times();
        stats.cpu.usage.user += times.user_ns;
        stats.cpu.usage.kernel += times.system_ns;
    }
    stats.cpu.usage.total = stats.cpu.usage.user + stats.cpu.usage.kernel;
    stats.memory.usage.usage = kernel.memory.used();
    stats.memory.usage.limit = kernel.total_memory();
    stats.pids.current = groups.iter().map(|group| group.thread_count() as u64).sum();
    let limit = container.container().max_tasks();
    stats.pids.limit = if limit == u64::MAX { 0 } else { limit };
    Ok(stats)
}

/// What each task is doing, and how calls have come in.
fn stacks(sandbox: &Sandbox) -> String {
    let kernel = sandbox.kernel();
    let tasks = kernel.tasks.tasks().iter().map(|task| format!("{task:?}\n")).collect::<String>();
    format!("{tasks}{}\n", kernel.platform.ways_in())
}
