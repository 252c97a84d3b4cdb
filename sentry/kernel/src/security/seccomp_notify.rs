//! Calls that a supervisor answers: `SECCOMP_RET_USER_NOTIF` and its listener (`man 2 seccomp_unotify`).
//!
//! Lock: a listener's requests; under it only wake-ups happen, and descriptors come into tables.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::resource::Resource;
use abi::seccomp::{
    ADDFD_FLAG_SEND, ADDFD_FLAG_SETFD, IOCTL_NOTIF_ADDFD, IOCTL_NOTIF_ID_VALID, IOCTL_NOTIF_RECV,
    IOCTL_NOTIF_SEND, Notif, NotifAddfd, NotifResp, SeccompData, USER_NOTIF_FLAG_CONTINUE,
};
use abi::{Errno, OpenFlags, Result, UserAddr};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use crate::error::SysError;
use crate::vfs::{File, FileOps};
use crate::{CurrentTask, Task};

/// What a supervisor decided.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Return(u64),
    Continue,
}

#[derive(Debug)]
struct Request {
    id: u64,
    task: Arc<Task>,
    data: SeccompData,
    was_received: bool,
    answer: Option<Answer>,
}

impl Request {
    fn give(&mut self, answer: Answer) {
        self.answer = Some(answer);
        self.task.wake().parker().unpark();
    }
}

#[derive(Debug, Default)]
struct Requests {
    next_id: u64,
    list: VecDeque<Request>,
    is_closed: bool,
    /// No task has the filter any more.
    is_orphaned: bool,
}

impl Requests {
    /// A request that the supervisor has received and not answered.
    fn open(&mut self, id: u64) -> Result<&mut Request> {
        let request = self.list.iter_mut().find(|request| request.id == id).ok_or(Errno::ENOENT)?;
        let is_open = request.was_received && request.answer.is_none();
        if is_open { Ok(request) } else { Err(Errno::EINPROGRESS) }
    }
}

/// The calls that wait for a supervisor.
#[derive(Debug, Default)]
pub(crate) struct Listener {
    requests: Mutex<Requests>,
    queue: WaitQueue,
    /// Calls that the supervisor works on are not interrupted by signals (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`).
    waits_killable: bool,
}

/// The first version of `struct seccomp_notif_addfd`.
const ADDFD_SIZE_VER0: usize = 24;
/// Where a command says how large its argument is.
const SIZE_SHIFT: u32 = 16;
const SIZE_MASK: u32 = 0x3fff;
/// What the number of a command whose argument may grow does not depend on: its size, and the direction of the copy.
const GROWS: u32 = 0xc000_0000 | SIZE_MASK << SIZE_SHIFT;

impl Listener {
    fn close(&self) {
        let mut requests = self.requests.lock();
        requests.is_closed = true;
        for request in &requests.list {
            request.task.wake().parker().unpark();
        }
    }

    /// The filter is gone: nobody will ask again.
    pub(super) fn orphan(&self) {
        self.requests.lock().is_orphaned = true;
        self.queue.notify(Events::HUP);
    }

    fn receive(&self, task: &Task) -> Result<Notif> {
        let mut requests = self.requests.lock();
        let request = requests.list.iter_mut().find(|request| !request.was_received).ok_or(Errno::EAGAIN)?;
        request.was_received = true;
        let pid = request.task.tid_in(&task.pid_ns()).unsigned_abs();
        Ok(Notif { id: request.id, pid, flags: 0, data: request.data })
    }

    /// The supervisor could not be told of a request after all: it is the next to be received again.
    fn give_back(&self, id: u64) {
        if let Some(request) = self.requests.lock().list.iter_mut().find(|request| request.id == id) {
            request.was_received = false;
        }
        self.queue.notify(Events::READABLE);
    }

    fn answer(&self, id: u64, answer: Answer) -> Result<()> {
        let mut requests = self.requests.lock();
        let request = requests.list.iter_mut().find(|request| request.id == id && request.was_received);
        let request = request.ok_or(Errno::ENOENT)?;
        if request.answer.is_some() {
            return Err(Errno::EINPROGRESS);
        }
        request.give(answer);
        Ok(())
    }

    /// Whether the supervisor has taken the request and nothing but a kill is to end the wait for its answer.
    fn holds(&self, id: u64) -> bool {
        self.waits_killable && self.asker(id).is_ok()
    }

    fn asker(&self, id: u64) -> Result<Arc<Task>> {
        let requests = self.requests.lock();
        let request = requests.list.iter().find(|request| request.id == id && request.was_received);
        request.map(|request| request.task.clone()).ok_or(Errno::ENOENT)
    }
}

impl CurrentTask {
    /// Waits for the supervisor's answer; says whether the call is to be carried out after all.
    pub(super) fn ask_listener(&mut self, listener: &Arc<Listener>, data: SeccompData) -> bool {
        let id = {
            let mut requests = listener.requests.lock();
            if requests.is_closed {
                self.regs.rax = Errno::ENOSYS.to_return();
                return false;
            }
            requests.next_id += 1;
            let id = requests.next_id;
            let task = self.task().clone();
            requests.list.push_back(Request { id, task, data, was_received: false, answer: None });
            id
        };
        listener.queue.notify(Events::READABLE);
        let mut look = || {
            let requests = listener.requests.lock();
            let request = requests.list.iter().find(|request| request.id == id);
            match request.and_then(|request| request.answer) {
                Some(answer) => Ok(answer),
                None if requests.is_closed => Err(Errno::ENOSYS),
                None => Err(Errno::EAGAIN),
            }
        };
        let mut answer = self.block_until(None, &mut look);
        while matches!(answer, Err(SysError::Restart(_))) && listener.holds(id) && !self.is_killed() {
            self.park_killable();
            match look() {
                Err(Errno::EAGAIN) => {}
                other => answer = other.map_err(SysError::from),
            }
        }
        listener.requests.lock().list.retain(|request| request.id != id);
        self.regs.rax = match answer {
            Ok(Answer::Continue) => return true,
            Ok(Answer::Return(value)) => self.final_result(value),
            Err(SysError::Errno(errno)) => errno.to_return(),
            Err(SysError::Restart(restart)) => restart.code(),
        };
        false
    }

    /// A result that is not the sentry's own: one that looks like a restart is none unless a signal came, as in Linux.
    fn final_result(&mut self, value: u64) -> u64 {
        if !self.wake().is_interrupted() {
            self.give_up_restart(value);
        }
        value
    }
}

/// The supervisor's end.
#[derive(Debug)]
pub(crate) struct ListenerFile(Arc<Listener>);

impl ListenerFile {
    pub(crate) fn new(waits_killable: bool) -> (Arc<Listener>, Arc<Self>) {
        let listener = Arc::new(Listener { waits_killable, ..Listener::default() });
        (listener.clone(), Arc::new(Self(listener)))
    }

    fn add_fd(&self, task: &Task, arg: u64, size: u32) -> Result<u64> {
        let request: NotifAddfd = task.mm().read_extensible(UserAddr(arg), size.into(), ADDFD_SIZE_VER0)?;
        let known = OpenFlags::CLOEXEC.bits();
        if u64::from(request.newfd_flags) & !u64::from(known) != 0
            || request.flags & !(ADDFD_FLAG_SETFD | ADDFD_FLAG_SEND) != 0
            || (request.newfd != 0 && request.flags & ADDFD_FLAG_SETFD == 0)
        {
            return Err(Errno::EINVAL);
        }
        // Let go of when no lock is held.
        let file = task.fd_table().get(request.srcfd as i32)?;
        let closes = request.newfd_flags != 0;
        // With the descriptor comes the answer, or neither.
        let mut requests = self.0.requests.lock();
        let asking = requests.open(request.id)?;
        let asker = asking.task.clone();
        let (fds, limit) = (asker.fd_table(), asker.limit(Resource::Nofile));
        let (fd, replaced) = if request.flags & ADDFD_FLAG_SETFD != 0 {
            let fd = request.newfd as i32;
            (fd, fds.install_at(fd, file.clone(), limit, closes)?)
        } else {
            (fds.install(file.clone(), 0, limit, closes)?, None)
        };
        if request.flags & ADDFD_FLAG_SEND != 0 {
            asking.give(Answer::Return(fd as u64));
        }
        drop(requests);
        if let Some(replaced) = replaced {
            // As with dup2(2), nobody is told of an error at the old file's end.
            let _ = replaced.ops().flush(&asker);
        }
        Ok(fd as u64)
    }
}

impl Drop for ListenerFile {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl FileOps for ListenerFile {
    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let requests = self.0.requests.lock();
        let mut events = Events::empty();
        if requests.list.iter().any(|request| !request.was_received) {
            events |= Events::READABLE;
        }
        if requests.list.iter().any(|request| request.was_received && request.answer.is_none()) {
            events |= Events::WRITABLE;
        }
        if requests.is_orphaned {
            events |= Events::HUP;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        let mm = task.mm();
        match command {
            IOCTL_NOTIF_RECV => {
                let zeroed: [u8; size_of::<Notif>()] = mm.read_object(UserAddr(arg))?;
                if zeroed.iter().any(|byte| *byte != 0) {
                    return Err(Errno::EINVAL);
                }
                let received =
                    task.block_on(&self.0.queue, Events::READABLE, None, &mut || self.0.receive(task));
                let notif = received.map_err(|error| match error {
                    SysError::Errno(errno) => errno,
                    SysError::Restart(_) => Errno::EINTR,
                })?;
                mm.write_object(UserAddr(arg), &notif).inspect_err(|_| self.0.give_back(notif.id))?;
                self.0.queue.notify(Events::WRITABLE);
                Ok(0)
            }
            IOCTL_NOTIF_SEND => {
                let response: NotifResp = mm.read_object(UserAddr(arg))?;
                let continues = response.flags & USER_NOTIF_FLAG_CONTINUE != 0;
                let is_bad = response.flags & !USER_NOTIF_FLAG_CONTINUE != 0
                    || (continues && (response.error != 0 || response.val != 0));
                if is_bad {
                    return Err(Errno::EINVAL);
                }
                let answer = if continues {
                    Answer::Continue
                } else if response.error != 0 {
                    Answer::Return(i64::from(response.error) as u64)
                } else {
                    Answer::Return(response.val as u64)
                };
                self.0.answer(response.id, answer).map(|()| 0)
            }
            IOCTL_NOTIF_ID_VALID => {
                let id: u64 = mm.read_object(UserAddr(arg))?;
                self.0.asker(id).map(|_| 0)
            }
            _ if command & !GROWS == IOCTL_NOTIF_ADDFD => {
                self.add_fd(task, arg, command >> SIZE_SHIFT & SIZE_MASK)
            }
            _ => Err(Errno::EINVAL),
        }
    }
}
