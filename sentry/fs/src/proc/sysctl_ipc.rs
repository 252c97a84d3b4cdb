//! The limits of the reading task's IPC name space: `kernel.{shm,sem,msg}*` and `fs.mqueue.*`.

use abi::{Errno, Result};
use kernel::Task;
use kernel::ipc::{IpcLimit, IpcNamespace};
use kernel::task::Capability;

use super::system::put;
use super::task_files::parse;
use crate::synth::Content;

const INT: (u64, u64) = (0, i32::MAX as u64);
/// Identifiers have so many indices.
const INDICES: (u64, u64) = (0, 32768);
const ANY: (u64, u64) = (0, u64::MAX);

/// A file with one or several limits.
#[derive(Clone, Copy)]
pub(super) struct IpcSysctl {
    pub(super) path: &'static str,
    /// Each with its smallest and largest value.
    limits: &'static [(IpcLimit, (u64, u64))],
}

pub(super) const FILES: &[IpcSysctl] = &[
    IpcSysctl { path: "fs/mqueue/msg_default", limits: &[(IpcLimit::DefaultQueueLen, (1, 65536))] },
    IpcSysctl { path: "fs/mqueue/msg_max", limits: &[(IpcLimit::QueueLen, (1, 65536))] },
    IpcSysctl {
        path: "fs/mqueue/msgsize_default",
        limits: &[(IpcLimit::DefaultQueueMessage, (128, 16 << 20))],
    },
    IpcSysctl { path: "fs/mqueue/msgsize_max", limits: &[(IpcLimit::QueueMessage, (128, 16 << 20))] },
    IpcSysctl { path: "fs/mqueue/queues_max", limits: &[(IpcLimit::Queues, INT)] },
    IpcSysctl { path: "kernel/msgmax", limits: &[(IpcLimit::MsgMax, INT)] },
    IpcSysctl { path: "kernel/msgmnb", limits: &[(IpcLimit::MsgMnb, INT)] },
    IpcSysctl { path: "kernel/msgmni", limits: &[(IpcLimit::MsgMni, INDICES)] },
    IpcSysctl {
        path: "kernel/sem",
        limits: &[
            (IpcLimit::SemMsl, (0, 65535)),
            (IpcLimit::SemMns, INT),
            (IpcLimit::SemOpm, (0, 32768)),
            (IpcLimit::SemMni, INDICES),
        ],
    },
    IpcSysctl { path: "kernel/shmall", limits: &[(IpcLimit::ShmAll, ANY)] },
    IpcSysctl { path: "kernel/shmmax", limits: &[(IpcLimit::ShmMax, ANY)] },
    IpcSysctl { path: "kernel/shmmni", limits: &[(IpcLimit::ShmMni, INDICES)] },
];

impl Content for IpcSysctl {
    fn read(&self, task: &Task, out: &mut Vec<u8>) -> Result<()> {
        let limits = &IpcNamespace::of(task).limits;
        let values: Vec<_> = self.limits.iter().map(|(which, _)| limits.get(*which).to_string()).collect();
        put!(out, "{}\n", values.join("\t"));
        Ok(())
    }

    /// The values before a wrong one are taken, as in Linux.
    fn write(&self, task: &Task, text: &[u8]) -> Result<()> {
        let namespaces = task.namespaces();
        if !task.creds().has_in(namespaces.ipc.user_ns(), Capability::SysAdmin) {
            return Err(Errno::EPERM);
        }
        let limits = &IpcNamespace::of(task).limits;
        let words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        for ((which, (least, most)), word) in self.limits.iter().zip(words) {
            let value: u64 = parse(word)?;
            if !(*least..=*most).contains(&value) {
                return Err(Errno::EINVAL);
            }
            limits.set(*which, value);
        }
        Ok(())
    }
}
