//! Other processes' memory: process_vm_readv(2), process_vm_writev(2).

use abi::{Errno, Result, UserAddr};

use crate::mm::{IoRanges, MemoryManager};
use crate::syscalls::process::args::memory_of;
use crate::syscalls::table::Args;
use crate::task::Tid;
use crate::{CurrentTask, SysResult};

/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

/// process_vm_readv(2).
pub(super) fn process_vm_readv(task: &mut CurrentTask, args: Args) -> SysResult {
    transfer(task, args, |own, remote, local, there, buffer| {
        let got = remote.read_some(there, buffer);
        own.write_some(local, &buffer[..got])
    })
}

/// process_vm_writev(2).
pub(super) fn process_vm_writev(task: &mut CurrentTask, args: Args) -> SysResult {
    transfer(task, args, |own, remote, local, there, buffer| {
        let got = own.read_some(local, buffer);
        remote.write_some(there, &buffer[..got])
    })
}

/// Copies one chunk between an own and a remote address; says how much it could.
type Copy = fn(&MemoryManager, &MemoryManager, UserAddr, UserAddr, &mut [u8]) -> usize;

fn transfer(task: &CurrentTask, args: Args, copy: Copy) -> SysResult {
    let [pid, local, local_count, remote, remote_count, flags] = args.0;
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let own = task.mm();
    let read = |addr, count| -> Result<IoRanges> {
        let mut ranges = own.read_iovec(UserAddr(addr), count)?;
        ranges.reverse();
        Ok(ranges)
    };
    let mut local = read(local, local_count)?;
    let mut remote = read(remote, remote_count)?;
    if local.iter().all(|(_, len)| *len == 0) || remote.is_empty() {
        return Ok(0);
    }
    let target = task.pid_ns().task(pid as Tid).ok_or(Errno::ESRCH)?;
    let other = memory_of(task, &target)?;
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    loop {
        skip_empty(&mut local);
        skip_empty(&mut remote);
        let (Some(here), Some(there)) = (local.last_mut(), remote.last_mut()) else { break };
        let want = here.1.min(there.1).min(CHUNK);
        let moved = copy(&own, &other, here.0, there.0, &mut buffer[..want]);
        done += moved as u64;
        if moved < want {
            break;
        }
        for range in [here, there] {
            *range = (UserAddr(range.0.0.wrapping_add(moved as u64)), range.1 - moved);
        }
    }
    let wanted = !local.is_empty() && !remote.is_empty();
    if done == 0 && wanted { Err(Errno::EFAULT.into()) } else { Ok(done) }
}

fn skip_empty(ranges: &mut IoRanges) {
    while ranges.last().is_some_and(|(_, len)| *len == 0) {
        ranges.pop();
    }
}
