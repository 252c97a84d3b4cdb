//! System calls for inter-process communication: System V's and POSIX message queues.

mod control;
mod mqueue;
mod msg;
mod sem;
mod shm;

use super::table::{Arg, Row};
use crate::Task;

const SEM_COMMANDS: Arg = Arg::Enum(&[
    (0, "IPC_RMID"),
    (1, "IPC_SET"),
    (2, "IPC_STAT"),
    (3, "IPC_INFO"),
    (11, "GETPID"),
    (12, "GETVAL"),
    (13, "GETALL"),
    (14, "GETNCNT"),
    (15, "GETZCNT"),
    (16, "SETVAL"),
    (17, "SETALL"),
    (18, "SEM_STAT"),
    (19, "SEM_INFO"),
]);
const MSG_COMMANDS: Arg = Arg::Enum(&[
    (0, "IPC_RMID"),
    (1, "IPC_SET"),
    (2, "IPC_STAT"),
    (3, "IPC_INFO"),
    (11, "MSG_STAT"),
    (12, "MSG_INFO"),
]);

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::partial(
        29,
        "shmget",
        &[Arg::Hex, Arg::Size, Arg::Mode],
        shm::shmget,
        "there are no huge pages (SHM_HUGETLB)",
    )
    .takes_memory(),
    Row::full(30, "shmat", &[Arg::Int, Arg::Hex, Arg::Hex], shm::shmat).takes_memory(),
    Row::full(31, "shmctl", &[Arg::Int, Arg::Int, Arg::Hex], shm::shmctl),
    Row::full(64, "semget", &[Arg::Hex, Arg::Int, Arg::Mode], sem::semget).takes_memory(),
    Row::full(65, "semop", &[Arg::Int, Arg::Hex, Arg::Size], sem::semop),
    Row::full(66, "semctl", &[Arg::Int, Arg::Int, SEM_COMMANDS, Arg::Hex], sem::semctl),
    Row::full(67, "shmdt", &[Arg::Hex], shm::shmdt),
    Row::full(68, "msgget", &[Arg::Hex, Arg::Mode], msg::msgget).takes_memory(),
    Row::full(69, "msgsnd", &[Arg::Int, Arg::Hex, Arg::Size, Arg::Hex], msg::msgsnd),
    Row::full(70, "msgrcv", &[Arg::Int, Arg::Hex, Arg::Size, Arg::Int, Arg::Hex], msg::msgrcv),
    Row::full(71, "msgctl", &[Arg::Int, MSG_COMMANDS, Arg::Hex], msg::msgctl),
    Row::full(220, "semtimedop", &[Arg::Int, Arg::Hex, Arg::Size, Arg::Timespec], sem::semtimedop),
    Row::full(240, "mq_open", &[Arg::Str, Arg::Hex, Arg::Mode, Arg::Hex], mqueue::mq_open).takes_memory(),
    Row::full(241, "mq_unlink", &[Arg::Str], mqueue::mq_unlink),
    Row::full(
        242,
        "mq_timedsend",
        &[Arg::Fd, Arg::InBuf(2), Arg::Size, Arg::Size, Arg::Timespec],
        mqueue::mq_timedsend,
    ),
    Row::full(
        243,
        "mq_timedreceive",
        &[Arg::Fd, Arg::OutBuf, Arg::Size, Arg::Hex, Arg::Timespec],
        mqueue::mq_timedreceive,
    ),
    Row::full(244, "mq_notify", &[Arg::Fd, Arg::Hex], mqueue::mq_notify),
    Row::full(245, "mq_getsetattr", &[Arg::Fd, Arg::Hex, Arg::Hex], mqueue::mq_getsetattr),
];

/// The process that objects remember as their last user.
fn pid(task: &Task) -> i32 {
    task.thread_group().tgid()
}
