//! `man 2 poll`, `man 2 ppoll`, and the wait that they share with select(2).

use std::sync::Arc;

use abi::poll::PollFd;
use abi::resource::Resource;
use abi::{Errno, Result, Timespec, UserAddr};
use host::heap::{self, Purpose};
use waiter::{Events, Registration};

use super::{deadline_in, deadline_in_ms};
use crate::error::{Restart, SysError};
use crate::syscalls::signal::{read_mask, with_mask};
use crate::syscalls::table::Args;
use crate::syscalls::time::read_timespec;
use crate::task::{RestartBlock, RestartCall};
use crate::time::MonotonicTime;
use crate::vfs::{Candidates, Fd, File};
use crate::{CurrentTask, SysResult, Task};

/// A file that is waited for.
pub(super) struct Target {
    /// `None` for an entry that is to be passed over.
    pub(super) file: Option<Arc<File>>,
    /// What is waited for.
    pub(super) mask: Events,
    /// What it is ready for.
    pub(super) ready: Events,
}

/// What an entry costs while it is waited for: as it was asked for, as a target, and registered.
const ENTRY_COST: usize = size_of::<PollFd>() + size_of::<Target>() + 4 * size_of::<Registration>() + 64;

/// Checks that there is room for waiting for `count` files.
///
/// # Errors
/// `ENOMEM`.
pub(super) fn make_room(count: usize) -> Result<()> {
    heap::room_for((count * ENTRY_COST) as u64, Purpose::Process)
}

impl Target {
    fn update(&mut self) -> bool {
        if let Some(file) = &self.file {
            self.ready = file.poll() & self.mask;
        }
        !self.ready.is_empty()
    }
}

/// Waits until a target is ready or the deadline passes; returns how many are ready.
///
/// # Errors
/// `Restart::NoHand` where a signal comes first.
pub(super) fn wait_for(
    task: &Task,
    targets: &mut [Target],
    deadline: Option<MonotonicTime>,
) -> SysResult<usize> {
    let count = count_ready(targets);
    if count > 0 || deadline == Some(MonotonicTime(0)) {
        return Ok(count);
    }
    let registrations = register(task, targets);
    let result = task.block_until(deadline, &mut || match count_ready(targets) {
        0 => Err(Errno::EAGAIN),
        count => Ok(count),
    });
    drop(registrations);
    match result {
        Ok(count) => Ok(count),
        Err(end) => match (count_ready(targets), end) {
            // What happened at the last moment counts.
            (0, SysError::Errno(Errno::ETIMEDOUT)) => Ok(0),
            (0, SysError::Restart(_)) => Err(SysError::Restart(Restart::NoHand)),
            (0, errno) => Err(errno),
            (count, _) => Ok(count),
        },
    }
}

/// Has `task` woken for what the targets wait for. A file that is named many times is asked once.
fn register(task: &Task, targets: &[Target]) -> Vec<Registration> {
    let waits = targets.iter().filter_map(|target| {
        let file = target.file.as_ref()?;
        Some((Arc::as_ptr(file), file.ops().wait_queue()?, target.mask))
    });
    let mut waits: Vec<_> = waits.collect();
    waits.sort_unstable_by_key(|(file, ..)| *file);
    waits.dedup_by(|(file, _, mask), (kept, _, union)| {
        let is_same = file == kept;
        if is_same {
            *union |= *mask;
        }
        is_same
    });
    waits.into_iter().map(|(_, queue, mask)| queue.register(mask, task.notifier())).collect()
}

fn count_ready(targets: &mut [Target]) -> usize {
    targets.iter_mut().map(Target::update).filter(|is_ready| *is_ready).count()
}

/// Those of the targets, which have these numbers, that can be read and whose calls can be promised.
pub(super) fn promising(fds: impl Iterator<Item = Fd>, targets: &[Target]) -> Candidates {
    let readable = fds.zip(targets).filter(|(_, target)| target.ready.contains(Events::IN));
    let files = readable.filter_map(|(fd, target)| Some((fd, target.file.as_ref()?)));
    let files = files
        .filter(|(_, file)| file.ops().promising().is_some())
        .map(|(fd, file)| (fd, Arc::downgrade(file)))
        .collect();
    Candidates { files, epoll: None }
}

fn read_fds(task: &Task, addr: UserAddr, count: u64) -> Result<Vec<PollFd>> {
    if count > task.limit(Resource::Nofile) {
        return Err(Errno::EINVAL);
    }
    let count = usize::try_from(count).map_err(|_| Errno::EINVAL)?;
    make_room(count)?;
    let mut fds = vec![PollFd::default(); count];
    if count > 0 {
        task.mm().read(addr, zerocopy::IntoBytes::as_mut_bytes(fds.as_mut_slice()))?;
    }
    Ok(fds)
}

fn poll_fds(
    task: &Task,
    addr: UserAddr,
    count: u64,
    deadline: Option<MonotonicTime>,
) -> SysResult<(u64, Candidates)> {
    let fds = read_fds(task, addr, count)?;
    let table = task.fd_table();
    let mut targets: Vec<Target> = fds
        .iter()
        .map(|fd| {
            let mask = Events::from_bits_truncate(u32::from(fd.events)) | Events::ALWAYS;
            let file = if fd.fd < 0 { None } else { table.get(fd.fd).ok() };
            let is_bad = fd.fd >= 0 && file.is_none();
            let ready = if is_bad { Events::NVAL } else { Events::empty() };
            Target { file, mask, ready }
        })
        .collect();
    let count = wait_for(task, &mut targets, deadline)?;
    const REVENTS: u64 = std::mem::offset_of!(PollFd, revents) as u64;
    for (index, target) in (0_u64..).zip(&targets) {
        let at = addr.checked_add(index * size_of::<PollFd>() as u64 + REVENTS).ok_or(Errno::EFAULT)?;
        task.mm().write_object(at, &(target.ready.bits() as u16))?;
    }
    Ok((count as u64, promising(fds.iter().map(|fd| fd.fd), &targets)))
}

pub(super) fn poll(task: &mut CurrentTask, args: Args) -> SysResult {
    let deadline = deadline_in_ms(task, args.int(2));
    poll_until(task, args.addr(0), u64::from(args.uint(1)), deadline)
}

/// Polls, and remembers the deadline where a stop interrupts it.
fn poll_until(
    task: &mut CurrentTask,
    addr: UserAddr,
    count: u64,
    deadline: Option<MonotonicTime>,
) -> SysResult {
    let result = poll_fds(task, addr, count, deadline).map_err(|error| {
        if !matches!(error, SysError::Restart(_)) {
            return error;
        }
        let end = deadline.map_or(i64::MAX, |deadline| deadline.0);
        let args = Args([addr.0, count, end as u64, 0, 0, 0]);
        task.details.lock().restart = Some(RestartBlock { call: RestartCall::Poll, args });
        SysError::Restart(Restart::Block)
    });
    note_promising(task, result)
}

/// Announces files that the task may use next.
pub(super) fn note_promising(task: &mut CurrentTask, result: SysResult<(u64, Candidates)>) -> SysResult {
    let (count, files) = result?;
    task.expect_use_of(files);
    Ok(count)
}

pub(in crate::syscalls) fn restart_poll(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, count, end, ..] = args.0;
    let end = end as i64;
    poll_until(task, UserAddr(addr), count, (end != i64::MAX).then_some(MonotonicTime(end)))
}

pub(super) fn ppoll(task: &mut CurrentTask, args: Args) -> SysResult {
    let [fds, count, timeout, mask, mask_size, _] = args.0;
    let timeout = UserAddr(timeout);
    let deadline =
        if timeout.is_null() { None } else { Some(deadline_in(task, read_timespec(task, timeout)?.to_ns())) };
    let mask = read_mask(task, UserAddr(mask), mask_size)?;
    let result = with_mask(task, mask, || poll_fds(task, UserAddr(fds), u64::from(count as u32), deadline));
    write_left(task, timeout, deadline);
    note_promising(task, result)
}

/// Tells how much of a time-out is left. A place that cannot be written is no error, as in Linux.
pub(super) fn write_left(task: &Task, addr: UserAddr, deadline: Option<MonotonicTime>) {
    if let Some(deadline) = deadline.filter(|_| !addr.is_null()) {
        let left = deadline.since(task.kernel().timekeeper.monotonic());
        let _ = task.mm().write_object(addr, &Timespec::from_ns(left));
    }
}
