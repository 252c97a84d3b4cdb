//! mq_notify(2): who is told of a message in an empty queue, once.

use std::sync::{Arc, Weak};

use abi::mqueue::{NOTIFY_COOKIE_LEN, NOTIFY_REMOVED, NOTIFY_WOKENUP};
use abi::signal::{SI_MESGQ, SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD};
use abi::{SigInfo, Signal};

use crate::Task;
use crate::signal::Sender;
use crate::task::{PidNamespace, ThreadGroup, UserNamespace};
use crate::vfs::File;

/// A registration.
pub struct Notice {
    group: Weak<ThreadGroup>,
    pid_ns: Arc<PidNamespace>,
    user_ns: Arc<UserNamespace>,
    how: How,
}

/// How a process is told.
enum How {
    Nothing,
    Signal(Signal, u64),
    /// A thread of the C library reads this cookie from a netlink socket.
    Thread(Arc<File>, [u8; NOTIFY_COOKIE_LEN]),
}

/// What the file of a queue shows of a registration.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) how: i32,
    pub(super) signal: i32,
    pub(super) pid: i32,
}

impl Notice {
    fn new(task: &Task, how: How) -> Self {
        let user_ns = task.creds().user_ns.clone();
        Self { group: Arc::downgrade(task.thread_group()), pid_ns: task.pid_ns(), user_ns, how }
    }

    /// `SIGEV_NONE`.
    #[must_use]
    pub fn nothing(task: &Task) -> Self {
        Self::new(task, How::Nothing)
    }

    /// `SIGEV_SIGNAL`.
    #[must_use]
    pub fn signal(task: &Task, signal: Signal, value: u64) -> Self {
        Self::new(task, How::Signal(signal, value))
    }

    /// `SIGEV_THREAD`: the cookie goes into the netlink socket `file`.
    #[must_use]
    pub fn thread(task: &Task, file: Arc<File>, cookie: [u8; NOTIFY_COOKIE_LEN]) -> Self {
        Self::new(task, How::Thread(file, cookie))
    }

    /// Whether its process still exists.
    pub(super) fn is_alive(&self) -> bool {
        self.group.upgrade().is_some_and(|group| !group.is_zombie())
    }

    pub(super) fn is_for(&self, group: &Arc<ThreadGroup>) -> bool {
        std::ptr::eq(self.group.as_ptr(), Arc::as_ptr(group))
    }

    /// A message of `sender`'s has come.
    pub(super) fn tell(self, sender: &Task) {
        match self.how {
            How::Nothing => {}
            How::Signal(signal, value) => {
                let Some(group) = self.group.upgrade() else { return };
                let pid = sender.thread_group().tgid_in(&self.pid_ns);
                let uid = self.user_ns.from_kernel_uid(sender.creds().uid);
                let mut info = SigInfo::from_user(signal, SI_MESGQ, pid, uid);
                info.fields[8..16].copy_from_slice(&value.to_ne_bytes());
                // The kernel's own signals are never refused.
                let _ = group.queue_signal(None, signal, info, Sender::Kernel);
            }
            How::Thread(file, cookie) => send_cookie(&file, cookie, NOTIFY_WOKENUP),
        }
    }

    /// It ends without a message.
    pub(super) fn end(self) {
        if let How::Thread(file, cookie) = self.how {
            send_cookie(&file, cookie, NOTIFY_REMOVED);
        }
    }

    pub(super) fn describe(&self, reader: &Task) -> Told {
        let pid = self.group.upgrade().map_or(0, |group| group.tgid_in(&reader.pid_ns()));
        match &self.how {
            How::Nothing => Told { how: SIGEV_NONE, signal: 0, pid },
            How::Signal(signal, _) => Told { how: SIGEV_SIGNAL, signal: signal.number(), pid },
            How::Thread(..) => Told { how: SIGEV_THREAD, signal: 0, pid },
        }
    }
}

/// A full or closed socket loses it, as on Linux.
fn send_cookie(file: &File, mut cookie: [u8; NOTIFY_COOKIE_LEN], event: u8) {
    cookie[NOTIFY_COOKIE_LEN - 1] = event;
    if let Some(socket) = file.ops().socket() {
        socket.deliver_from_kernel(&cookie);
    }
}

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notice").field("group", &self.group).finish_non_exhaustive()
    }
}
