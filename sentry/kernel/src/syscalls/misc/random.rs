//! `man 2 getrandom`.

use abi::Errno;

use crate::mm::IoDst;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult, random};

const GRND_NONBLOCK: u32 = 1;
const GRND_RANDOM: u32 = 2;
const GRND_INSECURE: u32 = 4;

pub(super) fn getrandom(task: &mut CurrentTask, args: Args) -> SysResult {
    let (len, flags) = (args[1], args.uint(2));
    if flags & !(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) != 0
        || flags & (GRND_RANDOM | GRND_INSECURE) == GRND_RANDOM | GRND_INSECURE
    {
        return Err(Errno::EINVAL.into());
    }
    let len = usize::try_from(len.min(i32::MAX as u64)).unwrap_or(0);
    let mm = task.mm();
    let mut dst = IoDst::user(&mm, args.addr(0), len);
    // A signal ends it early, but not before 256 bytes (getrandom(2)).
    Ok(random::fill(task, &mut dst)? as u64)
}
