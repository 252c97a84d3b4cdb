//! `man 2 syslog`.

use abi::Errno;
use waiter::Events;

use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::{CurrentTask, SysResult, Task};

const CLOSE: i32 = 0;
const OPEN: i32 = 1;
const READ: i32 = 2;
const READ_ALL: i32 = 3;
const READ_CLEAR: i32 = 4;
const CLEAR: i32 = 5;
const CONSOLE_OFF: i32 = 6;
const CONSOLE_ON: i32 = 7;
const CONSOLE_LEVEL: i32 = 8;
const SIZE_UNREAD: i32 = 9;
const SIZE_BUFFER: i32 = 10;

/// Reading all and asking for the size are free for everyone, with `dmesg_restrict` off.
fn check(task: &Task, action: i32) -> abi::Result<()> {
    let creds = task.creds();
    let is_free = matches!(action, READ_ALL | SIZE_BUFFER) && !task.kernel().knobs.dmesg_restrict.is_on();
    if is_free || creds.capable(Capability::Syslog) || creds.capable(Capability::SysAdmin) {
        Ok(())
    } else {
        Err(Errno::EPERM)
    }
}

pub(super) fn syslog(task: &mut CurrentTask, args: Args) -> SysResult {
    let (action, addr, len) = (args.int(0), args.addr(1), args.int(2));
    check(task, action)?;
    let log = &task.kernel().dmesg;
    match action {
        CLOSE | OPEN | CONSOLE_OFF | CONSOLE_ON => Ok(0),
        READ | READ_ALL | READ_CLEAR => {
            let len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
            if addr.is_null() {
                return Err(Errno::EINVAL.into());
            }
            if len == 0 {
                return Ok(0);
            }
            let text =
                if action == READ { read_new(task, len)? } else { log.tail(len, action == READ_CLEAR) };
            task.mm().write(addr, text.as_bytes())?;
            Ok(text.len() as u64)
        }
        CLEAR => {
            log.clear();
            Ok(0)
        }
        CONSOLE_LEVEL if (1..=8).contains(&len) => Ok(0),
        SIZE_UNREAD => Ok(log.unread() as u64),
        SIZE_BUFFER => Ok(log.capacity() as u64),
        _ => Err(Errno::EINVAL.into()),
    }
}

/// Waits for records that have not been read yet, and takes as many as fit.
fn read_new(task: &Task, len: usize) -> SysResult<String> {
    let log = &task.kernel().dmesg;
    let attempt = &mut || log.take_fitting(len).ok_or(Errno::EAGAIN);
    task.block_on(log.queue(), Events::READABLE, None, attempt)
}
