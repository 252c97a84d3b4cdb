//! POSIX message queues (`linux/mqueue.h`; `man 7 mq_overview`).
#![allow(missing_docs, reason = "Linux's names; man 3 mq_getattr")]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Priorities are below this.
pub const MQ_PRIO_MAX: u32 = 32768;

/// `struct mq_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MqAttr {
    pub mq_flags: i64,
    pub mq_maxmsg: i64,
    pub mq_msgsize: i64,
    pub mq_curmsgs: i64,
    pub reserved: [i64; 4],
}

/// Bytes that a `SIGEV_THREAD` notification passes back.
pub const NOTIFY_COOKIE_LEN: usize = 32;
/// The last byte of the cookie: a message has come.
pub const NOTIFY_WOKENUP: u8 = 1;
/// The last byte of the cookie: the registration has ended.
pub const NOTIFY_REMOVED: u8 = 2;
