//! What processes have used: `man 2 getrusage`, `man 2 times`.

use abi::Errno;

use crate::syscalls::table::Args;
use crate::task::{CpuTimes, NS_PER_TICK};
use crate::{CurrentTask, SysResult};

const RUSAGE_SELF: i32 = 0;
const RUSAGE_CHILDREN: i32 = -1;
const RUSAGE_THREAD: i32 = 1;

pub(super) fn getrusage(task: &mut CurrentTask, args: Args) -> SysResult {
    let usage = match args.int(0) {
        RUSAGE_SELF => task.thread_group().rusage(),
        RUSAGE_CHILDREN => task.thread_group().children_rusage(),
        RUSAGE_THREAD => task.rusage(),
        _ => return Err(Errno::EINVAL.into()),
    };
    task.mm().write_object(args.addr(1), &usage)?;
    Ok(0)
}

pub(super) fn times(task: &mut CurrentTask, args: Args) -> SysResult {
    let group = task.thread_group();
    if args[0] != 0 {
        let ticks = |times: CpuTimes| [times.user_ns / NS_PER_TICK, times.system_ns / NS_PER_TICK];
        let (own, children) = (ticks(group.cpu_times()), ticks(group.children_cpu_times()));
        task.mm().write_object(args.addr(0), &[own[0], own[1], children[0], children[1]])?;
    }
    let since_boot = task.kernel().timekeeper.monotonic().0;
    Ok(u64::try_from(since_boot).unwrap_or(0) / NS_PER_TICK)
}
