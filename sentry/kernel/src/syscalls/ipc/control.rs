//! What msgctl(2), semctl(2) and shmctl(2) do alike: describing, changing and removing objects.

use abi::ipc::{IPC_RMID, IPC_SET, IPC_STAT};
use abi::{Errno, UserAddr};
use zerocopy::{Immutable, IntoBytes};

use crate::ipc::{IpcAccess, IpcObject, IpcSet};
use crate::{SysResult, Task};

/// The commands that all kinds of objects have in common, with common numbers.
pub(super) fn common<S: IpcSet>(task: &Task, set: &S, id: i32, command: i32, buffer: UserAddr) -> SysResult {
    let (mm, creds) = (task.mm(), task.creds());
    match command {
        IPC_STAT => {
            let object = set.get(id)?;
            object.perm().check(&creds, IpcAccess::Read)?;
            mm.write_object(buffer, &object.describe(&creds))?;
        }
        IPC_SET => {
            let new = mm.read_object(buffer)?;
            set.get(id)?.set(&creds, &new)?;
        }
        IPC_RMID => {
            set.get(id)?.perm().check_owner(&creds)?;
            set.remove(id);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

/// `MSG_STAT` and its kin: describes the object at an index to who may read it; its identifier.
pub(super) fn stat_at<S: IpcSet>(task: &Task, set: &S, index: i32, buffer: UserAddr) -> SysResult {
    let (id, object) = set.at_index(index)?;
    object.perm().check(&task.creds(), IpcAccess::Read)?;
    tell(task, buffer, (object.describe(&task.creds()), id))
}

/// `MSG_STAT_ANY` and its kin: describes it to anyone.
pub(super) fn stat_any_at<S: IpcSet>(task: &Task, set: &S, index: i32, buffer: UserAddr) -> SysResult {
    let (id, object) = set.at_index(index)?;
    tell(task, buffer, (object.describe(&task.creds()), id))
}

/// Stores what is told, and returns the number that comes with it: an identifier, or the highest index in use.
pub(super) fn tell<T: IntoBytes + Immutable>(
    task: &Task,
    buffer: UserAddr,
    (told, number): (T, i32),
) -> SysResult {
    task.mm().write_object(buffer, &told)?;
    Ok(number as u64)
}
