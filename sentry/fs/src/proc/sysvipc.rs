//! `/proc/sysvipc`: the objects of the reading task's IPC name space, as ipcs(1) parses them.

use abi::Result;
use kernel::Task;
use kernel::ipc::{IpcNamespace, IpcObject, IpcSet};

use super::system::put;
use crate::synth::{Builder, Show};

/// Adds the files.
pub(super) fn build(dir: Builder) -> Builder {
    dir.file("msg", 0o444, Show(msg)).file("sem", 0o444, Show(sem)).file("shm", 0o444, Show(shm))
}

fn msg(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(
        out,
        "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n"
    );
    let creds = task.creds();
    for (id, queue) in IpcNamespace::of(task).msg.all() {
        let stat = queue.describe(&creds);
        let perm = stat.msg_perm;
        put!(
            out,
            "{:10} {id:10}  {:4o}  {:10} {:10} {:5} {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10}\n",
            perm.key,
            perm.mode,
            stat.msg_cbytes,
            stat.msg_qnum,
            stat.msg_lspid,
            stat.msg_lrpid,
            perm.uid,
            perm.gid,
            perm.cuid,
            perm.cgid,
            stat.msg_stime,
            stat.msg_rtime,
            stat.msg_ctime
        );
    }
    Ok(())
}

fn sem(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(out, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
    let creds = task.creds();
    for (id, set) in IpcNamespace::of(task).sem.all() {
        let stat = set.describe(&creds);
        let perm = stat.sem_perm;
        put!(
            out,
            "{:10} {id:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}\n",
            perm.key,
            perm.mode,
            stat.sem_nsems,
            perm.uid,
            perm.gid,
            perm.cuid,
            perm.cgid,
            stat.sem_otime,
            stat.sem_ctime
        );
    }
    Ok(())
}

fn shm(task: &Task, out: &mut Vec<u8>) -> Result<()> {
    put!(
        out,
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n"
    );
    let creds = task.creds();
    for (id, segment) in IpcNamespace::of(task).shm.all() {
        let stat = segment.describe(&creds);
        let perm = stat.shm_perm;
        put!(
            out,
            "{:10} {id:10}  {:4o} {:21} {:5} {:5}  {:5} {:5} {:5} {:5} {:5} {:10} {:10} {:10} {:21} {:21}\n",
            perm.key,
            segment.perm().mode,
            stat.shm_segsz,
            stat.shm_cpid,
            stat.shm_lpid,
            stat.shm_nattch,
            perm.uid,
            perm.gid,
            perm.cuid,
            perm.cgid,
            stat.shm_atime,
            stat.shm_dtime,
            stat.shm_ctime,
            segment.resident(),
            0
        );
    }
    Ok(())
}
