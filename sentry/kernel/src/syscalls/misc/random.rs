//! `man 2 getrandom`.

use abi::{Errno, UserAddr};

use crate::mm::IoDst;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

const GRND_NONBLOCK: u64 = 1;
const GRND_RANDOM: u64 = 2;
const GRND_INSECURE: u64 = 4;

pub(super) fn getrandom(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, len, flags, ..] = args.0;
    if flags & !(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) != 0
        || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE
    {
        return Err(Errno::EINVAL.into());
    }
    let len = usize::try_from(len.min(i32::MAX as u64)).unwrap_or(0);
    let mm = task.mm();
    let mut dst = IoDst::user(&mm, UserAddr(addr), len);
    let mut buffer = [0; 4096];
    let mut done = 0;
    // A signal ends it early, but not before 256 bytes (getrandom(2)).
    while dst.remaining() > 0 && (done == 0 || !task.wake().is_interrupted()) {
        let want = dst.remaining().min(buffer.len());
        host::memory::random(&mut buffer[..want])?;
        match dst.put(&buffer[..want]) {
            Ok(count) => done += count as u64,
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(done)
}
