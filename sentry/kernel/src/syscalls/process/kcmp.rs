//! `man 2 kcmp`.

use std::sync::Arc;

use abi::Errno;

use super::args::task_or_self;
use crate::security::AccessIds;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

const KCMP_FILE: i32 = 0;
const KCMP_VM: i32 = 1;
const KCMP_FILES: i32 = 2;
const KCMP_FS: i32 = 3;
const KCMP_SIGHAND: i32 = 4;
const KCMP_IO: i32 = 5;
const KCMP_SYSVSEM: i32 = 6;

/// How two addresses compare; the addresses themselves stay secret by a multiplier that is odd.
fn compare(a: usize, b: usize) -> u64 {
    let hide = |at: usize| at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match hide(a).cmp(&hide(b)) {
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    }
}

fn address<T: ?Sized>(of: &Arc<T>) -> usize {
    Arc::as_ptr(of).cast::<u8>().addr()
}

pub(super) fn kcmp(task: &mut CurrentTask, args: Args) -> SysResult {
    let [first, second, kind, a, b, _] = args.0;
    let (first, second) = (task_or_self(task, first as i32)?, task_or_self(task, second as i32)?);
    if !task.may_inspect(&first, AccessIds::Real) || !task.may_inspect(&second, AccessIds::Real) {
        return Err(Errno::EPERM.into());
    }
    let mm = |task: &crate::Task| task.try_mm().ok_or(Errno::ESRCH);
    let order = match kind as i32 {
        KCMP_FILE => {
            compare(address(&first.fd_table().get(a as i32)?), address(&second.fd_table().get(b as i32)?))
        }
        KCMP_VM => compare(address(&mm(&first)?), address(&mm(&second)?)),
        KCMP_FILES => compare(address(&first.fd_table()), address(&second.fd_table())),
        KCMP_FS => compare(address(&first.fs()), address(&second.fs())),
        KCMP_SIGHAND => {
            compare(address(&first.thread_group().actions()), address(&second.thread_group().actions()))
        }
        // Nobody has an I/O context: the host schedules.
        KCMP_IO => 0,
        KCMP_SYSVSEM => {
            let list = |task: &crate::Task| task.sem_undo().lock().as_ref().map_or(0, address);
            compare(list(&first), list(&second))
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(order)
}
