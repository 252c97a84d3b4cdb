//! `man 2 kcmp`.

use std::any::Any;
use std::sync::Arc;

use abi::{Errno, Result};

use super::args::task_or_self;
use crate::security::AccessIds;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult, Task};

const KCMP_FILE: i32 = 0;
const KCMP_VM: i32 = 1;
const KCMP_FILES: i32 = 2;
const KCMP_FS: i32 = 3;
const KCMP_SIGHAND: i32 = 4;
const KCMP_IO: i32 = 5;
const KCMP_SYSVSEM: i32 = 6;

/// Kept until the comparison, so that no address is used again before.
type Subject = Option<Arc<dyn Any + Send + Sync>>;

/// What of `task` is compared, if the caller may look into it.
fn subject(caller: &Task, task: &Task, kind: i32, fd: u64) -> Result<Subject> {
    caller.inspect(task, AccessIds::Real, || {
        let subject: Arc<dyn Any + Send + Sync> = match kind {
            KCMP_FILE => task.fd_table().get(fd as i32)?,
            KCMP_VM => task.try_mm().ok_or(Errno::ESRCH)?,
            KCMP_FILES => task.fd_table(),
            KCMP_FS => task.fs(),
            KCMP_SIGHAND => task.thread_group().actions(),
            // Nobody has an I/O context: the host schedules.
            KCMP_IO => return Ok(None),
            KCMP_SYSVSEM => match &*task.sem_undo().lock() {
                Some(list) => list.clone(),
                None => return Ok(None),
            },
            _ => return Err(Errno::EINVAL),
        };
        Ok(Some(subject))
    })
}

pub(super) fn kcmp(task: &mut CurrentTask, args: Args) -> SysResult {
    let [first, second, kind, a, b, _] = args.0;
    let (first, second) = (task_or_self(task, first as i32)?, task_or_self(task, second as i32)?);
    if !task.may_inspect(&first, AccessIds::Real) || !task.may_inspect(&second, AccessIds::Real) {
        return Err(Errno::EPERM.into());
    }
    let subjects = [subject(task, &first, kind as i32, a)?, subject(task, &second, kind as i32, b)?];
    // The addresses themselves stay secret by a multiplier that is odd.
    let [first, second] = subjects.each_ref().map(|subject| {
        let addr = subject.as_ref().map_or(0, |subject| Arc::as_ptr(subject).addr());
        addr.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    Ok(match first.cmp(&second) {
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    })
}
