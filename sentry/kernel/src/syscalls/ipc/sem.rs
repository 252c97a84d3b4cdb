//! System V semaphores: semget(2), semop(2), semtimedop(2), semctl(2).

use abi::ipc::{
    GETALL, GETNCNT, GETPID, GETVAL, GETZCNT, IPC_64, IPC_INFO, SEM_INFO, SEM_STAT, SEM_STAT_ANY, SEM_UNDO,
    SETALL, SETVAL, SemBuf,
};
use abi::{Errno, Result, UserAddr};
use zerocopy::{FromZeros, IntoBytes};

use super::{control, pid};
use crate::ipc::{IpcAccess, IpcNamespace, IpcObject, IpcSet, Pending, SemSet};
use crate::syscalls::table::Args;
use crate::syscalls::time::read_timespec;
use crate::time::MonotonicTime;
use crate::{CurrentTask, SysError, SysResult, Task};

/// semget(2).
pub(super) fn semget(task: &mut CurrentTask, args: Args) -> SysResult {
    let [key, count, flags, ..] = args.0;
    let set = &IpcNamespace::of(task).sem;
    Ok(set.find_or_make(key as i32, count as i32, flags as u32, &task.creds())? as u64)
}

/// semop(2).
pub(super) fn semop(task: &mut CurrentTask, args: Args) -> SysResult {
    operate(task, args, None)
}

/// semtimedop(2).
pub(super) fn semtimedop(task: &mut CurrentTask, args: Args) -> SysResult {
    let timeout = if args[3] == 0 { None } else { Some(read_timespec(task, args.addr(3))?) };
    let deadline = timeout.map(|left| task.kernel().timekeeper.deadline_in(left.to_ns()));
    operate(task, args, deadline)
}

fn operate(task: &mut CurrentTask, args: Args, deadline: Option<MonotonicTime>) -> SysResult {
    let [id, buffer, count, ..] = args.0;
    let (id, count) = (id as i32, u64::from(count as u32));
    let sets = &IpcNamespace::of(task).sem;
    if count == 0 {
        return Err(Errno::EINVAL.into());
    }
    if count > sets.max_operations() {
        return Err(Errno::E2BIG.into());
    }
    let mut operations = vec![SemBuf::new_zeroed(); usize::try_from(count).map_err(|_| Errno::E2BIG)?];
    task.mm().read(UserAddr(buffer), operations.as_mut_slice().as_mut_bytes())?;
    let set = sets.get(id)?;
    set.check_operations(&operations, &task.creds())?;
    let wants_undo = operations.iter().any(|op| op.sem_flg & SEM_UNDO != 0 && op.sem_op != 0);
    let undo = wants_undo.then(|| task.undo_list());
    if let Some(undo) = &undo {
        undo.note(&set);
    }
    let call = Pending::new(operations, undo.map(|undo| undo.number()), pid(task), task.notifier());
    set.operate(&call)?;
    let waited = task.block_until(deadline, &mut || call.result().ok_or(Errno::EAGAIN));
    let error = match waited {
        Ok(result) => return Ok(result.map(|()| 0)?),
        // Never restarted, not even with SA_RESTART (signal(7)).
        Err(SysError::Restart(_)) => Errno::EINTR,
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Errno::EAGAIN,
        Err(SysError::Errno(errno)) => errno,
    };
    Ok(set.cancel(&call).unwrap_or(Err(error)).map(|()| 0)?)
}

/// semctl(2).
pub(super) fn semctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let [id, index, command, arg, ..] = args.0;
    let (id, index, command) = (id as i32, index as i32, command as i32 & !IPC_64);
    let (sets, buffer) = (&*IpcNamespace::of(task).sem, UserAddr(arg));
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    match command {
        IPC_INFO | SEM_INFO => control::tell(task, buffer, sets.info(command == SEM_INFO)),
        SEM_STAT => control::stat_at(task, sets, id, buffer),
        SEM_STAT_ANY => control::stat_any_at(task, sets, id, buffer),
        GETVAL | GETPID | GETNCNT | GETZCNT | GETALL => {
            let set = sets.get(id)?;
            set.perm().check(&task.creds(), IpcAccess::Read)?;
            query(task, &set, index, command, buffer)
        }
        SETVAL | SETALL => {
            let set = sets.get(id)?;
            set.perm().check(&task.creds(), IpcAccess::Write)?;
            if command == SETVAL {
                set.set_value(index, arg as i32, pid(task))?;
            } else {
                let mut values = vec![0_u16; usize::from(set.len())];
                task.mm().read(buffer, values.as_mut_slice().as_mut_bytes())?;
                set.set_values(&values, pid(task))?;
            }
            Ok(0)
        }
        _ => control::common(task, sets, id, command, buffer),
    }
}

fn query(task: &Task, set: &SemSet, index: i32, command: i32, buffer: UserAddr) -> SysResult {
    let answer: Result<u64> = match command {
        GETVAL => set.value(index).map(u64::from),
        GETPID => set.last_pid(index).map(|pid| pid as u64),
        GETNCNT => set.waiters(index, false),
        GETZCNT => set.waiters(index, true),
        _ => task.mm().write(buffer, set.values().as_slice().as_bytes()).map(|()| 0),
    };
    Ok(answer?)
}
