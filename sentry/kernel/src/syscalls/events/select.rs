//! `man 2 select`, `man 2 pselect`.

use abi::time::Timeval;
use abi::{Errno, Result, UserAddr};
use waiter::Events;

use super::deadline_in;
use super::poll::{Target, make_room, note_promising, promising, wait_for, write_left};
use crate::syscalls::signal::{read_mask, with_mask};
use crate::syscalls::table::Args;
use crate::syscalls::time::read_timespec;
use crate::time::MonotonicTime;
use crate::vfs::{Candidates, Fd};
use crate::{CurrentTask, SysResult, Task};

/// What each of the three sets waits for.
const SETS: [Events; 3] = [
    Events::READABLE.union(Events::RDBAND).union(Events::HUP).union(Events::ERR),
    Events::WRITABLE.union(Events::WRBAND).union(Events::ERR),
    Events::PRI,
];

/// The three sets as bit maps.
struct FdSets {
    words: usize,
    bits: [Option<Vec<u64>>; 3],
}

impl FdSets {
    fn read(task: &Task, count: usize, addrs: [UserAddr; 3]) -> Result<Self> {
        let words = count.div_ceil(64);
        let mut bits = [const { None }; 3];
        for (set, addr) in bits.iter_mut().zip(addrs) {
            if !addr.is_null() {
                let mut map = vec![0_u64; words];
                task.mm().read(addr, zerocopy::IntoBytes::as_mut_bytes(map.as_mut_slice()))?;
                *set = Some(map);
            }
        }
        Ok(Self { words, bits })
    }

    fn contains(&self, set: usize, fd: usize) -> bool {
        self.bits[set].as_ref().is_some_and(|map| map[fd / 64] & (1 << (fd % 64)) != 0)
    }
}

fn select_fds(
    task: &Task,
    count: u64,
    addrs: [UserAddr; 3],
    deadline: Option<MonotonicTime>,
) -> SysResult<(u64, Candidates)> {
    let count = usize::try_from(count as i32).map_err(|_| Errno::EINVAL)?;
    let table = task.fd_table();
    let count = count.min(table.capacity());
    make_room(count)?;
    let sets = FdSets::read(task, count, addrs)?;
    let mut fds = Vec::new();
    let mut targets = Vec::new();
    for fd in 0..count {
        let wanted = (0..3).filter(|&set| sets.contains(set, fd));
        let mask = wanted.fold(Events::empty(), |mask, set| mask | SETS[set]);
        if !mask.is_empty() {
            let number = Fd::try_from(fd).map_err(|_| Errno::EBADF)?;
            fds.push(fd);
            targets.push(Target { file: Some(table.get(number)?), mask, ready: Events::empty() });
        }
    }
    wait_for(task, &mut targets, deadline)?;
    let mut total = 0;
    for (set, addr) in addrs.iter().enumerate().filter(|(_, addr)| !addr.is_null()) {
        let mut map = vec![0_u64; sets.words];
        for (&fd, target) in fds.iter().zip(&targets) {
            if sets.contains(set, fd) && target.ready.intersects(SETS[set]) {
                map[fd / 64] |= 1 << (fd % 64);
                total += 1;
            }
        }
        task.mm().write(*addr, zerocopy::IntoBytes::as_bytes(map.as_slice()))?;
    }
    let numbers = fds.iter().map(|&fd| Fd::try_from(fd).unwrap_or(-1));
    Ok((total, promising(numbers, &targets)))
}

fn set_addrs(args: &Args) -> [UserAddr; 3] {
    [args.addr(1), args.addr(2), args.addr(3)]
}

pub(super) fn select(task: &mut CurrentTask, args: Args) -> SysResult {
    let timeout = args.addr(4);
    let deadline = if timeout.is_null() {
        None
    } else {
        let time: Timeval = task.mm().read_object(timeout)?;
        let ns = time.to_ns();
        if time.tv_sec < 0 || time.tv_usec < 0 {
            return Err(Errno::EINVAL.into());
        }
        Some(deadline_in(task, ns))
    };
    let result = select_fds(task, args[0], set_addrs(&args), deadline);
    if let Some(deadline) = deadline {
        let left = deadline.since(task.kernel().timekeeper.monotonic());
        // A place that cannot be written is no error, as in Linux.
        let _ = task.mm().write_object(timeout, &Timeval::from_ns(left));
    }
    note_promising(task, result)
}

pub(super) fn pselect6(task: &mut CurrentTask, args: Args) -> SysResult {
    let (timeout, mask) = (args.addr(4), args.addr(5));
    let deadline =
        if timeout.is_null() { None } else { Some(deadline_in(task, read_timespec(task, timeout)?.to_ns())) };
    let mask = if mask.is_null() {
        None
    } else {
        let [addr, size]: [u64; 2] = task.mm().read_object(mask)?;
        read_mask(task, UserAddr(addr), size)?
    };
    let result = with_mask(task, mask, || select_fds(task, args[0], set_addrs(&args), deadline));
    write_left(task, timeout, deadline);
    note_promising(task, result)
}
